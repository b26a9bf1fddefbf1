"""Tasks and their artifacts as objects."""

from __future__ import annotations

import hashlib
import json
import sys
from binascii import a2b_base64
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..dsl.errors import ArtifactUnreadable, CaughtFailure, MissingArtifact
from ..dsl.parameters import ConfigValue
from ..runtime.address import Address
from ..runtime.artifacts import ArtifactStore
from ..runtime.datastore import Datastore
from ..runtime.record import Record
from ..runtime.runs import make_importable
from .lookup import NotFound, not_found, when

if TYPE_CHECKING:
    from .objects import Run, Step

_CONFIG = "config"


class Task:
    """One task of a run: ``Task("TrainFlow/12/train/0.3")``. Iterate over its artifacts, or take one by its name.

    Attributes
    ----------
    id : str
        Its index as one word: ``0.3``, or ``_`` outside every fan-out.
    pathspec : str
        ``TrainFlow/12/train/0.3``.
    indices : tuple of int
        Its position in every fan-out around it, outermost first; of a gang, the rank is the last.
    round : int
        How often its step had been entered at this index, from 1.
    """

    def __init__(self, pathspec: str, *, datastore: Datastore | str | None = None) -> None:
        from .objects import Step

        step, _, index = pathspec.strip("/").rpartition("/")
        if step.count("/") != 2:
            raise NotFound(f"{pathspec!r} names no task; write 'Flow/12/train/0.3'")
        found = Step(step, datastore=datastore)[index]
        self._take(found._run, found._address)

    @classmethod
    def _of(cls, run: Run, address: Address) -> Task:
        task = cls.__new__(cls)
        task._take(run, address)
        return task

    def _take(self, run: Run, address: Address) -> None:
        self._run = run
        self._address = address
        self._record: Record | None = None
        self.id = address.task_id
        self.indices = address.index
        self.round = address.round
        self.pathspec = f"{run.pathspec}/{address.key}"

    def _read(self) -> Record | None:
        """Its record: the one that is done, else the last one that failed."""
        if self._record is None:
            records = self._run._records
            found = records.read(self._address)
            if found is None:
                return records.latest(self._address)
            self._record = found
        return self._record

    @property
    def parent(self) -> Step:
        """Its step."""
        from .objects import Step

        return Step._of(self._run, self._address.step)

    @property
    def index(self) -> int | None:
        """Its index in the innermost fan-out; None outside every one."""
        return self.indices[-1] if self.indices else None

    @property
    def successful(self) -> bool:
        """Whether the flow could go on from it."""
        record = self._read()
        return record is not None and record.done

    @property
    def finished(self) -> bool:
        """Whether nobody works on it any more."""
        return self.successful or self._run.finished

    @property
    def finished_at(self) -> datetime | None:
        """When it ended, local time; None where it has not, or its process was killed."""
        record = self._read()
        return None if record is None else when(record.finished)

    @property
    def created_at(self) -> datetime | None:
        """When its last attempt was started, local time; None where no attempt has ended yet."""
        record = self._read()
        return None if record is None else when(record.started)

    @property
    def exception(self) -> CaughtFailure | None:
        """Why it failed, also where ``@catch`` let the flow go on; None where it did not."""
        record = self._read()
        if record is None or record.failure is None:
            return None
        return CaughtFailure(*record.failure)

    @property
    def current_attempt(self) -> int:
        """The number of its last attempt, from 0."""
        attempts = self._run._records.attempts(self._address)
        return attempts[-1] if attempts else 0

    @property
    def stdout(self) -> str:
        """What its last attempt wrote to standard output."""
        return self.log("stdout")

    @property
    def stderr(self) -> str:
        """What its last attempt wrote to standard error."""
        return self.log("stderr")

    def log(self, stream: str, attempt: int | None = None) -> str:
        """What an attempt (the last one by default) wrote to ``stdout`` or ``stderr``."""
        number = self.current_attempt if attempt is None else attempt
        folder = self._run._records.folder(self._address, number)
        try:
            return self._run._store.read(f"{folder}/{stream}.log").decode("utf-8", "replace")
        except FileNotFoundError:
            return ""

    @property
    def runtime_name(self) -> str:
        """The target that it ran on: ``local``, ``slurm`` or ``argo``."""
        return self._run._info.target

    @property
    def metadata_dict(self) -> dict[str, str]:
        """Facts about it, as text."""
        facts: dict[str, Any] = {
            "attempt": self.current_attempt,
            "runtime": self.runtime_name,
            "user": self._run.user,
            "origin-run-id": self._run.origin_run_id,
        }
        record = self._read()
        if record is not None:
            facts.update({"attempt_ok": record.done, "gang-rank": record.rank, "gang-size": record.size})
        return {name: str(value) for name, value in facts.items() if value is not None}

    # Artifacts -------------------------------------------------------------------------------------------------------

    def _references(self) -> dict[str, Mapping[str, Any]]:
        record = self._read()
        return {} if record is None else dict(record.artifacts)

    def _parameters(self) -> dict[str, Any]:
        """The flow's parameters by the attribute that gives them; they are artifacts of every task."""
        values = self._run._info.parameters
        return {
            parameter.get("attribute") or parameter["name"]: (parameter, values[parameter["name"]])
            for parameter in self._run._info.plan.get("parameters", ())
            if parameter["name"] in values
        }

    @property
    def data(self) -> Data:
        """The values of its artifacts as attributes, each loaded when it is asked for."""
        return Data(self)

    @property
    def artifacts(self) -> Artifacts:
        """Its artifacts as attributes, not loaded: ``task.artifacts.model.size``."""
        return Artifacts(self)

    def _configs(self) -> dict[str, Any]:
        """The flow's configs by name, in the form of parameters; they, too, are artifacts of every task."""
        return {name: ({"name": name, "type": _CONFIG}, value) for name, value in self._run._info.configs.items()}

    def _names(self) -> list[str]:
        return sorted({*self._references(), *self._parameters(), *self._configs()})

    def __iter__(self) -> Iterator[DataArtifact]:
        return (self[name] for name in self._names())

    def __getitem__(self, name: str) -> DataArtifact:
        references = self._references()
        if name in references:
            return DataArtifact._of(self, name, references[name], None)
        parameter = self._parameters().get(name) or self._configs().get(name)
        if parameter is None:
            raise not_found(f"task {self.pathspec} has no artifact", name, self._names())
        return DataArtifact._of(self, name, None, parameter)

    def __contains__(self, name: object) -> bool:
        return name in self._names()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Task) and (self._run, self._address) == (other._run, other._address)

    def __hash__(self) -> int:
        return hash((self._run, self._address))

    def __repr__(self) -> str:
        return f"Task({self.pathspec!r})"


