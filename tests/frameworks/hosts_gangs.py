"""A gang of a flow over the hosts of the lab: each rank by the one entry point, as a scheduler would start it."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Any

from flowc.compiler import compile_flow
from flowc.runtime.datastore import open_datastore
from flowc.runtime.runs import create_run
from framework_rows import Row
from frameworks_lab import HEAVY, PYTHON, GangLab
from hosts_lab import HostsLab


class HostsGang(GangLab):
    """One run of a row's flow, whose gang has one rank on each host."""

    def __init__(self, lab: HostsLab, row: Row, **parameters: Any) -> None:
        folder = Path(tempfile.mkdtemp(dir=lab.folder))
        folder.chmod(0o777)
        super().__init__(folder, row.flow(), row.files)
        self.lab = lab
        self.size = len(lab.hosts)
        plan = compile_flow(str(self.flow)).plan
        assert plan is not None
        values = {"what": "", "ranks": self.size, **parameters}
        create_run(open_datastore(str(self.store)), plan.to_json(), values, file=str(self.flow))
        assert self.finish([self.task("start", 0)]) == [0]

    def task(self, step: str, on: int, **options: Any) -> subprocess.Popen[str]:
        """One task, on a host; a gang's rank is that of the host."""
        environment = self.environment(
            FLOWC_FLOW_NAME=self.name,
            FLOWC_RUN_ID="1",
            FLOWC_FLOW_FILE=str(self.flow),
            FLOWC_GANG_SIZE=str(self.size),
            FLOWC_GANG_RANK=str(on),
            FLOWC_GANG_MAIN="node0",
            TMPDIR="/tmp",  # each host has its own
            FLOWC_PREEMPT_GRACE="5",
        )
        return self.lab.host(on).popen(
            [PYTHON, "-m", "flowc.runtime", "step", step],
            environment,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **options,
        )

    def ranks(self, **options: Any) -> list[subprocess.Popen[str]]:
        """All ranks of the gang."""
        return [self.task("work", rank, **options) for rank in range(self.size)]

    def finish(self, processes: list[subprocess.Popen[str]]) -> list[int]:
        """Their exit codes; what they said is kept."""
        self.said = [process.communicate(timeout=HEAVY)[0] for process in processes]
        return [process.returncode for process in processes]

    def assert_nothing_left(self) -> None:
        """No process, no file in any host's /tmp, no secret where it does not belong."""
        for host in self.lab.hosts:
            assert host.processes() == []
            # What the lab itself put there: its folder, and a clone or an environment that lies below /tmp.
            there = {folder.split("/")[0] for folder in self.lab.shared_in_tmp}
            left = [name for name in host.run(["ls", "-A", "/tmp"]).stdout.split() if name not in there]
            assert set(left) <= {self.lab.folder.name}, (host.name, left)
        self.assert_clean(*self.said)
