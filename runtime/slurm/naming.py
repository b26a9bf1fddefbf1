"""How the jobs of a run are called."""

from __future__ import annotations

import re

_LONGEST = 180
"""Characters of a job's name, which is also part of the name of its output file."""

_OTHER = r"[^A-Za-z0-9._-]"


def token_of(run_folder: str, created: float) -> str:
    """Six characters that tell this run apart from one of the same flow and number in another datastore."""
    import hashlib

    return hashlib.sha256(f"{run_folder}\n{created}".encode()).hexdigest()[:6]


def prefix_of(flow: str, run_id: str, token: str) -> str:
    """What the names of all jobs of a run begin with, and no other's."""
    return re.sub(_OTHER, "-", f"{flow[:60]}.{run_id[:40]}-{token}.")


def job_name(prefix: str, key: str) -> str:
    """The name of the job or array of a submission; unique in the cluster.

    Parameters
    ----------
    key : str
        Of the submission: ``train@2.0.3``, ``work._.c0``.
    """
    name = prefix + re.sub(_OTHER, "-", key.replace("@", ".r"))
    if len(name) <= _LONGEST:
        return name
    import hashlib

    mark = hashlib.sha256(key.encode()).hexdigest()[:10]
    return f"{name[: _LONGEST - 11]}-{mark}"
