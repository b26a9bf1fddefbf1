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
"""Number of this attempt, from 0. Rendezvous, barriers and records carry it. For a gang on Argo it is that of the
JobSet, from which the ranks work out their attempt's: see `gang_attempts`."""

ROUND = "FLOWC_ROUND"
"""How often the step has been entered at this index, from 1; more than 1 only inside a loop. ``auto``: work it out from
the records of the steps before."""

INDEX = "FLOWC_INDEX"
"""The task's index in every fan-out around it, as in ``0.3``, without the rank of a gang; a generated script hands it
on as ``--index``."""

RETRIES_LEFT = "FLOWC_RETRIES_LEFT"
"""How many further attempts may follow this one; where it is not set, the attempt's number and ``@retry`` tell.
Attempts that were only asked to end from outside do not count, which a number alone cannot say."""

TIMEOUT = "FLOWC_TIMEOUT"
"""Seconds after which the attempt is ended by the first process of its container, where no scheduler counts them."""

WAIT = "FLOWC_WAIT"
"""Three numbers, where a scheduler cannot wait between attempts as ``@retry`` says: the seconds before the second
attempt, by what they grow from one to the next, and by what the scheduler's own grow. The attempt waits the rest."""

CAUGHT = "FLOWC_CAUGHT"
"""Set on the attempt that only records a failure for ``@catch``: what ended the attempt before it, as JSON."""

GANG_SIZE = "FLOWC_GANG_SIZE"
"""World size: how many ranks the gang has."""

GANG_RANK = "FLOWC_GANG_RANK"
"""Rank of this task in its gang, from 0; 0 is the control rank."""

GANG_MAIN = "FLOWC_GANG_MAIN"
"""Host name or IP address of the control rank."""

GANG_MARK = "FLOWC_GANG_MARK"
"""Set by flowc for what a rank starts: tells its processes from all others on the host."""

GANG_PORT = "FLOWC_GANG_PORT"
"""TCP port on the control rank at which the gang forms; 0 or unset: one that every rank works out from run, address and
attempt. If it is taken, the next of a fixed row is."""

WORKFLOW = "FLOWC_WORKFLOW"
"""Argo: the Workflow that a gang belongs to. When it ends, the control rank ends the gang, which Argo does not."""

GANG_TIMEOUT = "FLOWC_GANG_TIMEOUT"
"""Seconds within which a gang must have formed; goes before what the step's decorator says (600)."""

GANG_SILENCE = "FLOWC_GANG_SILENCE"
"""Seconds after which a rank of a gang that gives no sign of life counts as lost (10)."""

PREEMPT_GRACE = "FLOWC_PREEMPT_GRACE"
"""Seconds that a gang's processes are given to save a checkpoint when their task is asked to end from outside (30; 4 on
this machine); goes before what ``@checkpoint(grace=)`` says, also of a step that is no gang."""

USER = "FLOWC_USER"
"""Who started the run; otherwise USER or LOGNAME is asked."""

SCRATCH = "FLOWC_SCRATCH"
"""Folder for a task's temporary files; otherwise the system's."""

LOGS = "FLOWC_LOGS"
"""``datastore``: a task's process writes its stdout and stderr to the folder of its attempt, not to where it was
started. ``tee``: to both."""

PLAN = "FLOWC_PLAN"
"""Path of the Plan's JSON, for the task that begins a run: it creates the run if that is not there."""

PARAMETERS = "FLOWC_PARAMETERS"
"""Beside FLOWC_PLAN: texts of the run's parameters, as typed on a command line. A JSON object, or a list of objects
with ``name`` and ``value``, either also as base64, which no scheduler and no shell reads as anything else."""

RUN_UID = "FLOWC_RUN_UID"
"""Beside FLOWC_PLAN: what tells the run from another with its id, where a scheduler may give an id twice: Argo's
``workflow.uid``. The run keeps it, and another one neither begins nor ends it."""

TARGET = "FLOWC_TARGET"
"""Beside FLOWC_PLAN: where the run runs, by the name of the target."""

OUTPUTS = "FLOWC_OUTPUTS"
"""Folder in which a task leaves what the scheduler must know, after its record: see `outputs.leave_outputs`. Where it
is set, a task that is done already does nothing else."""

PACKAGES = "FLOWC_PACKAGES"
"""JSON list of requirements that are installed for the task, by pip, before the flow is loaded."""

FAILURES = "FLOWC_FAILURES"
"""For ``end``: what the scheduler says went wrong, as Argo's ``workflow.failures``: a JSON list of objects with
``displayName``, ``message`` and ``finishedAt``, also as base64."""

PYTHON = "FLOWC_PYTHON"
"""The interpreter that generated scripts start tasks with, where it is not ``python3``."""

CODE = "FLOWC_CODE"
"""Folder of the code that the run was submitted with: ``flowc``, ``flow`` and ``steps`` lie in it."""

CODE_DIGEST = "FLOWC_CODE_DIGEST"
"""SHA-256 of the code that the manifests were made with: of the files below FLOWC_CODE, or of what FLOWC_CODE_URL
holds. Other code is refused."""

CODE_URL = "FLOWC_CODE_URL"
"""Where a task fetches its code from: an archive in a bucket."""

SLURM_INDEX = "FLOWC_SLURM_INDEX"
"""Slurm: index of the job, or of the task that opened the fan-out whose tasks are the array's; may be empty."""

SLURM_BASE = "FLOWC_SLURM_BASE"
"""Slurm, only in arrays: what is to be added to SLURM_ARRAY_TASK_ID for the position in the fan-out."""

SLURM_REGION = "FLOWC_SLURM_REGION"
"""Slurm: the region of the flow that the job was submitted with; the job sees to it that all of it is submitted."""

SLURM_PATIENCE = "FLOWC_SLURM_PATIENCE"
"""Slurm: seconds for which commands are tried again while the controller does not answer (600)."""

SLURM_MAX_ARRAY = "FLOWC_SLURM_MAX_ARRAY"
"""Slurm, where a run is submitted: how many tasks an array may have, for an account whose limit on submitted jobs is
lower than what the cluster lets an array have."""

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


def preempt_grace(said: Optional[float], otherwise: float = 30.0) -> float:
    """Seconds to save a checkpoint in: by FLOWC_PREEMPT_GRACE, else as ``@checkpoint(grace=)`` has said, else these.

    Raises
    ------
    ValueError
        If the variable holds no number of seconds.
    """
    return seconds(PREEMPT_GRACE) or said or otherwise


def rest_of_wait(attempt: int, wait: float, factor: float, whole: float) -> float:
    """Seconds that are left of the wait before an attempt (from 1) where the scheduler's own grow by another factor.

    Raises
    ------
    OverflowError
        If no number is so large.
    """
    if factor == whole:
        return 0.0
    return max(0.0, wait * (float(factor) ** (attempt - 1) - float(whole) ** (attempt - 1)))
