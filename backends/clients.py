"""What asks a scheduler: starts runs on it, follows them, ends them. One small interface for every target."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from ..dsl.loading import without_flows_folders
from ..runtime.runs import RunInfo, RunStatus

Tell = Callable[[str], None]
"""Takes a line for the user."""


@dataclass(frozen=True)
class Access:
    """How to get at a scheduler and at what its runs leave.

    Parameters
    ----------
    datastore : str
        URL of the runs.
    told : bool
        Whether that was said, or the run was found there; otherwise it is only where runs of this machine lie.
    context : str or None
        The cluster's name in the kubeconfig; otherwise the current one.
    namespace : str or None
        The namespace on it; otherwise the context's.
    """

    datastore: str
    told: bool = False
    context: str | None = None
    namespace: str | None = None


@dataclass(frozen=True)
class Order:
    """A run that is asked for.

    Parameters
    ----------
    files : mapping
        The flow's files for the target, as compile writes them.
    given : mapping
        The parameters that were given, as texts.
    values : mapping
        The values of all parameters.
    source : str
        Path of the flow's file here.
    origin, first : str or None
        The run that it goes on from, and a step from which on all is run again.
    max_num_splits : int
        The widest foreach that is let through, on targets that count it themselves.
    """

    files: Mapping[str, bytes]
    given: Mapping[str, str]
    values: Mapping[str, Any]
    source: str = ""
    tags: tuple[str, ...] = ()
    origin: str | None = None
    first: str | None = None
    max_num_splits: int = 100_000


@dataclass(frozen=True)
class Run:
    """A run as its scheduler knows it. ``info`` is what lies in the datastore, where that is within reach."""

    flow: str
    run_id: str
    target: str
    info: RunInfo | None = None
    namespace: str = ""

    @property
    def prefix(self) -> str:
        """Its name: ``Flow/12``."""
        return f"{self.flow}/{self.run_id}"

    @classmethod
    def known(cls, info: RunInfo) -> Run:
        """One that was found in the datastore."""
        return cls(info.flow, info.run_id, info.target, info)


@dataclass(frozen=True)
class Look:
    """How a run stands: its status, lines for people, and the same as JSON."""

    status: RunStatus
    lines: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


class Client(Protocol):
    """A scheduler that runs flows. All methods raise a `FlowcError` that says what to do."""

    def find(self, text: str | None, flow: str | None) -> Run | None:
        """The run that a text means: its id, ``Flow/id``, ``Flow`` or nothing for the latest.

        None where runs are known by the datastore alone.
        """

    def submit(self, order: Order, tell: Tell) -> Run:
        """Start a run; ``tell`` takes what the user should know of it."""

    def look(self, run: Run) -> Look:
        """How a run stands."""

    def wait(self, run: Run, tell: Tell) -> RunStatus:
        """Follow a run to its end."""

    def cancel(self, run: Run, *, force: bool, tell: Tell) -> bool | None:
        """End a run that is under way; with ``force`` whatever it takes. False where it was asked, and goes on yet."""


@runtime_checkable
class Deployer(Protocol):
    """A scheduler on which a flow is put before it runs."""

    def deploy(self, files: Mapping[str, bytes], *, dry_run: bool, force: bool, tell: Tell) -> None:
        """Put the flow there, or bring it up to date; with ``dry_run`` only say what would change.

        Parameters
        ----------
        force : bool
            Whether to take over what somebody else has changed.
        """


@runtime_checkable
class LogReader(Protocol):
    """A scheduler that keeps what tasks print."""

    def logs(
        self, run: Run, task: str, *, attempt: int | None, follow: bool, write: Callable[[str, bytes], None]
    ) -> None:
        """Give what the tasks of a run have printed, line by line.

        Parameters
        ----------
        task : str
            ``train/0.3``, ``train``, or nothing for all.
        write : callable
            Takes the task's address and a line.
        """


def get_client(target: str, access: Access) -> Client:
    """The client of a target whose runs can be asked about."""
    with without_flows_folders():
        client: Client = importlib.import_module(f".{target}.client", __package__).connect(access)
    return client
