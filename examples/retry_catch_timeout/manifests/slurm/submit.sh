#!/bin/bash
# Starts a run of the flow TroubleFlow on the Slurm cluster of this machine.
# What it is for: Four sources, of which one works at once, one at the third attempt, one hangs and one never works.
#
#   ./submit.sh [--datastore DIR] [--wait] [--NAME VALUE ...]
#
# DIR is a folder that all nodes see. --wait follows the run and exits with its result.
#   --patience  (whole number) How long the source that hangs would hang, in seconds
# Written by `flowc compile`.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
exec "${FLOWC_PYTHON:-python3}" "$here/code/start-flowc.py" submit "$here" "$@"
