"""Runs that a scheduler starts without flowc: the first task creates them, outputs go to files, the end is told."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from flowc.compiler.plan import Parameter, Plan
from flowc.runtime.address import Address
from flowc.runtime.datastore import FileDatastore
from flowc.runtime.record import Failure, Record
from flowc.runtime.runs import read_run, read_status
from plans import End, Foreach, Next, Switch, plan, task

FLOW = """
import os, signal, time
from flowc import FlowSpec, IncludeFile, JSONType, Parameter, step

class Sched(FlowSpec):
    text = Parameter("text", default="plain")
    n = Parameter("n", type=int, default=2)
    ratio = Parameter("ratio", type=float, default=0.5)
    sure = Parameter("sure", type=bool, default=False)
    data = Parameter("data", type=JSONType, default='{"a": [1]}')
    names = Parameter("names", separator=",", default="a,b")
    maybe = Parameter("maybe", default=None)
    made = Parameter("made", default=lambda context: context.flow_name + " made")

    @step
    def start(self):
        print("hello", os.getpid(), flush=True)
        mark = os.environ.get("MARK")
        if mark:
            open(mark, "a").write("ran\\n")
        if os.environ.get("WAIT"):
            try:
                print("waiting", flush=True)
                time.sleep(30)
            finally:
                print("tidied", flush=True)
        if os.environ.get("FAIL"):
            raise ValueError("it is bad")
        self.things = list(range(self.n))
        self.next(self.work, foreach="things")

    @step
    def work(self):
        self.way = "go on"
        self.next({"go on": self.join_up, "other": self.aside}, condition="way")

    @step
    def aside(self):
        self.next(self.join_up)

    @step
    def join_up(self, inputs):
        self.next(self.end)

    @step
    def end(self):
        pass
