"""What the manifests as a whole hold: code, rights, names, parameters, limits; and that they are always the same."""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from argo_flows import (
    GANG,
    ONE,
    VERSIONS,
    compiled,
    documents,
    job_errors,
    jobset,
    jobset_of,
    schema_errors,
    template,
    workflow,
)
from flow_text import FlowText
from flow_trees import flows
from flowc import FlowSpec
from flowc.backends.argo.names import Names, dns_label, flow_object, jobset_prefix
from flowc.backends.argo.parameters import workflow_parameters
from flowc.backends.argo.yaml_text import Literal, dump
from flowc.backends.base import get_backend
from flowc.backends.bundle import runtime_files
from flowc.compiler.codes.code import whole_flow
from flowc.compiler.diagnostics import Severity
from flowc.compiler.plan import End, Parameter, Plan, Step
from flowc.runtime import contract
from flowc.runtime.beginning import given_parameters
from flowc.runtime.gang import EXIT_PREEMPTED
from flowc.runtime.parameters import parameter_values
from hypothesis import example, given, settings
from hypothesis import strategies as st
from random_options import Options, options
from same_bytes import digests_in_other_surroundings, digests_of_other_pythons

EVERYTHING = '''
from flowc import *

@project(name="demo")
@schedule(cron="0 6 * * 1-5", timezone="Europe/Berlin")
class TrainFlow(FlowSpec):
    """Trains."""
    n = Parameter("n", default=3, help="how many: y or n")
    on = Parameter("on", default=True)
    rate = Parameter("rate", default=1e-3)
    names = Parameter("names", default="a,b", separator=",")
    options = Parameter("options", type=JSONType, default='{"no": [1e3, null]}')
    late = Parameter("late", default=lambda context: "x")
    nothing = Parameter("nothing", type=int)

    @retry(times=3, minutes_between_retries=1, backoff=2)
    @timeout(minutes=10)
    @step
    def start(self):
        self.items = [1, 2]
        self.next(self.open_gang, foreach="items")

    @step
    def open_gang(self):
        self.next(self.train, num_parallel=self.n)

    @retry(times=1, minutes_between_retries=0)
    @timeout(hours=1)
    @torchrun
    @step
    def train(self):
        self.next(self.join_gang)

    @catch(var="failed")
    @step
    def join_gang(self, inputs):
        self.next(self.join)

    @step
    def join(self, inputs):
        self.next(self.end)

    @step
    def end(self):
        pass
'''


@pytest.mark.parametrize("version", VERSIONS)
def test_a_flow_with_everything_by_the_real_schemas(version: str, tmp_path: Path) -> None:
    produced = compiled(tmp_path, EVERYTHING)
    assert produced.files is not None
    assert schema_errors(produced.files, version, code=version == VERSIONS[0]) == []
    assert sorted(name for name in produced.files if name.endswith(".yaml")) == [
        "code.yaml",
        "cron-workflow.yaml",
        "kustomization.yaml",
        "rbac.yaml",
        "runtime.yaml",
        "workflow-template.yaml",
    ]
    assert documents(produced, "Kustomization")[0]["resources"] == [
        "code.yaml",
        "cron-workflow.yaml",
        "rbac.yaml",
        "runtime.yaml",
        "workflow-template.yaml",
    ]


@pytest.mark.slow
@pytest.mark.timeout(600)
@given(seq=flows(), more=options(), version=st.sampled_from(VERSIONS))
@settings(max_examples=int(os.environ.get("FLOWC_EXAMPLES", "300")))
def test_random_flows_by_the_real_schemas(
    tmp_path_factory: pytest.TempPathFactory, seq: Any, more: Options, version: str
) -> None:
    # The hundred files of the runtime are the same each time, and the schemas look at each.
    produced = compiled(tmp_path_factory.mktemp("flow"), more.text_of(FlowText(seq)), code="installed")
    assert produced.files is not None, produced.diagnostics
    assert schema_errors(produced.files, version) == []
    for item in workflow(produced)["templates"]:
        if "create" in item.get("resource", {}).values():
            made = jobset_of(item, **{"inputs.parameters.index": "1"})
            # But for their names they are alike.
            text = json.dumps(made).replace(item["name"], "gang").replace(item["name"].replace("-", "_"), "gang")
            assert _job_errors(text) == []


