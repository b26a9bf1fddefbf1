#!/bin/bash
# Starts a run of the flow Mpi4pyFlow on the Slurm cluster of this machine.
# What it is for: Integrate a quarter of the unit circle with mpirun; a failing program fails the step.
#
#   ./submit.sh [--datastore DIR] [--wait] [--NAME VALUE ...]
#
# DIR is a folder that all nodes see. --wait follows the run and exits with its result.
#   --nodes  (whole number) Size of the gang
#   --slices  (whole number) Slices of the integral
# Written by `flowc compile`.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
exec "${FLOWC_PYTHON:-python3}" "$here/code/start-flowc.py" submit "$here" "$@"
