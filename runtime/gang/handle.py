"""What a gang's body has in hand: who is there, and the few things the ranks do together."""

from __future__ import annotations

import hashlib
import os
import pickle
import socket
import stat
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn, Optional

from .collectives import CHUNK, WINDOW, describe
from .failure import CollectiveError, GangAborted, GangError
from .output import write_all
from .wire import MEMBER_BODY, MEMBER_HEADER, Buffer, Frame, FrameReader, WireError, derived, encode

MAX_VALUE = 64 << 20
"""Largest pickled value, in bytes, that a rank may hand to a collective."""


@dataclass(frozen=True)
class Member:
    """One rank of a formed gang.

    Parameters
    ----------
    rank : int
        From 0, the control rank.
    host : str
        Name that the rank's host gives itself; nobody promises that it can be resolved.
    address : str
        IP address at which the gang's other ranks reach it.
    slots : int
        How many processes the rank offers room for.
    """

    rank: int
    host: str
    address: str
    slots: int = 1


class GangHandle:
    """The gang, as the code of one rank uses it. Every rank makes the same calls in the same order.

    Values are pickled and travel only over the gang's authenticated connections. A call that an exception from a signal
    handler left in the middle is still a call: the other ranks wait for the same one.

    Parameters
    ----------
    sock : socket.socket
        Connection to the rank's supervisor.
    rank : int
        The rank this code runs in.
    members : tuple of Member
        All ranks, in order.
    key : bytes
        What :meth:`secret` derives from; the same on every rank of the attempt.
    """

    def __init__(self, sock: socket.socket, rank: int, members: tuple[Member, ...], key: bytes) -> None:
        sock.setblocking(True)
        self._key = key
        self.rank = rank
        self.members = members
        self._sock = sock
        self._reader = FrameReader(MEMBER_HEADER, MEMBER_BODY)
        self._frames: Iterator[Frame] = iter(())
        self._lock = threading.Lock()
        self._calls = 0
        self._pid = os.getpid()

    @property
    def size(self) -> int:
        """World size."""
        return len(self.members)

    def secret(self, purpose: str) -> bytes:
        """32 bytes for a purpose, the same on every rank of this attempt, and nobody else's; they never travel."""
        return derived(self._key, purpose)

    def barrier(self) -> None:
        """Wait until every rank is here.

        Raises
        ------
        CollectiveError
            If the ranks make different calls, or a rank ended without this one. So do the other calls.
        """
        with self._lock:
            self._call("barrier")

    def broadcast(self, value: Any = None, root: int = 0) -> Any:
        """Give every rank the value of the rank ``root``; what other ranks pass is ignored."""
        self._check_root(root)
        data = _pickled(value) if self.rank == root else b""
        with self._lock:
            parts = self._call("broadcast", data, root=root)
        return value if self.rank == root else _unpickled(parts[0], root)

    def gather(self, value: Any, root: int = 0) -> Optional[list[Any]]:
        """Give the rank ``root`` the values of all ranks, in order; the others get None."""
        self._check_root(root)
        data = _pickled(value)
        with self._lock:
            parts = self._call("gather", data, root=root)
        return [_unpickled(part, rank) for rank, part in enumerate(parts)] if self.rank == root else None

    def allgather(self, value: Any) -> list[Any]:
        """Give every rank the values of all ranks, in order."""
        data = _pickled(value)
        with self._lock:
            parts = self._call("allgather", data)
        return [_unpickled(part, rank) for rank, part in enumerate(parts)]

    def broadcast_file(self, path: str, destination: Optional[str] = None, root: int = 0) -> str:
        """Copy a file of the rank ``root`` to every rank, with its permissions, whatever its size.

        It appears complete or not at all, after its length and digest were checked.

        Parameters
        ----------
        path : str
            The file on the rank ``root``.
        destination : str, optional
            Where it goes on this rank, ``path`` if not given; an existing folder takes it under its own name.
        root : int
            The rank that has it.

        Returns
        -------
        str
            Where the file is on this rank.

        Raises
        ------
        CollectiveError
            On every rank, if any of them cannot read or write it.
        """
        self._check_root(root)
        path = os.fspath(path)
        target = path if destination is None else os.fspath(destination)
        if os.path.isdir(target):
            target = os.path.join(target, os.path.basename(path))
        with self._lock:
            self._call("broadcast_file", root=root)
            if self.rank == root:
                problem = self._send_file(self._calls, path)
                if problem is None and not _same_file(path, target):
                    problem = _copy(path, target)
            else:
                problem = self._receive_file(self._calls, target)
            outcomes = self._call("allgather", _pickled(problem))
        problems = [(rank, _unpickled(outcome, rank)) for rank, outcome in enumerate(outcomes)]
        failed = [f"rank {rank}: {text}" for rank, text in problems if text is not None]
        if failed:
            raise CollectiveError(f"the file {path} was not copied to every rank: {'; '.join(failed)}")
        return target

    def abort(self, message: str) -> NoReturn:
        """End the whole gang; the report gives this rank and the message.

        Raises
        ------
        GangAborted
            Always, so that this rank's code comes to its end too.
        """
        with self._lock:
            self._send({"t": "abort", "message": str(message)[:10_000]})
        raise GangAborted(str(message))

    def _check_root(self, root: int) -> None:
        if not 0 <= root < self.size:
            raise CollectiveError(f"there is no rank {root} in a gang of {self.size}")

    def _call(self, op: str, body: bytes = b"", **arguments: Any) -> list[bytes]:
        header = {"t": "call", "seq": self._calls + 1, "op": op, **arguments}
        if len(body) > MAX_VALUE:
            raise CollectiveError(
                f"the value that rank {self.rank} gave to {describe(header)} takes {len(body) / (1 << 20):.1f} MiB "
                f"pickled; at most {MAX_VALUE >> 20} MiB travel this way: use an artifact, or a file in storage that "
                f"all ranks reach (under @mpi current.mpi.broadcast_file copies one to every node)"
            )
        self._calls += 1
        self._send(header, body)
        result = self._receive(self._calls)
        parts: list[bytes] = []
        while len(parts) < int(result.header["parts"]):
            frame, at = self._receive(self._calls), 0
            for size in frame.header["sizes"]:
                parts.append(frame.body[at : at + size])
                at += size
        return parts

    def _send(self, header: dict[str, Any], body: Buffer = b"") -> None:
        if os.getpid() != self._pid:
            raise GangError("the gang belongs to the process that runs the step: call it from there, not from a fork")
        try:
            for piece in encode(header, body):
                self._sock.sendall(piece)
        except OSError as error:
            raise GangError(f"this rank's supervisor is gone ({error.strerror or error})") from None

    def _receive(self, number: int) -> Frame:
        while True:
            for frame in self._frames:
                if frame.header.get("seq") != number:
                    continue
                if frame.type == "error":
                    raise CollectiveError(str(frame.header.get("message")))
                return frame
            try:
                data = self._sock.recv(1 << 20)
                if not data:
                    raise ConnectionResetError
                self._reader.feed(data)
            except OSError:
                raise GangError("this rank's supervisor is gone") from None
            except WireError as error:
                raise GangError(f"this rank's supervisor sent no message: {error}") from None
            self._frames = self._reader.frames()

    def _send_file(self, number: int, path: str) -> Optional[str]:
        digest, size, count, credit = hashlib.sha256(), 0, 0, 0
        problem, mode = None, 0o600
        others = self.size > 1
        try:
            with open(path, "rb", buffering=0) as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                while others:
                    chunk = file.read(CHUNK)
                    if not chunk:
                        break
                    digest.update(chunk)
                    size += len(chunk)
                    count += 1
                    self._send({"t": "chunk", "seq": number, "n": count}, chunk)
                    while count - credit >= WINDOW:
                        credit = int(self._receive(number).header["n"])
        except OSError as error:
            problem = f"cannot read it ({error.strerror or error})"
        count += 1
        last = {"last": True, "size": size, "sha256": digest.hexdigest(), "mode": mode, "problem": problem}
        self._send({"t": "chunk", "seq": number, "n": count, **last})
        while others and credit < count:
            credit = int(self._receive(number).header["n"])
        return problem

    def _receive_file(self, number: int, target: str) -> Optional[str]:
        target = os.path.realpath(target)
        temporary = _temporary(target)
        digest, size, problem = hashlib.sha256(), 0, None
        descriptor = -1
        try:
            try:
                os.makedirs(os.path.dirname(target), exist_ok=True)
                descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            except OSError as error:
                problem = f"cannot write {target} ({error.strerror or error})"
            while True:
                frame = self._receive(number)
                if problem is None and frame.body:
                    try:
                        write_all(descriptor, frame.body)
                    except OSError as error:
                        problem = f"cannot write {target} ({error.strerror or error})"
                digest.update(frame.body)
                size += len(frame.body)
                last = bool(frame.header.get("last"))
                if last and problem is None:
                    problem = _put_in_place(frame.header, descriptor, size, digest.hexdigest(), temporary, target)
                self._send({"t": "ack", "seq": number, "n": frame.header["n"]})
                if last:
                    return problem
        finally:
            if descriptor >= 0:
                os.close(descriptor)
            if os.path.exists(temporary):
                os.unlink(temporary)


