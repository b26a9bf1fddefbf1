"""``flowc logs``: what the tasks of a run wrote."""

from __future__ import annotations

import sys
import time
from typing import IO, TYPE_CHECKING

import click

from .elsewhere import Where, connect, where_options
from .invocation import Invocation
from .options import datastore, ignored, with_parameters

if TYPE_CHECKING:
    from ..backends.clients import Client
    from ..runtime.address import Address
    from ..runtime.datastore import Datastore
    from ..runtime.record import Records
    from ..runtime.runs import RunInfo

_PERIOD = 0.2
"""Seconds between two looks at the logs that are followed."""

_CHUNK = 1 << 20


@click.command("logs")
@with_parameters(
    click.Argument(["task"], metavar="RUN[/STEP[/INDEX]]"),
    click.Option(["--stdout", "only_stdout"], is_flag=True, help="Only standard output."),
    click.Option(["--stderr", "only_stderr"], is_flag=True, help="Only standard error."),
    click.Option(["--both"], is_flag=True, hidden=True),
    click.Option(["--attempt"], type=click.IntRange(min=0), help="This attempt, from 0; otherwise the last one."),
    click.Option(["--follow", "-f"], is_flag=True, help="Go on until the run ends."),
    *where_options(),
    ignored("--timestamps/--no-timestamps", flag=True),
    datastore(),
)
@click.pass_obj
def command(
    invocation: Invocation,
    task: str,
    only_stdout: bool,
    only_stderr: bool,
    both: bool,
    attempt: int | None,
    follow: bool,
    target: str | None,
    context: str | None,
    namespace: str | None,
) -> int:
    """Print what tasks wrote: of one task (12/train/0.3), of a step (12/train), or of a whole run (12).

    Standard output goes to standard output and standard error to standard error. Where there are several tasks, each
    line begins with its task. With --target argo it is what the cluster still has of the pods, which do not keep the
    two apart; a rank of a gang is one more number of the index.
    """
    from .selection import find_with_address, open_store, tasks_of

    invocation.say_ignored()
    where = Where(target, context, namespace)
    if where.target is not None:
        from ..backends.clients import LogReader

        client = connect(invocation, where)
        if isinstance(client, LogReader):
            if only_stdout != only_stderr:
                raise click.UsageError("pods do not keep standard output and standard error apart; leave that out")
            return _of_pods(client, invocation, task, attempt, follow)
    store = open_store(invocation)
    info, text = find_with_address(invocation, store, task)
    streams = ["stdout", "stderr"]
    if only_stdout != only_stderr and not both:
        streams = ["stdout" if only_stdout else "stderr"]
    if follow:
        return _follow(store, info, text, streams, attempt)
    records = info.records(store)
    addresses = tasks_of(info, records, text)
    for address in addresses:
        chosen = _attempt(records, address, attempt, required=len(addresses) == 1)
        if chosen is None:
            continue
        for stream in streams:
            prefix = f"{address} | " if len(addresses) > 1 else ""
            _Log(store, f"{records.folder(address, chosen)}/{stream}.log", stream, prefix).copy(end=True)
    return 0


def _of_pods(
    client: Client, invocation: Invocation, text: str, attempt: int | None, follow: bool
) -> int:
    """What the pods of a run have printed, as the cluster has it."""
    from ..backends.clients import LogReader

    parts = [part for part in text.split("/") if part]
    # The names of workflows have hyphens, those of steps never do.
    taken = 2 if len(parts) > 1 and "-" in parts[1] else 1
    run = client.find("/".join(parts[:taken]), invocation.flow)
    assert run is not None and isinstance(client, LogReader)
    task, out = "/".join(parts[taken:]), sys.stdout.buffer

    def write(address: str, line: bytes) -> None:
        out.write(line if task.count("/") else b"%b | %b" % (address.encode(), line))
        out.flush()

    client.logs(run, task, attempt=attempt, follow=follow, write=write)
    return 0


def _attempt(records: Records, address: Address, wanted: int | None, *, required: bool) -> int | None:
    """The attempt to show: the wanted one, else the last."""
    there = records.attempts(address)
    if wanted is None:
        return there[-1] if there else None
    if wanted in there:
        return wanted
    if required:
        raise click.UsageError(f"{address} has no attempt {wanted}; it has {', '.join(map(str, there)) or 'none'}")
    return None


class _Log:
    """One log, copied from where the last copy ended."""

    def __init__(self, store: Datastore, key: str, stream: str, prefix: str) -> None:
        self._store = store
        self._key = key
        self._prefix = prefix.encode()
        self._offset = 0
        self._rest = b""
        self._out: IO[bytes] = (sys.stdout if stream == "stdout" else sys.stderr).buffer

    def copy(self, *, end: bool) -> None:
        """Copy what is new; with ``end`` also an incomplete last line."""
        while True:
            try:
                data = self._store.read_part(self._key, self._offset, _CHUNK)
            except FileNotFoundError:
                data = b""
            if not data:
                break
            self._offset += len(data)
            if not self._prefix:
                self._out.write(data)
                continue
            *lines, self._rest = (self._rest + data).split(b"\n")
            self._out.write(b"".join(b"%b%b\n" % (self._prefix, line) for line in lines))
        if end and self._rest:
            self._out.write(b"%b%b\n" % (self._prefix, self._rest))
            self._rest = b""
        self._out.flush()


def _follow(store: Datastore, info: RunInfo, text: str, streams: list[str], attempt: int | None) -> int:
    from ..runtime.runs import RUNNING, read_status
    from .selection import tasks_of

    records = info.records(store)
    single = "/" in text
    logs: dict[str, _Log] = {}
    while True:
        ended = read_status(store, info).state != RUNNING
        try:
            addresses = tasks_of(info, records, text)
        except click.UsageError:
            # A task that has not begun is waited for; a step that the run does not have never comes.
            if ended or text.partition("/")[0].partition("@")[0] not in info.outline:
                raise
            addresses = []
        for address in addresses:
            for number in records.attempts(address) if attempt is None else [attempt]:
                for stream in streams:
                    key = f"{records.folder(address, number)}/{stream}.log"
                    if key not in logs:
                        logs[key] = _Log(store, key, stream, "" if single else f"{address} | ")
                    logs[key].copy(end=ended)
        if ended:
            return 0
        time.sleep(_PERIOD)
