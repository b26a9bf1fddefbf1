"""Runs a script as torch.distributed.launch did: with ``--local_rank=N`` before its own arguments.

torchrun starts this file, with the script after it; nothing of flowc is imported here.
"""

from __future__ import annotations

import os
import runpy
import sys


def main() -> None:
    """Run ``sys.argv[1]``."""
    script = sys.argv[1]
    sys.argv[:] = [script, f"--local_rank={os.environ['LOCAL_RANK']}", *sys.argv[2:]]
    sys.path[0] = os.path.dirname(os.path.abspath(script))
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
