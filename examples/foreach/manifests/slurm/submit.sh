#!/bin/bash
# Starts a run of the flow ForeachFlow on the Slurm cluster of this machine.
# What it is for: Find the prime numbers below a limit, one task for each stretch of a thousand.
#
#   ./submit.sh [--datastore DIR] [--wait] [--NAME VALUE ...]
#
# DIR is a folder that all nodes see. --wait follows the run and exits with its result.
#   --limit  (whole number) Look for primes below this number
# Written by `flowc compile`.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
exec "${FLOWC_PYTHON:-python3}" "$here/code/start-flowc.py" submit "$here" "$@"
