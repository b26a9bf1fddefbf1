"""A flow's steps run one by one in this process, by a Plan written by hand: what a scheduler would do, without one."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any, Optional

from flowc import FlowSpec
from flowc.compiler.plan import Plan
from flowc.runtime.address import Address
from flowc.runtime.artifacts import ArtifactStore
from flowc.runtime.datastore import FileDatastore
from flowc.runtime.record import Record
from flowc.runtime.runs import create_run
from flowc.runtime.task import TaskRequest, run_task


class Lab:
    """One run of a flow in a folder."""

    def __init__(
        self, root: Path, plan: Plan, flow: type[FlowSpec], parameters: Optional[dict[str, Any]] = None, **run: Any
    ):
        self.datastore = FileDatastore(str(root))
        self.plan = plan
        self.flow = flow
        self.run = create_run(self.datastore, plan.to_json(), parameters, **run)
        self.records = self.run.records(self.datastore)
        self.store = ArtifactStore(self.datastore, plan.name)
        self.out = ""
        self.err = ""

    def task(self, where: str, attempt: int = 0, *, code: int = 0, **request: Any) -> Optional[Record]:
        """Run one task, which must end with this exit code; its record, done or failed."""
        address = Address.parse(where)
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            got = run_task(self.flow, self.run, self.datastore, TaskRequest(address, attempt, **request))
        self.out, self.err = out.getvalue(), err.getvalue()
        assert got == code, f"{where} ended with {got}\n{self.out}{self.err}"
        return self.records.read(address, attempt)

    def done(self, *where: str) -> Record:
        """Run tasks one after the other, all of which must be done; the record of the last."""
        record = None
        for each in where:
            record = self.task(each)
        assert record is not None and record.done
        return record

    def failed(self, where: str, attempt: int = 0, **request: Any) -> Record:
        """Run a task that must fail; its record."""
        record = self.task(where, attempt, code=1, **request)
        assert record is not None and record.state == "failed" and record.failure is not None
        return record

    def value(self, where: str, name: str) -> Any:
        """An artifact of a task that is done."""
        record = self.records.read(Address.parse(where))
        assert record is not None
        return self.store.load(record.artifacts[name], name)

    def values(self, where: str) -> dict[str, Any]:
        """All artifacts of a task that is done."""
        record = self.records.read(Address.parse(where))
        assert record is not None
        return {name: self.store.load(reference, name) for name, reference in record.artifacts.items()}
