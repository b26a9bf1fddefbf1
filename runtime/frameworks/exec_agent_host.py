"""The control rank's side of the agent: it carries a launcher's command to the host that it is for."""

from __future__ import annotations

import json
import os
import select
import selectors
import shlex
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Optional

from ..gang.output import write_all
from ..gang.wire import WireError
from . import exec_agent, exec_link, programs
from .programs import ProgramFailed

_MAX_ORDER = 4 << 20
_CHUNK = 1 << 16


class AgentHost:
    """Serves agents over a socket in a folder that only this user may enter.

    Parameters
    ----------
    folder : str
        That folder.
    connect : callable
        Gives a connection to a host, by its name; raises `ProgramFailed`.
    """

    def __init__(self, folder: str, connect: Callable[[str], exec_link.Link]) -> None:
        self._folder = os.path.join(folder, "agent")
        self._connect = connect
        self._listener: Optional[socket.socket] = None

    def program(self) -> str:
        """Path of the program to name to a launcher: ``program HOST WORD...``."""
        path = os.path.join(self._folder, "flowc-agent")
        if self._listener is None:
            os.mkdir(self._folder, 0o700)
            self._listener = self._listen()
            script = os.path.abspath(exec_agent.__file__)
            words = [sys.executable, "-I", "-S", script, self._folder]
            with open(path, "w", encoding="utf-8") as file:
                file.write(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
            os.chmod(path, 0o700)
            threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()
        return path

    def close(self) -> None:
        """Take no more agents; those that are there end with what they have run."""
        if self._listener is not None:
            try:
                self._listener.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            self._listener.close()

    def _listen(self) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX)
        path = os.path.join(self._folder, exec_agent.NAME)
        try:
            listener.bind(path)
        except OSError:
            # A socket's path may have 107 bytes; one's own descriptors offer a shorter one.
            folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                listener.bind(f"/proc/self/fd/{folder}/{exec_agent.NAME}")
            finally:
                os.close(folder)
        listener.listen(128)
        return listener

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        descriptors: list[int] = []
        code = exec_agent.FAILED
        with sock:
            try:
                sock.settimeout(10)
                head, descriptors, _, _ = socket.recv_fds(sock, 4, 3)
                order = json.loads(_read(sock, int.from_bytes(head, "big")))
                sock.settimeout(None)
                code = self._carry(sock, order["host"], order["command"], descriptors)
            except (ProgramFailed, WireError) as error:
                if len(descriptors) == 3:
                    os.write(descriptors[2], f"flowc: {error}\n".encode())
            except (OSError, ValueError, KeyError):
                pass
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)
            try:
                sock.sendall(bytes([code & 255]))
            except OSError:
                pass

    def _carry(self, sock: socket.socket, host: str, command: str, descriptors: list[int]) -> int:
        stdin, stdout, stderr = descriptors
        link = self._connect(host)
        over, end = os.pipe()
        try:
            link.send({"t": "run", "argv": ["/bin/sh", "-c", command], "carry": True})
            # Apart from what comes back: where both are much, each side would wait until the other one takes it.
            threading.Thread(target=_send_input, args=(link, os.dup(stdin), os.dup(over)), daemon=True).start()
            with selectors.DefaultSelector() as selector:
                selector.register(link, selectors.EVENT_READ, 0)
                selector.register(sock, selectors.EVENT_READ, 1)
                while True:
                    for key, _ in selector.select():
                        if key.data == 1:
                            return exec_agent.FAILED  # the agent was killed; its command ends with the connection
                        frames = link.receive()
                        if frames is None:
                            raise ProgramFailed(f"the connection to {host} was lost", exec_agent.FAILED)
                        for frame in frames:
                            if frame.type == "exit":
                                return programs.shell_code(int(frame.header["code"]))
                            with suppress(OSError):  # nobody reads it
                                write_all(stdout if frame.type == "out" else stderr, frame.body)
        finally:
            link.close()
            os.close(end)
            os.close(over)


def _read(sock: socket.socket, size: int) -> bytes:
    if size > _MAX_ORDER:
        raise ValueError
    data = b""
    while len(data) < size:
        more = sock.recv(size - len(data))
        if not more:
            raise ConnectionResetError
        data += more
    return data


def _read_some(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, _CHUNK)
    except OSError:
        return b""


def _send_input(link: exec_link.Link, stdin: int, over: int) -> None:
    # Until its end, or that of the other descriptor: what comes after the command's end is not the command's.
    waiting = select.poll()
    waiting.register(stdin, select.POLLIN)
    waiting.register(over, select.POLLIN)
    try:
        while over not in dict(waiting.poll()):
            data = _read_some(stdin)
            link.send({"t": "in"}, data)
            if not data:
                return
    except OSError:
        pass  # the command has ended
    finally:
        os.close(stdin)
        os.close(over)
