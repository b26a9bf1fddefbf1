"""Why a job waits, as Slurm's one-word reasons mean it to whoever asks after a run.

The words are those of ``squeue --format=%r`` (https://slurm.schedmd.com/job_reason_codes.html).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Optional

from .commands import LiveJob

_REQUEUE_HELD = (
    "Slurm could not start it and holds it back, for example because a controller that crashed forgot that it runs "
    "already; look at the node (scontrol show node), then let it go: scontrol release {job}"
)

_MEANINGS = {
    "launch failed requeued held": _REQUEUE_HELD,
    "JobHoldMaxRequeue": "it was started anew too often and is held back: scontrol release {job}",
    "JobHeldUser": "it is held back by its user: scontrol release {job}",
    "JobHeldAdmin": "it is held back by an administrator of the cluster, who can let it go: scontrol release {job}",
    "BeginTime": "it was put back into the queue, and Slurm starts it again after a while, mostly two minutes",
    "DependencyNeverSatisfied": "a job before it has failed, so it never starts",
    "PartitionDown": "its partition is down",
    "PartitionInactive": "its partition is inactive",
    "PartitionNodeLimit": "its partition does not give so many nodes to a job",
    "PartitionTimeLimit": "its time limit is longer than its partition allows; see @slurm(time=...)",
    "ReqNodeNotAvail": "nodes that it needs are down, drained or reserved",
    "BadConstraints": "no nodes have what it asks for; see @slurm(constraint=...)",
    "InvalidAccount": "the account is not known; see @slurm(account=...)",
    "InvalidQOS": "the quality of service is not known; see @slurm(qos=...)",
    "NodeDown": "a node that it needs is down",
}
"""The reasons that want something done, or that look worse than they are; the others say enough by themselves."""


def explained(reason: str, job: str) -> Optional[str]:
    """What a reason means and what to do about it; None where the word itself says all there is.

    Parameters
    ----------
    job : str
        The id of the job, for the commands in the explanation.
    """
    # Some reasons are followed by names: "ReqNodeNotAvail, UnavailableNodes:n3".
    word = reason.strip("() ").partition(",")[0]
    meaning = _MEANINGS.get(word) or _MEANINGS.get(word.replace("_", " "))
    if meaning is None and ("PerJob" in word or "PerNode" in word or "WallDuration" in word):
        meaning = "it asks for more than the account or the quality of service gives one job, so it never starts"
    if meaning is None and ("MaxJobs" in word or "MaxSubmitJob" in word or word.endswith("Limit")):
        meaning = "a limit of the account or the quality of service is reached; it starts when other jobs have ended"
    return None if meaning is None else meaning.format(job=job.partition("_[")[0])


def explanations(jobs: Iterable[LiveJob]) -> list[str]:
    """What there is to say about the jobs that wait, each reason once, for the first job that it keeps waiting."""
    said: dict[str, str] = {}
    for job in jobs:
        meaning = explained(job.reason, job.id) if job.state == "PENDING" else None
        if meaning is not None:
            said.setdefault(job.reason, f"{job.id}: {meaning}")
    return list(said.values())
