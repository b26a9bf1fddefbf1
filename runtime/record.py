"""What a task leaves behind: one record, committed last and atomically. What is not in a record has not happened."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Optional

from .address import Address
from .datastore.base import Datastore

VERSION = 1
DONE = "done"
FAILED = "failed"

# A task that was forked touches as few functions and objects as it can: each costs it a copied page of memory.
_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
_decode = json.JSONDecoder().raw_decode


class Next(NamedTuple):
    """Where a task led.

    ``kind`` is that of the Plan's leave; ``width`` is that of a fan-out; ``round`` is that of the targets; ``items``
    says where the items of a foreach are; ``case`` is the one that a switch took.
    """

    kind: str
    to: tuple[str, ...] = ()
    width: Optional[int] = None
    round: int = 1
    items: Optional[Mapping[str, Any]] = None
    case: Optional[str] = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return self._asdict()

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Next:
        """Read `to_json`'s values back; KeyError, TypeError or ValueError for anything else."""
        to = data["to"]
        if not isinstance(to, list):
            raise ValueError("to is no list")
        return cls(
            data["kind"], tuple(to), data.get("width"), data.get("round", 1), data.get("items"), data.get("case")
        )


class Failure(NamedTuple):
    """Why a step failed: the exception's class, its text, and the author's traceback (empty where there is none)."""

    type: str
    message: str
    traceback: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return self._asdict()


_NO_ARTIFACTS: Mapping[str, Mapping[str, Any]] = MappingProxyType({})


class Record(NamedTuple):
    """One attempt of a task that came to its end.

    Attributes
    ----------
    state : {"done", "failed"}
        A step that failed and was caught is done, and has a failure.
    started, finished : float
        Seconds since 1970.
    artifacts : mapping of str to reference
    next : Next or None
        None if it failed.
    origin : str or None
        The run that the record was taken over from.
    rank, size : int or None
        Place in the gang, for its ranks.
    """

    address: Address
    attempt: int
    state: str
    started: float
    finished: float
    artifacts: Mapping[str, Mapping[str, Any]] = _NO_ARTIFACTS
    next: Optional[Next] = None
    failure: Optional[Failure] = None
    origin: Optional[str] = None
    rank: Optional[int] = None
    size: Optional[int] = None

    @property
    def done(self) -> bool:
        """Whether the flow goes on from here."""
        return self.state == DONE

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        data: dict[str, Any] = {
            "version": VERSION,
            "address": str(self.address),
            "attempt": self.attempt,
            "state": self.state,
            "started": self.started,
            "finished": self.finished,
            "artifacts": dict(self.artifacts),
            "next": None if self.next is None else self.next.to_json(),
            "failure": None if self.failure is None else self.failure.to_json(),
            "origin": self.origin,
        }
        if self.rank is not None:
            data["rank"], data["size"] = self.rank, self.size
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any], address: Optional[Address] = None) -> Record:
        """Read `to_json`'s values back; the address need not be parsed where it is known.

        Raises
        ------
        ValueError
            If it is no record, or one of another version.
        """
        try:
            if data["version"] != VERSION:
                raise ValueError(f"record version {data['version']!r}")
            if data["state"] not in (DONE, FAILED) or not isinstance(data["artifacts"], dict):
                raise ValueError("no record")
            onward, failure = data["next"], data["failure"]
            if address is None:
                address = Address.parse(data["address"])
            elif str(address) != data["address"]:
                raise ValueError(f"the record of {data['address']}")
            return cls(
                address,
                data["attempt"],
                data["state"],
                data["started"],
                data["finished"],
                data["artifacts"],
                None if onward is None else Next.from_json(onward),
                None if failure is None else Failure(**failure),
                data.get("origin"),
                data.get("rank"),
                data.get("size"),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"no record: {error!r}") from error


class Records:
    """The records of one run."""

    def __init__(self, datastore: Datastore, flow: str, run_id: str) -> None:
        self.datastore = datastore
        self.run_id = run_id
        self.prefix = f"{flow}/{run_id}"

    def folder(self, address: Address, attempt: Optional[int] = None) -> str:
        """Key of the folder of a task, or of one of its attempts."""
        key = f"{self.prefix}/{address.key}"
        return key if attempt is None else f"{key}/{attempt}"

    def read(self, address: Address, attempt: Optional[int] = None) -> Optional[Record]:
        """The record of one attempt, done or failed; without a number, the one that is done in the highest attempt.

        None where there is none. A record that is damaged, or that belongs to another address, counts as none.
        """
        if attempt is not None:
            return self._read(address, attempt)
        first = self._read(address, 0)
        # Of a rank of a gang, attempts may be missing in between: its pod never began.
        alone = first is not None and first.done and first.size is None
        if alone and not self.datastore.exists(self.folder(address, 1)):
            return first
        for number in reversed(self.attempts(address)):
            record = first if number == 0 else self._read(address, number)
            if record is not None and record.done:
                return record
        return None

    def _read(self, address: Address, attempt: int) -> Optional[Record]:
        try:
            data = self.datastore.read(f"{self.prefix}/{address.key}/{attempt}/record.json")
        except FileNotFoundError:
            return None
        try:
            text = data.decode()
            values, end = _decode(text)
            record = Record.from_json(values, address)
        except ValueError:
            return None
        return record if record.attempt == attempt and end == len(text) else None

    def attempts(self, address: Address) -> list[int]:
        """The attempts that were begun, in order."""
        return sorted(int(name) for name in self.datastore.list(self.folder(address)) if name.isdigit())

    def latest(self, address: Address) -> Optional[Record]:
        """The record of the highest attempt that has one, done or failed."""
        for number in reversed(self.attempts(address)):
            record = self._read(address, number)
            if record is not None:
                return record
        return None

    def rounds(self, step: str) -> int:
        """The highest round in which a step was entered at any index; 0 where it never was."""
        highest = 0
        for name in self.datastore.list(self.prefix):
            base, _, number = name.partition("@")
            if base == step:
                highest = max(highest, int(number) if number.isdigit() else 1)
        return highest

    def tasks(self, step: str, round: int = 1) -> list[Address]:
        """The tasks of a step that were begun, in the order of their indices."""
        folder = Address(step, (), round).folder
        found = []
        for name in self.datastore.list(f"{self.prefix}/{folder}"):
            try:
                found.append(Address.parse(f"{folder}/{name}"))
            except ValueError:
                continue
        return sorted(found)

    def commit(self, record: Record) -> None:
        """Write the record; from then on the attempt has happened."""
        if record.next is not None and record.next.kind == "gang":
            from .gang_token import issue

            issue(self, record)
        key = f"{self.prefix}/{record.address.key}/{record.attempt}/record.json"
        self.datastore.write(key, _encode(record.to_json()).encode())

    def clone(self, record: Record, origin: str) -> Record:
        """Take over a record of another run as the first attempt of the same task; returns it as it stands here.

        ``origin`` is the run that the record is read from; if that run took it over itself, the first one stays named.
        """
        copy = record._replace(attempt=0, origin=record.origin or origin)
        self.commit(copy)
        return copy