"""

PLAN = plan(
    task("start", Foreach("work", "things")),
    task("work", Switch("way", (("go on", "join_up"), ("other", "aside"))), "start", scope=("start",)),
    task("aside", Next("join_up"), "work", scope=("start",)),
    task("join_up", Next("end"), ("work", "aside"), joins="start"),
    task("end", End(), "join_up"),
    name="Sched",
    parameters=(
        Parameter("text", "str", "plain"),
        Parameter("n", "int", 2),
        Parameter("ratio", "float", 0.5),
        Parameter("sure", "bool", False),
        Parameter("data", "json", '{"a": [1]}'),
        Parameter("names", "str", "a,b", separator=","),
        Parameter("maybe"),
        Parameter("made", computed=True),
    ),
)
DEFAULTS = {
    "text": "plain",
    "n": 2,
    "ratio": 0.5,
    "sure": False,
    "data": {"a": [1]},
    "names": ["a", "b"],
    "maybe": None,
    "made": "Sched made",
}


class Pod:
    """Processes that find what a pod of a generated workflow finds."""

    def __init__(self, folder: Path, plan: Plan = PLAN) -> None:
        self.folder = folder
        self.store = FileDatastore(str(folder / "store"))
        (folder / "flow.py").write_text(FLOW)
        (folder / "plan.json").write_text(plan.dumps())
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("FLOWC_")},
            "FLOWC_DATASTORE": self.store.root,
            "FLOWC_FLOW_NAME": "Sched",
            "FLOWC_RUN_ID": "sched-x7",
            "FLOWC_FLOW_FILE": str(folder / "flow.py"),
        }

    def beginning(self, parameters: Any = None) -> dict[str, str]:
        texts = {} if parameters is None else {"FLOWC_PARAMETERS": parameters}
        return {"FLOWC_PLAN": str(self.folder / "plan.json"), "FLOWC_TARGET": "argo", **texts}

    def call(self, *arguments: str, code: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(self.argv(*arguments), env={**self.env, **env}, capture_output=True, text=True, cwd="/")
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def argv(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "flowc.runtime", *arguments]

    def start(self, parameters: Any = None, code: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
        return self.call("step", "start", code=code, **self.beginning(parameters), **env)

    @property
    def run(self) -> Any:
        return read_run(self.store, "Sched", "sched-x7")

    @property
    def status(self) -> Any:
        return read_status(self.store, self.run)


def base64_of(value: Any) -> str:
    return base64.b64encode(json.dumps(value).encode()).decode()


HARD = {
    "text": " \"two\" 'words'\n$(HOME) $$x ${HOME}, # {{workflow.name}} \\ \u00fc\u4e16\U0001f600 ",
    "n": "3",
    "ratio": "1e-3",
    "sure": "true",
    "data": '{"b": "x, y"}',
    "names": "x,y z",
}
HARD_VALUES = {**DEFAULTS, **HARD, "n": 3, "ratio": 0.001, "sure": True, "data": {"b": "x, y"}, "names": ["x", "y z"]}


@pytest.mark.parametrize(
    "form",
    [
        json.dumps,
        base64_of,
        lambda texts: json.dumps([{"name": name, "value": value} for name, value in texts.items()]),
        lambda texts: base64_of(
            [*({"name": name, "value": value} for name, value in texts.items()), {"name": "maybe"}]
        ),
    ],
)
def test_the_first_task_creates_the_run_with_typed_parameters(tmp_path: Path, form: Any) -> None:
    pod = Pod(tmp_path)
    pod.start(form(HARD))
    assert pod.run.parameters == HARD_VALUES
    assert (pod.run.target, pod.run.run_id, pod.status.state) == ("argo", "sched-x7", "running")
    assert pod.run.plan == json.loads((tmp_path / "plan.json").read_text())


def test_empty_texts_stand_for_defaults_where_they_cannot_be_meant(tmp_path: Path) -> None:
    pod = Pod(tmp_path)
    pod.start(json.dumps(dict.fromkeys(DEFAULTS, "")))
    assert pod.run.parameters == {**DEFAULTS, "text": "", "names": []}


def test_a_retried_first_task_finds_its_run(tmp_path: Path) -> None:
    pod = Pod(tmp_path)
    pod.start(json.dumps({"n": "1"}), code=1, FAIL="1")
    before = (tmp_path / "store/Sched/sched-x7/run.json").read_bytes()
    pod.start(json.dumps({"n": "1"}), FLOWC_ATTEMPT="1")
    assert (tmp_path / "store/Sched/sched-x7/run.json").read_bytes() == before
    record = pod.run.records(pod.store).read(Address("start"))
    assert record.attempt == 1 and record.next.width == 1


def test_two_first_tasks_at_once_make_one_run(tmp_path: Path) -> None:
    pod = Pod(tmp_path)
    both = [
        subprocess.Popen(
            pod.argv("step", "start"),
            env={**pod.env, **pod.beginning(), "FLOWC_ATTEMPT": str(number)},
            stdout=subprocess.DEVNULL,
        )
        for number in range(2)
    ]
    assert [process.wait(30) for process in both] == [0, 0]
    assert pod.run.parameters == DEFAULTS
    assert [pod.run.records(pod.store).read(Address("start"), number).done for number in range(2)] == [True, True]


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ({"n": "many", "sure": "perhaps"}, ("parameter n: 'many' is not a whole number", "parameter sure: 'perhaps'")),
        ({"data": "{"}, ("parameter data: '{' is not JSON",)),
        ({"txet": "x"}, ("no parameter txet; did you mean text?",)),
        ("{", ("FLOWC_PARAMETERS holds no parameters",)),
        ("!", ("FLOWC_PARAMETERS holds no parameters",)),
        ('{"n": 3}', ("FLOWC_PARAMETERS holds no parameters", "not all text")),
        ('[{"nome": "n", "value": "1"}]', ("FLOWC_PARAMETERS holds no parameters",)),
    ],
)
def test_bad_parameters(tmp_path: Path, texts: Any, said: tuple[str, ...]) -> None:
    pod = Pod(tmp_path)
    text = texts if isinstance(texts, str) else json.dumps(texts)
    done = pod.start(text, code=2)
    assert all(each in done.stderr for each in said) and "Traceback" not in done.stderr
    assert not (tmp_path / "store").exists()
    # The end finds no run, and leaves one that says why.
    pod.call("end", "--status", "Failed", **pod.beginning(text))
    assert pod.status.state == "failed" and said[0] in pod.status.failure["message"]


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"FLOWC_PLAN": "/absent.json"}, "FLOWC_PLAN=/absent.json cannot be read"),
        ({"FLOWC_PLAN": "/dev/null"}, "FLOWC_PLAN=/dev/null is no Plan"),
        ({"FLOWC_FLOW_NAME": "Other"}, "is the Plan of Sched"),
        ({"FLOWC_TARGET": ""}, "FLOWC_TARGET is not set"),
        ({"FLOWC_FLOW_FILE": ""}, "FLOWC_FLOW_FILE is not set"),
        ({"FLOWC_RUN_ID": ".x"}, "cannot be the id of a run"),
    ],
)
def test_wrong_beginnings(tmp_path: Path, env: dict[str, str], said: str) -> None:
    pod = Pod(tmp_path)
    done = pod.call("step", "start", code=2, **{**pod.beginning(), **env})
    assert said in done.stderr and "Traceback" not in done.stderr


def test_another_workflow_of_the_same_name_leaves_the_run_alone(tmp_path: Path) -> None:
    pod = Pod(tmp_path)
    pod.start("{}", FLOWC_RUN_UID="one")
    pod.start("{}", FLOWC_RUN_UID="one", FLOWC_ATTEMPT="1")
    for words in (("step", "start"), ("end", "--status", "Succeeded")):
        done = pod.call(*words, code=2, **{**pod.beginning("{}"), "FLOWC_RUN_UID": "two"})
        assert "belongs to another Workflow of this name (uid one, and this one has two)" in done.stderr
    assert pod.status.state == "running"
    pod.call("end", "--status", "Failed", **{**pod.beginning("{}"), "FLOWC_RUN_UID": "one"})
    assert pod.status.state == "failed"


# Outputs --------------------------------------------------------------------------------------------------------------


def left(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in folder.iterdir()}


def test_outputs_are_left_after_the_record_and_again_when_the_pod_is_retried(tmp_path: Path) -> None:
    pod = Pod(tmp_path)
    mark = str(tmp_path / "mark")
    pod.start('{"n": "2"}', FLOWC_OUTPUTS=str(tmp_path / "one"), MARK=mark)
    assert left(tmp_path / "one") == {"width": "2", "round": "1"}
    again = pod.start('{"n": "2"}', FLOWC_OUTPUTS=str(tmp_path / "two"), FLOWC_ATTEMPT="1", MARK=mark)
    assert left(tmp_path / "two") == left(tmp_path / "one") and "done already" in again.stderr
    assert (tmp_path / "mark").read_text() == "ran\n"
    pod.call("step", "work", "--index", "1", FLOWC_OUTPUTS=str(tmp_path / "three"))
    assert left(tmp_path / "three") == {"case": "go on", "to": "join_up", "round": "1"}


def test_a_failed_task_leaves_no_outputs(tmp_path: Path) -> None:
    pod = Pod(tmp_path)
    pod.start(code=1, FLOWC_OUTPUTS=str(tmp_path / "out"), FAIL="1")
    assert not (tmp_path / "out").exists()


def test_outputs_that_cannot_be_written(tmp_path: Path) -> None:
    pod = Pod(tmp_path)
    done = pod.start(code=1, FLOWC_OUTPUTS="/proc/nothing")
    assert "start is done, but its outputs cannot be left in /proc/nothing" in done.stderr


# The end --------------------------------------------------------------------------------------------------------------


def test_the_end_of_a_good_run(tmp_path: Path) -> None:
    pod = Pod(tmp_path)
    pod.start()
    pod.call("end", "--status", "Succeeded")
    assert (pod.status.state, pod.status.failure) == ("done", None) and pod.status.finished >= pod.status.started > 0
    assert "has ended as done" in pod.call("end", "--status", "Failed").stdout
    assert pod.status.state == "done"


def test_an_end_may_be_told_again(tmp_path: Path) -> None:
    pod = Pod(tmp_path)
    pod.start(code=1, FAIL="1")
    told = json.dumps([{"displayName": "start", "templateName": "start", "message": "Error (exit code 1)"}])
    pod.call("end", "--status", "Failed", FLOWC_FAILURES=told, **pod.beginning())
    first = pod.status
    # Its pod was lost before Argo saw its end, which is then among the failures, too.
    more = [*json.loads(told), {"displayName": "record-end", "templateName": "record-end", "message": "pod deleted"}]
    pod.call("end", "--status", "Failed", FLOWC_FAILURES=json.dumps(more), **pod.beginning())
    assert (pod.status.state, pod.status.started, pod.status.failure) == ("failed", first.started, first.failure)
    assert first.failure["message"] == "it is bad"


def test_the_end_names_the_first_failure(tmp_path: Path) -> None:
    pod = Pod(tmp_path)
    pod.start(code=1, FAIL="1", FLOWC_LOGS="tee")
    records = pod.run.records(pod.store)
    later = Record(Address("work", (0,)), 0, "failed", 1.0, time.time() + 9, {}, None, Failure("Late", "later"))
    records.commit(later)
    pod.call("end", "--status", "Failed", FLOWC_FAILURES=json.dumps([{"displayName": "x", "message": "exit code 1"}]))
    failure = pod.status.failure
    assert pod.status.state == "failed"
    assert (failure["address"], failure["type"], failure["message"]) == ("start", "ValueError", "it is bad")
    assert "ValueError: it is bad" in failure["last_lines"]


def test_the_end_tells_what_only_the_scheduler_knows(tmp_path: Path) -> None:
    pod = Pod(tmp_path)
    failures = [
        {"displayName": "later", "message": "x", "finishedAt": "2026-01-02T00:00:00Z"},
        {"displayName": "start", "message": "OOMKilled (exit code 137)", "finishedAt": "2026-01-01T00:00:00Z"},
    ]
    pod.call("end", "--status", "Error", FLOWC_FAILURES=base64_of(failures), **pod.beginning())
    assert pod.status.state == "failed" and pod.status.failure["message"] == "start: OOMKilled (exit code 137)"


def test_a_run_that_was_stopped_is_interrupted(tmp_path: Path) -> None:
    pod = Pod(tmp_path)
    stopped = [{"displayName": "start", "message": "workflow shutdown with strategy:  Stop"}]
    quoted = json.dumps(json.dumps(stopped))  # as Argo has it
    pod.call("end", "--status", "Failed", FLOWC_FAILURES=quoted, **pod.beginning())
    assert pod.status.state == "interrupted"


def test_an_end_that_is_none(tmp_path: Path) -> None:
    pod = Pod(tmp_path)
    assert "a run does not end as 'Running'" in pod.call("end", "--status", "Running", code=2).stderr
    assert "there is no run" in pod.call("end", "--status", "Failed", code=2).stderr


# The first process ----------------------------------------------------------------------------------------------------

PID_NAMESPACE = ["unshare", "-r", "--pid", "--fork", "--mount-proc", "--kill-child"]


def can_unshare() -> bool:
    return subprocess.run([*PID_NAMESPACE, "true"], capture_output=True).returncode == 0


def test_output_goes_to_the_pod_and_to_the_attempt(tmp_path: Path) -> None:
    pod = Pod(tmp_path)
    done = pod.start(code=1, FAIL="1", FLOWC_LOGS="tee")
    logs = tmp_path / "store/Sched/sched-x7/start/_/0"
    assert done.stdout.startswith("hello ") and (logs / "stdout.log").read_text() == done.stdout
    assert "it is bad" in done.stderr and (logs / "stderr.log").read_text() == done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("logs", ["", "tee"])
def test_an_attempt_that_takes_too_long_is_ended_and_says_so(tmp_path: Path, logs: str) -> None:
    pod = Pod(tmp_path)
    done = pod.start(code=1, WAIT="1", FLOWC_TIMEOUT="1.5", FLOWC_LOGS=logs)
    assert "tidied" in done.stdout and "took longer than 1.5 s (@timeout); it is asked to end" in done.stderr
    record = pod.run.records(pod.store).read(Address("start"), 0)
    assert record is not None and record.failure is not None and not record.done
    assert (record.failure.type, record.failure.message) == ("Timeout", "took longer than 1.5 s (@timeout)")
    pod.call("end", "--status", "Failed")
    assert pod.status.failure["type"] == "Timeout" and pod.status.failure["address"] == "start"
    assert "FLOWC_TIMEOUT='soon'" in pod.start(code=2, FLOWC_TIMEOUT="soon", FLOWC_ATTEMPT="1").stderr
    pod.start(FLOWC_TIMEOUT="60", FLOWC_ATTEMPT="1")
    assert pod.run.records(pod.store).read(Address("start")).done  # type: ignore[union-attr]


@pytest.mark.parametrize("logs", ["", "tee"])
def test_the_first_process_hands_on_sigterm_and_reaps(tmp_path: Path, logs: str) -> None:
    if not can_unshare():
        pytest.skip("no user namespaces")
    pod = Pod(tmp_path)
    process = subprocess.Popen(
        [*PID_NAMESPACE, *pod.argv("step", "start")],
        env={**pod.env, **pod.beginning(), "WAIT": "1", "FLOWC_LOGS": logs},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    said = process.stdout.readline() + process.stdout.readline()
    assert said.endswith("waiting\n") and said != "hello 1\nwaiting\n"
    # unshare ignores the signal for itself; the namespace's first process is its child.
    first = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])
    began = time.monotonic()
    os.kill(first, signal.SIGTERM)
    assert process.stdout.read() == "tidied\n"
    assert process.wait(10) == 128 + signal.SIGTERM and time.monotonic() - began < 5


def test_the_first_process_reaps_orphans_and_gives_the_exit_code(tmp_path: Path) -> None:
    if not can_unshare():
        pytest.skip("no user namespaces")
    script = """
