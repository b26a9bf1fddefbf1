#!/bin/bash
# Starts a run of the flow RecursionFlow on the Slurm cluster of this machine.
# What it is for: Newton's method for a square root, one round a step.
#
#   ./submit.sh [--datastore DIR] [--wait] [--NAME VALUE ...]
#
# DIR is a folder that all nodes see. --wait follows the run and exits with its result.
#   --number  (number) The number whose square root is wanted
#   --tolerance  (number) Stop when a round changes the value by less
# Written by `flowc compile`.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
exec "${FLOWC_PYTHON:-python3}" "$here/code/start-flowc.py" submit "$here" "$@"
