"""Programs of a framework that run beside the step for as long as it lasts; the gang does not outlive them."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from ..gang import GangHandle
from .base import Site
from .programs import Program, ProgramFailed

_POLL = 0.05


class Cluster:
    """A framework that is a cluster of its own: the control rank has it around the body, the workers are its nodes."""

    on_control_only = True

    @contextmanager
    def boot(self, site: Site) -> Iterator[Mapping[str, Any]]:
        """The cluster on the control rank; a worker's part is all in ``stand_by``."""
        if site.gang.rank:
            yield {}
            return
        with self.lead(site) as found:
            yield found

    def lead(self, site: Site) -> AbstractContextManager[Mapping[str, Any]]:
        """What `boot` is on the control rank."""
        raise NotImplementedError


@contextmanager
def beside(program: Program, grace: float) -> Iterator[Program]:
    """End a program when the block ends well.

    If it fails, the program is left to the end of the rank, which takes all its processes along: the other ranks would
    notice its end, and one of them might be taken for the first to fail.
    """
    yield program
    program.stop(grace)


def environment_of(site: Site) -> dict[str, str]:
    """This process's variables, with the flow's folder where modules are looked for: what the step sends to a worker
    may name functions of the flow's own module."""
    path = [site.source, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))}


def check(program: Program, name: str) -> None:
    """See that a program is still running.

    Raises
    ------
    ProgramFailed
        With its last lines, if it is not.
    """
    code = program.poll()
    if code is not None:
        raise ProgramFailed(f"{name} ended on this node before the step did", code or 1, program.lines())


def wait_for_all(gang: GangHandle, program: Program, name: str) -> None:
    """Wait until every rank is here, and see meanwhile that a program is still running; a collective call.

    Raises
    ------
    ProgramFailed
        With its last lines, if it is not.
    """
    done = threading.Event()
    problems: list[Exception] = []

    def wait() -> None:
        try:
            gang.barrier()
        except Exception as error:
            problems.append(error)
        done.set()

    threading.Thread(target=wait, daemon=True).start()
    while not done.wait(_POLL):
        check(program, name)
    for problem in problems:
        raise problem


def wait_for_port(address: str, port: int, program: Program, name: str, limit: float) -> None:
    """Wait until a program listens, for so many seconds.

    Raises
    ------
    ProgramFailed
        If it ends, or takes too long.
    """
    deadline = time.monotonic() + limit
    while True:
        check(program, name)
        try:
            socket.create_connection((address, port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                text = f"{name} did not listen at {address} port {port} within {limit:g} s"
                raise ProgramFailed(text, 1, program.lines()) from None
            time.sleep(_POLL)


@contextmanager
def watched(gang: GangHandle, programs: Mapping[str, Program]) -> Iterator[None]:
    """While a body runs: bring the gang down if one of the programs ends under it."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.2):
            try:
                for name, program in programs.items():
                    check(program, name)
            except ProgramFailed as error:
                try:
                    gang.abort(str(error))
                except Exception:
                    return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
