"""Every FLOWC_ environment variable that a generated task may meet, named once.

A backend sets these, the runtime reads them; both sides take the names from here. What a task can derive from its
address or its run is not a variable.
"""

from __future__ import annotations

import os
from typing import Optional

DATASTORE = "FLOWC_DATASTORE"
"""URL of the datastore's root: ``file:///shared/flowc``, or a plain folder."""

FLOW_FILE = "FLOWC_FLOW_FILE"
"""Path of the flow's file as the task sees it."""

FLOW_NAME = "FLOWC_FLOW_NAME"
"""Name of the flow class."""

RUN_ID = "FLOWC_RUN_ID"
"""Id of the run."""

ATTEMPT = "FLOWC_ATTEMPT"
"""Number of this attempt, from 0. Rendezvous, barriers and records carry it."""

ROUND = "FLOWC_ROUND"
"""How often the step has been entered at this index, from 1; more than 1 only inside a loop."""

CAUGHT = "FLOWC_CAUGHT"
"""Set on the attempt that only records a failure for ``@catch``: what ended the attempt before it, as JSON."""

GANG_SIZE = "FLOWC_GANG_SIZE"
"""World size: how many ranks the gang has."""

GANG_RANK = "FLOWC_GANG_RANK"
"""Rank of this task in its gang, from 0; 0 is the control rank."""

GANG_MAIN = "FLOWC_GANG_MAIN"
"""Host name or IP address of the control rank."""

GANG_PORT = "FLOWC_GANG_PORT"
"""TCP port on the control rank at which the gang forms; 0 or unset: one that every rank works out from run, address and
attempt. If it is taken, the next of a fixed row is."""

GANG_TIMEOUT = "FLOWC_GANG_TIMEOUT"
"""Seconds within which a gang must have formed; goes before what the step's decorator says (600)."""

PREEMPT_GRACE = "FLOWC_PREEMPT_GRACE"
"""Seconds that a gang's processes are given to save a checkpoint when their task is asked to end from outside (30; 4 on
this machine)."""

USER = "FLOWC_USER"
"""Who started the run; otherwise USER or LOGNAME is asked."""

SCRATCH = "FLOWC_SCRATCH"
"""Folder for a task's temporary files; otherwise the system's."""

VERIFY = "FLOWC_VERIFY"
"""``full``: check every byte of a blob when it is loaded, also of those over 64 MiB, which are mapped, not read."""

METAFLOW = "FLOWC_METAFLOW"
"""``keep``: leave ``import metaflow`` alone. Otherwise it gives flowc when flowc loads the flow."""


def seconds(name: str) -> Optional[float]:
    """The seconds that a variable of the environment gives; None where it is not set.

    Raises
    ------
    ValueError
        If it is no number, or not above 0.
    """
    text = os.environ.get(name)
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise ValueError(f"{name}={text!r} is not a number of seconds above 0")
    return value