class DataArtifact:
    """One artifact of a task: ``DataArtifact("TrainFlow/12/train/0.3/model")``.

    Attributes
    ----------
    id : str
        Its name.
    """

    def __init__(self, pathspec: str, *, datastore: Datastore | str | None = None) -> None:
        task, _, name = pathspec.strip("/").rpartition("/")
        if task.count("/") != 3:
            raise NotFound(f"{pathspec!r} names no artifact; write 'Flow/12/train/0.3/model'")
        found = Task(task, datastore=datastore)[name]
        self._take(found.parent, found.id, found._reference, found._parameter)

    @classmethod
    def _of(cls, task: Task, name: str, reference: Mapping[str, Any] | None, parameter: Any) -> DataArtifact:
        artifact = cls.__new__(cls)
        artifact._take(task, name, reference, parameter)
        return artifact

    def _take(self, task: Task, name: str, reference: Mapping[str, Any] | None, parameter: Any) -> None:
        self.parent = task
        self.id = name
        self._reference = reference
        self._parameter = parameter

    @property
    def pathspec(self) -> str:
        """``TrainFlow/12/train/0.3/model``."""
        return f"{self.parent.pathspec}/{self.id}"

    @property
    def data(self) -> Any:
        """Its value. An array may be changed in place: what is stored never changes.

        Raises
        ------
        ArtifactUnreadable
            If its blob is missing or damaged, or a module that it needs is not there.
        """
        run = self.parent._run
        store = ArtifactStore(run._store, run._info.flow)
        if self._reference is None:
            declared, value = self._parameter
            if declared.get("type") == _CONFIG:
                return ConfigValue(value) if isinstance(value, Mapping) else value
            return _parameter_value(store, declared, value)
        try:
            return store.load(self._reference, self.id)
        except ArtifactUnreadable as error:
            if not isinstance(error.__cause__, ModuleNotFoundError):
                raise
            # The value is of a class that the flow's own file, or a module beside it, defines.
            before = list(sys.path)
            make_importable(run._info)
            try:
                return store.load(self._reference, self.id)
            finally:
                sys.path[:] = before

    @property
    def sha(self) -> str:
        """SHA-256 of its stored bytes, in hexadecimal."""
        if self._reference is None:
            declared, value = self._parameter
            return _blob(value, declared) or hashlib.sha256(json.dumps(value).encode()).hexdigest()
        if "inline" in self._reference:
            return hashlib.sha256(a2b_base64(self._reference["inline"])).hexdigest()
        return str(self._reference["blob"])

    @property
    def size(self) -> int:
        """Stored bytes."""
        if self._reference is None:
            declared, value = self._parameter
            return int(value["file"]["size"]) if _blob(value, declared) else len(json.dumps(value))
        return int(self._reference["size"])

    @property
    def type(self) -> str:
        """The class of its value: ``numpy.ndarray``."""
        return str(self._parameter[0].get("type", "str") if self._reference is None else self._reference["type"])

    @property
    def finished_at(self) -> datetime | None:
        """When its task ended, local time."""
        return self.parent.finished_at

    def __repr__(self) -> str:
        return f"DataArtifact({self.pathspec!r})"


