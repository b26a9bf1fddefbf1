"""deploy, submit, status, logs and cancel for Argo: the real client, the lab's API server, the flows in its pods."""

from __future__ import annotations

import functools
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import flowc.cli
import pytest
from argo_api import ArgoApi
from argo_cluster import Cluster
from flow_target import until
from flowc.backends.argo.client import ArgoClient
from flowc.backends.clients import Access, Run
from flowc.cli.elsewhere import Where, follow
from flowc.cli.invocation import Invocation
from flowc.runtime.runs import RunStatus
from hosts_lab import require_lab

pytestmark = pytest.mark.slow

FAN = """
import os, sys, time
from flowc import FlowSpec, Parameter, retry, step
class FanFlow(FlowSpec):
    '''A fan-out.'''
    width = Parameter("width", default=2, type=int)
    bad = Parameter("bad", default=-1, type=int)
    loud = Parameter("loud", default=False, type=bool)
    @step
    def start(self):
        self.items = list(range(self.width))
        self.next(self.work, foreach="items")
    @retry(times=1, minutes_between_retries=0)
    @step
    def work(self):
        print("work on", self.input, self.loud)
        if self.input == self.bad:
            print("this goes wrong", file=sys.stderr)
            os._exit(7)
        self.next(self.join)
    @step
    def join(self, inputs):
        self.next(self.end)
    @step
    def end(self):
        print("the end")
"""
GANG = """
import os, time
from flowc import FlowSpec, current, parallel, step
class GangFlow(FlowSpec):
    @step
    def start(self):
        self.next(self.train, num_parallel=2)
    @parallel
    @step
    def train(self):
        print("rank", current.parallel.node_index, "is here", flush=True)
        time.sleep(600)
        self.next(self.join)
    @step
    def join(self, inputs):
        self.next(self.end)
    @step
    def end(self):
        pass
"""
PRINT = """
import time
from flowc import FlowSpec, step
class PrintFlow(FlowSpec):
    @step
    def start(self):
        for number in range(15):
            print("line", number, flush=True)
            print("same", flush=True)
            time.sleep(0.2)
        print("no end", end="", flush=True)
        self.next(self.end)
    @step
    def end(self):
        pass
"""
TABLE = """
from flowc import FlowSpec, IncludeFile, Parameter, step
class TableFlow(FlowSpec):
    table = IncludeFile("table", default="table.csv")
    note = Parameter("note", default="")
    more = Parameter("more", default="x" * 10_000, help="h" * 1_000)
    @step
    def start(self):
        self.next(self.end)
    @step
    def end(self):
        pass
"""


class Lab:
    """A cluster with its API server, and ``flowc`` that talks to it."""

    def __init__(self, folder: Path, cluster: Cluster, api: ArgoApi) -> None:
        self.folder, self.cluster, self.api = folder, cluster, api

    def file(self, name: str, text: str) -> str:
        path = self.folder / f"{name}.py"
        path.write_text(text)
        return str(path)

    def template(self, name: str) -> dict[str, Any]:
        return self.api.objects.get("workflowtemplates", name)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    require_lab()
    folder = tmp_path_factory.mktemp("argo")
    with Cluster(folder / "cluster", compiled=folder / "compiled", grace=5) as cluster, ArgoApi(cluster, folder) as api:
        yield Lab(folder, cluster, api)


@pytest.fixture
def lab(shared: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Lab]:
    monkeypatch.setenv("KUBECONFIG", str(shared.api.kubeconfig))
    monkeypatch.chdir(tmp_path)
    shared.api.seen.clear()
    yield shared
    shared.api.denied.clear()
    shared.api.absent.clear()
    shared.api.busy = 0
    shared.api.log_ends.clear()
    shared.cluster.place.held_images.clear()
    shared.api.write_kubeconfig("a token of the lab")


Flowc = Callable[..., tuple[int, str, str]]


