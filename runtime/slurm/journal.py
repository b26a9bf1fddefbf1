"""What a run on Slurm has written down about its jobs: small files below ``<run>/slurm``, each written once.

Whoever creates a file first has decided; everybody else reads. So a job that is started again, or two jobs that do the
same at once, come to the same end.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Optional

from ..address import Address
from ..datastore.base import Datastore
from ..report import Failure
from ..runs import RunInfo, RunStatus, read_status, write_status
from .regions import Region, Submission

FOLDER = "slurm"
"""Folder of all this in the run's; no task can have an index of one of the names in it."""


MAX_NUM_SPLITS = 100_000
"""The widest foreach that is let through, where nothing else is asked for."""


_SHOWS = (0.1, 0.2, 0.5, 1.0, 2.0, 4.0)
"""Seconds between looks at a file of another machine, which a shared folder may not show at once."""


class Settings(NamedTuple):
    """What is settled when the run is submitted.

    Parameters
    ----------
    user : str
        Of the operating system; whose jobs these are.
    prefix : str
        What the names of all of the run's jobs begin with.
    code : str
        Folder of the staged code.
    max_array : int
        How many tasks an array may have.
    max_num_splits : int
        The widest foreach that is let through.
    cluster : str
        The name of the cluster; empty where nobody wrote it down.
    uid : int or None
        The user by number; None where nobody wrote it down.
    """

    user: str
    prefix: str
    code: str
    max_array: int
    max_num_splits: int = MAX_NUM_SPLITS
    cluster: str = ""
    uid: Optional[int] = None


class Ended(NamedTuple):
    """How the run ended; ``failure`` as in status.json."""

    state: str
    finished: float
    failure: Optional[Mapping[str, Any]] = None


