"""Runs of the tests' flows by the manifests for Argo: the same questions, asked of another target.

What ``flowc compile`` writes is run by the lab's interpreter, command by command, each in a pod of the lab.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flow_target import LOCAL_ONLY, Finished, RunView, Target, Values, ended, flowc

if TYPE_CHECKING:
    from argo_cluster import Cluster
    from argo_workflow import Workflow
    from hosts_lab import Host


class Argo(Target):
    """The Argo backend: its manifests, through the real command line, and the lab's cluster.

    Parameters
    ----------
    compiled : Path
        Where the interpreters of all pods of a test session keep compiled modules.
    hosts : sequence of Host, optional
        Where gangs run; the folder must be seen by them.
    """

    name = "argo"
    shortest = 3

    def __init__(self, folder: Path, compiled: Path | None = None, hosts: Sequence[Host] | None = None) -> None:
        super().__init__(folder)
        self.compiled, self.hosts = compiled, hosts
        self.root = folder / "cluster" / "claims" / "flowc"
        self.cluster: Cluster | None = None
        self.count = 0

    def run(
        self,
        flow_file: Path,
        params: Values | None = None,
        with_: Iterable[str] = (),
        expect: str = "done",
        options: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> RunView:
        from argo_cluster import report

        assert all(word in LOCAL_ONLY for word in options[::2]), options
        with self.workflow(flow_file, params, with_, env) as (cluster, workflow):
            cluster.ended(workflow)
            said = report(workflow)
            assert cluster.running() == [], "JobSets run on after the end of the workflow"
        wanted = {"done": "Succeeded", "failed": "Failed"}[expect]
        assert workflow.root.phase == wanted, f"{workflow.root.phase}, not {wanted}\n{said}"
        assert workflow.exit is not None and workflow.exit.phase == "Succeeded", said
        view = self.view(workflow, flow_file, params, Finished({"done": 0, "failed": 1}[expect], "", said))
        assert view.status["state"] == expect, said
        return view

    @contextmanager
    def workflow(
        self,
        flow_file: Path,
        params: Values | None = None,
        with_: Iterable[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> Iterator[tuple[Cluster, Workflow]]:
        """A cluster with the flow's manifests, and a workflow of it that has not begun."""
        from argo_cluster import Cluster

        values = self.values(flow_file, params)
        manifests = self.compile(flow_file, with_, env)
        self.count += 1
        folder = self.folder / "cluster"
        with Cluster(
            folder, shared=[self.folder], hosts=self.hosts, compiled=self.compiled, secrets={}, at_once=3
        ) as cluster:
            self.cluster = cluster
            cluster.apply(manifests)
            (template,) = cluster.templates
            texts = {name: str(value) for name, value in values.items()}
            yield cluster, cluster.workflow(template, texts, f"{template[:40]}-{self.count}")

    def view(self, workflow: Workflow, flow_file: Path, params: Values | None, finished: Finished) -> RunView:
        """What a workflow has left."""
        flow = next(self.root.glob(f"*/{workflow.name}/run.json")).parent.parent.name
        return RunView(flow, workflow.name, self.root, finished, self, flow_file, self.values(flow_file, params))

    def resume(self, run: RunView, expect: str = "done", options: Sequence[str] = ()) -> RunView:
        """On this machine, from the same datastore: a run is no workflow's, and nothing else resumes it."""
        said = self.folder / "run-id"
        words = ["resume", f"{run.flow}/{run.run_id}", "--target", "local", "--file", str(run.flow_file)]
        words += ["--datastore", str(self.root), "--run-id-file", str(said), *options]
        finished = ended(*flowc(*words), cwd=self.folder)
        assert finished.returncode == {"done": 0, "failed": 1}[expect], finished.said
        return RunView(run.flow, said.read_text().strip(), self.root, finished, self, run.flow_file, run.params)

    def compile(self, flow_file: Path, with_: Iterable[str], env: Mapping[str, str] | None) -> dict[str, bytes]:
        """The manifests of a flow by file name."""
        out = self.folder / "manifests"
        arguments: list[Any] = ["compile", str(flow_file), "--target", "argo", "-o", str(out)]
        for spec in with_:
            arguments += ["--with", spec]
        finished = ended(*flowc(*arguments), env=env, cwd=self.folder)
        assert finished.returncode == 0, finished.said
        return {file.name: file.read_bytes() for file in (out / "argo").iterdir() if file.is_file()}
