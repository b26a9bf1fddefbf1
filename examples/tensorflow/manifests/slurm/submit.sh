#!/bin/bash
# Starts a run of the flow TensorFlowFlow on the Slurm cluster of this machine.
# What it is for: Fit a line on a gang; every node runs the step, and TF_CONFIG tells it of the others.
#
#   ./submit.sh [--datastore DIR] [--wait] [--NAME VALUE ...]
#
# DIR is a folder that all nodes see. --wait follows the run and exits with its result.
#   --nodes  (whole number) Size of the gang
#   --steps  (whole number) Steps of gradient descent
# Written by `flowc compile`.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
exec "${FLOWC_PYTHON:-python3}" "$here/code/start-flowc.py" submit "$here" "$@"