@functools.cache
def _job_errors(text: str) -> list[str]:
    return job_errors(json.loads(text))


def test_gangs_have_jobs_that_kubernetes_takes(tmp_path: Path) -> None:
    produced = compiled(tmp_path, EVERYTHING)
    made = jobset(produced, **{"inputs.parameters.index": "1"})
    assert job_errors(made) == []
    assert made["metadata"]["generateName"] == "train-"
    spec = made["spec"]
    assert spec["network"] == {"enableDNSHostnames": True, "publishNotReadyAddresses": True}
    assert (spec["failurePolicy"]["maxRestarts"], spec["successPolicy"]) == (0, {"operator": "All"})
    (replicated,) = spec["replicatedJobs"]
    job = replicated["template"]["spec"]
    assert (job["parallelism"], job["completions"], job["completionMode"]) == (3, 3, "Indexed")
    assert (job["backoffLimit"], job["activeDeadlineSeconds"], replicated["replicas"]) == (0, 3600 + 4200, 1)
    pod = job["template"]["spec"]
    assert (pod["restartPolicy"], pod["serviceAccountName"]) == ("Never", "trainflow.gang")
    (ranks,) = pod["containers"]
    assert ranks["command"] + ranks["args"] == ["python", "-m", "flowc.runtime", "step", "train", "--index", "1"]
    env = {item["name"]: item.get("value") for item in ranks["env"]}
    assert (env["FLOWC_GANG_SIZE"], env["FLOWC_ATTEMPT"], env["FLOWC_RUN_ID"]) == ("3", "1", "myflow-abcde")
    assert {"JOBSET_NAME", "REPLICATED_JOB_NAME", "JOBSET_RESTART_ATTEMPT"} <= set(env)
    train = template(produced, "train")
    assert (train["retryStrategy"], train["activeDeadlineSeconds"]) == (
        {"limit": "1", "retryPolicy": "Always"},
        # As long as its Job may take, with all that preemptions may add, and an hour.
        str(21 * 7800 + 3600),
    )
    assert train["resource"]["setOwnerReference"] is True
    delete = template(produced, "delete-jobsets")["resource"]
    assert delete["action"] == "delete" and "flowc/run={{workflow.name}}" in delete["flags"]
    assert made["metadata"]["labels"]["flowc/run"] == "myflow-abcde"


@pytest.mark.parametrize(
    ("said", "seconds", "of_gang", "of_task", "limit"),
    [
        ("", None, 45, None, 660),
        ("(grace=10)", 10, 45, None, 670),
        ("(grace=15.5)", 15.5, 45, 31, 676),
        ("(grace=600)", 600, 615, 615, 1260),
    ],
)
def test_pods_have_the_time_to_save_and_to_end(
    said: str, seconds: float | None, of_gang: int, of_task: int | None, limit: int, tmp_path: Path
) -> None:
    decorators = f"@checkpoint{said}\n@timeout(minutes=1)\n@retry(times=1)"
    made = jobset(compiled(tmp_path, GANG.format(decorators=decorators)))
    job = made["spec"]["replicatedJobs"][0]["template"]["spec"]
    assert job["template"]["spec"]["terminationGracePeriodSeconds"] == of_gang
    plain = compiled(tmp_path, ONE.format(decorators=f"{decorators}\n@catch"))
    task = template(plain, "start")
    patch = None if of_task is None else f'{{"terminationGracePeriodSeconds": {of_task}}}'
    assert task.get("podSpecPatch") == patch
    # Who only records a failure saves nothing.
    assert "podSpecPatch" not in template(plain, "start-caught")
    # The kubelet's clock leaves room for what the attempt's own gives.
    assert (job["activeDeadlineSeconds"], task["activeDeadlineSeconds"]) == (limit + 3600, str(limit))
    assert plain.files is not None and get_backend("argo").read(plain.files)["start"].grace == seconds
    assert job_errors(made) == [] == schema_errors(plain.files, VERSIONS[0])


