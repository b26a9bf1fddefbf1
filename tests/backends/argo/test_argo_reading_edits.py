"""Every edit of the manifests that changes what a run does, or what its pods may do, is noticed and named."""

from __future__ import annotations

import copy

import pytest
import yaml
from argo_flows import compiled
from edited_manifests import Edit, Manifests, assert_noticed, files_of
from flowc.backends.argo.backend import BACKEND
from flowc.backends.base import Unfaithful

FLOW = """
from flowc import *

@schedule(cron="0 5 * * 7", timezone="Europe/Berlin")
class MyFlow(FlowSpec):
    ranks = Parameter("ranks", default=2)
    names = Parameter("names", default=["a", "b"], separator=",")

    @retry(times=2, minutes_between_retries=1)
    @step
    def start(self):
        self.way = "left"
        self.next({"left": self.left, "right": self.right}, condition="way")

    @catch
    @step
    def left(self):
        self.next(self.meet)

    @kubernetes(service_account="reader")
    @step
    def right(self):
        self.next(self.meet)

    @step
    def meet(self):
        self.items = [1, 2]
        self.next(self.outer, foreach="items")

    @step
    def outer(self):
        self.items = [3, 4]
        self.next(self.inner, foreach="items")

    @step
    def inner(self):
        self.next(self.fold)

    @step
    def fold(self, inputs):
        self.next(self.tune, num_parallel=3)

    @retry(times=1)
    @timeout(minutes=5)
    @parallel
    @step
    def tune(self):
        self.next(self.pick)

    @step
    def pick(self, inputs):
        self.next(self.join)

    @step
    def join(self, inputs):
        self.next(self.train, num_parallel=self.ranks)

    @torchrun
    @step
    def train(self):
        self.next(self.gather)

    @step
    def gather(self, inputs):
        self.next(self.end)

    @step
    def end(self):
        pass
"""


_SIZE = "{{inputs.parameters.size}}"
_RULES = """\
    rules:
    - name: preempted
      action: RestartJobSetAndIgnoreMaxRestarts
      onJobFailureReasons: [PodFailurePolicy]
"""
_BODY, _INNER, _GANG = "meet-body", "inner", "tune"

