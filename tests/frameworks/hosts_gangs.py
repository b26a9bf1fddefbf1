"""A gang of a flow over the hosts of the lab: each rank by the one entry point, as a scheduler would start it."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from framework_rows import Row
from frameworks_lab import HEAVY, PYTHON, GangLab, patient
from hosts_lab import HostsLab
from secrets_watch import SecretsWatch

_LAST_OF_LOGS = """find /tmp -path '*/logs/*' -type f -size +0 -exec sh -c 'echo "$0:"; tail -n 5 "$0"' {} ';'"""
"""Ray's, which it writes nowhere else."""


class HostsGang(GangLab):
    """One run of a row's flow, whose gang has one rank on each host."""

    def __init__(self, lab: HostsLab, row: Row, **parameters: Any) -> None:
        folder = Path(tempfile.mkdtemp(dir=lab.folder))
        folder.chmod(0o777)
        super().__init__(folder, row.flow(), row.files)
        self.lab = lab
        self.size = len(lab.hosts)
        self.all_said: list[str] = []
        self.not_ours: set[str] = set()
        self.create_run(ranks=self.size, **parameters)

    def task(self, on: int, variables: Mapping[str, str], **options: Any) -> subprocess.Popen[str]:
        """The gang's rank of a host, with variables of its own."""
        fixed = {
            "FLOWC_GANG_MAIN": "node0",
            "FLOWC_PREEMPT_GRACE": "60",
            "TMPDIR": "/tmp",
        }  # each host has its own /tmp
        environment = self.of_rank(on, self.size, **{**fixed, **variables})
        if "uid" in options:
            # A pod of a user without a name says nothing of one, and its home, "/", takes no files; here "/" would.
            environment = {**environment, "HOME": "/sys"}
            for name in ("USER", "LOGNAME"):
                environment.pop(name, None)
            self.not_ours = {".keras"}  # which Keras then leaves in /tmp, whatever TMPDIR says
        return self.lab.host(on).popen(
            [PYTHON, "-m", "flowc.runtime", "step", "work"],
            environment,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **options,
        )

    def ranks(
        self, variables: Mapping[int, Mapping[str, str]] | None = None, *, attempt: int = 0, **options: Any
    ) -> list[subprocess.Popen[str]]:
        """All ranks of the gang; ``variables`` are those of single hosts."""
        common = {"FLOWC_ATTEMPT": str(attempt)}
        return [self.task(rank, {**common, **(variables or {}).get(rank, {})}, **options) for rank in range(self.size)]

    def wait_until_up(self, processes: list[subprocess.Popen[str]]) -> None:
        """Until the body of a gang that waits has begun; what the ranks said and what still runs, where it does not."""
        deadline = time.monotonic() + HEAVY / 2
        while not self.mark_of_failure().exists():
            if time.monotonic() > deadline or any(each.poll() is not None for each in processes):
                logs = [host.run(["sh", "-c", _LAST_OF_LOGS]).stdout for host in self.lab.hosts]
                running = {pid: command for host in self.lab.hosts for pid, command in host.commands().items()}
                for pid in running:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                self.finish(processes)
                raise AssertionError(f"it did not come up: {self.said}; there ran {running.values()}; logs: {logs}")
            time.sleep(0.1)

    def finish(self, processes: list[subprocess.Popen[str]]) -> list[int]:
        """Their exit codes; what they said is kept."""
        self.said = [process.communicate(timeout=HEAVY)[0] for process in processes]
        self.all_said += self.said
        return [process.returncode for process in processes]

    def watch(self) -> SecretsWatch:
        """Looks into the folders of the hosts."""
        return SecretsWatch(lambda: [Path(f"/proc/{host.init}/root/tmp") for host in self.lab.hosts])

    def assert_hosts_clean(self) -> None:
        """No process, no port, no file in any host's /tmp, and no shared memory."""
        for host in self.lab.hosts:
            # What has been killed is gone once the host's first process has reaped it.
            until = time.monotonic() + patient(2)
            while (found := host.processes()) and time.monotonic() < until:
                time.sleep(0.05)
            assert found == [], f"on {host.name} there still run {found}"
            assert host.listening() == [], host.name
            # What the lab itself put there: its folder, and a clone or an environment that lies below /tmp.
            there = {folder.split("/")[0] for folder in self.lab.shared_in_tmp}
            left = [name for name in host.run(["ls", "-A", "/tmp"]).stdout.split() if name not in there]
            assert set(left) <= {self.lab.folder.name} | self.not_ours, (host.name, left)
            shared = host.run(["ls", "-A", "/dev/shm"]).stdout.split()
            assert shared == [], (host.name, shared)

    def assert_nothing_left(self, watch: SecretsWatch | None = None) -> None:
        """The same, and no secret where it does not belong."""
        self.assert_hosts_clean()
        self.assert_clean(*self.all_said, watch=watch)
