#!/bin/bash
# Starts a run of the flow GPTFlow on the Slurm cluster of this machine.
# What it is for: Train on a gang, with checkpoints.
#
#   ./submit.sh [--datastore DIR] [--wait] [--NAME VALUE ...]
#
# DIR is a folder that all nodes see. --wait follows the run and exits with its result.
#   --nodes  (whole number) Size of the gang
#   --steps  (whole number) Steps of training
#   --fail_at  (whole number) Step at which the first attempt breaks down; 0 for none
# Written by `flowc compile`.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
exec "${FLOWC_PYTHON:-python3}" "$here/code/start-flowc.py" submit "$here" "$@"
