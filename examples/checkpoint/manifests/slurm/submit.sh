#!/bin/bash
# Starts a run of the flow CheckpointFlow on the Slurm cluster of this machine.
# What it is for: Ten rounds of work, in the middle of which the first attempt fails; the second one goes on where ...
#
#   ./submit.sh [--datastore DIR] [--wait]
#
# DIR is a folder that all nodes see. --wait follows the run and exits with its result.
# Written by `flowc compile`.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
exec "${FLOWC_PYTHON:-python3}" "$here/code/start-flowc.py" submit "$here" "$@"