# What Kubernetes counts before a step begins -------------------------------------------------------------------------

WAITS = "@retry(times=4, minutes_between_retries=10, backoff={})"


@pytest.mark.parametrize(
    ("decorators", "of_gang", "of_task"),
    [
        # The fourth retry waits 600 * 1.5 ** 3 s, of which Argo waits 600.
        (f"@timeout(minutes=5)\n{WAITS.format(1.5)}", 300 + 4200 + 1425, "2325"),
        (f"@timeout(minutes=5)\n{WAITS.format(2)}", 300 + 4200, "900"),
        (WAITS.format(1.5), 432000 + 1425, None),
        # Ten years: Kubernetes takes no number above 2 ** 31.
        ("@timeout(minutes=5)\n@retry(times=3000, backoff=1.5)", 300 + 4200 + 315_360_000, "315360900"),
        ("@timeout(minutes=5)\n@retry(times=200, backoff=1.5)", 300 + 4200 + 315_360_000, "315360900"),
        ("@timeout(minutes=5)\n@retry(times=3000, backoff=2)", 300 + 4200, "900"),
        ("", 432000, None),
    ],
)
def test_deadlines_leave_room_for_what_an_attempt_waits_in_its_pod(
    decorators: str, of_gang: int, of_task: str | None, tmp_path: Path
) -> None:
    gang, plain = (compiled(tmp_path, text.format(decorators=decorators)) for text in (GANG, ONE))
    job = jobset(gang)["spec"]["replicatedJobs"][0]["template"]["spec"]
    assert job["activeDeadlineSeconds"] == of_gang
    preemptions = min(20 * of_gang, 10 * 24 * 3600) if "retry" in decorators else 0
    assert template(gang, "train")["activeDeadlineSeconds"] == str(of_gang + preemptions + 3600)
    assert template(plain, "start").get("activeDeadlineSeconds") == of_task
    assert schema_errors(plain.files or {}, VERSIONS[0]) == [] == schema_errors(gang.files or {}, VERSIONS[0])


