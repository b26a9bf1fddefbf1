"""Runs of the tests' flows by the manifests for Argo: the same questions, asked of another target.

What ``flowc compile`` writes is run by the lab's interpreter, command by command, each in a pod of the lab.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from flow_server import flowc_ended
from flow_target import Finished, RunView, Target, Values, ended, flowc, given, of_the_flow

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
    late = 5.0  # the start of a pod
    tagged = False

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

        with self.workflow(flow_file, params, with_, env, options) as (cluster, workflow):
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
        options: Sequence[str] = (),
    ) -> Iterator[tuple[Cluster, Workflow]]:
        """A cluster with the flow's manifests, and a workflow of it that has not begun."""
        from argo_cluster import Cluster

        values = self.values(flow_file, params)
        manifests = self.compile(flow_file, with_, env, options)
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
        return resumed_here(run, expect, options)

    def compile(
        self, flow_file: Path, with_: Iterable[str], env: Mapping[str, str] | None, options: Sequence[str] = ()
    ) -> dict[str, bytes]:
        """The manifests of a flow by file name."""
        out = self.folder / "manifests"
        arguments = ["compile", str(flow_file), "--target", "argo", "-o", str(out), *of_the_flow(options)]
        arguments += given({}, with_)
        finished = flowc_ended(arguments, self.folder, env)
        assert finished.returncode == 0, finished.said
        return {file.name: file.read_bytes() for file in (out / "argo").iterdir() if file.is_file()}


def resumed_here(run: RunView, expect: str, options: Sequence[str]) -> RunView:
    """A run resumed on this machine, from the same datastore: it is no workflow's, and nothing else resumes it."""
    said = run.target.folder / "run-id"
    words = ["resume", f"{run.flow}/{run.run_id}", "--target", "local", "--file", str(run.flow_file)]
    words += ["--datastore", str(run.root), "--run-id-file", str(said), *options]
    finished = ended(*flowc(*words), cwd=run.target.folder)
    assert finished.returncode == {"done": 0, "failed": 1}[expect], finished.said
    return RunView(run.flow, said.read_text().strip(), run.root, finished, run.target, run.flow_file, run.params)
