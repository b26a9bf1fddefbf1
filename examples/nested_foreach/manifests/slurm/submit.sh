#!/bin/bash
# Starts a run of the flow NestedForeachFlow on the Slurm cluster of this machine.
# What it is for: Cross-validate polynomials of several degrees, one task for each degree and fold.
#
#   ./submit.sh [--datastore DIR] [--wait]
#
# DIR is a folder that all nodes see. --wait follows the run and exits with its result.
# Written by `flowc compile`.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
exec "${FLOWC_PYTHON:-python3}" "$here/code/start-flowc.py" submit "$here" "$@"
