"""What Slurm and Linux take, for whoever writes a job and whoever submits it. It imports nothing: backends see it."""

from __future__ import annotations

LONGEST_DEPENDENCY = 128 * 1024
"""Bytes of ``--dependency``: what Slurm takes, and Linux no longer argument, with the zero at its end (execve(2),
MAX_ARG_STRLEN)."""

MOST_BEFORE = (LONGEST_DEPENDENCY - len("--dependency=aftercorr") - 1) // len(":4294967295")
"""How many jobs and arrays one job can wait for."""
