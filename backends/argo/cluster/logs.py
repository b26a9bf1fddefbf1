"""What the pods of a run print: so far, or as it comes."""

from __future__ import annotations

import functools
import re
import threading
import time
from collections.abc import Callable, Iterator

from .connection import Cluster
from .errors import PATIENCE, ClusterError, patiently
from .pods import TaskPod, matches, of_run, tasks, wanted

_PERIOD = 1.0

_ENDING = 45.0
"""Seconds in which pods that are there when their run has ended may yet print: the grace that they have."""

_STAMP = re.compile(rb"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?(Z|[-+][0-9:]{5}) ")
"""Before each line of a log that is asked for with times."""


def tail(cluster: Cluster, run: str, address: str, count: int) -> list[str]:
    """The last lines that a task has printed; of a gang, of that rank which failed first."""
    try:
        found = wanted(tasks(of_run(cluster, run)), address, None)
        failed = [each for each in found if each.pod.get("status", {}).get("phase") == "Failed"]
        if not failed and not found:
            return []
        chosen = (sorted(failed, key=_finished) or found)[0]
        lines = cluster.log(chosen.name, chosen.container, tail=count)
        return [line.decode("utf-8", "replace").rstrip("\n") for line in lines]
    except ClusterError:
        return []  # the failure is told without them


def _finished(each: TaskPod) -> str:
    for container in each.pod.get("status", {}).get("containerStatuses") or ():
        if container.get("name") == each.container:
            return str((container.get("state") or {}).get("terminated", {}).get("finishedAt") or "~")
    return "~"


def copy_logs(
    cluster: Cluster, run: str, task: str, *, attempt: int | None, write: Callable[[str, bytes], None]
) -> bool:
    """Give what the wanted pods have printed so far; whether there was any such pod."""
    found = wanted(tasks(of_run(cluster, run)), task, attempt)
    for each in found:
        for line in cluster.log(each.name, each.container):
            write(each.address, line)
    return bool(found)


def follow_logs(
    cluster: Cluster,
    run: str,
    task: str,
    *,
    attempt: int | None,
    write: Callable[[str, bytes], None],
    over: Callable[[], bool],
) -> bool:
    """Give what the wanted pods print until the run is over, each pod from its beginning; whether there was any."""
    lock, problems_met = threading.Lock(), []
    readers: dict[str, threading.Thread] = {}
    at_work: set[str] = set()

    def read(each: TaskPod) -> None:
        try:
            for line in _printed(cluster, each, lambda: each.name not in at_work):
                with lock:
                    write(each.address, line)
        except (ClusterError, OSError) as error:
            problems_met.append(error)

    ended, until = False, 0.0
    while True:
        ended = ended or over()
        found = tasks(patiently(lambda: of_run(cluster, run)))
        at_work = {each.name for each in found if not each.ended}
        for each in found:
            chosen = (not task or matches(each.address, task)) and attempt in (None, each.attempt)
            if chosen and each.begun and each.name not in readers:
                readers[each.name] = threading.Thread(target=read, args=(each,), daemon=True)
                readers[each.name].start()
                if each.ended:
                    readers[each.name].join()  # what is over is told in its order
        if problems_met:
            raise problems_met[0]
        if not ended:
            time.sleep(_PERIOD)
            continue
        until = until or time.monotonic() + _ENDING
        reading = [reader for reader in readers.values() if reader.is_alive()]
        if not reading or time.monotonic() > until:
            return bool(readers)
        reading[0].join(_PERIOD)


def _printed(cluster: Cluster, each: TaskPod, is_over: Callable[[], bool]) -> Iterator[bytes]:
    """What a pod prints until its container has ended, each line once.

    A server, or a proxy before it, ends such an answer whenever it likes, and not always as one that failed. So the
    log is asked for again while the container runs, and once more when it has ended.
    """
    place, ended = _Place(), each.ended
    until = time.monotonic() + PATIENCE
    while True:
        since, broken = place.again(), None
        lines = patiently(functools.partial(cluster.follow_log, each.name, each.container, since))
        try:
            for line in lines:
                yield from place.new(line)
        except ClusterError as error:
            broken = error
        if ended and broken is None:
            yield from place.rest()
            return
        if broken is not None and ended and time.monotonic() > until:
            raise broken
        if not ended:
            ended, until = is_over(), time.monotonic() + PATIENCE
        if broken is not None or not ended:
            time.sleep(_PERIOD)


class _Place:
    """How far a log has been read, by the times of its lines: it can be asked for from a whole second on."""

    def __init__(self) -> None:
        self._last: tuple[bytes, bytes] = (b"", b"")
        self._there = 0  # lines of that time which have been given
        self._skip = 0
        self._known = False  # whether what comes may have been given already
        self._second = self._unfinished = self._remark = b""

    def again(self) -> str:
        """From when the log is to be read now; empty for its beginning."""
        self._skip, self._known, self._unfinished = self._there, True, b""
        return self._second.decode()

    def new(self, line: bytes) -> Iterator[bytes]:
        """The line without its time, if it is whole and has not been given."""
        if not line.endswith(b"\n"):
            self._unfinished = line
            return
        found = _STAMP.match(line)
        if found is None:
            # Of the kubelet's own, and each time that it is asked.
            if line != self._remark:
                yield line
            self._remark = line
            return
        when = found[1], (found[2] or b"").ljust(9, b"0")
        if self._known and when <= self._last:
            if when < self._last:
                return
            self._skip -= 1
            if self._skip >= 0:
                return
        self._known = False
        if when > self._last:
            self._last, self._there, self._second = when, 0, found[1] + found[3]
        self._there += when == self._last
        yield line[found.end() :]

    def rest(self) -> Iterator[bytes]:
        """The last line, where nothing ends it."""
        if self._unfinished:
            yield from self.new(self._unfinished + b"\n")
