"""Runs: creating, finding and reading them, and what state they are in."""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any, Optional

from .. import __version__
from ..dsl import FlowcError
from ..dsl.plain import dataclass, field
from . import contract
from .datastore.base import Datastore
from .outline import Outline
from .parameters import IncludedFile
from .record import Records

VERSION = 1

_NO_RUNS = ("blobs", "code")
"""What else lies in a flow's folder."""

RUNNING = "running"
DONE = "done"
FAILED = "failed"
INTERRUPTED = "interrupted"
LOCAL = "local"
"""Target of a run that a process on one machine schedules."""

LOST = "lost"
"""State of a run whose scheduler is gone without having said how it ended."""


class RunError(FlowcError):
    """A run that was asked for is not there, or cannot be read."""


@dataclass(frozen=True)
class RunInfo:
    """What is fixed when a run starts: the content of its run.json.

    Attributes
    ----------
    parameters : mapping
        JSON value by parameter name; ``{"file": {"blob": sha256, "size": bytes}}`` for an IncludeFile.
    plan : mapping
        The Plan as JSON.
    source : mapping
        ``file``: base name of the flow's file; ``folder``: where it lay on the machine that started the run.
    origin_run_id : str or None
        The run that this one resumes.
    target : str
        Where it runs: ``local``, ``slurm``.
    uid : str
        What tells it from another run with its id, where its scheduler may give an id twice.
    """

    flow: str
    run_id: str
    plan: Mapping[str, Any]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    configs: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""
    flowc: str = __version__
    tags: tuple[str, ...] = ()
    user: str = ""
    created: float = 0.0
    origin_run_id: Optional[str] = None
    source: Mapping[str, str] = field(default_factory=dict)
    target: str = LOCAL
    uid: str = ""
    worked_out: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What tasks work out from all this once a process."""

    @cached_property
    def outline(self) -> Outline:
        """The steps; parsed once."""
        return Outline.from_plan(self.plan)

    @property
    def prefix(self) -> str:
        """Key of the run's folder, and its name: ``Flow/12``."""
        return f"{self.flow}/{self.run_id}"

    def records(self, datastore: Datastore) -> Records:
        """The run's records."""
        return Records(datastore, self.flow, self.run_id)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "version": VERSION,
            "flow": self.flow,
            "run_id": self.run_id,
            "parameters": self.parameters,
            "configs": self.configs,
            "digest": self.digest,
            "flowc": self.flowc,
            "tags": list(self.tags),
            "user": self.user,
            "created": self.created,
            "origin_run_id": self.origin_run_id,
            "plan": self.plan,
            "source": self.source,
            "target": self.target,
            **({"uid": self.uid} if self.uid else {}),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RunInfo:
        """Read `to_json`'s values back; ValueError if they are of another version, or not a run's."""
        try:
            if data["version"] != VERSION:
                raise ValueError(f"it has version {data['version']!r}, this flowc reads version {VERSION}")
            data = {"target": LOCAL, "uid": "", **data}
            values = {name: data[name] for name in _WRITTEN}
            return cls(**{**values, "tags": tuple(data["tags"])})
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"it lacks {error}") from error


_WRITTEN = (
    "flow",
    "run_id",
    "plan",
    "parameters",
    "configs",
    "digest",
    "flowc",
    "tags",
    "user",
    "created",
    "origin_run_id",
    "source",
    "target",
    "uid",
)
"""What of a run is in its run.json."""


@dataclass(frozen=True)
class RunStatus:
    """How a run stands: the content of its status.json.

    ``failure`` names the first task that failed: address, attempt, rank, exit_code, signal, type, message, last_lines.
    """

    state: str
    started: float = 0.0
    finished: Optional[float] = None
    pid: Optional[int] = None
    host: str = ""
    failure: Optional[Mapping[str, Any]] = None

    @classmethod
    def begun(cls) -> RunStatus:
        """The status of a run that this process starts now."""
        return cls(RUNNING, time.time(), None, os.getpid(), os.uname().nodename)


# Creating -------------------------------------------------------------------------------------------------------------


def user_name() -> str:
    """Who runs this: FLOWC_USER, else USER, LOGNAME, the password database."""
    for name in (contract.USER, "USER", "LOGNAME"):
        if os.environ.get(name):
            return os.environ[name]
    try:
        import pwd

        return pwd.getpwuid(os.getuid()).pw_name
    except (ImportError, KeyError):
        return "unknown"


def check_run_id(run_id: str) -> None:
    """Raise `RunError` for an id that cannot be a folder's name, or that is one of a flow's other folders."""
    if not run_id or run_id.startswith(".") or "/" in run_id or run_id in _NO_RUNS:
        raise RunError(f"{run_id!r} cannot be the id of a run")


