#!/bin/bash
# Starts a run of the flow TorchHelloFlow on the Slurm cluster of this machine.
# What it is for: Start torchrun on all nodes; each node runs the step, each of its processes the script.
#
#   ./submit.sh [--datastore DIR] [--wait] [--NAME VALUE ...]
#
# DIR is a folder that all nodes see. --wait follows the run and exits with its result.
#   --nodes  (whole number) Size of the gang
#   --processes  (whole number) Processes on each node
# Written by `flowc compile`.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
exec "${FLOWC_PYTHON:-python3}" "$here/code/start-flowc.py" submit "$here" "$@"