EDITS: dict[str, tuple[Edit, str]] = {
    # Gangs
    "a gang of another size": (
        lambda it: it.argument(_GANG, "size").update(value="5"), "tune: its gang has the size '5', not 3"
    ),
    "a literal size that is only known at run time": (
        lambda it: it.argument("train", "size").update(value="2"), "not the width that join tells"
    ),
    "the size from another step": (
        lambda it: it.argument("train", "size").update(value="{{tasks.meet.outputs.parameters.width}}"),
        "not the width that join tells",
    ),
    "fewer pods": (
        lambda it: it.in_jobset("train", f"parallelism: {_SIZE}", "parallelism: 1"), "its parallelism is 1, not the"
    ),
    "fewer completions": (
        lambda it: it.in_jobset("train", f"completions: {_SIZE}", "completions: 4"), "its completions is 4, not the"
    ),
    "another world": (
        lambda it: it.in_jobset("train", f'FLOWC_GANG_SIZE, value: "{_SIZE}"', 'FLOWC_GANG_SIZE, value: "2"'),
        "the variable FLOWC_GANG_SIZE is '2'",
    ),
    "two gangs": (lambda it: it.in_jobset("train", "replicas: 1", "replicas: 2"), "its JobSet has 2 Jobs, not one"),
    "restarts within an attempt": (
        lambda it: it.in_jobset("train", "maxRestarts: 0", "maxRestarts: 3"), "started again within one attempt"
    ),
    "preemptions that use up the retry": (
        lambda it: it.in_jobset(_GANG, _RULES, ""), "tune: its manifest.spec.failurePolicy.rules.*is none"
    ),
    "any failure is free": (
        lambda it: it.in_jobset(_GANG, "[PodFailurePolicy]", "[PodFailurePolicy, BackoffLimitExceeded]"),
        "tune: it also says manifest.spec.failurePolicy.*onJobFailureReasons",
    ),
    "another code is free": (
        lambda it: it.in_jobset(_GANG, "values: [75]", "values: [1]"), r"values\[0\] is 1, not 75"
    ),
    "a lost node counts": (
        lambda it: it.in_jobset(_GANG, "DisruptionTarget", "PodScheduled"), "is 'PodScheduled', not 'DisruptionTarget'"
    ),
    "preemptions of a gang that is not tried again": (
        lambda it: it.in_jobset("train", "maxRestarts: 0\n", f"maxRestarts: 0\n{_RULES}"),
        "train: it also says manifest.spec.failurePolicy.rules",
    ),
    "no label": (
        lambda it: it.template("train")["resource"].update(
            manifest=it.template("train")["resource"]["manifest"].replace("flowc/run:", "flowc/ran:", 1)
        ),
        "its JobSet has the label flowc/run None",
    ),
    "another label": (
        lambda it: it.template("train")["resource"].update(
            manifest=it.template("train")["resource"]["manifest"].replace(
                'flowc/run: "{{workflow.name}}"', "flowc/run: all", 1
            )
        ),
        "its JobSet has the label flowc/run 'all'",
    ),
    "success and failure": (
        lambda it: it.template("train")["resource"].update(successCondition="status.terminalState == Failed"),
        "its successCondition is",
    ),
    "a Job that ends before its timeout": (
        lambda it: it.in_jobset(_GANG, "activeDeadlineSeconds: 4500", "activeDeadlineSeconds: 60"),
        "tune: its Job ends after 60 seconds, not 4500",
    ),
    "a Job that has its timeout and no time to start": (
        lambda it: it.in_jobset(_GANG, "activeDeadlineSeconds: 4500", "activeDeadlineSeconds: 300"),
        "tune: its Job ends after 300 seconds, not 4500",
    ),
    "a Job that runs on for years": (
        lambda it: it.in_jobset(_GANG, "activeDeadlineSeconds: 4500", "activeDeadlineSeconds: 999999999"),
        "tune: its Job ends after 999999999 seconds, not 4500",
    ),
    "a Job without a timeout that ends at once": (
        lambda it: it.in_jobset("train", "activeDeadlineSeconds: 432000", "activeDeadlineSeconds: 1"),
        "train: its Job ends after 1 seconds, not 432000",
    ),
    "a Job that nothing ends": (
        lambda it: it.in_jobset(_GANG, "        activeDeadlineSeconds: 4500\n", ""), "nothing ends its Job"
    ),
    "an attempt that Argo gives up": (
        lambda it: it.template(_GANG).update(activeDeadlineSeconds="100"),
        "tune: Argo gives it up after 100 seconds, not 98100",
    ),
    "an attempt that Argo never gives up": (
        lambda it: it.template("train").pop("activeDeadlineSeconds"),
        "train: Argo gives it up after None seconds, not 435600",
    ),
    "ranks that do not know their JobSet": (
        lambda it: it.in_jobset("train", "annotations['jobset.sigs.k8s.io/jobset-name']", "labels['other']"),
        "JOBSET_NAME does not tell",
    ),
    "ranks with other code": (
        lambda it: it.in_jobset("train", "path: plan.json", "path: other.json"), "other volumes than the rest"
    ),
    # Indexes and widths
    "another count": (
        lambda it: it.task(_INNER).update(withSequence={"count": "2"}), "inner as often as {'count': '2'} says"
    ),
    "a count that begins later": (
        lambda it: it.task(_BODY)["withSequence"].update(start="1"), "not as meet finds items"
    ),
    "the count of the fan-out around it": (
        lambda it: it.task(_INNER).update(withSequence={"count": "{{workflow.parameters.ranks}}"}), "as outer finds"
    ),
    "an index without the outer one": (
        lambda it: it.argument(_INNER, "index").update(value="{{item}}"), r"inner: its index is '{{item}}', not"
    ),
    "an index the other way round": (
        lambda it: it.argument(_INNER, "index").update(value="{{item}}.{{inputs.parameters.index}}"), "its index is"
    ),
    "an index with something before it": (
        lambda it: it.argument(_BODY, "index").update(value="0.{{item}}"), "its index is '0.{{item}}', not '{{item}}'"
    ),
    "an index that is not handed on": (
        lambda it: it.argument("fold", "index").update(value="0"), "its index is '0', not"
    ),
    "an index of a gang": (lambda it: it.argument(_GANG, "index").update(value="0.0"), "tune: its index is '0.0'"),
    "an argument that is no index": (
        lambda it: it.template("inner")["container"]["args"].__setitem__(3, "0"), "has an index, or has none"
    ),
    "an index for a step outside": (
        lambda it: it.template("meet")["container"]["args"].extend(["--index", "0"]), "has an index, or has none"
    ),
    "a gang's argument that is no index": (
        lambda it: it.in_jobset(_GANG, '"{{inputs.parameters.index}}"', '"0"'), "has an index, or has none"
    ),
    # Order
    "all cases instead of one": (
        lambda it: it.task("meet").update(depends=it.task("meet")["depends"].replace("|| right", "&& right")),
        "meet: it waits for .*, and branches are joined by &&",
    ),
    # Failures
    "going on after another failure": (
        lambda it: it.task("left-caught").update(depends="start.Failed || start.Errored"), "something else than its own"
    ),
    "another status": (
        lambda it: it.argument("left-caught", "status").update(value="Failed"), "its status is 'Failed', not"
    ),
    "a task that goes on all the same": (
        lambda it: it.task("meet").update(continueOn={"failed": True}), "meet: it also says continueOn"
    ),
    "another wait": (
        lambda it: it.template("start")["retryStrategy"]["backoff"].update(duration="5s"), "it waits .*'5s'.*, not"
    ),
    "another factor": (
        lambda it: it.template("start")["retryStrategy"]["backoff"].update(factor="2"), "it waits .*'2'.*, not"
    ),
    "no wait": (lambda it: it.template("start")["retryStrategy"].pop("backoff"), "it waits not at all"),
    "a longest wait": (
        lambda it: it.template("start")["retryStrategy"]["backoff"].update(maxDuration="5s"), "it waits .*maxDuration"
    ),
    "fewer failures": (
        lambda it: it.template("start")["retryStrategy"].update(retryPolicy="OnError"), "not tried again after every"
    ),
    "the same number for all attempts": (
        lambda it: it.variable("start", "FLOWC_ATTEMPT").update(value="0"), "attempts have no numbers of their own"
    ),
    # Variables
    "another datastore": (
        lambda it: it.variable("inner", "FLOWC_DATASTORE").update(value="file:///tmp/flowc"), "FLOWC_DATASTORE is"
    ),
    "the claim at another place": (
        lambda it: next(
            item for item in it.template("inner")["container"]["volumeMounts"] if item["name"] == "data"
        ).update(mountPath="/elsewhere"),
        "FLOWC_DATASTORE is 'file:///flowc/data', not 'file:///elsewhere'",
    ),
    "another claim": (
        lambda it: next(item for item in it.spec["volumes"] if item["name"] == "data").update(
            persistentVolumeClaim={"claimName": "other"}
        ),
        "FLOWC_DATASTORE is",
    ),
    "another datastore of ranks": (
        lambda it: it.in_jobset("train", "file:///flowc/data", "file:///tmp"), "train: the variable FLOWC_DATASTORE"
    ),
    "another run": (lambda it: it.variable("inner", "FLOWC_RUN_ID").update(value="run"), "FLOWC_RUN_ID is 'run'"),
    "another run at the end": (
        lambda it: it.variable("record-end", "FLOWC_RUN_ID").update(value="run"), "record-end: the variable FLOWC_RUN"
    ),
    "another run of the same name": (
        lambda it: it.variable("start", "FLOWC_RUN_UID").update(value="1"), "FLOWC_RUN_UID is '1'"
    ),
    "another file": (
        lambda it: it.variable("inner", "FLOWC_FLOW_FILE").update(value="/flow.py"), "FLOWC_FLOW_FILE is '/flow.py'"
    ),
    "no parameters": (
        lambda it: it.variable("start", "FLOWC_PARAMETERS").update(value="{}"), "FLOWC_PARAMETERS is '{}', not"
    ),
    "no parameters at the end": (
        lambda it: it.variable("record-end", "FLOWC_PARAMETERS").update(value="{}"), "FLOWC_PARAMETERS is '{}', not"
    ),
    "a failure of another kind": (
        lambda it: (caught := it.variable("left-caught", "FLOWC_CAUGHT")).update(
            value=caught["value"].replace("ProcessFailure", "ValueError")
        ),
        "left-caught: the variable FLOWC_CAUGHT is .*ValueError",
    ),
    "a failure without Argo's word": (
        lambda it: it.variable("left-caught", "FLOWC_CAUGHT").update(value="{}"), "left-caught: .* FLOWC_CAUGHT is '{}'"
    ),
    "fewer failures that are told at the end": (
        lambda it: it.variable("record-end", "FLOWC_FAILURES").update(
            value="{{=sprig.trunc(1, workflow.failures)}}"
        ),
        r"record-end: the variable FLOWC_FAILURES is .*trunc\(1,",
    ),
    "more failures than a variable holds": (
        lambda it: it.variable("record-end", "FLOWC_FAILURES").update(value="{{workflow.failures}}"),
        "record-end: the variable FLOWC_FAILURES is '{{workflow.failures}}'",
    ),
    "a variable of flowc's that nobody asked for": (
        lambda it: it.template("inner")["container"]["env"].append({"name": "FLOWC_ROUND", "value": "3"}),
        "FLOWC_ROUND is '3', not None",
    ),
    "another program": (
        lambda it: it.template("inner")["container"].update(command=["python", "-m", "other"]), "its command is"
    ),
    "another working folder": (
        lambda it: it.template("inner")["container"].update(workingDir="/"), "it works in the folder /"
    ),
    # What a step decides
    "an output from elsewhere": (
        lambda it: it.template("meet")["outputs"]["parameters"][0].update(valueFrom={"path": "/tmp/width"}),
        "its output width comes from",
    ),
    "outputs that are left elsewhere": (
        lambda it: it.variable("meet", "FLOWC_OUTPUTS").update(value="/tmp"), "its output width comes from"
    ),
    "outputs elsewhere where none are read": (
        lambda it: it.variable("inner", "FLOWC_OUTPUTS").update(value="/tmp"), "FLOWC_OUTPUTS differs"
    ),
    "a width where there is none": (
        lambda it: it.template("meet")["outputs"]["parameters"][0]["valueFrom"].update(default="1"),
        "its output width comes from",
    ),
    # The end
    "no exit handler": (lambda it: it.spec.pop("onExit"), "exit handler is None, and nothing records"),
    "an exit handler without the record": (
        lambda it: it.template("on-exit")["dag"].update(tasks=it.template("on-exit")["dag"]["tasks"][-1:]),
        "on-exit does not record the end",
    ),
    "an end that is tried to be recorded once": (
        lambda it: it.template("on-exit")["dag"].update(
            tasks=[it.task("record-end"), it.task("delete-jobsets")]
        ),
        "tries 1 times to record the end of a run, not 3",
    ),
    "an end that is recorded again only after a good one": (
        lambda it: it.task("record-end-2").update(depends="record-end.Succeeded"),
        r"record-end-2 of the exit handler does not run where record-end.Failed \|\| record-end.Errored",
    ),
    "an end that is recorded by all at once": (
        lambda it: it.task("record-end-3").pop("depends"), "record-end-3 of the exit handler does not run where"
    ),
    "an exit handler without the deletion": (
        lambda it: it.template("on-exit")["dag"]["tasks"].pop(), "on-exit deletes no JobSets, and the flow has gangs"
    ),
    "an exit handler that is the record alone": (
        lambda it: it.spec.update(onExit="record-end"), "record-end deletes no JobSets, and the flow has gangs"
    ),
    "two deletions": (
        lambda it: it.template("on-exit")["dag"]["tasks"].append({"name": "more", "template": "delete-jobsets"}),
        "on-exit deletes 2 times the JobSets, and the flow has gangs",
    ),
    "a deletion that waits for a good record": (
        lambda it: it.template("on-exit")["dag"]["tasks"][-1].update(depends="record-end.Succeeded"),
        "does not run whatever happens",
    ),
    "a deletion of all JobSets": (
        lambda it: it.template("delete-jobsets")["resource"].update(flags=["jobset", "--all"]),
        "deletes jobset --all, not the JobSets with",
    ),
    "a deletion by another label": (
        lambda it: it.template("delete-jobsets")["resource"]["flags"].__setitem__(2, "flowc/flow=myflow"),
        "deletes jobset --selector flowc/flow=myflow, not",
    ),
    "a template that nothing calls": (
        lambda it: it.spec["templates"].append({**copy.deepcopy(it.template("on-exit")), "name": "more"}),
        "nothing calls template more",
    ),
    "another list": (
        lambda it: it.spec["arguments"]["parameters"][1].update(value="a"), "the default of parameter names is 'a'"
    ),
    "no list": (
        lambda it: it.spec["arguments"]["parameters"][1].update(value=""), "the default of parameter names is ''"
    ),
    # The schedule
    "another timezone": (lambda it: it.cron.update(timezone="Asia/Tokyo"), "timezone is Asia/Tokyo, not Europe/Berlin"),
    "no timezone": (lambda it: it.cron.pop("timezone"), "timezone is None, not Europe/Berlin"),
    "another day": (lambda it: it.cron.update(schedules=["0 5 * * 1"]), "schedule is .*'0 5 \\* \\* 1'.*, not"),
    "a schedule that rests": (lambda it: it.cron.update(suspend=True), "the schedule also says suspend"),
    # Rights
    "a verb more": (
        lambda it: it.rbac("Role", "myflow")["rules"][0]["verbs"].append("delete"),
        "account myflow may create, delete, patch workflowtaskresults.argoproj.io, and needs to create, patch",
    ),
    "a verb less": (
        lambda it: it.rbac("Role", "myflow.jobsets")["rules"][0]["verbs"].remove("delete"),
        "account myflow.jobsets may create, get, list, watch jobsets",
    ),
    "a resource more": (
        lambda it: it.rbac("Role", "myflow")["rules"][0].update(resources=["workflowtaskresults", "workflows"]),
        "account myflow may create, patch workflows.argoproj.io, and needs to do nothing with",
    ),
    "all rights of ranks": (
        lambda it: it.rbac("Role", "myflow.gang").update(
            rules=[{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]
        ),
        r"account myflow.gang may \* \*.\*, and needs to do nothing",
    ),
    "only one object": (
        lambda it: it.rbac("Role", "myflow.gang")["rules"][0].update(resourceNames=["one"]), "has a rule of"
    ),
    "somebody else with the flow's rights": (
        lambda it: it.rbac("RoleBinding", "myflow.jobsets")["subjects"].append(
            {"kind": "ServiceAccount", "name": "default"}
        ),
        "account default may create, delete, get, list, watch jobsets",
    ),
    "a named account without rights": (
        lambda it: it.rbac("RoleBinding", "myflow")["subjects"].pop(), "account reader may do nothing with workflowtask"
    ),
    "rights for a whole group": (
        lambda it: it.rbac("RoleBinding", "myflow")["subjects"].append({"kind": "Group", "name": "all"}),
        "gives rights to Group all",
    ),
    "rights on the whole cluster": (
        lambda it: it.rbac("RoleBinding", "myflow").update(kind="ClusterRoleBinding"), "rights beyond the flow's"
    ),
    "rights from elsewhere": (
        lambda it: it.rbac("RoleBinding", "myflow")["roleRef"].update(kind="ClusterRole", name="admin"),
        "gives the rights of ClusterRole admin",
    ),
    "the Workflow's account": (
        lambda it: it.spec.update(serviceAccountName="default"), "the Workflow has the account default"
    ),
    "no account of the Workflow": (lambda it: it.spec.pop("serviceAccountName"), "the Workflow has the account None"),
    "ranks with the Workflow's account": (
        lambda it: it.in_jobset("train", "serviceAccountName: myflow.gang", "serviceAccountName: myflow"),
        "template train: its ranks have the account myflow",
    ),
    "the ranks' account for what makes the JobSet": (
        lambda it: it.template("train").update(serviceAccountName="myflow.gang"),
        "what makes and deletes JobSets has the accounts .*myflow.gang of train",
    ),
    "the Workflow's account for what deletes JobSets": (
        lambda it: it.template("delete-jobsets").pop("serviceAccountName"),
        "what makes and deletes JobSets has the accounts .*None of delete-jobsets",
    ),
    "the account that may delete JobSets for a step": (
        lambda it: it.template("meet").update(serviceAccountName="myflow.jobsets"),
        "has the account myflow.jobsets, not that of the Workflow",
    ),
    "the account that may delete JobSets for all steps": (
        lambda it: it.spec.update(serviceAccountName="myflow.jobsets"), "not one that nothing else has"
    ),
    "the account that may delete JobSets for ranks": (
        lambda it: it.in_jobset("train", "serviceAccountName: myflow.gang", "serviceAccountName: myflow.jobsets"),
        "template train: its ranks have the account myflow.jobsets",
    ),
    "another account of a step": (
        lambda it: it.template("right").update(serviceAccountName="other"), "has the account other, not reader"
    ),
    "another namespace": (
        lambda it: it.files["rbac.yaml"][0]["metadata"].update(namespace="other"), "belongs to the namespace other"
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return files_of(tmp_path_factory.mktemp("flow"), FLOW)


@pytest.fixture(scope="module")
def loaded(files: dict[str, bytes]) -> Manifests:
    return Manifests.of(files, "workflow-template.yaml", "cron-workflow.yaml", "rbac.yaml")


def test_what_nobody_has_edited_is_good(files: dict[str, bytes], loaded: Manifests) -> None:
    plan = BACKEND.read(files)
    assert BACKEND.read({**files, **loaded.written()}) == plan


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_is_noticed(name: str, files: dict[str, bytes], loaded: Manifests) -> None:
    assert_noticed(files, loaded, *EDITS[name])


@pytest.mark.parametrize("days", ["7", "0", "sun", "0-0", "6-7", "0,6", "6,sun"])
def test_days_of_the_week_are_compared_by_what_they_mean(days: str, files: dict[str, bytes], loaded: Manifests) -> None:
    manifests = copy.deepcopy(loaded)
    manifests.cron["schedules"] = [f"0 5 * * {days}"]
    try:
        BACKEND.read({**files, **manifests.written()})
        same = True
    except Unfaithful as error:
        same = "the flow's schedule is" not in str(error)
    assert same == (days in ("7", "0", "sun", "0-0"))


def test_the_record_may_be_the_exit_handler_where_there_are_no_gangs(tmp_path_factory: pytest.TempPathFactory) -> None:
    text = "@step\ndef start(self):\n    self.next(self.end)\n"
    produced = compiled(tmp_path_factory.mktemp("flow"), text, code="installed")
    assert produced.files is not None
    kept = {name: data for name, data in produced.files.items() if name != "SHA256SUMS"}
    document = yaml.safe_load(kept["workflow-template.yaml"])
    spec = document["spec"]
    spec["onExit"] = "record-end"
    spec["templates"] = [item for item in spec["templates"] if item["name"] != "on-exit"]
    BACKEND.read({**kept, "workflow-template.yaml": yaml.safe_dump(document, sort_keys=False).encode()})
