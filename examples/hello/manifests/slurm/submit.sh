#!/bin/bash
# Starts a run of the flow HelloFlow on the Slurm cluster of this machine.
# What it is for: Say hello.
#
#   ./submit.sh [--datastore DIR] [--wait]
#
# DIR is a folder that all nodes see. --wait follows the run and exits with its result.
# Written by `flowc compile`.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
exec "${FLOWC_PYTHON:-python3}" "$here/code/start-flowc.py" submit "$here" "$@"
