"""The gang's frames, and the proof that both ends of a connection know the attempt's token.

Nothing here touches a socket: bytes go in, frames come out, so that all of it can be tested with any bytes whatever.

A frame is a prefix (magic, length of the header, length of the body), a JSON object, a body, and on an authenticated
connection a MAC over the frame's number, the prefix, the object and the body's SHA-256. Lengths are checked before
anything is kept.

The proof is mutual and the token itself never travels: each side sends a fresh nonce and then an HMAC-SHA256 under the
token (RFC 2104) over its role, the run, the gang's address, the attempt, the rank, both nonces and what it said about
itself. The roles keep one side's proof from being sent back as the other's. From the same values come two session
keys, one a direction, as in the expand step of HKDF (RFC 5869). Contents are authenticated, not encrypted.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Optional, Union

from .failure import GangError

VERSION = 1
MIN_TOKEN = 16
"""A token shorter than this many bytes could be guessed from a proof."""
STRANGER_HEADER = 4 << 10
"""Longest header taken from a connection that has proved nothing; it may send no body."""
MAX_LACK = 400
"""Longest account, in characters, of why a worker cannot take part: six bytes each in the worst JSON."""
MEMBER_HEADER = 4 << 20
MEMBER_BODY = (64 << 20) + 4096

_MAGIC = b"flg1"
_PREFIX = struct.Struct(">4sIQ")
_COUNT = struct.Struct(">Q")
_MAC_SIZE = hashlib.sha256().digest_size
_NONCE_SIZE = 32

Buffer = Union[bytes, bytearray, memoryview]


class WireError(GangError):
    """What came over the connection is not the gang's protocol; the connection is of no more use."""


@dataclass(frozen=True)
class Frame:
    """One message: a JSON object whose ``t`` is its type, and bytes."""

    header: dict[str, Any]
    body: bytes = b""

    @property
    def type(self) -> str:
        return str(self.header.get("t"))


class Seal:
    """Key and frame counter of one direction of an authenticated connection."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._count = 0

    def mac(self, head: Buffer, digest: bytes) -> bytes:
        """The MAC of the next frame; a frame repeated, left out or moved does not match."""
        mac = hmac.new(self._key, _COUNT.pack(self._count), "sha256")
        self._count += 1
        mac.update(head)
        mac.update(digest)
        return mac.digest()


def digest_of(body: Buffer) -> bytes:
    """The digest of a body, as it goes into a frame's MAC."""
    return hashlib.sha256(body).digest() if len(body) else b""


def encode(
    header: dict[str, Any], body: Buffer = b"", seal: Optional[Seal] = None, digest: Optional[bytes] = None
) -> list[Buffer]:
    """The pieces of a frame, to be sent in this order; the body is not copied.

    ``digest`` is :func:`digest_of` the body where that is known: what goes to many ranks is hashed once.
    """
    text = json.dumps(header, separators=(",", ":")).encode()
    pieces: list[Buffer] = [_PREFIX.pack(_MAGIC, len(text), len(body)) + text]
    if len(body):
        pieces.append(body)
    if seal is not None:
        pieces.append(seal.mac(pieces[0], digest_of(body) if digest is None else digest))
    return pieces


class FrameReader:
    """Cuts a stream of bytes into frames.

    Parameters
    ----------
    max_header, max_body : int
        Longest header and body, in bytes, that the other side may send.
    seal : Seal, optional
        Checks every frame; without it frames carry no MAC.
    """

    def __init__(self, max_header: int = STRANGER_HEADER, max_body: int = 0, seal: Optional[Seal] = None) -> None:
        self._max_header = max_header
        self._max_body = max_body
        self._seal = seal
        self._kept = bytearray()

    def authenticated(self, seal: Seal) -> None:
        """Every further frame is sealed, and may be as long as a member's."""
        self._seal = seal
        self._max_header, self._max_body = MEMBER_HEADER, MEMBER_BODY

    def feed(self, data: Buffer) -> None:
        """Take bytes as they came."""
        self._kept += data

    def frames(self) -> Iterator[Frame]:
        """The frames that are complete by now.

        Raises
        ------
        WireError
            If the bytes are no frame, too long, or fail the MAC.
        """
        while True:
            frame = self._next()
            if frame is None:
                return
            yield frame

    def _next(self) -> Optional[Frame]:
        kept = self._kept
        # What cannot become a frame is refused at its first wrong byte, not when a whole prefix has come.
        if not _MAGIC.startswith(bytes(kept[:4])):
            raise WireError("what came is not a gang's message")
        if len(kept) < _PREFIX.size:
            return None
        _, header_size, body_size = _PREFIX.unpack_from(kept)
        if header_size > self._max_header or body_size > self._max_body:
            raise WireError(f"a message of {header_size} + {body_size} bytes is longer than is taken here")
        body_at = _PREFIX.size + header_size
        mac_at = body_at + body_size
        end = mac_at + (_MAC_SIZE if self._seal is not None else 0)
        if len(kept) < end:
            return None
        with memoryview(kept) as view:
            body = bytes(view[body_at:mac_at])
            text = bytes(view[_PREFIX.size : body_at])
            if self._seal is not None:
                mac = self._seal.mac(view[:body_at], digest_of(body))
                if not hmac.compare_digest(mac, view[mac_at:end]):
                    raise WireError("a message failed its check: it was damaged, repeated or forged")
        del kept[:end]
        try:
            header = json.loads(text)
        except (ValueError, RecursionError):
            raise WireError("a message's header is not JSON") from None
        if not isinstance(header, dict):
            raise WireError("a message's header is not a JSON object")
        return Frame(header, body)


