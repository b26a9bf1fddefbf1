#!/bin/bash
# Starts a run of the flow DeepSpeedFlow on the Slurm cluster of this machine.
# What it is for: Train a small network with ZeRO, on GPUs where there are some and on CPUs where there are none.
#
#   ./submit.sh [--datastore DIR] [--wait] [--NAME VALUE ...]
#
# DIR is a folder that all nodes see. --wait follows the run and exits with its result.
#   --nodes  (whole number) Size of the gang
#   --steps  (whole number) Steps of the training
#   --stage  (whole number) Stage of ZeRO: 0, 1 or 2
# Written by `flowc compile`.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
exec "${FLOWC_PYTHON:-python3}" "$here/code/start-flowc.py" submit "$here" "$@"
