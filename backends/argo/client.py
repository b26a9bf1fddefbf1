"""Runs on Argo: deployed, started, asked about and ended through the Kubernetes API."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from ...runtime.datastore import open_datastore
from ...runtime.datastore.base import Datastore
from ...runtime.report import INTERRUPTED as INTERRUPTED_TYPE
from ...runtime.runs import INTERRUPTED, RUNNING, RunError, RunInfo, RunStatus, read_run, read_status, write_status
from ..clients import Access, Look, Order, Run, Tell
from .cluster import logs, pods
from .cluster.connection import Cluster, Object
from .cluster.deploying import deploy, template_of
from .cluster.errors import PATIENCE, ClusterError, patiently
from .cluster.nodes import FLOW_LABEL, RUN_LABEL, RunningFlow
from .cluster.submitting import submit
from .names import flow_object

_WATCH = 240
"""Seconds of one watch; the server may end it earlier."""

_GOING = 120.0
"""Seconds in which a workflow that was stopped has ended: pods have their grace, then the exit handler runs. What a
step asks for to save a checkpoint comes on top."""

_TERMINATED = 20.0
"""The same of one that was terminated: until then its controller may still create a JobSet."""

_LAST = 20

_GONE = ". What Workflows left that were deleted is in the flow's datastore: leave --target out, and name it"


class ArgoClient:
    """See `flowc.backends.clients`: Client, Deployer and LogReader."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._known: Cluster | None = None

    @property
    def _cluster(self) -> Cluster:
        if self._known is None:
            self._known = Cluster(self._access.context, self._access.namespace)
        return self._known

    # Starting --------------------------------------------------------------------------------------------------------

    def deploy(self, files: Mapping[str, bytes], *, dry_run: bool, force: bool, tell: Tell) -> None:
        """Bring the flow's objects up to date."""
        deploy(self._cluster_of(files), files, dry_run=dry_run, force=force, tell=tell)

    def submit(self, order: Order, tell: Tell) -> Run:
        """Create a Workflow from the template that is deployed."""
        if order.origin is not None:
            raise ClusterError("runs are not resumed on Argo; go on with it here: add --target local")
        if order.tags:
            raise ClusterError("runs on Argo take no tags; leave --tag out")
        done = submit(self._cluster_of(order.files), order)
        for note in done.notes:
            tell(note)
        return self._run(RunningFlow(done.workflow), order)

    def _cluster_of(self, files: Mapping[str, bytes]) -> Cluster:
        """The cluster, in the namespace that the manifests name, if they name one."""
        self._cluster.namespace = template_of(files)["metadata"].get("namespace") or self._cluster.namespace
        return self._cluster

    # Finding ---------------------------------------------------------------------------------------------------------

    def find(self, text: str | None, flow: str | None) -> Run | None:
        """By the Workflow's name, ``Flow/name``, or the latest of a flow."""
        text = (text or "latest").strip("/")
        head, slash, rest = text.partition("/")
        name = rest if slash else head
        if name not in ("", "latest") and pods.name_is_legal(name):
            workflow = self._cluster.get("Workflow", name)
            if workflow is not None:
                self._check_flow(workflow, head if slash else flow)
                return self._run(self._flow_of(workflow))
        if slash and name != "latest":
            raise RunError(f"there is no run {text}: namespace {self._cluster.namespace} has no Workflow {name}{_GONE}")
        wanted = head if head != "latest" else flow
        labels = FLOW_LABEL if wanted is None else f"{FLOW_LABEL}={flow_object(wanted)}"
        found = self._cluster.listed("Workflow", labels)
        if not found:
            what = "no Workflow of flowc" if wanted is None else f"no Workflow {wanted} and none of a flow {wanted}"
            raise RunError(
                f"there is {what} in namespace {self._cluster.namespace} of {self._cluster.name}; is it the right one? "
                f"(--namespace, --context){_GONE}"
            )
        return self._run(self._flow_of(max(found, key=lambda item: str(item["metadata"].get("creationTimestamp")))))

    def _check_flow(self, workflow: Object, flow: str | None) -> None:
        """Raise a `RunError` unless a Workflow is of flowc's, and of the flow, if one is named."""
        name = workflow["metadata"]["name"]
        label = (workflow["metadata"].get("labels") or {}).get(FLOW_LABEL)
        if label is None:
            raise RunError(
                f"Workflow {name} in namespace {self._cluster.namespace} is no run of flowc's: it has no label "
                f"{FLOW_LABEL}; argo and kubectl see to it"
            )
        if flow is not None and label != flow_object(flow):
            raise RunError(
                f"there is no run {flow}/{name}: Workflow {name} in namespace {self._cluster.namespace} is of another "
                f"flow ({label})"
            )

    def _run(self, flow: RunningFlow, order: Order | None = None) -> Run:
        name = flow.flow
        if order is not None:
            import json

            name = str(json.loads(order.files["bundle.json"])["flow"])
        return Run(name, flow.name, "argo", None, self._cluster.namespace)

    def _flow_of(self, workflow: Object) -> RunningFlow:
        status = workflow.get("status") or {}
        reference = (workflow.get("spec") or {}).get("workflowTemplateRef")
        if status.get("storedWorkflowTemplateSpec") or not reference:
            return RunningFlow(workflow)
        template = self._cluster.get("WorkflowTemplate", str(reference["name"]))
        return RunningFlow(workflow, template["spec"] if template else None)

    def _read(self, run: Run) -> RunningFlow:
        workflow = self._cluster.get("Workflow", run.run_id)
        if workflow is None:
            raise ClusterError(
                f"Workflow {run.run_id} is no more in namespace {self._cluster.namespace}; what its tasks left is in "
                "the datastore of the flow",
                404,
            )
        return self._flow_of(workflow)

    # Looking ---------------------------------------------------------------------------------------------------------

    def look(self, run: Run) -> Look:
        """What Kubernetes says, and the records where they are within reach."""
        try:
            flow = self._read(run)
        except ClusterError as error:
            if run.info is None:
                raise
            store, info = self._store(run, None), run.info
            assert store is not None
            return Look(read_status(store, info), (f"the cluster was not asked: {error}",))
        found, lines = [], [f"workflow {flow.name} in namespace {self._cluster.namespace}: {flow.phase or 'not begun'}"]
        if flow.offloaded:
            lines.append("its tasks are in the database of Argo's server, which flowc does not ask")
        if flow.shutdown and not flow.ended:
            lines.append(f"it is being shut down ({flow.shutdown})")
        lines += flow.lines()
        if not flow.ended:
            found = self._problems(flow)
            lines += [f"{who} {why}" for who, why in found]
        facts = {
            "workflow": flow.name,
            "namespace": self._cluster.namespace,
            "phase": flow.phase,
            "steps": flow.counts(),
            "problems": [{"task": who, "message": why} for who, why in found],
        }
        return Look(self._status(run, flow), tuple(lines), facts)

    def _problems(self, flow: RunningFlow) -> list[tuple[str, str]]:
        try:
            there = pods.of_run(self._cluster, flow.name)
        except ClusterError as error:
            if error.status != 403:
                raise
            # Argo tells of some of it in its nodes.
            waiting = [task for task in flow.tasks() if task.state == "waiting" and task.node.get("message")]
            return [(task.address, f"waits: {task.node['message']}") for task in waiting]
        found = list(pods.problems(there))
        if any(made.gang for made in flow.templates.values()):
            jobsets = self._jobsets(flow.name)
            found += pods.jobset_problems(jobsets, there, time.time())
        return found

    def _jobsets(self, name: str, *, must: bool = False) -> list[Object]:
        """Those of a run that are there, and not on their way out; none without the right to see them, unless one must.

        Raises
        ------
        ClusterError
            If they cannot be listed.
        """
        try:
            found = self._cluster.listed("JobSet", f"{RUN_LABEL}={name}")
            return [item for item in found if not item["metadata"].get("deletionTimestamp")]
        except ClusterError as error:
            if error.status == 404 or (error.status == 403 and not must):
                return []
            raise

    def _status(self, run: Run, flow: RunningFlow) -> RunStatus:
        """Argo's word; what failed, and why, from the records, which know more of it, where they can be read."""
        said = flow.run_status()
        if said.state in (RUNNING, "done"):
            return said
        written = self._written(run, flow)
        if written is not None and written.state not in (RUNNING, "done"):
            return written
        if said.failure and said.failure.get("address"):
            last = logs.tail(self._cluster, flow.name, str(said.failure["address"]), _LAST)
            return replace(said, failure={**said.failure, "last_lines": last})
        return said

    def _written(self, run: Run, flow: RunningFlow) -> RunStatus | None:
        store = self._store(run, flow)
        if store is None:
            return None
        try:
            info = run.info or read_run(store, flow.flow, flow.name)
            return read_status(store, info)
        except Exception:
            return None  # out of reach from here, or the run never came to write anything

    def _store(self, run: Run, flow: RunningFlow | None) -> Datastore | None:
        """Where the run's records are, if that can be said from here: as told, or an object store of the flow's."""
        from ...runtime import contract

        url = self._access.datastore if self._access.told else None
        if url is None and flow is not None:
            url = flow.env.get(contract.DATASTORE, "")
            url = url if url.startswith("s3://") else None
        if url is None:
            return None
        try:
            return open_datastore(url)
        except Exception:
            if run.info is not None:
                raise
            return None

    # Following -------------------------------------------------------------------------------------------------------

    def wait(self, run: Run, tell: Tell) -> RunStatus:
        """Watch the Workflow until it has ended, its exit handler included."""
        told: set[str] = set()
        flow = self._read(run)
        while True:
            for line in self._news(flow):
                if line not in told:
                    told.add(line)
                    tell(line)
            if flow.ended:
                return self._status(run, flow)
            flow = self._next(run, flow, _WATCH)

    def _next(self, run: Run, flow: RunningFlow, seconds: int, patience: float = PATIENCE) -> RunningFlow:
        """The Workflow once it has changed, or after some time; ``patience`` as `patiently` has it."""
        began = time.monotonic()
        version = str(flow.workflow["metadata"].get("resourceVersion") or "")
        changed = patiently(lambda: next(self._cluster.watch("Workflow", run.run_id, version, seconds), None), patience)
        if changed is not None:
            return RunningFlow(changed, flow.spec)
        if time.monotonic() - began < 1:
            time.sleep(1)  # the server ends watches at once
        return patiently(lambda: self._read(run), patience)

    def _news(self, flow: RunningFlow) -> list[str]:
        out = [f"{task.address} is {task.state}" for task in flow.tasks() if task.state != "waiting"]
        waiting = [task for task in flow.tasks() if task.state == "waiting" and task.node.get("message")]
        return [*out, *(f"{task.address} waits: {task.node['message']}" for task in waiting)]

    # Ending ----------------------------------------------------------------------------------------------------------

    def cancel(self, run: Run, *, force: bool, tell: Tell) -> bool:
        """Stop the Workflow, so that its exit handler records the end and removes the JobSets; whether it has ended.

        With ``force`` it is terminated: no exit handler runs, so the JobSets are deleted from here.

        Raises
        ------
        ClusterError
            If the cluster refuses; with ``force`` also if the JobSets cannot be seen or deleted.
        """
        flow = self._read(run)
        name = flow.name
        if not flow.ended:
            self._cluster.merge("Workflow", name, {"spec": {"shutdown": "Terminate" if force else "Stop"}})
        if force:
            try:
                self._remove_jobsets(flow, tell)
                if not flow.ended:
                    flow = self._ended_within(_TERMINATED, run, flow)
                    self._remove_jobsets(flow, tell)  # what was being created meanwhile
            finally:
                self._record_interruption(run, flow)
            if not flow.ended:
                tell(f"the workflow was terminated and has not ended for {_TERMINATED:g} s; is Argo's controller up?")
            return flow.ended
        going = _GOING + flow.longest_grace
        flow = self._ended_within(going, run, flow)
        if not flow.ended:
            tell(f"the workflow has not ended within {going:g} s; flowc cancel --force does not wait for its steps")
        try:
            left_over = [item["metadata"]["name"] for item in self._jobsets(name, must=flow.may_have_gangs)]
        except ClusterError as error:
            if error.status != 403:
                raise
            tell(f"whether JobSets are left cannot be seen from here: {error}")
            left_over = []
        if left_over:
            tell(f"these JobSets are still there: {' '.join(left_over)}; flowc cancel --force removes them")
        return flow.ended

    def _ended_within(self, seconds: float, run: Run, flow: RunningFlow) -> RunningFlow:
        """The Workflow once it has ended, or after some seconds."""
        until = time.monotonic() + seconds
        while not flow.ended and (left := until - time.monotonic()) > 0:
            flow = self._next(run, flow, max(1, int(left)), left)
        return flow

    def _remove_jobsets(self, flow: RunningFlow, tell: Tell) -> None:
        try:
            for jobset in self._jobsets(flow.name, must=flow.may_have_gangs):
                self._cluster.delete("JobSet", jobset["metadata"]["name"])
                tell(f"deleted JobSet {jobset['metadata']['name']}")
        except ClusterError as error:
            raise ClusterError(
                f"workflow {flow.name} is terminated, and its JobSets may run on: {error}", error.status
            ) from None

    def _record_interruption(self, run: Run, flow: RunningFlow) -> None:
        """Nothing in the cluster writes down that a run was terminated; where its records can be reached, this does."""
        before, store = self._written(run, flow), self._store(run, flow)
        if store is None or before is None or before.state != RUNNING:
            return
        failure = {"address": None, "attempt": 0, "type": INTERRUPTED_TYPE, "message": "ended by flowc cancel --force"}
        info: RunInfo = run.info or read_run(store, flow.flow, flow.name)
        write_status(store, info, replace(before, state=INTERRUPTED, finished=time.time(), failure=failure))

    # Logs ------------------------------------------------------------------------------------------------------------

    def logs(
        self, run: Run, task: str, *, attempt: int | None, follow: bool, write: Callable[[str, bytes], None]
    ) -> None:
        """What the pods that are still there have printed."""
        if follow:

            def over() -> bool:
                return patiently(lambda: self._read(run)).ended

            seen = logs.follow_logs(self._cluster, run.run_id, task, attempt=attempt, write=write, over=over)
        else:
            seen = logs.copy_logs(self._cluster, run.run_id, task, attempt=attempt, write=write)
        if not seen:
            what = f"of {task} " if task else ""
            raise RunError(
                f"there is no pod {what}of run {run.prefix}"
                + (f" in attempt {attempt}" if attempt is not None else "")
                + "; the ranks of a gang go with its end, and Argo may delete pods, too. What they printed is in the "
                "flow's datastore: leave --target out, and name it with --datastore"
            )


def connect(access: Access) -> ArgoClient:
    """The cluster is asked only once it is needed."""
    return ArgoClient(access)
