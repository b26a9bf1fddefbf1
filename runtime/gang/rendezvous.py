"""How the ranks find each other: the control rank receives connections, the workers approach it until they are in.

Nothing is announced anywhere and no start order is needed: the ports follow from the attempt's name, and a worker goes
on trying while the control's name cannot be resolved yet, nobody listens yet, or somebody else does.
"""

from __future__ import annotations

import errno
import json
import os
import random
import selectors
import signal
import socket
from collections.abc import Callable
from typing import Optional

from .loop import Channel, Loop, Timer
from .wire import ControlHandshake, Frame, FrameReader, GangName, WireError, WorkerHandshake, WorkerInfo

_STAGGER = 0.1
"""Seconds before a second candidate is tried beside a silent one, as in RFC 8305 (happy eyeballs)."""
_PAUSES = (0.02, 0.5)
_MAX_ADDRESSES = 4

SocketAddress = tuple[str, int]


class Reception:
    """The control's door: lets in who proves the token, and nothing else can block or crash it.

    Parameters
    ----------
    loop : Loop
        Where it runs.
    token : bytes
        The attempt's.
    name : GangName
        Which attempt this is.
    main : str
        The control's name; a loopback address keeps the door shut to other hosts.
    ports : tuple of int
        Candidates; the first free one is taken.
    handshake : float
        Seconds that a connection has to prove itself.
    strangers : int
        How many unproved connections are kept; one more, and the oldest goes.
    on_member : callable
        Called with who it is and its connection.

    Raises
    ------
    OSError
        If no candidate is free.
    """

    def __init__(
        self,
        loop: Loop,
        token: bytes,
        name: GangName,
        main: str,
        ports: tuple[int, ...],
        *,
        handshake: float,
        strangers: int,
        on_member: Callable[[WorkerInfo, Channel], None],
    ) -> None:
        self._loop = loop
        self._token = token
        self._name = name
        self._handshake = handshake
        self._limit = strangers
        self._on_member = on_member
        self._strangers: dict[Channel, Timer] = {}
        self.refused: dict[str, int] = {}
        self._listener = _listen(main, ports)
        self.port = int(self._listener.getsockname()[1])
        loop.watch(self._listener.fileno(), self._accept)

    def close(self) -> None:
        """Shut the door, and send away who has not proved anything yet."""
        self._loop.unwatch(self._listener.fileno())
        self._listener.close()
        for channel in list(self._strangers):
            self._send_away(channel, None)

    def _accept(self, events: int) -> None:
        for _ in range(64):
            try:
                sock, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self._make_room()
                    self._loop.watch(self._listener.fileno(), self._accept, read=False)
                    self._loop.after(0.1, self._open_again)
                    return
                continue  # accept(2): the connection ended before it was taken
            try:
                self._receive(sock)
            except OSError:
                sock.close()

    def _open_again(self) -> None:
        if self._listener.fileno() >= 0:
            self._loop.watch(self._listener.fileno(), self._accept)

    def _make_room(self) -> None:
        if self._strangers:
            self._send_away(next(iter(self._strangers)), "too many connections that prove nothing")

    def _receive(self, sock: socket.socket) -> None:
        if len(self._strangers) >= self._limit:
            self._make_room()
        handshake = ControlHandshake(self._token, self._name)

        def on_frame(channel: Channel, frame: Frame) -> None:
            if handshake.rank is None:
                channel.send(handshake.challenge(frame))
                return
            info, send, receive = handshake.accept(frame)
            self._strangers.pop(channel).cancel()
            channel.authenticated(send, receive)
            self._on_member(info, channel)

        channel = Channel(self._loop, sock, FrameReader(), on_frame, self._send_away)
        late = self._loop.after(self._handshake, lambda: self._send_away(channel, "said nothing in time"))
        self._strangers[channel] = late

    def _send_away(self, channel: Channel, why: Optional[str]) -> None:
        timer = self._strangers.pop(channel, None)
        if timer is not None:
            timer.cancel()
        channel.close()
        if why is not None and (why in self.refused or len(self.refused) < 20):
            self.refused[why] = self.refused.get(why, 0) + 1


