#!/bin/bash
# Starts a run of the flow MpiCFlow on the Slurm cluster of this machine.
# What it is for: Pass a number round a ring of processes.
#
#   ./submit.sh [--datastore DIR] [--wait] [--NAME VALUE ...]
#
# DIR is a folder that all nodes see. --wait follows the run and exits with its result.
#   --nodes  (whole number) Size of the gang
#   --laps  (whole number) How often the number goes round
# Written by `flowc compile`.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
exec "${FLOWC_PYTHON:-python3}" "$here/code/start-flowc.py" submit "$here" "$@"