def create_run(
    datastore: Datastore,
    plan: Mapping[str, Any],
    parameters: Optional[Mapping[str, Any]] = None,
    *,
    file: str = "",
    tags: Iterable[str] = (),
    user: Optional[str] = None,
    origin_run_id: Optional[str] = None,
    run_id: Optional[str] = None,
    target: str = LOCAL,
    taken: Optional[Callable[[RunInfo], None]] = None,
) -> RunInfo:
    """Start a run: take the next free number, or the given id, and write its run.json.

    Parameters
    ----------
    datastore : Datastore
    plan : mapping
        The Plan as JSON.
    parameters : mapping, optional
        As `parameter_values` gives them.
    file : str
        Absolute path of the flow's file.
    origin_run_id : str, optional
        The run that this one resumes.
    target : str
        Where it runs.
    taken : callable, optional
        Called once the id is taken and before anybody can see the run: the moment for `hold_lock`.

    Raises
    ------
    RunError
        If the id that was asked for is taken, or cannot be a folder's name.
    DatastoreError
        If the datastore cannot be written.
    """
    flow = str(plan["name"])
    if run_id is None:
        number = max((int(name) for name in datastore.list(flow) if name.isdigit()), default=0) + 1
        while not datastore.create_folder(f"{flow}/{number}"):
            number += 1
        run_id = str(number)
    else:
        check_run_id(run_id)
        if not datastore.create_folder(f"{flow}/{run_id}"):
            raise RunError(f"there is a run {flow}/{run_id} already; choose another id")
    info = new_run(
        datastore,
        plan,
        run_id,
        parameters or {},
        file,
        tags=tuple(tags),
        user=user_name() if user is None else user,
        origin_run_id=origin_run_id,
        target=target,
    )
    if taken is not None:
        taken(info)
    datastore.write(f"{info.prefix}/run.json", json.dumps(info.to_json(), separators=(",", ":")).encode())
    return info


def new_run(
    datastore: Datastore, plan: Mapping[str, Any], run_id: str, parameters: Mapping[str, Any], file: str, **more: Any
) -> RunInfo:
    """What is to be written down of a run that begins now; files among its parameters are stored.

    Parameters
    ----------
    file : str
        Path of the flow's file.
    more
        Further attributes; the user is otherwise the one who calls.

    Raises
    ------
    DatastoreError
        If a file cannot be stored.
    """
    flow = str(plan["name"])
    values = {
        name: {"file": value.store(datastore, flow)} if isinstance(value, IncludedFile) else value
        for name, value in parameters.items()
    }
    about = {
        "configs": plan.get("configs", {}),
        "digest": str(plan.get("digest", "")),
        "created": time.time(),
        "source": {"file": os.path.basename(file), "folder": os.path.dirname(file)},
        **more,
    }
    about.setdefault("user", user_name())
    return RunInfo(flow=flow, run_id=run_id, plan=plan, parameters=values, **about)


# Finding and reading --------------------------------------------------------------------------------------------------


def read_run(datastore: Datastore, flow: str, run_id: str) -> RunInfo:
    """A run by flow and id.

    Raises
    ------
    RunError
        If there is none, it was cut off before it started, or it was written by another version of flowc.
    """
    prefix = f"{flow}/{run_id}"
    try:
        data = datastore.read(f"{prefix}/run.json")
    except FileNotFoundError:
        if datastore.exists(prefix):
            raise RunError(f"run {prefix} was cut off before it started (no run.json); start another one") from None
        known = list_runs(datastore, flow)
        if not known:
            raise RunError(f"there is no run of flow {flow} in {datastore.url}") from None
        there = known[0] if len(known) == 1 else f"{known[0]} to {known[-1]}" if len(known) > 3 else ", ".join(known)
        raise RunError(f"there is no run {prefix} in {datastore.url}; there is {there}") from None
    try:
        return RunInfo.from_json(json.loads(data))
    except ValueError as error:
        raise RunError(f"the run.json of run {prefix} in {datastore.url} cannot be read: {error}") from error


def list_flows(datastore: Datastore) -> list[str]:
    """Names of the flows that have runs, sorted."""
    return sorted(name for name in datastore.list("") if list_runs(datastore, name))


def list_runs(datastore: Datastore, flow: str) -> list[str]:
    """Ids of a flow's runs, oldest number first, then ids that are no numbers by name. Runs that were cut off before
    they started are left out."""
    names = [name for name in datastore.list(flow) if name not in _NO_RUNS]
    names = [name for name in names if datastore.exists(f"{flow}/{name}/run.json")]
    return sorted(names, key=lambda name: (0, int(name), "") if name.isdigit() else (1, 0, name))


