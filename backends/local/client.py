"""Runs of this machine, asked about and ended as those of a scheduler are."""

from __future__ import annotations

import os
import signal
import time

from ...runtime.datastore import open_datastore
from ...runtime.datastore.base import Datastore
from ...runtime.runs import RUNNING, RunError, RunStatus, read_status
from ..clients import Access, Look, Order, Run, Tell

_PERIOD = 0.2


class LocalClient:
    """See `flowc.backends.clients.Client`."""

    def __init__(self, datastore: Datastore) -> None:
        self._datastore = datastore

    def find(self, text: str | None, flow: str | None) -> Run | None:
        """Nothing: runs are found in the datastore."""
        return None

    def submit(self, order: Order, tell: Tell) -> Run:
        """Raises `RunError`: a local run is followed by the process that starts it."""
        raise RunError("here a flow is run, not submitted: flowc run FILE")

    def look(self, run: Run) -> Look:
        """Its status."""
        assert run.info is not None
        return Look(read_status(self._datastore, run.info))

    def wait(self, run: Run, tell: Tell) -> RunStatus:
        """Look until it has ended."""
        while (status := self.look(run).status).state == RUNNING:
            time.sleep(_PERIOD)
        return status

    def cancel(self, run: Run, *, force: bool, tell: Tell) -> None:
        """Tell its process to end, or with ``force`` kill it."""
        status = self.look(run).status
        if status.pid is None or status.host != os.uname().nodename:
            raise RunError(f"run {run.prefix} runs on {status.host or 'another machine'}; cancel it there")
        os.kill(status.pid, signal.SIGKILL if force else signal.SIGTERM)


def connect(access: Access) -> LocalClient:
    """The runs of one datastore."""
    return LocalClient(open_datastore(access.datastore))
