#!/bin/bash
# Starts a run of the flow WordCountFlow on the Slurm cluster of this machine.
# What it is for: Count the words of plain-text documents.
#
#   ./submit.sh [--datastore DIR] [--wait] [--NAME VALUE ...]
#
# DIR is a folder that all nodes see. --wait follows the run and exits with its result.
#   --documents  (text) Folder with the .txt files to read
#   --common  (file) Words that are too common to be of interest
#   --top  (whole number) How many words to list
#   --ranks  (whole number) Size of the gang that sums up
#   --full  (true or false) Report document by document
# Written by `flowc compile`.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
exec "${FLOWC_PYTHON:-python3}" "$here/code/start-flowc.py" submit "$here" "$@"