@pytest.fixture
def flowc_(capfd: pytest.CaptureFixture[str]) -> Flowc:
    """The command line, here: exit code, standard output, standard error. ``argo`` stands for the target."""

    def call(*words: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = flowc.cli.main([*words, "--target", "argo"])
        return (code, *capfd.readouterr())

    return call


@pytest.fixture(scope="module")
def fan(shared: Lab) -> str:
    return shared.file("fan", FAN)


@pytest.fixture(scope="module")
def deployed(shared: Lab, fan: str) -> str:
    """The flow FanFlow, which is in the cluster."""
    before = os.environ.get("KUBECONFIG")
    os.environ["KUBECONFIG"] = str(shared.api.kubeconfig)
    try:
        assert flowc.cli.main(["deploy", fan, "--target", "argo"]) == 0
    finally:
        os.environ.pop("KUBECONFIG")
        if before is not None:
            os.environ["KUBECONFIG"] = before
    return fan


def both_ranks_are_up(lab: Lab, name: str) -> bool:
    pods = [pod for pod in lab.cluster.place.pods if name in str(pod.metadata)]
    return len([pod for pod in pods if "is here" in pod.log()]) == 2


# deploy ---------------------------------------------------------------------------------------------------------------


def test_deploying_twice_changes_nothing(lab: Lab, flowc_: Flowc) -> None:
    file = lab.file("twice", FAN.replace("FanFlow", "TwiceFlow"))
    code, _, said = flowc_("deploy", file, "--dry-run")
    assert code == 0 and "created     WorkflowTemplate twiceflow" in said
    assert not lab.api.objects.has("workflowtemplates", "twiceflow") and "twiceflow" not in lab.cluster.templates
    assert flowc_("deploy", file)[0] == 0
    version = lab.template("twiceflow")["metadata"]["resourceVersion"]
    lab.api.seen.clear()
    code, _, said = flowc_("deploy", file)
    assert code == 0 and {line.split()[0] for line in said.splitlines()} == {"unchanged"}
    assert {line.split()[1] for line in said.splitlines()} == {
        "ConfigMap", "ServiceAccount", "Role", "RoleBinding", "WorkflowTemplate",
    }  # fmt: skip
    assert lab.template("twiceflow")["metadata"]["resourceVersion"] == version
    assert not any(line.startswith("POST") for line in lab.api.seen)
    bound = lab.api.objects.get("rolebindings", "twiceflow")
    assert [subject["namespace"] for subject in bound["subjects"]] == ["flows"]


def test_a_new_version_keeps_the_code_of_the_old_one_and_takes_the_schedule_away(lab: Lab, flowc_: Flowc) -> None:
    text = FAN.replace("FanFlow", "NewFlow").replace("import os", "from flowc import schedule\nimport os")
    scheduled = text.replace("class NewFlow", "@schedule(daily=True)\nclass NewFlow")
    assert flowc_("deploy", lab.file("new", scheduled))[0] == 0
    assert lab.api.objects.has("cronworkflows", "newflow")
    before = set(lab.cluster.maps)
    code, _, said = flowc_("deploy", lab.file("newer", text))
    assert code == 0 and "changed     WorkflowTemplate newflow" in said
    assert "deleted     CronWorkflow newflow: the flow has no schedule any more" in said
    assert not lab.api.objects.has("cronworkflows", "newflow")
    (old,) = [name for name in before if name.startswith("newflow-code")]
    assert old in lab.cluster.maps and f"kubectl -n flows delete configmap {old}" in said


def test_another_flow_of_the_same_name_is_not_replaced(lab: Lab, flowc_: Flowc) -> None:
    text = FAN.replace("import os", "from flowc import project, schedule\nimport os")
    first = text.replace("class FanFlow", '@project(name="one")\n@schedule(daily=True)\nclass SAMEFlow')
    assert flowc_("deploy", lab.file("same_1", first.replace("FanFlow", "SAMEFlow")))[0] == 0
    version = lab.template("sameflow")["metadata"]["resourceVersion"]
    for number, class_, project in ((2, "SameFlow", "one"), (3, "SAMEFlow", "two")):
        other = text.replace("class FanFlow", f'@project(name="{project}")\nclass {class_}').replace("FanFlow", class_)
        file = lab.file(f"same_{number}", other)
        code, _, said = flowc_("deploy", file)
        assert code == 2 and "of the flow SAMEFlow of project one" in said and "--force" in said, said
        assert f"this is the flow {class_} of project {project}" in said
        assert lab.template("sameflow")["metadata"]["resourceVersion"] == version
        assert lab.api.objects.has("cronworkflows", "sameflow")
    assert flowc_("deploy", file, "--force")[0] == 0
    assert not lab.api.objects.has("cronworkflows", "sameflow")


def test_removing_one_flow_leaves_the_others_theirs(lab: Lab, flowc_: Flowc) -> None:
    names = {}
    for flow in ("LeftFlow", "RightFlow"):
        assert flowc_("deploy", lab.file(flow, FAN.replace("FanFlow", flow)))[0] == 0
        volumes = lab.template(flow.lower())["spec"]["volumes"]
        names[flow] = {source["configMap"]["name"] for each in volumes if "projected" in each
                       for source in each["projected"]["sources"]}  # fmt: skip
    assert names["LeftFlow"] and not names["LeftFlow"] & names["RightFlow"]


def test_all_of_much_old_code_is_named(lab: Lab, flowc_: Flowc) -> None:
    for number in range(10):
        code, _, said = flowc_("deploy", lab.file("often", FAN.replace("FanFlow", "OftenFlow") + f"# {number}\n"))
        assert code == 0
    kept = next(line for line in said.splitlines() if "delete configmap" in line)
    assert kept.count("oftenflow-code") == 9 and "..." not in kept and "and 1 more" in said


def test_rights_that_a_flow_needs_no_more_are_named(lab: Lab, flowc_: Flowc) -> None:
    assert flowc_("deploy", lab.file("with_gang", GANG.replace("GangFlow", "LessFlow")))[0] == 0
    code, _, said = flowc_("deploy", lab.file("without_gang", FAN.replace("FanFlow", "LessFlow")))
    assert code == 0 and "kubectl -n flows delete rolebinding lessflow.gang lessflow.jobsets" in said
    assert flowc_("deploy", lab.file("without_gang", FAN.replace("FanFlow", "LessFlow")))[2].count("rolebinding") == 1


def test_what_somebody_else_has_changed_is_not_overwritten(lab: Lab, flowc_: Flowc) -> None:
    from kubernetes import client, config

    file = lab.file("edited", FAN.replace("FanFlow", "EditedFlow"))
    assert flowc_("deploy", file)[0] == 0
    editor = client.CustomObjectsApi(config.new_client_from_config(str(lab.api.kubeconfig)))
    editor.patch_namespaced_custom_object(
        "argoproj.io", "v1alpha1", "flows", "workflowtemplates", "editedflow", {"spec": {"entrypoint": "other"}},
        field_manager="kubectl-edit", _content_type="application/merge-patch+json",
    )  # fmt: skip
    code, _, said = flowc_("deploy", file)
    assert code == 2 and 'conflict with "kubectl-edit"' in said and ".spec.entrypoint" in said and "--force" in said
    assert lab.template("editedflow")["spec"]["entrypoint"] == "other"
    assert flowc_("deploy", file, "--force")[0] == 0
    assert lab.template("editedflow")["spec"]["entrypoint"] == "main"


def test_a_config_map_with_other_content_is_told(lab: Lab, deployed: str, flowc_: Flowc) -> None:
    (name,) = [name for name in lab.cluster.maps if name.startswith("fanflow-code")]
    body = lab.api.objects.get("configmaps", name)
    plan = body["data"].pop("plan.json")
    code, _, said = flowc_("deploy", deployed)
    body["data"]["plan.json"] = plan
    assert code == 2 and f"ConfigMap {name} in namespace flows holds something else" in said


# What goes wrong ------------------------------------------------------------------------------------------------------


def test_a_right_that_is_missing(lab: Lab, deployed: str, flowc_: Flowc) -> None:
    lab.api.denied |= {("patch", "roles"), ("create", "workflows")}
    code, _, said = flowc_("deploy", deployed)
    assert code == 2 and 'User "me" cannot patch resource "roles"' in said and "ask whoever runs the cluster" in said
    code, out, said = flowc_("submit", deployed)
    assert code == 2 and 'cannot create resource "workflows"' in said and not out


def test_a_login_that_has_run_out(lab: Lab, deployed: str, flowc_: Flowc) -> None:
    lab.api.write_kubeconfig("old")
    code, _, said = flowc_("status")
    assert code == 2 and "cluster lab does not know you; log in again" in said


@pytest.mark.parametrize(
    ("group", "text", "told"),
    [("argoproj.io", FAN, "Argo Workflows is not installed"), ("jobset.x-k8s.io", GANG, "JobSet is not installed")],
)
def test_what_is_not_installed(group: str, text: str, told: str, lab: Lab, flowc_: Flowc) -> None:
    lab.api.absent.add(group)
    code, _, said = flowc_("deploy", lab.file(f"none_{group[:4]}", text))
    assert code == 2 and told in said and "https://" in said
    assert not any(line.startswith(("POST", "PATCH")) for line in lab.api.seen)


def test_a_cluster_that_is_not_there(lab: Lab, deployed: str, flowc_: Flowc, monkeypatch: pytest.MonkeyPatch) -> None:
    code, _, said = flowc_("deploy", deployed, "--namespace", "nowhere")
    assert code == 2 and "there is no namespace nowhere; create it" in said
    text = FAN.replace("import os", "from flowc import kubernetes\nimport os").replace("FanFlow", "AwayFlow")
    text = text.replace("    @step\n    def join", "    @kubernetes(namespace='away')\n    @step\n    def join")
    code, _, said = flowc_("deploy", lab.file("away", text))
    assert code == 2 and "there is no namespace away; create it" in said
    code, _, said = flowc_("status", "--context", "home")
    assert code == 2 and "has no context 'home'; it has lab" in said
    lab.api.write_kubeconfig("x", "http://127.0.0.1:1")
    code, _, said = flowc_("status")
    assert code == 2 and "cluster lab cannot be reached" in said and "refused" in said
    monkeypatch.setenv("KUBECONFIG", str(lab.folder / "none"))
    code, _, said = flowc_("status")
    assert code == 2 and "there is no cluster to talk to" in said and "set KUBECONFIG" in said


def test_missing_packages_are_named(lab: Lab, deployed: str, flowc_: Flowc, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "argo_workflows.api_client", None)
    code, _, said = flowc_("submit", deployed)
    assert code == 2 and "argo-workflows is missing; install it with: pip install 'flowc[argo]'" in said
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    code, _, said = flowc_("status")
    assert code == 2 and "pip install 'flowc[argo]'" in said


def test_rights_that_one_cannot_grant() -> None:
    from flowc.backends.argo.cluster.errors import ClusterError, asking
    from kubernetes.client.exceptions import ApiException

    refused = ApiException(403, "Forbidden")
    refused.body = json.dumps({"message": 'roles "x" is forbidden: user "me" is attempting to grant RBAC permissions'})
    with pytest.raises(ClusterError, match=r"one can only grant rights that one has .* rbac\.yaml"), asking("x", "c"):
        raise refused


# submit ---------------------------------------------------------------------------------------------------------------


def test_a_run_from_its_beginning_to_its_end(lab: Lab, deployed: str, flowc_: Flowc) -> None:
    lab.api.busy = 1  # waiting goes on
    code, out, said = flowc_("submit", deployed, "--width", "3", "--loud", "--wait", "--run-id-file", "id")
    name = out.strip()
    assert lab.api.busy == 0
    assert code == 0 and name.startswith("fanflow-") and Path("id").read_text() == name
    assert "work/2 is done" in said and said.rstrip().endswith(f"run FanFlow/{name} is done")
    body = lab.api.objects.get("workflows", name)
    given = body["spec"]["arguments"]["parameters"]
    assert given == [{"name": "width", "value": "3"}, {"name": "loud", "value": "true"}]
    assert body["spec"]["workflowTemplateRef"] == {"name": "fanflow"}
    record = lab.cluster.place.claim("flowc") / "FanFlow" / name / "run.json"
    assert json.loads(record.read_text())["parameters"] == {"width": 3, "bad": -1, "loud": True}

    code, out, _ = flowc_("status", name)
    assert code == 0 and [line.split() for line in out.splitlines()[2:]] == [
        ["start", "1", "done"], ["work", "3", "done"], ["join", "1", "done"], ["end", "1", "done"],
    ]  # fmt: skip
    for text in ("FanFlow", f"FanFlow/{name}", "latest"):
        assert json.loads(flowc_("status", text, "--json")[1])["run_id"] == name
    assert flowc_("logs", f"{name}/work/1")[1] == "work on 1 True\n"
    assert flowc_("logs", f"FanFlow/{name}/work")[1].splitlines()[2] == "work/2 | work on 2 True"
    assert flowc_("logs", name, "--follow")[1].splitlines()[-1] == "end | the end"
    code, _, said = flowc_("logs", f"{name}/work/7")
    assert code == 2 and f"there is no pod of work/7 of run FanFlow/{name}" in said
    code, _, said = flowc_("cancel", name)
    assert code == 0 and "has ended already: it is done" in said
    code, _, said = flowc_("status", f"OtherFlow/{name}")
    assert code == 2 and f"there is no run OtherFlow/{name}" in said and "of another flow (fanflow)" in said


def test_code_that_was_deployed_in_another_way_is_not_said_to_differ(lab: Lab, flowc_: Flowc) -> None:
    file = lab.file("way", FAN.replace("FanFlow", "WayFlow"))
    image = ["--code", "image"]
    assert flowc_("deploy", file, *image, "--image", "registry/flow:1")[0] == 0
    lab.cluster.place.held_images["registry/flow:1"] = ("ImagePullBackOff", "there is none")
    for words, told in (([], True), (image, False)):
        code, out, said = flowc_("submit", file, *words)
        assert code == 0 and "differ from what is deployed" not in said
        assert ("deployed with another --code" in said) == told
        assert flowc_("cancel", out.strip(), "--force")[0] == 0


def test_what_cannot_be_submitted(lab: Lab, deployed: str, flowc_: Flowc) -> None:
    code, _, said = flowc_("submit", deployed, "--width", "many")
    assert code == 2 and "parameter width: 'many' is not a whole number" in said
    code, _, said = flowc_("submit", lab.file("other", FAN.replace("FanFlow", "OtherFlow")))
    assert code == 2 and "has no WorkflowTemplate otherflow; deploy it first: flowc deploy FILE --target argo" in said
    code, _, said = flowc_("submit", deployed, "--tag", "x")
    assert code == 2 and "leave --tag out" in said
    more = FAN.replace('"width"', '"more"').replace("width =", "more =").replace("self.width", "self.more")
    code, _, said = flowc_("submit", lab.file("more", more), "--more", "3")
    assert code == 2 and "fanflow that is deployed in namespace flows knows no parameter more; deploy the flow" in said
    word = FAN.replace('"bad", default=-1, type=int', '"bad", default="x"')
    code, _, said = flowc_("submit", lab.file("word", word), "--bad", "a {{workflow.name}}")
    assert code == 2 and "which Argo would replace" in said
    assert not any(line.startswith("POST") for line in lab.api.seen)


def test_files_and_long_values_are_not_sent_with_a_run(lab: Lab, flowc_: Flowc) -> None:
    (lab.folder / "table.csv").write_text("a,b\n")
    file = lab.file("table", TABLE)
    assert flowc_("deploy", file)[0] == 0
    Path("new.csv").write_text("c,d\n")
    for name in ("./new.csv", str(lab.folder / "table.csv")):
        code, _, said = flowc_("submit", file, "--table", name)
        assert code == 2 and "parameter table is a file, and no file of this machine is sent to Argo" in said
        assert "argo submit --from workflowtemplate/tableflow -p table=PATH" in said
    # 98,289 bytes of JSON become the 131,072 of the longest variable, its name and end included; 11,146 are the rest.
    for note, count in (("y" * 87_144, 87_144), ("<" * 15_000, 15_000), ("é" * 45_000, 90_000)):
        code, _, said = flowc_("submit", file, "--note", note)
        assert code == 2 and f"the longest value that was given is that of note, with {count} bytes" in said
    assert not any(line.startswith("POST") and "workflows?" in line for line in lab.api.seen)
    code, out, _ = flowc_("submit", file, "--note", "y" * 87_143, "--wait")
    assert code == 0
    record = lab.cluster.place.claim("flowc") / "TableFlow" / out.strip() / "run.json"
    assert json.loads(record.read_text())["parameters"]["note"] == "y" * 87_143


def test_a_datastore_that_the_flow_was_not_deployed_for(lab: Lab, flowc_: Flowc) -> None:
    file = lab.file("stored", FAN.replace("FanFlow", "StoredFlow"))
    assert flowc_("deploy", file, "--datastore", "pvc://flowc/there")[0] == 0
    for other in ("s3://bucket/x", "pvc://flowc", "pvc://other/there"):
        code, out, said = flowc_("submit", file, "--datastore", other)
        assert code == 2 and not out
        assert (
            f"runs of storedflow keep their data in pvc://flowc/there, for which it was deployed, not in {other}"
            in said
        )
    code, _, said = flowc_("submit", file, "--datastore", str(lab.folder))
    assert code == 1 and "FC417" in said
    code, out, said = flowc_("submit", file, "--datastore", "pvc://flowc/there/")
    assert code == 0 and flowc_("cancel", out.strip(), "--force")[0] == 0
    # A folder is where the records can be read from here.
    store = lab.cluster.place.claim("flowc") / "there"
    code, _, said = flowc_("submit", file, "--datastore", str(store), "--bad", "0", "--wait")
    assert code == 1 and "is only read from here" in said and "work/0 failed" in said


def test_a_run_that_fails(lab: Lab, deployed: str, flowc_: Flowc, tmp_path: Path) -> None:
    changed = tmp_path / "fan.py"
    changed.write_text(FAN + "\n# changed\n")
    code, out, said = flowc_("submit", str(changed), "--bad", "1", "--wait")
    name = out.strip()
    assert code == 1 and "differ from what is deployed, and the deployed version runs" in said
    assert "work/1 failed: Error (exit code 7)" in said and "attempt 2" in said and "this goes wrong" in said
    assert f"flowc logs {name}/work/1 --target argo" in said
    code, out, said = flowc_("status", name)
    assert code == 1 and "work   1 done, 1 failed" in out and "this goes wrong" in said
    assert flowc_("logs", f"{name}/work/1", "--attempt", "0")[1].splitlines() == ["work on 1 False", "this goes wrong"]
    # Where the records can be reached, they tell more.
    code, _, said = flowc_("status", name, "--datastore", str(lab.cluster.place.claim("flowc")))
    assert code == 1 and "exit code 7" in said


@pytest.mark.parametrize(
    ("reason", "message", "told"),
    [
        ("Unschedulable", "0/3 nodes have a GPU", "start cannot be scheduled: 0/3 nodes have a GPU"),
        ("ImagePullBackOff", "no such image", "start does not start: ImagePullBackOff: no such image"),
    ],
)
def test_pods_that_do_not_start(reason: str, message: str, told: str, lab: Lab, deployed: str, flowc_: Flowc) -> None:
    lab.cluster.place.held_images["python:3.12"] = (reason, message)
    name = flowc_("submit", deployed)[1].strip()
    until(lambda: lab.cluster.place.held_pods)
    code, out, _ = flowc_("status", name)
    assert code == 0 and "start  1 waiting" in out and told in out
    lab.api.denied.add(("list", "pods"))
    assert f"start waits: {reason}: {message}" in flowc_("status", name)[1]
    lab.api.denied.clear()
    lab.cluster.place.held_images.clear()
    assert flowc_("cancel", name)[0] == 0


# Gangs and cancelling -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_gang_is_looked_at_and_cancelled(lab: Lab, flowc_: Flowc) -> None:
    file = lab.file("gang", GANG)
    assert flowc_("deploy", file)[0] == 0
    store = lab.cluster.place.claim("flowc") / "GangFlow"
    for force in (False, True):
        name = flowc_("submit", file)[1].strip()
        until(functools.partial(both_ranks_are_up, lab, name))
        status = json.loads(flowc_("status", name, "--json")[1])
        assert status["state"] == "running" and status["steps"]["train"] == {"running": 1} and not status["problems"]
        assert flowc_("logs", f"{name}/train/1")[1].splitlines()[-1] == "rank 1 is here"
        assert len(lab.cluster.running()) == 1
        reached = ["--datastore", str(store.parent)] if force else []
        code, _, said = flowc_("cancel", name, *reached, *(["--force"] if force else []))
        assert code == 0 and f"run GangFlow/{name} is cancelled" in said and ("deleted JobSet" in said) == force
        assert lab.cluster.running() == [] and not lab.api.read("jobsets")
        lab.api.runs[name].join(30)
        code, out, _ = flowc_("status", name)
        assert code == 130 and "interrupted" in out
        assert json.loads((store / name / "status.json").read_text())["state"] == "interrupted"


@pytest.mark.slow
def test_what_cannot_be_seen_of_a_gang_is_told(lab: Lab, flowc_: Flowc, monkeypatch: pytest.MonkeyPatch) -> None:
    file = lab.file("unseen", GANG.replace("GangFlow", "UnseenFlow"))
    assert flowc_("deploy", file)[0] == 0
    name = flowc_("submit", file)[1].strip()
    until(functools.partial(both_ranks_are_up, lab, name))
    monkeypatch.setattr("flowc.backends.argo.client._GOING", 0.0)
    lab.api.denied.add(("list", "jobsets"))
    code, _, said = flowc_("cancel", name)
    assert code == 1 and "has not ended within 0 s" in said and "is cancelled" not in said
    assert "whether JobSets are left cannot be seen from here" in said
    code, _, said = flowc_("cancel", name, "--force")
    assert code == 2 and "its JobSets may run on: cannot list JobSets" in said
    lab.api.denied.clear()
    assert flowc_("cancel", name, "--force")[0] == 0 and not lab.api.read("jobsets")
    lab.api.runs[name].join(30)


@pytest.mark.slow
def test_a_gang_ends_with_its_workflow(lab: Lab, flowc_: Flowc) -> None:
    # Its ranks are asked to end, but their JobSet is not to take that for a preemption.
    text = GANG.replace("GangFlow", "LeftFlow").replace("import FlowSpec", "import FlowSpec, retry")
    file = lab.file("left", text.replace("@parallel", "@retry(times=1)\n    @parallel"))
    assert flowc_("deploy", file)[0] == 0
    name = flowc_("submit", file)[1].strip()
    until(functools.partial(both_ranks_are_up, lab, name))
    # `argo terminate`: no exit handler runs, and nobody deletes the JobSet.
    lab.api.runs[name].workflow.terminate()
    lab.api.runs[name].join(30)
    (jobset,) = lab.cluster.jobsets[-1:]
    assert lab.cluster.running() == [jobset.name]
    until(lambda: lab.cluster.running() == [])
    assert (jobset.terminal, jobset.attempt, jobset.reasons) == ("Failed", 0, ["BackoffLimitExceeded"])
    assert f"flowc: Workflow {name} has ended (Failed); the task is asked to end" in jobset.logs[0]
    left = lab.cluster.place.claim("flowc") / "LeftFlow" / name / "train"
    for rank in range(2):
        assert json.loads((left / str(rank) / "0" / "gang.json").read_text())["kind"] == "preempted"


@pytest.mark.slow
def test_following_ends_with_the_run(lab: Lab, flowc_: Flowc, capfd: pytest.CaptureFixture[str]) -> None:
    """A gang that is stopped by somebody else while its logs and its end are waited for; it would be tried again."""
    text = GANG.replace("GangFlow", "FollowedFlow").replace("import FlowSpec", "import FlowSpec, retry")
    file = lab.file("followed", text.replace("@parallel", "@retry(times=1)\n    @parallel"))
    assert flowc_("deploy", file)[0] == 0
    name = flowc_("submit", file)[1].strip()

    def stop() -> None:
        until(lambda: both_ranks_are_up(lab, name))
        time.sleep(1.5)
        lab.api.runs[name].workflow.stop()

    stopper = threading.Thread(target=stop)
    stopper.start()
    code, out, _ = flowc_("logs", f"{name}/train", "--follow")
    stopper.join()
    assert code == 0 and {"train/0 | rank 0 is here", "train/1 | rank 1 is here"} <= set(out.splitlines())
    code, _, said = flowc_("status", name)
    assert code == 130 and "the run was interrupted: Stopped with strategy 'Stop'" in said


def test_logs_are_followed_through_answers_that_end_too_early(
    lab: Lab, flowc_: Flowc, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowc.backends.argo.cluster.errors._PAUSES", (0.1, 0.2))
    monkeypatch.setattr("flowc.backends.argo.cluster.logs._PERIOD", 0.2)
    file = lab.file("prints", PRINT)
    assert flowc_("deploy", file)[0] == 0
    name = flowc_("submit", file)[1].strip()
    lab.api.log_ends += ["busy", "closed", "broken", "closed", "busy", "broken"]
    code, out, _ = flowc_("logs", f"{name}/start", "--follow")
    assert code == 0 and lab.api.log_ends == []
    lines = [line for number in range(15) for line in (f"line {number}", "same")]
    assert [line.removeprefix("start | ") for line in out.splitlines()] == [*lines, "no end"]


def test_the_hint_after_an_interruption_names_the_flow_s_namespace(capsys: pytest.CaptureFixture[str]) -> None:
    class Interrupted(ArgoClient):
        def wait(self, run: Run, tell: Callable[[str], None]) -> RunStatus:
            raise KeyboardInterrupt

    run = Run("AwayFlow", "awayflow-x", "argo", namespace="away")
    assert follow(Invocation(), Interrupted(Access("x")), run, Where("argo")) == 130
    assert "flowc cancel AwayFlow/awayflow-x --target argo --namespace away" in capsys.readouterr().err