def _put_in_place(
    last: dict[str, Any], descriptor: int, size: int, sha256: str, temporary: str, target: str
) -> Optional[str]:
    if last.get("problem"):
        return "did not get it"
    if last["size"] != size or last["sha256"] != sha256:
        return f"{size} bytes came where {last['size']} were sent, or their digest is not the same"
    try:
        os.fchmod(descriptor, int(last["mode"]))
        os.replace(temporary, target)
    except OSError as error:
        return f"cannot write {target} ({error.strerror or error})"
    return None


def _temporary(target: str) -> str:
    # Hosts may share the folder, and in pods their process ids are often alike.
    return f"{target}.{os.urandom(8).hex()}.part"


def _same_file(path: str, target: str) -> bool:
    try:
        return os.path.samefile(path, target)
    except OSError:
        return False


def _copy(path: str, target: str) -> Optional[str]:
    import shutil

    temporary = _temporary(os.path.realpath(target))
    try:
        os.makedirs(os.path.dirname(temporary), exist_ok=True)
        shutil.copyfile(path, temporary)
        shutil.copymode(path, temporary)
        os.replace(temporary, os.path.realpath(target))
    except OSError as error:
        return f"cannot write {target} ({error.strerror or error})"
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)
    return None


def _pickled(value: Any) -> bytes:
    try:
        return pickle.dumps(value, protocol=5)
    except Exception as error:
        raise CollectiveError(f"a {type(value).__name__} cannot travel between ranks: {error}") from error


def _unpickled(data: bytes, rank: int) -> Any:
    try:
        return pickle.loads(data)  # noqa: S301 (from a rank that proved the token)
    except Exception as error:
        raise CollectiveError(f"the value of rank {rank} cannot be read here: {error}") from error