class Approach:
    """A worker's way to the control rank: every candidate port in turn, again and again, until one proves the token.

    Parameters
    ----------
    loop, token, name, main, ports, handshake
        As for :class:`Reception`.
    info : WorkerInfo
        Who this is.
    on_member : callable
        Called with the connection once the control has let this rank in.
    on_refused : callable
        Called with the reason if the control refuses this rank for good.
    spare : str
        An address that is tried while ``main`` cannot be resolved.
    """

    def __init__(
        self,
        loop: Loop,
        token: bytes,
        name: GangName,
        main: str,
        ports: tuple[int, ...],
        *,
        info: WorkerInfo,
        handshake: float,
        on_member: Callable[[Channel], None],
        on_refused: Callable[[str], None],
        in_child: Callable[[], None],
        spare: str = "",
    ) -> None:
        self._loop = loop
        self._token = token
        self._name = name
        self._main = main
        self._spare = [spare] if _is_address(spare) else []
        self._ports = ports
        self._info = info
        self._handshake = handshake
        self._on_member = on_member
        self._on_refused = on_refused
        self._in_child = in_child
        self._pause = _PAUSES[0]
        self._targets: list[tuple[int, SocketAddress]] = []
        self._tries: dict[_Try, None] = {}
        self._timer: Optional[Timer] = None
        self._resolver: Optional[tuple[int, int]] = None
        self._problem = (0, "no attempt was made")
        self._over = False
        self._round()

    @property
    def problem(self) -> str:
        """What has been in the way, in a few words."""
        return self._problem[1]

    def close(self) -> None:
        """Give up."""
        self._over = True
        self._cancel_timer()
        self._end_resolver()
        for each in list(self._tries):
            each.close()
        self._tries.clear()

    def note(self, weight: int, problem: str) -> None:
        """Remember a problem unless a more telling one is known."""
        if weight >= self._problem[0]:
            self._problem = (weight, problem)

    def welcomed(self, each: _Try, channel: Channel) -> None:
        """The control let this rank in."""
        del self._tries[each]
        self.close()
        self._on_member(channel)

    def refused(self, reason: str) -> None:
        """The control said that this rank can never get in."""
        self.close()
        self._on_refused(reason)

    def failed(self, each: _Try, weight: int, problem: str) -> None:
        """One try came to nothing."""
        self.note(weight, problem)
        self._tries.pop(each, None)
        each.close()
        if not self._over:
            self._cancel_timer()
            self._next()

    def _round(self) -> None:
        if _is_address(self._main):
            self._resolved([self._main])
        elif self._main == "localhost":
            self._resolved(["127.0.0.1"])
        else:
            self._resolve()

    def _resolved(self, addresses: list[str]) -> None:
        under_way = {each.address for each in self._tries}
        self._targets = [
            (socket.AF_INET6 if ":" in address else socket.AF_INET, (address, port))
            for port in self._ports
            for address in addresses[:_MAX_ADDRESSES]
            if (address, port) not in under_way
        ]
        self._next()

    def _next(self) -> None:
        if self._over:
            return
        if not self._targets:
            self._again()
            return
        family, address = self._targets.pop(0)
        handshake = WorkerHandshake(self._token, self._name, self._info)
        each = _Try(self, self._loop, family, address, handshake, self._handshake)
        self._tries[each] = None
        self._timer = self._loop.after(_STAGGER, self._next)
        each.start()

    def _again(self) -> None:
        # Not all workers of a large gang at the same moment.
        self._cancel_timer()
        self._timer = self._loop.after(self._pause * random.uniform(0.7, 1.3), self._round)  # noqa: S311
        self._pause = min(self._pause * 1.6, _PAUSES[1])

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _resolve(self) -> None:
        # getaddrinfo may take as long as it likes and cannot be stopped: a process can.
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                self._in_child()
                os.close(read)
                os.write(write, _look_up(self._main))
            finally:
                os._exit(0)
        os.close(write)
        self._resolver = (pid, read)
        self._loop.watch(read, self._answer)
        self._timer = self._loop.after(10.0, self._no_answer)

    def _answer(self, events: int) -> None:
        assert self._resolver is not None
        try:
            answer = json.loads(os.read(self._resolver[1], 1 << 16) or b"{}")
        except ValueError:
            answer = {}
        self._cancel_timer()
        self._end_resolver()
        if answer.get("addresses"):
            self._resolved(answer["addresses"])
        else:
            self._not_resolved(answer.get("error", "no answer"))

    def _no_answer(self) -> None:
        self._end_resolver()
        self._not_resolved("no answer")

    def _not_resolved(self, why: str) -> None:
        self.note(1, f"the name {self._main} cannot be resolved ({why})")
        if self._spare:
            self._resolved(self._spare)
        else:
            self._again()

    def _end_resolver(self) -> None:
        if self._resolver is not None:
            pid, read = self._resolver
            self._resolver = None
            self._loop.unwatch(read)
            os.close(read)
            try:
                if not os.waitpid(pid, os.WNOHANG)[0]:
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
            except ChildProcessError:
                pass  # reaped with the other children