class Artifacts:
    """The artifacts of a task, by attribute."""

    def __init__(self, task: Task) -> None:
        self._task = task

    def __getattr__(self, name: str) -> DataArtifact:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return self._task[name]
        except NotFound as error:
            raise MissingArtifact(str(error)) from None

    def __iter__(self) -> Iterator[DataArtifact]:
        return iter(self._task)

    def __contains__(self, name: object) -> bool:
        return name in self._task

    def __dir__(self) -> list[str]:
        return self._task._names()

    def __repr__(self) -> str:
        return f"<artifacts {', '.join(self._task._names())}>"


class Data:
    """The values of a task's artifacts, by attribute; each is loaded once, when it is asked for."""

    def __init__(self, task: Task) -> None:
        self._task = task

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            value = self._task[name].data
        except NotFound as error:
            raise MissingArtifact(str(error)) from None
        self.__dict__[name] = value
        return value

    def __contains__(self, name: object) -> bool:
        return name in self._task

    def __dir__(self) -> list[str]:
        return self._task._names()

    def __repr__(self) -> str:
        return f"<data {', '.join(self._task._names())}>"


def _blob(value: Any, declared: Mapping[str, Any]) -> str | None:
    """The hash of an IncludeFile's content; None for any other parameter, and for a config."""
    if declared.get("type") == _CONFIG or not isinstance(value, dict) or set(value) != {"file"}:
        return None
    return value["file"].get("blob") if isinstance(value["file"], dict) else None


def _parameter_value(store: ArtifactStore, declared: Mapping[str, Any], value: Any) -> Any:
    blob = _blob(value, declared)
    if blob is None:
        return value
    data = bytes(store.blob(blob, value["file"]["size"], f"parameter {declared['name']}", always=True))
    options = declared.get("options", {})
    return data.decode(str(options.get("encoding", "utf-8"))) if options.get("is_text", True) else data