import os, subprocess, sys, time
from flowc.runtime.first_process import attend
attend()
subprocess.run(["sh", "-c", "(exit 3) & (sleep 0.1; exit 4) & exit 0"])
time.sleep(0.4)
zombies = [p for p in os.listdir("/proc") if p.isdigit() and open(f"/proc/{p}/stat").read().split(") ")[1][0] == "Z"]
print(os.getppid(), zombies, flush=True)
sys.exit(7)
"""
    done = subprocess.run([*PID_NAMESPACE, sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("1 []\n", 7), done.stderr
    killed = "import os\nfrom flowc.runtime.first_process import attend\nattend()\nos.kill(os.getpid(), 9)"
    assert subprocess.run([*PID_NAMESPACE, sys.executable, "-c", killed]).returncode == 137


FOR_GOOD = """
import os, signal, sys, time
from flowc.runtime import first_process
from flowc.runtime.time_limit import TimeLimit
first_process._TELL = 0.5
told = sys.argv[1]
def tell():
    if sys.argv[2] == "hangs":
        time.sleep(60)
    if sys.argv[2] == "fails":
        raise OSError("no datastore")
    open(told, "w").close()
limit = TimeLimit(0.3, 20.0, lambda: None, lambda: None)
first_process.attend((), limit, None, tell)
def end(number, frame):
    print(os.path.exists(told), flush=True)
    sys.exit(75)
