#!/bin/bash
# Starts a run of the flow InputsFlow on the Slurm cluster of this machine.
# What it is for: Filter and count the lines of a file, as parameters and a config say.
#
#   ./submit.sh [--datastore DIR] [--wait] [--NAME VALUE ...]
#
# DIR is a folder that all nodes see. --wait follows the run and exits with its result.
#   --lines  (file) A CSV file with one station a line
#   --limit  (whole number) How many stations to show
#   --minimum  (number) Leave out stations lower than this, in metres
#   --reverse  (true or false) Lowest first
#   --countries  (text) Countries, separated by commas
#   --rename  (JSON) Names for countries, as JSON
#   --label  (text) Name of the result
# Written by `flowc compile`.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
exec "${FLOWC_PYTHON:-python3}" "$here/code/start-flowc.py" submit "$here" "$@"
