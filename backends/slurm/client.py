"""Runs on Slurm, started, asked about and ended from here. What there is to do is done in `runtime.slurm`, since a
cluster without flowc does it, too.
"""

from __future__ import annotations

import tempfile

from ...runtime.datastore import open_datastore
from ...runtime.datastore.base import Datastore
from ...runtime.runs import RunStatus
from ..clients import Access, Look, Order, Run, Tell


class SlurmClient:
    """See `flowc.backends.clients.Client`."""

    def __init__(self, datastore: Datastore) -> None:
        self._datastore = datastore

    def find(self, text: str | None, flow: str | None) -> Run | None:
        """Nothing: runs are found in the datastore."""
        return None

    def submit(self, order: Order, tell: Tell) -> Run:
        """Stage the files and submit the first jobs."""
        from ...runtime.slurm.launch import Request, submit
        from ...runtime.slurm.staging import read_bundle
        from ..manifests import write

        with tempfile.TemporaryDirectory(prefix="flowc-submit-") as folder:
            write(folder, order.files)
            bundle = read_bundle(folder)
            request = Request(
                bundle,
                self._datastore,
                {},
                order.tags,
                order.origin,
                order.first,
                order.values,
                order.source,
                order.max_num_splits,
            )
            return Run.known(submit(request))

    def look(self, run: Run) -> Look:
        """Its status, and what of it waits or runs."""
        from ...runtime.slurm.reasons import explanations
        from ...runtime.slurm.status import look

        assert run.info is not None
        found = look(self._datastore, run.info)
        lines, jobs = [], []
        for job in found.jobs or ():
            because = f" ({job.reason.strip('()')})" if job.reason not in ("None", "") else ""
            lines.append(f"{job.id:<12} {job.state.lower():<12} {job.name}{because}")
            jobs.append(job._asdict())
        lines += explanations(found.jobs or ())
        return Look(found.status, tuple(lines), {"jobs": jobs})

    def wait(self, run: Run, tell: Tell) -> RunStatus:
        """Until its jobs have ended."""
        from ...runtime.slurm.command_line import wait

        assert run.info is not None
        return wait(self._datastore, run.info).status

    def cancel(self, run: Run, *, force: bool, tell: Tell) -> None:
        """Cancel its jobs. Slurm itself kills those that linger, so ``force`` changes nothing."""
        from ...runtime.slurm.status import cancel

        assert run.info is not None
        cancel(self._datastore, run.info)


def connect(access: Access) -> SlurmClient:
    """The runs of one datastore."""
    return SlurmClient(open_datastore(access.datastore))
