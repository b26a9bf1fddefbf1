"""The program that starts flowc's runtime, in jobs and in ``submit.sh``."""

from __future__ import annotations

START_FILE = "code/start-flowc.py"

START_TEXT = b'''\
# Starts flowc's runtime: that of the archive beside this file, else that of the folder `flowc` beside it, else the one
# that is installed. Python looks beside this file first, not in the folder that a job happens to be submitted from.
import gc
import os
import sys

if sys.version_info < (3, 9):
    sys.exit("flowc: this needs Python 3.9 or later, and %s is %s: let FLOWC_PYTHON name another one, or load a module"
             % (sys.executable, sys.version.split()[0]))


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    archive = os.path.join(here, "flowc.zip")
    first = archive if os.path.exists(archive) else here
    # PYTHONPATH names it, too, for the programs that steps start; here once is enough.
    sys.path[:] = [first, *(path for path in sys.path if path != first)]
    gc.disable()  # nothing that is read now is ever garbage
    from flowc.runtime.slurm.command_line import main

    gc.enable()

    return main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
'''