class _Try:
    """One attempt at one address and port."""

    def __init__(
        self,
        approach: Approach,
        loop: Loop,
        family: int,
        address: SocketAddress,
        handshake: WorkerHandshake,
        limit: float,
    ) -> None:
        self._approach = approach
        self._loop = loop
        self._handshake = handshake
        self._where = f"{address[0]}:{address[1]}"
        self.address = address
        self._proved = False
        self._channel: Optional[Channel] = None
        self._sock = socket.socket(family, socket.SOCK_STREAM)
        self._sock.setblocking(False)
        self._late = loop.after(limit, lambda: self._failed(2, f"{self._where} does not answer"))

    def start(self) -> None:
        """Connect; the outcome may be known at once."""
        code = self._sock.connect_ex(self.address)
        if code == errno.EINPROGRESS:
            self._loop.watch(self._sock.fileno(), self._connected, read=False, write=True)
        else:
            # From the loop, so that a row of refusals does not become a tower of calls.
            self._late.cancel()
            self._late = self._loop.after(0, lambda: self._outcome(code))

    def close(self) -> None:
        """Let the connection go, unless it has been handed on."""
        self._late.cancel()
        if self._channel is not None:
            self._channel.close()
        else:
            self._loop.unwatch(self._sock.fileno())
            self._sock.close()

    def _connected(self, events: int) -> None:
        assert events & selectors.EVENT_WRITE
        self._loop.unwatch(self._sock.fileno())
        self._outcome(self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    def _outcome(self, code: int) -> None:
        if code:
            self._failed(2, f"{self._where}: {os.strerror(code)}")
            return
        self._channel = Channel(self._loop, self._sock, FrameReader(), self._frame, self._closed)
        self._channel.send(self._handshake.hello())

    def _frame(self, channel: Channel, frame: Frame) -> None:
        if not self._proved:
            header, send, receive = self._handshake.answer(frame)
            channel.send(header)
            channel.authenticated(send, receive)
            self._proved = True
        elif frame.type == "welcome":
            self._late.cancel()
            self._channel = None
            self._sock = socket.socket()  # the connection belongs to the gang now
            self._approach.welcomed(self, channel)
            self._sock.close()
        elif frame.type == "refuse":
            reason = str(frame.header.get("reason"))
            if frame.header.get("final"):
                self._approach.refused(reason)
            else:
                self._failed(5, reason)
        else:
            raise WireError("the control rank answered something else")

    def _closed(self, channel: Channel, why: str) -> None:
        if self._proved:
            self._failed(3, f"the control rank at {self._where} closed the connection: {why}")
        else:
            self._failed(3, f"{self._where} is not this gang's control rank: {why}")

    def _failed(self, weight: int, problem: str) -> None:
        self._approach.failed(self, weight, problem)


def _listen(main: str, ports: tuple[int, ...]) -> socket.socket:
    """A listening socket at the first candidate that is free."""
    problem: Optional[OSError] = None
    for family, host in _where_to_listen(main):
        for port in ports:
            sock = socket.socket(family, socket.SOCK_STREAM)
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if host == "::":
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
                sock.bind((host, port))
                sock.listen(1024)
                sock.setblocking(False)
                return sock
            except OSError as error:
                sock.close()
                problem = error
                if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                    break
    assert problem is not None
    raise problem


def _where_to_listen(main: str) -> list[tuple[int, str]]:
    if main == "localhost":
        main = "127.0.0.1"
    if _is_address(main) and (main.startswith("127.") or main == "::1"):
        return [(socket.AF_INET6 if ":" in main else socket.AF_INET, main)]
    # The control's own name may mean another address here than elsewhere (127.0.1.1 on Debian): listen on all of them.
    everywhere: list[tuple[int, str]] = [(socket.AF_INET, "0.0.0.0")]  # noqa: S104 (as said)
    return [(socket.AF_INET6, "::"), *everywhere] if socket.has_dualstack_ipv6() else everywhere


def _is_address(text: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, text)
        except (OSError, ValueError):
            continue
        return True
    return False


def _look_up(name: str) -> bytes:
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        return json.dumps({"error": getattr(error, "strerror", None) or str(error)}).encode()
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    # IPv4 first: it is what the frameworks use, and an IPv6 address is often there without a route.
    addresses.sort(key=lambda address: ":" in address)
    return json.dumps({"addresses": addresses[:_MAX_ADDRESSES]}).encode()