class Journal:
    """The files of one run."""

    def __init__(self, datastore: Datastore, run: RunInfo) -> None:
        self.datastore = datastore
        self.run = run
        self.prefix = f"{run.prefix}/{FOLDER}"

    # Plain files ------------------------------------------------------------------------------------------------------

    def _read(self, key: str) -> Any:
        try:
            return json.loads(self.datastore.read(f"{self.prefix}/{key}"))
        except (FileNotFoundError, ValueError):
            return None

    def _create(self, key: str, value: Any) -> bool:
        return self.datastore.create(f"{self.prefix}/{key}", json.dumps(value).encode())

    def _write(self, key: str, value: Any) -> None:
        self.datastore.write(f"{self.prefix}/{key}", json.dumps(value).encode())

    def _exists(self, key: str) -> bool:
        return self.datastore.exists(f"{self.prefix}/{key}")

    # The run ----------------------------------------------------------------------------------------------------------

    def begin(self, settings: Settings) -> None:
        """Write down what is settled, and make the folder of the jobs' outputs: without it, jobs fail silently."""
        self._write("run.json", settings._asdict())
        self.datastore.create_folder(f"{self.prefix}/logs")

    @property
    def settings(self) -> Optional[Settings]:
        """What was settled; None where the submission was cut off before."""
        data = self._read("run.json")
        return None if data is None else Settings(**data)

    def log_path(self, name: str) -> str:
        """Where the output of a job goes, as sbatch takes it."""
        folder = self.datastore.path(f"{self.prefix}/logs").replace("%", "%%")
        return f"{folder}/{name}-%j.out"

    @property
    def ended(self) -> Optional[Ended]:
        """How the run ended; None while it goes on."""
        data = self._read("ended.json")
        return None if data is None else Ended(**data)

    @property
    def has_ended(self) -> bool:
        """Whether the run has ended, looked up at least cost."""
        return self._exists("ended.json")

    def end(self, state: str, finished: float, failure: Optional[Failure] = None) -> bool:
        """Say how the run ended, and write its status.json; False where somebody else had said so before."""
        said = None if failure is None else failure.to_json()
        mine = self._create("ended.json", Ended(state, finished, said)._asdict())
        self.tell()
        return mine

    def tell(self) -> None:
        """Let status.json say what was decided; whoever decided may have died before it could."""
        ended = self.ended
        if ended is None:
            return
        before = read_status(self.datastore, self.run)
        if before.state != ended.state:
            status = RunStatus(
                ended.state, before.started or self.run.created, ended.finished, None, before.host, ended.failure
            )
            write_status(self.datastore, self.run, status)

    # Regions ----------------------------------------------------------------------------------------------------------

    def region(self, name: str) -> Optional[Region]:
        """A region that was laid out before."""
        data = self._read(f"regions/{name}.json")
        if data is None:
            return None
        submissions = tuple(map(Submission.from_json, data["submissions"]))
        return Region(submissions, tuple(map(Address.parse, data["done"])))

    def lay_out(self, name: str, region: Region) -> Region:
        """Write down a region before anything of it is submitted; what counts is who did so first."""
        data = {
            "submissions": [submission.to_json() for submission in region.submissions],
            "done": [str(address) for address in region.done],
        }
        if self._create(f"regions/{name}.json", data):
            return region
        found = self.region(name)
        assert found is not None
        return found

    def is_submitted(self, name: str) -> bool:
        """Whether all of a region is submitted."""
        return self._exists(f"regions/{name}.done")

    def set_submitted(self, name: str) -> None:
        """All of a region is submitted."""
        self._write(f"regions/{name}.done", {})

    # Jobs -------------------------------------------------------------------------------------------------------------

    def job(self, key: str) -> Optional[str]:
        """The id of the job, or array, that was submitted for a submission's key."""
        data = self._read(f"jobs/{key}.json")
        return None if data is None else str(data["job"])

    def set_job(self, key: str, job: str, name: str) -> None:
        """Write down the id that a submission got."""
        self._write(f"jobs/{key}.json", {"job": job, "name": name})

    def jobs(self) -> dict[str, str]:
        """Ids of all jobs and arrays by key."""
        found = {}
        for name in self.datastore.list(f"{self.prefix}/jobs"):
            job = self.job(name[: -len(".json")])
            if job is not None:
                found[name[: -len(".json")]] = job
        return found

    def intent(self, key: str) -> tuple[int, Optional[Mapping[str, Any]]]:
        """How many have set out to submit this key, and the last of them."""
        number = 0
        found: Optional[Mapping[str, Any]] = None
        while True:
            data = self._read(f"intents/{key}.{number}.json")
            if data is None:
                return number, found
            found, number = data, number + 1

    def intend(self, key: str, number: int, holder: Mapping[str, Any]) -> bool:
        """Set out to submit a key as the one of that number; False where somebody else did."""
        return self._create(f"intents/{key}.{number}.json", dict(holder))

    def set_waiting(self, key: str, number: int, job: Optional[str]) -> None:
        """Whoever set out to submit a key waits, still, until there is room in the queue."""
        self._write(f"waiting/{key}.{number}.json", {"job": job, "at": time.time()})

    def is_waiting(self, key: str, number: int) -> bool:
        """Whether that is so."""
        return self._exists(f"waiting/{key}.{number}.json")

    def waiting(self) -> set[str]:
        """The jobs that wait, or have waited, to submit others."""
        return {data["job"] for data in self._waiting() if data["job"] is not None}

    def last_waited(self) -> float:
        """When somebody last said that it waits, in seconds since 1970; 0 where nobody has."""
        return max((float(data["at"]) for data in self._waiting()), default=0.0)

    def _waiting(self) -> list[dict[str, Any]]:
        names = self.datastore.list(f"{self.prefix}/waiting")
        return [data for name in names if (data := self._read(f"waiting/{name}")) is not None]

    # Tasks ------------------------------------------------------------------------------------------------------------

    def claim(self, address: Address, job: str, number: int = 0) -> Optional[str]:
        """Claim a task for a job; None where it is this job's, else the id of the job that has it.

        ``number`` counts the claims before this one whose jobs are gone.
        """
        key = f"claims/{address.folder}.{address.task_id}.{number}.json"
        if self._create(key, {"job": job}):
            return None
        data = self._read(key)
        for wait in _SHOWS:
            if data is not None:
                break
            time.sleep(wait)
            data = self._read(key)
        holder = None if data is None else str(data["job"])
        return None if holder == job else holder or "unknown"

    def set_preempted(self, address: Address, attempt: int) -> None:
        """An attempt was asked to end from outside: it does not count for @retry."""
        self._write(f"attempts/{address.folder}.{address.task_id}.{attempt}.json", {"ended": "preempted"})

    def set_failed(self, address: Address, attempt: int) -> None:
        """An attempt ended in failure."""
        self._write(f"attempts/{address.folder}.{address.task_id}.{attempt}.json", {"ended": "failed"})

    def failed(self, address: Address, attempts: Sequence[int]) -> int:
        """How many of the attempts ended in failure; of the others nobody could say so, or they were preempted."""
        count = 0
        for attempt in attempts:
            data = self._read(f"attempts/{address.folder}.{address.task_id}.{attempt}.json")
            count += data is not None and data["ended"] == "failed"
        return count

    # Joins by arrival -------------------------------------------------------------------------------------------------

    def arrive(self, join: Address, which: int, round: int) -> int:
        """One input of a join has arrived; says how many have, it included.

        Parameters
        ----------
        join : Address
            Its step and index; the round is that of the split step, which is known before that of the join.
        which : int
            The input: position in the fan-out, or number of the branch.
        round : int
            The round of the join that follows from this input.
        """
        folder = f"arrived/{join.folder}.{join.task_id}"
        self._create(f"{folder}/{which}", {"round": round})
        return len(self.datastore.list(f"{self.prefix}/{folder}"))

    def highest_round(self, join: Address) -> int:
        """The round of a join of which all inputs have arrived."""
        folder = f"arrived/{join.folder}.{join.task_id}"
        names = self.datastore.list(f"{self.prefix}/{folder}")
        return max(int(self._read(f"{folder}/{name}")["round"]) for name in names)
