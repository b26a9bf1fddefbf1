"""``current.checkpoint``: files that outlive an attempt of a task.

A checkpoint belongs to the task's address, not to an attempt, and lies beside its attempts under a number that only
grows. One whose saving was cut off is never loaded: see `checkpoint_places`.

Each rank of a gang is a task with an address of its own, and so has a checkpoint of its own: what rank 0 saves, only
rank 0 loads.
"""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Mapping
from typing import Any, Callable, NamedTuple, Optional

from ..dsl import FlowcError
from ..dsl.plain import dataclass, field
from . import contract
from .address import Address
from .checkpoint_places import Check, Saved, place_of
from .checkpoint_watch import State, state_of
from .datastore.base import Datastore
from .runs import RunInfo

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class CheckpointError(FlowcError):
    """A checkpoint cannot be saved, or one that was asked for is not there."""


@dataclass(frozen=True, order=True)
class SavedCheckpoint:
    """One checkpoint."""

    number: int
    name: str
    _open: Callable[[], str] = field(compare=False, repr=False)

    @property
    def path(self) -> str:
        """The saved file or folder, which is to be read, not changed; one that lies in a bucket is fetched first."""
        return self._open()

    def __fspath__(self) -> str:
        return self.path


class _Automatic(NamedTuple):
    """What was saved while a program ran: the key of its entry, where it is, and the state of `directory` in it."""

    key: str
    where: str
    state: State


class Checkpoints:
    """The checkpoints of one task; each rank of a gang has its own, and none sees those of the others."""

    def __init__(
        self, datastore: Datastore, run: RunInfo, address: Address, attempt: int, options: Mapping[str, Any]
    ) -> None:
        self._place = place_of(datastore, attempt)
        self._run = run
        self._address = address
        self._attempt = attempt
        self._policy = options.get("load_policy", "fresh")
        self._root = options.get("temp_dir_root")
        self._directory: Optional[str] = None
        self._is_loaded = False
        self._is_tidy = attempt == 0
        self._held: State = {}
        self._automatic: Optional[_Automatic] = None
        self._saving = threading.RLock()

    # Reading ---------------------------------------------------------------------------------------------------------

    def list(self, name: Optional[str] = None) -> tuple[SavedCheckpoint, ...]:
        """What this task has saved in this run, oldest first; with a name, only what was saved under it."""
        if not self._is_tidy:
            self._is_tidy = True
            self._place.remove_leftovers(self._prefix(self._run.run_id))
        return self._saved(self._run.run_id, name)

    def _prefix(self, run_id: str) -> str:
        return f"{self._run.flow}/{run_id}/{self._address.key}/checkpoints"

    def _saved(self, run_id: str, name: Optional[str]) -> tuple[SavedCheckpoint, ...]:
        entries = self._place.entries(self._prefix(run_id))
        return tuple(sorted(SavedCheckpoint(*entry) for entry in entries if name is None or entry.name == name))

    @property
    def latest(self) -> Optional[SavedCheckpoint]:
        """The newest one; None where there is none. With ``load_policy="eager"`` also that of the run that this one was
        resumed from."""
        return self._latest(None)

    def _latest(self, name: Optional[str]) -> Optional[SavedCheckpoint]:
        found = self.list(name)
        if not found and self._policy == "eager" and self._run.origin_run_id:
            found = self._saved(self._run.origin_run_id, name)
        return found[-1] if found else None

    def load(self, path: Optional[str] = None, name: Optional[str] = None) -> Optional[str]:
        """The newest checkpoint, or the newest of that name.

        Parameters
        ----------
        path : str, optional
            Copy it to this file or folder; a folder that is there receives it.
        name : str, optional

        Returns
        -------
        str or None
            Where it is: ``path``, or without one the saved file or folder itself, to be read only; None if there is
            none.
        """
        found = self._latest(name)
        if found is None:
            return None
        if path is None:
            return found.path
        path = os.fspath(path)
        if os.path.isdir(found.path):
            shutil.copytree(found.path, path, dirs_exist_ok=True)
        elif os.path.isdir(path):
            path = os.path.join(path, os.path.basename(found.path))
            shutil.copyfile(found.path, path)
        else:
            os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
            shutil.copyfile(found.path, path)
        return path

    @property
    def directory(self) -> str:
        """A folder to work in. `save` without a path saves it. Unless ``load_policy="none"`` it begins with what the
        newest checkpoint holds.

        While ``current.torch``, ``current.deepspeed`` or ``current.mpi`` runs a program, what is in it is saved now and
        then: each time when it has changed and then been left alone for some seconds.
        """
        if self._directory is None:
            import tempfile

            root = self._root or os.environ.get(contract.SCRATCH) or None
            if root is not None:
                os.makedirs(root, exist_ok=True)
            folder = tempfile.mkdtemp(prefix="flowc-checkpoint-", dir=root)
            try:
                if self._policy != "none":
                    self._is_loaded = self.load(folder) is not None
                self._held = state_of(folder)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            self._directory = folder
        return self._directory

    @property
    def is_loaded(self) -> bool:
        """Whether `directory` began with a checkpoint."""
        return self.directory is not None and self._is_loaded

    def close(self) -> None:
        """Remove the working folder, and what was fetched; called when the task has ended."""
        self._place.close()
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None

    # Saving ----------------------------------------------------------------------------------------------------------

    def save(self, path: Optional[str] = None, name: Optional[str] = None) -> str:
        """Keep a file or folder; without a path, `directory`.

        Returns
        -------
        str
            Where it was saved: a path, or a URL of the datastore.

        Raises
        ------
        CheckpointError
            If there is no such file or folder, or the name is not made of letters, digits, ``.``, ``_`` and ``-``.
        DatastoreError
            If the datastore cannot be written.
        """
        source = os.path.abspath(self.directory if path is None else os.fspath(path))
        if name is not None and not _NAME.fullmatch(name):
            raise CheckpointError(f"{name!r} cannot name a checkpoint: use letters, digits, dots, _ and -")
        if not os.path.exists(source):
            raise CheckpointError(f"cannot save the checkpoint {source}: there is no such file or folder")
        with self._saving:
            automatic, self._automatic = self._automatic, None  # whatever follows this one stands beside it
            if source != self._directory:
                return self._store(source, os.path.basename(source), name).where
            state = state_of(source)
            if name is None and automatic is not None and automatic.state == state:
                return automatic.where  # nothing has changed since, so it is that one now
            replaced = automatic.key if name is None and automatic is not None else None
            where = self._store(source, "checkpoint", name, replaced).where
            self._held = state
            return where

    def _store(
        self, source: str, base: str, name: Optional[str], replaced: Optional[str] = None, check: Optional[Check] = None
    ) -> Saved:
        known = self.list()
        number = known[-1].number + 1 if known else 1
        return self._place.save(self._prefix(self._run.run_id), source, base, number, name, replaced, check)

    # While a program runs: see `checkpoint_watch` --------------------------------------------------------------------

    @property
    def folder(self) -> Optional[str]:
        """`directory`, if the step has asked for it."""
        return self._directory

    def holds(self, state: State) -> bool:
        """Whether the newest checkpoint of `directory` holds this state."""
        return state == self._held

    def save_running(self, state: State, check: Check) -> None:
        """Save `directory` in a state in which it was found, in place of what this attempt saved so before.

        ``check`` raises when it is in another state.
        """
        with self._saving:
            assert self._directory is not None
            replaced = None if self._automatic is None else self._automatic.key
            saved = self._store(self._directory, "checkpoint", None, replaced, check)
            self._automatic = _Automatic(saved.key, saved.where, state)
            self._held = state
