#!/bin/bash
# Starts a run of the flow GangFlow on the Slurm cluster of this machine.
# What it is for: Approximate pi: each rank sums its share of a series, rank 0 gathers the shares.
#
#   ./submit.sh [--datastore DIR] [--wait] [--NAME VALUE ...]
#
# DIR is a folder that all nodes see. --wait follows the run and exits with its result.
#   --ranks  (whole number) Size of the gang
#   --terms  (whole number) Terms of the series
# Written by `flowc compile`.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
exec "${FLOWC_PYTHON:-python3}" "$here/code/start-flowc.py" submit "$here" "$@"