@pytest.mark.parametrize("decorators", ["", "@retry(times=0)", "@retry", "@retry(times=1)\n@timeout(minutes=5)"])
def test_preemptions_start_a_jobset_anew_where_there_is_a_retry(decorators: str, tmp_path: Path) -> None:
    made = compiled(tmp_path, GANG.format(decorators=decorators))
    gang = jobset(made, **{"inputs.parameters.index": "1"})
    spec, job = gang["spec"], gang["spec"]["replicatedJobs"][0]["template"]["spec"]
    there = (spec["failurePolicy"].get("rules"), job.get("podFailurePolicy"), job.get("podReplacementPolicy"))
    limit = job["activeDeadlineSeconds"]
    longest = int(template(made, "train")["activeDeadlineSeconds"]) - 3600 - limit
    assert job_errors(gang) == []
    if decorators in ("", "@retry(times=0)"):
        assert (there, longest) == ((None, None, None), 0)
        return
    (again,), ends, replaced = there
    assert again["action"] == "RestartJobSetAndIgnoreMaxRestarts"
    # The reason of a Job that one of these rules ended.
    assert (again["onJobFailureReasons"], replaced) == (["PodFailurePolicy"], "Failed")
    asked, disrupted = ends["rules"]
    assert asked["onExitCodes"] == {"containerName": "rank", "operator": "In", "values": [EXIT_PREEMPTED]}
    assert disrupted["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    assert longest == (10 * 24 * 3600 if limit > 24 * 3600 else 20 * limit)


@pytest.mark.parametrize(
    ("decorators", "framework", "forms"),
    [
        ("", "parallel", 600),
        ("", "torchrun(all_nodes_started_timeout=7200)", 7200),
        ("@kubernetes(hostname_resolution_timeout=10000)", "torchrun(all_nodes_started_timeout=7200)", 10000),
        ("@kubernetes(hostname_resolution_timeout=90, queue='q')", "ray", 90),
    ],
)
def test_a_gang_has_an_hour_to_start_and_its_own_time_to_form(
    decorators: str, framework: str, forms: int, tmp_path: Path
) -> None:
    text = GANG.format(decorators=f"{decorators}\n@timeout(seconds=90.5)\n@checkpoint(grace=50)")
    gang = compiled(tmp_path, text.replace("@torchrun", f"@{framework}"))
    job = jobset(gang)["spec"]["replicatedJobs"][0]["template"]["spec"]
    assert job["activeDeadlineSeconds"] == 91 + 3600 + forms + 50
    beyond = 7 * 24 * 3600 if "queue" in decorators else 3600
    assert template(gang, "train")["activeDeadlineSeconds"] == str(job["activeDeadlineSeconds"] + beyond)


def test_a_flow_without_gangs_has_no_rights_on_jobsets(tmp_path: Path) -> None:
    plain, gang = compiled(tmp_path, ONE.format(decorators="")), compiled(tmp_path, GANG.format(decorators=""))
    rules = [
        {rule["resources"][0]: rule["verbs"] for role in documents(item, "Role") for rule in role["rules"]}
        for item in (plain, gang)
    ]
    assert rules[0] == {"workflowtaskresults": ["create", "patch"]}
    jobsets = ["create", "delete", "get", "list", "watch"]
    assert rules[1] == {**rules[0], "jobsets": jobsets, "workflows": ["get"]}
    assert [item["name"] for item in template(plain, "on-exit")["dag"]["tasks"]] == [
        "record-end", "record-end-2", "record-end-3",
    ]  # fmt: skip


def test_parameters(tmp_path: Path) -> None:
    spec = workflow(compiled(tmp_path, EVERYTHING))
    there = {item["name"]: item for item in spec["arguments"]["parameters"]}
    values = {name: item.get("value") for name, item in there.items()}
    assert values == {
        "n": "3",
        "on": "true",
        "rate": "0.001",
        "names": "a,b",
        "options": '{"no": [1000.0, null]}',
        "late": "",
        "nothing": "",
    }
    assert there["on"]["enum"] == ["true", "false"]
    assert there["n"]["description"] == "how many: y or n (a whole number)"
    required = ONE.format(decorators="").replace("@step", 'day = Parameter("day", required=True)\n\n@step', 1)
    (asked,) = workflow(compiled(tmp_path, required))["arguments"]["parameters"]
    assert asked == {"name": "day"}


@given(st.lists(st.text("a,{ ", max_size=3), max_size=3), st.sampled_from([",", "{", "{{", ", "]))
@example(["a", "{{b}}"], ",")
@example(["a,b"], ",")
@example([""], ",")
def test_a_default_that_is_a_list_is_that_list_in_the_run(default: list[str], separator: str) -> None:
    declared = Parameter("names", "str", default, separator=separator)
    plan = Plan("F", "start", "start", (Step("start", "task", End(), ()),), parameters=(declared,))
    told = workflow_parameters(plan)
    assert "{{" not in told[0]["value"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(contract.PARAMETERS, json.dumps(told))
        given = given_parameters(plan.to_json())
    assert parameter_values(FlowSpec, plan.to_json(), given, ".") == {"names": default}


def test_caught_and_scheduled(tmp_path: Path) -> None:
    produced = compiled(tmp_path, EVERYTHING)
    (cron,) = documents(produced, "CronWorkflow")
    assert cron["spec"] == {
        "schedules": ["0 6 * * 1-5"],
        "timezone": "Europe/Berlin",
        "workflowSpec": {"workflowTemplateRef": {"name": "trainflow"}},
    }
    env = {item["name"]: item["value"] for item in template(produced, "join-gang-caught")["container"]["env"]}
    assert json.loads(env["FLOWC_CAUGHT"])["type"] == "ProcessFailure"
    assert env["FLOWC_ATTEMPT"] == "1"
    start = template(produced, "start")
    assert start["retryStrategy"]["backoff"] == {"duration": "60s", "factor": "2"}
    env = {item["name"]: item["value"] for item in start["container"]["env"]}
    # The step's own process counts its time; Kubernetes that of a pod which does not begin.
    assert (env["FLOWC_TIMEOUT"], start["activeDeadlineSeconds"]) == ("600", "1200")


@pytest.mark.parametrize(
    ("url", "seen", "claim"),
    [
        (None, "file:///flowc/data", "flowc"),
        ("pvc://runs/a/b", "file:///flowc/data/a/b", "runs"),
        ("s3://bucket/x", "s3://bucket/x", None),
    ],
)
def test_datastores(url: str | None, seen: str, claim: str | None, tmp_path: Path) -> None:
    produced = compiled(tmp_path, ONE.format(decorators=""), datastore=url)
    env = {item["name"]: item["value"] for item in template(produced, "start")["container"]["env"]}
    assert env["FLOWC_DATASTORE"] == seen
    claims = [item["persistentVolumeClaim"]["claimName"] for item in workflow(produced)["volumes"][1:]]
    assert claims == ([claim] if claim else [])


@pytest.mark.parametrize(
    "url",
    [
        "/scratch/runs", "file:///x", "pvc://A", "pvc://a/../b", "gs://x", "s3://", "s3://b/{{x}}", "pvc://a/{{x}}",
        "s3://b/$(HOME)", "s3://b/a$$b",
    ],
)  # fmt: skip
def test_datastores_that_no_pod_reaches(url: str, tmp_path: Path) -> None:
    found = compiled(tmp_path, ONE.format(decorators=""), datastore=url).diagnostics
    assert [item.code for item in found if item.is_error] == ["FC417"]


# Code ----------------------------------------------------------------------------------------------------------------


def test_pods_see_the_code_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "table.bin").write_bytes(bytes(range(256)))
    odd = "\n\n  first\ttab\r\nlast é \U0001f600 \u2028"
    (tmp_path / "odd name.txt").write_bytes(odd.encode())
    text = ONE.format(decorators="").replace("self.next", 'open("data/table.bin"), open("odd name.txt")\n    self.next')
    produced = compiled(tmp_path, text)
    maps = {item["metadata"]["name"]: item for item in documents(produced, "ConfigMap")}
    seen = {}
    for source in workflow(produced)["volumes"][0]["projected"]["sources"]:
        item = maps[source["configMap"]["name"]]
        assert item["immutable"] is True
        assert len(json.dumps(item)) < 250_000, "kubectl apply keeps a copy in an annotation"
        for entry in source["configMap"]["items"]:
            seen[entry["path"]] = item.get("data", {}).get(entry["key"]) or item["binaryData"][entry["key"]]
    assert seen["flow/odd name.txt"] == odd
    import base64

    assert base64.b64decode(seen["flow/data/table.bin"]) == bytes(range(256))
    for name, data in runtime_files().items():
        if not name.startswith(("flowc/runtime/slurm/", "flowc/py.typed")):
            assert seen[name].encode() == data
    own = [name for name in maps if "-runtime-" not in name]
    (tmp_path / "odd name.txt").write_text("changed")
    again = compiled(tmp_path, text)
    assert not set(own) & {item["metadata"]["name"] for item in documents(again, "ConfigMap")}


@pytest.mark.parametrize(
    ("written", "emitted"),
    [
        ("0 6 * * 7", "0 6 * * 0"),
        ("0 6 * * 5-7", "0 6 * * 0,5,6"),
        ("0 6 * * 1-7/2", "0 6 * * 0,1,3,5"),
        ("0 6 * * mon,7", "0 6 * * 0,1"),
        ("7 7 7 7 *", "7 7 7 7 *"),
        ("0 6 ? * sun-tue", "0 6 ? * sun-tue"),
    ],
)
def test_weekday_7_is_a_sunday_for_argo_too(written: str, emitted: str, tmp_path: Path) -> None:
    text = whole_flow(ONE.format(decorators="")).replace("\nclass ", f"\n@schedule(cron={written!r})\nclass ", 1)
    (cron,) = documents(compiled(tmp_path, text), "CronWorkflow")
    assert cron["spec"]["schedules"] == [emitted]


def test_the_name_of_a_schedule_leaves_room_for_its_time(tmp_path: Path) -> None:
    name = "AFlowOfWhichTheNameIsAsLongAsThoseOfSomePeopleAlwaysAreFlow"
    text = whole_flow(ONE.format(decorators="")).replace("\nclass MyFlow", f"\n@schedule(daily=True)\nclass {name}", 1)
    produced = compiled(tmp_path, text)
    assert produced.files is not None, produced.diagnostics
    (cron,) = documents(produced, "CronWorkflow")
    assert len(cron["metadata"]["name"]) <= 52
    assert cron["spec"]["workflowSpec"] == {"workflowTemplateRef": {"name": cron["metadata"]["labels"]["flowc/flow"]}}


def test_a_name_of_a_file_that_argo_would_replace(tmp_path: Path) -> None:
    (tmp_path / "{{x}}.txt").write_text("x")
    text = ONE.format(decorators="").replace("self.next", 'open("{{x}}.txt")\n    self.next')
    produced = compiled(tmp_path, text)
    (found,) = produced.diagnostics
    assert produced.files is None and found.code == "FC409"
    assert "'{{x}}.txt' travels with the flow" in found.message and "--package '!{{x}}.txt'" in found.help
    # Elsewhere names of files are not in the manifests.
    assert compiled(tmp_path, text, code="s3://bucket/code").files is not None


@pytest.mark.parametrize(
    ("written", "severity", "words"),
    [
        ("default='tab' + 'le.csv'", Severity.ERROR, "table.csv, does not travel with the flow"),
        ("default='../table.csv'", Severity.ERROR, "../table.csv, does not travel with the flow"),
        ("default='/data/table.csv'", Severity.WARNING, "/data/table.csv, of which pods have what their image has"),
        ("default='~/table.csv'", Severity.WARNING, "~/table.csv, of which pods have what their image has"),
        ("required=True", Severity.WARNING, "has to be given, and no file is sent to Argo with a run"),
        ("default='table.csv'", None, ""),
        ("default='./data/../table.csv'", None, ""),
        ("default=lambda context: 'table.csv'", None, ""),
        ("", None, ""),
    ],
)
def test_files_that_pods_do_not_find(written: str, severity: Severity | None, words: str, tmp_path: Path) -> None:
    folder = tmp_path / "flow"
    (folder / "data").mkdir(parents=True)
    for file in (tmp_path / "table.csv", folder / "table.csv"):
        file.write_text("a,b\n")
    text = ONE.format(decorators="").replace("@step", f"table = IncludeFile('table', {written})\n\n@step", 1)
    produced = compiled(folder, text)
    found = [item for item in produced.diagnostics if item.code == "FC420"]
    assert [item.severity for item in found] == ([severity] if severity else [])
    assert all(words in item.message and item.span and item.help for item in found)
    assert (produced.files is None) == (severity is Severity.ERROR)


def test_installed_code(tmp_path: Path) -> None:
    produced = compiled(tmp_path, GANG.format(decorators=""), code="installed")
    assert [item["metadata"]["name"].rsplit("-", 1)[0] for item in documents(produced, "ConfigMap")] == ["myflow-code"]
    assert "PYTHONPATH" not in str(workflow(produced))


# Limits --------------------------------------------------------------------------------------------------------------


def test_objects_that_are_too_large(tmp_path: Path) -> None:
    (tmp_path / "big.txt").write_text("x" * 300_000)
    text = ONE.format(decorators="").replace("self.next", 'open("big.txt")\n    self.next')
    found = compiled(tmp_path, text).diagnostics
    assert [(item.code, item.is_error) for item in found] == [("FC418", False)]
    (tmp_path / "big.txt").write_text("x" * 1_100_000)
    found = compiled(tmp_path, text).diagnostics
    assert [(item.code, item.is_error) for item in found] == [("FC411", True)]
    assert "--package '!big.txt'" in found[0].help


REFUSED_OR_TOLD = [
    # (what, before the first step, before the flow, code of the diagnostic, words of it)
    ("variables", "@environment(vars={'A': 'x' * 60_000, 'B': 'x' * 60_000})", "", "FC411", "117 KiB of variables"),
    ("variables of two bytes", "@environment(vars={'A': 'ü' * 60_000})", "", "FC411", "117 KiB of variables"),
    ("help of a parameter", "p = Parameter('p', help='h' * 90_000)", "", "FC411", "with their help, come to 117 KiB"),
    ("signs that Go escapes", "p = Parameter('p', default='<' * 15_000)", "", "FC411", "come to 117 KiB"),
    ("waits without end", "@retry(minutes_between_retries=1e15)", "", "FC409", "cannot wait 1e+15 minutes"),
    ("default of a parameter", "p = Parameter('p', default='x' * 90_000)", "", "FC411", "defaults of the parameters"),
    ("a year", "", "@schedule(cron='0 6 * * ? 2030')", "FC409", "five fields"),
    ("a Python", "@pypi(python='3.11', packages={'numpy': '2.0'})", "", "FC407", "@pypi(python=...) has no effect"),
    ("a Python of all steps", "", "@pypi_base(python='3.11')", "FC407", "@pypi_base(python=...) has no effect"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("what", "before", "flow", "code", "words"), REFUSED_OR_TOLD, ids=[row[0] for row in REFUSED_OR_TOLD]
)
def test_what_argo_or_kubernetes_cannot_do(
    what: str, before: str, flow: str, code: str, words: str, tmp_path: Path
) -> None:
    text = ONE.format(decorators=before)
    produced = compiled(tmp_path, whole_flow(text).replace("\nclass ", f"\n{flow}\nclass ", 1) if flow else text)
    found = [item for item in produced.diagnostics if item.code == code]
    assert len(found) == 1, produced.diagnostics
    assert words in found[0].message and found[0].span is not None
    assert found[0].is_error == (produced.files is None) == (code != "FC407")


def test_a_flow_of_many_steps_fits_or_is_refused(tmp_path: Path) -> None:
    def chain(count: int) -> str:
        names = ["start", *(f"s{number}" for number in range(count)), "end"]
        steps = [f"@step\ndef {one}(self):\n    self.next(self.{two})\n" for one, two in zip(names, names[1:])]
        return "\n".join(steps)

    small, large = compiled(tmp_path, chain(100)), compiled(tmp_path, chain(1200))
    assert small.files is not None and [item.code for item in small.diagnostics if item.is_error] == []
    assert [item.code for item in large.diagnostics if item.is_error] == ["FC411"]
    # It can be deployed, but what becomes of its nodes may be too much.
    between = compiled(tmp_path, chain(1080))
    assert between.files is not None
    assert [item.code for item in between.diagnostics if item.code != "FC418"] == ["FC419"]


def test_long_names_are_cut_and_stay_apart(tmp_path: Path) -> None:
    long = "a_step_with_a_name_that_is_longer_than_any_label_may_be_for_kubernetes_"
    text = (
        f"@step\ndef start(self):\n    self.next(self.{long}x, self.{long}y)\n\n"
        f"@step\ndef {long}x(self):\n    self.next(self.join)\n\n"
        f"@step\ndef {long}y(self):\n    self.next(self.join)\n\n"
        "@step\ndef join(self, inputs):\n    self.next(self.end)\n"
    )
    produced = compiled(tmp_path, text)
    assert produced.files is not None and schema_errors(produced.files) == []
    names = [item["name"] for item in workflow(produced)["templates"]]
    assert len(set(names)) == len(names) and max(map(len, names)) <= 63
    assert sum(name.startswith("a-step-with-a-name") for name in names) == 2


@given(st.text(max_size=200))
def test_names(text: str) -> None:
    for name in (dns_label(text), flow_object(text), flow_object(text, "-code"), jobset_prefix(text).rstrip("-")):
        assert name and len(name) <= 63 and name[0].isalpha() and name[-1].isalnum()
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert len(flow_object(text)) <= 57, "a Workflow's name adds six characters"
    assert len(f"{jobset_prefix(text)}abcde-rank-0-99999-abcde") <= 63


def test_words_of_expressions_are_no_names() -> None:
    names = Names()
    assert [names.new(word) for word in ("true", "2nd", "a_b", "a-b", "matches")] == [
        "true-step",
        "step-2nd",
        "a-b",
        "a-b-2",
        "matches-step",
    ]


# Always the same -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_same_bytes_in_any_folder_with_any_hash_seed_and_user(tmp_path: Path) -> None:
    assert len(set(digests_in_other_surroundings("argo", EVERYTHING, tmp_path))) == 1


@pytest.mark.slow
def test_the_same_bytes_with_another_python(tmp_path: Path) -> None:
    said = digests_of_other_pythons("argo", EVERYTHING, tmp_path)
    assert len(set(said.values())) == 1, said


# YAML ----------------------------------------------------------------------------------------------------------------

ODD = [
    "y", "N", "1e3", "1e-3", "08", "0o7", "null", "~", "- a", "a: b", "#c", "a #b", "2020-01-01", "1_000",
    "0x1F", "No", "12:30:45", "=", "<<", "%x", "@a", "`", "!t", "&a", "*a", "?", "-", "---", "a:", "[x]",
    "'", "\"", "\\", "\n", "a\n", "a\nb", " a\nb", "\n a", "a\n\n", "\ta\nb", "a \nb ", "  \n x\n", "on",
    ".inf", "_", "1.", "+1", "e5", "x\u2028y", "\U0001f600\n", "\x85", "\ufeffx",
]  # fmt: skip
TEXTS = st.one_of(
    st.sampled_from(ODD), st.text(max_size=20), st.text(alphabet="ab \n\t:#-'\"{}[]\\", max_size=20)
).filter(lambda text: not any(0xD800 <= ord(char) < 0xE000 for char in text))
KEYS = st.one_of(
    st.sampled_from(["n", "y", "a.b/c", "name", "08", "on"]), st.from_regex(r"[a-zA-Z][a-z.-]{0,9}", fullmatch=True)
)
VALUES = st.recursive(
    st.one_of(TEXTS, st.integers(-9, 10**9), st.booleans()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=8,
)


def as_go_reads(text: str) -> Any:
    """By a reader that also takes for numbers and truth values what Go's does."""
    import re

    class Loader(yaml.SafeLoader):
        yaml_implicit_resolvers = {key: list(found) for key, found in yaml.SafeLoader.yaml_implicit_resolvers.items()}

    Loader.add_constructor("!other", lambda loader, node: None)
    Loader.add_implicit_resolver("!other", re.compile(r"^([yYnN]|[-+]?[0-9][0-9.]*[eE][-+]?[0-9]+|0[0-9o]+)$"), None)
    return yaml.load(text, Loader=Loader)


@pytest.mark.slow
@given(st.dictionaries(KEYS, VALUES, min_size=1, max_size=4), st.dictionaries(KEYS, TEXTS, max_size=3))
@settings(max_examples=150)
def test_every_text_is_read_as_it_was_meant(document: dict[str, Any], code: dict[str, str]) -> None:
    document = {**document, "data": code}
    text = dump({**document, "data": {key: Literal(value) for key, value in code.items()}})
    for found in (yaml.safe_load(text), yaml.load(text, Loader=yaml.CSafeLoader), as_go_reads(text)):
        assert found == document


def test_without_libyaml_the_bytes_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = EVERYTHING.replace("Trains.", "Trains \U0001f600 ü.")
    fast = compiled(tmp_path, text).files
    monkeypatch.delattr(yaml, "CSafeDumper")
    assert compiled(tmp_path, text).files == fast