signal.signal(signal.SIGTERM, end)
time.sleep(60)
"""


@pytest.mark.parametrize(("how", "said"), [("works", "True"), ("fails", "False"), ("hangs", "False")])
def test_the_first_process_says_that_a_task_ends_for_good_before_it_is_asked_to(
    how: str, said: str, tmp_path: Path
) -> None:
    words = [sys.executable, "-c", FOR_GOOD, str(tmp_path / "told"), how]
    done = subprocess.run(words, capture_output=True, text=True, timeout=20)
    assert (done.stdout, done.returncode) == (f"{said}\n", 1), done.stderr
    assert ("could not be told to its scheduler: no datastore" in done.stderr) == (how == "fails")


@pytest.mark.slow
def test_the_first_process_does_not_wait_for_what_writes_for_ever(tmp_path: Path) -> None:
    script = """
import subprocess, sys
from flowc.runtime.first_process import attend
attend([open(sys.argv[1], "wb"), open(sys.argv[2], "wb")])
subprocess.Popen(["sh", "-c", "for i in $(seq 300); do echo still here; sleep 0.1; done"], start_new_session=True)
print("done", flush=True)
sys.exit(7)
"""
    began = time.monotonic()
    words = [sys.executable, "-c", script, str(tmp_path / "out"), str(tmp_path / "err")]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as process:
        assert process.wait(20) == 7 and time.monotonic() - began < 15
    assert "done\n" in (tmp_path / "out").read_text()


# What a task runs in --------------------------------------------------------------------------------------------------


def test_rounds_are_worked_out(tmp_path: Path) -> None:
    pod = Pod(tmp_path)
    pod.start(FLOWC_ROUND="auto")
    pod.call("step", "work", "--index", "1", FLOWC_ROUND="auto")
    assert pod.run.records(pod.store).read(Address("work", (1,))) is not None
    assert "takes one number for each of start" in pod.call("step", "work", code=2, FLOWC_ROUND="auto").stderr


def test_a_flow_in_a_folder_that_is_read_only_runs_in_a_copy(tmp_path: Path) -> None:
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode != 0:
        pytest.skip("no user namespaces")
    pod = Pod(tmp_path)
    code = tmp_path / "code"
    (code / "sub").mkdir(parents=True)
    (code / "..data").mkdir()
    flow = FLOW.replace(
        'print("hello", os.getpid(), flush=True)', 'print(os.getcwd(), sorted(os.listdir(".."))); open("w", "w")'
    )
    (code / "flow.py").write_text(flow)
    mount = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && cd "$0/sub" && exec "$@"'
    folders = []
    for attempt in ("0", "1", "1"):
        own = {"FLOWC_FLOW_FILE": str(code / "flow.py"), "FLOWC_SCRATCH": str(tmp_path), "FLOWC_ATTEMPT": attempt}
        done = subprocess.run(
            ["unshare", "-rm", "sh", "-c", mount, str(code), *pod.argv("step", "start")],
            env={**pod.env, **pod.beginning(), **own},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        where, _, names = done.stdout.partition(" ")
        assert names == "['flow.py', 'sub']\n"
        folders.append(where)
    # All pods of an attempt have it at the same place, unless that is taken.
    run = pod.run.run_id
    assert folders[:2] == [f"{tmp_path}/flowc-flow-{run}-{attempt}/flow/sub" for attempt in ("0", "1")]
    assert folders[2].startswith(f"{tmp_path}/flowc-flow-") and folders[2] not in folders[:2]


def test_the_end_of_a_flow_that_writes_a_file_when_it_is_imported(tmp_path: Path) -> None:
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode != 0:
        pytest.skip("no user namespaces")
    pod = Pod(tmp_path)
    code = tmp_path / "code"
    code.mkdir()
    (code / "flow.py").write_text('open("log", "w").close()\n' + FLOW)
    mount = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && cd "$0" && exec "$@"'
    told = [{"displayName": "start", "message": "Unschedulable"}]
    own = {"FLOWC_FLOW_FILE": str(code / "flow.py"), "FLOWC_SCRATCH": str(tmp_path), "FLOWC_FAILURES": base64_of(told)}
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", mount, str(code), *pod.argv("end", "--status", "Failed")],
        env={**pod.env, **pod.beginning(), **own},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (pod.status.state, pod.status.failure["message"]) == ("failed", "start: Unschedulable")


@pytest.mark.slow
def test_packages_are_installed_before_the_flow_is_loaded(tmp_path: Path) -> None:
    import zipfile

    wheel = tmp_path / "wheels" / "flowc_sample_words-1.2-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("flowc_sample_words.py", "WORD = 'found it'\n")
        info = "flowc_sample_words-1.2.dist-info"
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: flowc-sample-words\nVersion: 1.2\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    pod = Pod(tmp_path)
    flow = tmp_path / "flow.py"
    flow.write_text("import flowc_sample_words\n" + FLOW.replace('"hello"', "flowc_sample_words.WORD"))
    pip = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheel.parent), "FLOWC_SCRATCH": str(tmp_path)}
    done = pod.start(FLOWC_PACKAGES='["flowc-sample-words==1.2"]', **pip)
    assert done.stdout.startswith("found it ")
    lacking = pod.call("step", "start", code=2, FLOWC_PACKAGES='["flowc-sample-words==9"]', **pip)
    assert "flowc-sample-words==9 could not be installed" in lacking.stderr and "Traceback" not in lacking.stderr
    wrong = pod.call("step", "start", code=2, FLOWC_PACKAGES='["--index-url=x"]', **pip)
    assert "FLOWC_PACKAGES is no JSON list" in wrong.stderr