def find_run(text: str, datastore: Datastore) -> RunInfo:
    """The run that a user means by ``Flow/12``, ``12``, or ``Flow`` for its latest.

    Raises
    ------
    RunError
        If it is none, or more than one.
    """
    flow, slash, run_id = text.strip("/").partition("/")
    if slash:
        _known_flow(flow, datastore)
        return read_run(datastore, flow, run_id)
    if ids := list_runs(datastore, flow):
        # Numbers grow with time; only ids that are none have to be opened to know which is the latest.
        numbered = [name for name in ids if name.isdigit()][-1:]
        others = [name for name in ids if not name.isdigit()]
        return max((read_run(datastore, flow, name) for name in numbered + others), key=lambda info: info.created)
    having = [name for name in list_flows(datastore) if datastore.exists(f"{name}/{text}/run.json")]
    if len(having) > 1:
        raise RunError(f"run {text} is there for several flows; say which: {', '.join(f'{n}/{text}' for n in having)}")
    if having:
        return read_run(datastore, having[0], text)
    for name in list_flows(datastore) if text.isdigit() else ():
        if datastore.exists(f"{name}/{text}"):
            return read_run(datastore, name, text)
    if text.isdigit() and list_flows(datastore):
        raise RunError(f"there is no run {text} in {datastore.url}; list the runs with: flowc runs")
    _known_flow(flow, datastore)
    raise RunError(f"there is no run {text} in {datastore.url}")


def _known_flow(flow: str, datastore: Datastore) -> None:
    known = list_flows(datastore)
    if flow in known or datastore.exists(flow):
        return
    if not known:
        raise RunError(
            f"there are no runs in {datastore.url}; is it the right datastore? (--datastore, FLOWC_DATASTORE)"
        )
    from difflib import get_close_matches

    near = get_close_matches(flow, known, 1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known[:10])}"
    raise RunError(f"there is no run of flow {flow} in {datastore.url}; {hint}")


def make_importable(run: RunInfo) -> None:
    """Let values of the run's own classes be loaded in this process: its flow's folder is where their modules are."""
    from ..dsl import metaflow_names

    folder = run.source.get("folder")
    if folder and folder not in sys.path:
        sys.path.append(folder)
    metaflow_names.install()


# Status ---------------------------------------------------------------------------------------------------------------


def write_status(datastore: Datastore, run: RunInfo, status: RunStatus) -> None:
    """Set how a run stands."""
    datastore.write(f"{run.prefix}/status.json", json.dumps(vars(status)).encode())


def read_status(datastore: Datastore, run: RunInfo) -> RunStatus:
    """How a run stands; `LOST` where it says that it is running and nobody runs it, or where it does not say.

    A run on another target has no process of its own that could be missed: there it is running until it says how it
    ended, or until whoever asks its scheduler (``flowc status``) writes down that nothing of it is left.
    """
    status = _said(datastore, run)
    if status.state == RUNNING and run.target == LOCAL and not is_alive(datastore, run):
        # It may have ended between the two looks; what it says now is its last word.
        status = _said(datastore, run)
        if status.state != RUNNING:
            return status
        return RunStatus(LOST, status.started, status.finished, status.pid, status.host, status.failure)
    return status


def _said(datastore: Datastore, run: RunInfo) -> RunStatus:
    try:
        return RunStatus(**json.loads(datastore.read(f"{run.prefix}/status.json")))
    except (FileNotFoundError, ValueError, TypeError):
        return RunStatus(RUNNING, run.created)


def hold_lock(datastore: Datastore, run: RunInfo) -> int:
    """Mark the run as being run by this process; the mark goes with the process, or when the descriptor that this
    returns is closed.

    Raises
    ------
    RunError
        If another process runs it.
    DatastoreError
        If the mark cannot be written.
    """
    path = datastore.path(f"{run.prefix}/lock")
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
    except OSError as error:
        raise datastore.error("write", path, error) from error
    for patience in range(10, -1, -1):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return fd
        except OSError:
            # Whoever asks whether the run is alive holds the lock for an instant, too.
            if patience:
                time.sleep(0.01)
    os.close(fd)
    raise RunError(f"run {run.prefix} is being run by another process")


def is_alive(datastore: Datastore, run: RunInfo) -> bool:
    """Whether a scheduler runs this run now."""
    try:
        fd = os.open(datastore.path(f"{run.prefix}/lock"), os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except OSError:
        return True
    finally:
        os.close(fd)