@dataclass(frozen=True)
class GangName:
    """What both sides must agree on: whoever proves another run, address or attempt proves nothing here."""

    run: str
    address: str
    attempt: int

    def __str__(self) -> str:
        return f"gang {self.address} of run {self.run}, attempt {self.attempt}"


@dataclass(frozen=True)
class WorkerInfo:
    """What a worker says about itself, as part of its proof; ``lack`` is why it cannot take part, empty if it can."""

    rank: int
    size: int
    host: str
    slots: int
    lack: str = ""


def new_token() -> bytes:
    """A token for one attempt."""
    return os.urandom(32)


def check_token(token: bytes) -> None:
    """Refuse a token that a listener could guess.

    Raises
    ------
    ValueError
        If it is shorter than 16 bytes.
    """
    if len(token) < MIN_TOKEN:
        raise ValueError(f"a gang's token has at least {MIN_TOKEN} random bytes; this one has {len(token)}")


def _digest(token: bytes, *fields: Union[str, int]) -> bytes:
    mac = hmac.new(token, b"flowc gang", "sha256")
    for field in fields:
        data = str(field).encode("utf-8", "surrogatepass")
        mac.update(_COUNT.pack(len(data)))
        mac.update(data)
    return mac.digest()


def body_key(token: bytes, name: GangName) -> bytes:
    """What the bodies of an attempt may derive secrets from; the token cannot be worked out of it."""
    return _digest(token, "key of the bodies", VERSION, name.run, name.address, name.attempt)


def derived(key: bytes, purpose: str) -> bytes:
    """A secret of 32 bytes for one purpose."""
    return _digest(key, "secret of the bodies", purpose)


def _nonce(header: dict[str, Any]) -> str:
    nonce = header.get("nonce")
    if not isinstance(nonce, str) or len(nonce) != 2 * _NONCE_SIZE:
        raise WireError("a message carries no nonce")
    return nonce


def _number(header: dict[str, Any], name: str) -> int:
    value = header.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 31:
        raise WireError(f"a message carries no {name}")
    return value


def _proved(header: dict[str, Any], expected: bytes) -> bool:
    proof = header.get("proof")
    if not isinstance(proof, str):
        return False
    return hmac.compare_digest(proof.encode("utf-8", "replace"), expected.hex().encode())


class _Handshake:
    def __init__(self, token: bytes, name: GangName) -> None:
        check_token(token)
        self._token = token
        self._name = (name.run, name.address, name.attempt)
        self._mine = os.urandom(_NONCE_SIZE).hex()
        self._shared: tuple[Union[str, int], ...] = ()

    def _mac(self, label: str, *more: Union[str, int]) -> bytes:
        return _digest(self._token, label, VERSION, *self._shared, *more)

    def _seals(self) -> tuple[Seal, Seal]:
        return Seal(self._mac("key of the worker")), Seal(self._mac("key of the control"))


class WorkerHandshake(_Handshake):
    """The worker's side: :meth:`hello`, then :meth:`answer` to the challenge."""

    def __init__(self, token: bytes, name: GangName, info: WorkerInfo) -> None:
        super().__init__(token, name)
        self._info = info

    def hello(self) -> dict[str, Any]:
        """The first message."""
        return {"t": "hello", "v": VERSION, "nonce": self._mine, "rank": self._info.rank}

    def answer(self, frame: Frame) -> tuple[dict[str, Any], Seal, Seal]:
        """Check the control's proof; give the worker's proof and the seals to send and to receive with.

        Raises
        ------
        WireError
            If the other side is not the control of this attempt.
        """
        if frame.type != "challenge":
            raise WireError("what listens there is not a gang's control rank")
        info = self._info
        self._shared = (*self._name, info.rank, self._mine, _nonce(frame.header))
        if not _proved(frame.header, self._mac("control")):
            raise WireError("what listens there does not know the token of this attempt")
        proof = self._mac("worker", info.size, info.host, info.slots, info.lack)
        send, receive = self._seals()
        header = {"t": "proof", "proof": proof.hex(), "size": info.size, "host": info.host, "slots": info.slots}
        return {**header, "lack": info.lack} if info.lack else header, send, receive


class ControlHandshake(_Handshake):
    """The control's side: :meth:`challenge` for the hello, then :meth:`accept` for the proof."""

    rank: Optional[int] = None

    def challenge(self, frame: Frame) -> dict[str, Any]:
        """Answer the hello with a nonce and the control's own proof.

        Raises
        ------
        WireError
            If it is no hello of this version.
        """
        if frame.type != "hello" or frame.header.get("v") != VERSION:
            raise WireError("the connection did not open with a worker's greeting")
        self.rank = _number(frame.header, "rank")
        self._shared = (*self._name, self.rank, _nonce(frame.header), self._mine)
        return {"t": "challenge", "nonce": self._mine, "proof": self._mac("control").hex()}

    def accept(self, frame: Frame) -> tuple[WorkerInfo, Seal, Seal]:
        """Check the worker's proof; give who it is and the seals to send and to receive with.

        Raises
        ------
        WireError
            If it does not know the token of this run, address and attempt.
        """
        if frame.type != "proof" or self.rank is None:
            raise WireError("the connection sent no proof")
        size, slots, host = _number(frame.header, "size"), _number(frame.header, "slots"), frame.header.get("host")
        if not isinstance(host, str) or len(host) > 255:
            raise WireError("a message carries no host")
        lack = frame.header.get("lack", "")
        if not isinstance(lack, str) or len(lack) > MAX_LACK:
            raise WireError("a message says no reason")
        if not _proved(frame.header, self._mac("worker", size, host, slots, lack)):
            raise WireError("wrong token, run, address or attempt")
        receive, send = self._seals()
        return WorkerInfo(self.rank, size, host, slots, lack), send, receive
