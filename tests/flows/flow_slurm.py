"""Runs of the tests' flows on a Slurm cluster: the same questions, asked of another target."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from flow_target import LOCAL_ONLY, Finished, RunView, Target, Values, clean_environment, flowc, given


class Cluster(Protocol):
    """What is asked of the lab: its environment, and a program run where Slurm's own programs work."""

    env: Mapping[str, str]

    def run(self, argv: Sequence[str], env: Mapping[str, str] | None = None, **options: Any) -> Any: ...


class Slurm(Target):
    """The Slurm backend, through the real command line and a real controller.

    Parameters
    ----------
    folder : Path
        Seen by all nodes.
    """

    name = "slurm"
    patience = 240.0
    late = 10.0

    def __init__(self, folder: Path, cluster: Cluster) -> None:
        super().__init__(folder)
        self.cluster = cluster

    def run(
        self,
        flow_file: Path,
        params: Values | None = None,
        with_: Iterable[str] = (),
        expect: str = "done",
        options: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> RunView:
        values = self.values(flow_file, params)
        arguments = ["submit", str(flow_file), "--target", "slurm", "--wait", *self._options(options)]
        arguments += given(values, with_)
        return self._view(arguments, flow_file, values, expect, env)

    def resume(self, run: RunView, expect: str = "done", options: Sequence[str] = ()) -> RunView:
        arguments = ["resume", f"{run.flow}/{run.run_id}", "--wait", *self._options(options)]
        return self._view(arguments, run.flow_file, run.params, expect, None)

    def command(self, *arguments: str, env: Mapping[str, str] | None = None, timeout: float | None = None) -> Finished:
        """Run ``flowc`` on the login side of the cluster, and wait for it."""
        environment = {
            **{k: v for k, v in clean_environment().items() if not k.startswith(("SLURM", "SBATCH"))},
            **self.cluster.env,
            "FLOWC_PYTHON": sys.executable,
            **(env or {}),
        }
        done = self.cluster.run(flowc(*arguments), environment, timeout=timeout or self.patience, cwd=self.folder)
        return Finished(done.returncode, done.stdout, done.stderr)

    def _options(self, options: Sequence[str]) -> list[str]:
        kept = []
        words = iter(options)
        for word in words:
            if word in LOCAL_ONLY:
                next(words, None)
            else:
                kept.append(word)
        return ["--datastore", str(self.root), "--run-id-file", str(self.folder / "run-id"), *kept]

    def _view(
        self, arguments: list[str], flow_file: Path, params: Values, expect: str, env: Mapping[str, str] | None
    ) -> RunView:
        finished = self.command(*arguments, env=env)
        wanted = {"done": 0, "failed": 1}[expect]
        run_id = (self.folder / "run-id").read_text().strip() if (self.folder / "run-id").exists() else "?"
        assert finished.returncode == wanted, (
            f"run {run_id}: exit code {finished.returncode}, not {wanted}\n{finished.stdout}\n{finished.stderr}\n"
            + self.accounts(run_id)
        )
        flow = next(self.root.glob(f"*/{run_id}/run.json")).parent.parent.name
        view = RunView(flow, run_id, self.root, finished, self, flow_file, params)
        assert view.status["state"] == expect
        return view

    def accounts(self, run_id: str) -> str:
        """What the run's jobs wrote outside their tasks."""
        found = sorted(self.root.glob(f"*/{run_id}/slurm/logs/*.out"))
        return "\n".join(f"{file.name}: {text}" for file in found if (text := file.read_text(errors="replace")))[-5000:]
