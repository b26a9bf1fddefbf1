"""What a step asks of Slurm is what its job has and what the step finds; and what happens to jobs from outside."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import flowc
import pytest
from flow_slurm import Slurm
from flow_target import RunView, until
from slurm_runs import ended, ended_in_a_hurry, job_of, queue, submitted, write

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

LOOK = """
NAMES = "SLURM_JOB_PARTITION SLURMD_NODENAME SLURM_CPUS_PER_TASK SLURM_MEM_PER_NODE CUDA_VISIBLE_DEVICES".split()


def found():
    return {name: os.environ[name] for name in NAMES if name in os.environ}
"""

ASKING = (
    LOOK
    + """
from flowc import environment, resources

WORD = "a 'b' \\"c\\" $(touch pwned) `touch pwned` $HOME # ü\\n2nd"


class AskingFlow(FlowSpec):
    @slurm(partition="other")
    @step
    def start(self):
        self.many = [1]
        self.next(self.later, foreach="many")

    @step
    def later(self):
        self.found = found()
        self.next(self.later_join)

    @step
    def later_join(self, inputs):
        self.after = inputs[0].found
        self.next(self.open)

    @step
    def open(self):
        self.next(self.placed, self.kept_off, self.alone, self.devices, self.other_devices, self.much, self.set_up)

    @slurm(partition="other", account="physics", time="00:07:00", nodelist="node2", extra={"comment": "night-shift"})
    @step
    def placed(self):
        self.found = found()
        self.next(self.join)

    @slurm(constraint="node1|node3", exclude="node1")
    @step
    def kept_off(self):
        self.found = found()
        self.next(self.join)

    @slurm(exclusive=True, reservation="course")
    @step
    def alone(self):
        self.found = found()
        self.next(self.join)

    @resources(gpu=2)
    @step
    def devices(self):
        self.found = found()
        self.next(self.join)

    @slurm(gres="gpu:1")
    @step
    def other_devices(self):
        self.found = found()
        self.next(self.join)

    @resources(cpu=3, memory=600)
    @step
    def much(self):
        self.found = found()
        self.next(self.join)

    @slurm(modules=["gcc/12.2", "openmpi"], setup="export FROM_SETUP='x  y'\\nulimit -n 321")
    @environment(vars={"WORD": WORD})
    @step
    def set_up(self):
        import resource

        self.found = {name: os.environ.get(name) for name in ("FROM_SETUP", "WORD", "MODULES")}
        self.found["files"] = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self.next(self.join)

    @step
    def join(self, inputs):
        self.found = {name: getattr(inputs, name).found for name in STEPS}
        self.after = inputs.placed.after
        self.next(self.end)

    @step
    def end(self):
        pass


STEPS = "placed kept_off alone devices other_devices much set_up".split()

if __name__ == "__main__":
    AskingFlow()
"""
)
# As Lmod hands its function on to every shell.
MODULE = '() { MODULES="${MODULES-}$* ;"; export MODULES; }'


def test_jobs_have_what_their_steps_ask_for(on_slurm: Slurm, slurm: Any) -> None:
    words = ["reservation", "reservationname=course", "nodes=node0", "users=root", "starttime=now", "duration=30"]
    slurm.run(["scontrol", "create", *words], check=True)
    try:
        # Somebody's defaults, for steps that do not say otherwise.
        # Elsewhere than in the cluster's own default, which is main.
        slurm.run(["scontrol", "update", "partitionname=main", "default=no"], check=True)
        slurm.run(["scontrol", "update", "partitionname=other", "default=yes"], check=True)
        defaults = {"SBATCH_PARTITION": "main", "SBATCH_ACCOUNT": "default", "BASH_FUNC_module%%": MODULE}
        run = on_slurm.run(write(on_slurm, ASKING), env=defaults)
        found = run.artifact("join", "found")
        jobs = {name: slurm.details(job_of(on_slurm, run.run_id, f"{name}._")) for name in found}
        later = slurm.details(job_of(on_slurm, run.run_id, "later._.c0") + "_0")
    finally:
        slurm.run(["scontrol", "delete", "reservationname=course"])
        slurm.run(["scontrol", "update", "partitionname=other", "default=no"], check=True)
        slurm.run(["scontrol", "update", "partitionname=main", "default=yes"], check=True)
    assert (found["placed"]["SLURM_JOB_PARTITION"], found["placed"]["SLURMD_NODENAME"]) == ("other", "node2")
    asked = {name: jobs["placed"][name].strip() for name in ("Partition", "Account", "TimeLimit", "Comment")}
    assert asked == {"Partition": "other", "Account": "physics", "TimeLimit": "00:07:00", "Comment": "night-shift"}
    assert (jobs["much"]["Partition"], jobs["much"]["Account"]) == ("main", "default")
    # What is submitted by a job that stands elsewhere has them, too.
    assert later["Account"] == "default" and run.artifact("join", "after")["SLURM_JOB_PARTITION"] == "main"

    assert found["kept_off"]["SLURMD_NODENAME"] == "node3"
    assert jobs["kept_off"]["Features"] == "node1|node3" and jobs["kept_off"]["ExcNodeList"] == "node1"
    assert (jobs["alone"]["NumCPUs"], jobs["alone"]["Reservation"]) == ("4", "course")
    assert found["alone"]["SLURMD_NODENAME"] == "node0"

    assert [len(found[name]["CUDA_VISIBLE_DEVICES"].split(",")) for name in ("devices", "other_devices")] == [2, 1]
    assert (found["much"]["SLURM_CPUS_PER_TASK"], found["much"]["SLURM_MEM_PER_NODE"]) == ("3", "600")
    assert "CUDA_VISIBLE_DEVICES" not in found["much"] or not found["much"]["CUDA_VISIBLE_DEVICES"]

    word = "a 'b' \"c\" $(touch pwned) `touch pwned` $HOME # ü\n2nd"
    assert found["set_up"] == {
        "FROM_SETUP": "x  y", "WORD": word, "MODULES": "purge ;load gcc/12.2 openmpi ;", "files": 321
    }  # fmt: skip
    assert not list(on_slurm.folder.rglob("pwned"))


GPU_GANG = (
    LOOK
    + """
from flowc import resources


class GpuGangFlow(FlowSpec):
    @step
    def start(self):
        self.next(self.train, num_parallel=2)

    @resources(gpu=2)
    @parallel
    @step
    def train(self):
        self.found = found()
        self.next(self.join)

    @step
    def join(self, inputs):
        self.found = [i.found for i in inputs]
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    GpuGangFlow()
"""
)


def test_every_node_of_a_gang_has_its_devices(on_slurm: Slurm) -> None:
    found = on_slurm.run(write(on_slurm, GPU_GANG)).artifact("join", "found")
    assert [each["CUDA_VISIBLE_DEVICES"] for each in found] == ["0,1", "0,1"]
    assert len({each["SLURMD_NODENAME"] for each in found}) == 2


PARAMETERS = """
class GivenFlow(FlowSpec):
    word = Parameter("word", required=True)
    count = Parameter("count", default=2)

    @step
    def start(self):
        self.flowc_from = sys.modules["flowc"].__file__
        self.python = sys.version_info[:2]
        self.items = list(range(self.count))
        self.next(self.work, foreach="items")

    @step
    def work(self):
        if self.word == "fail":
            raise ValueError("as asked")
        self.next(self.join)

    @step
    def join(self, inputs):
        self.merge_artifacts(inputs)
        self.next(self.end)

    @step
    def end(self):
        print(self.word)


if __name__ == "__main__":
    GivenFlow()
"""
HOSTILE = """a  "b" 'c' $(touch pwned) `touch pwned`, x=1 # no; \\n %j ü \t\n2nd line & | > * ~ ${HOME}"""


def bare_python(slurm: Any) -> Path:
    """An interpreter that has nothing of flowc's, where all nodes see it."""
    folder = Path(slurm.shared) / "bare"
    if not folder.exists():
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    return folder / "bin" / "python"


def submit_sh(target: Slurm, python: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """``./submit.sh`` of the manifests beside the flow, by somebody who has Python and no flowc."""
    clean = {name: value for name, value in os.environ.items() if name in ("HOME", "USER", "LANG")}
    env = {**clean, **{name: target.cluster.env[name] for name in ("PATH", "SLURM_CONF")}, "FLOWC_PYTHON": str(python)}
    done: subprocess.CompletedProcess[str] = target.cluster.run(
        [str(target.folder / "manifests" / "slurm" / "submit.sh"), *words], env, cwd=target.folder, timeout=120
    )
    return done


def test_submit_sh_does_what_flowc_submit_does_without_flowc(on_slurm: Slurm, slurm: Any) -> None:
    file = write(on_slurm, PARAMETERS)
    made = on_slurm.command("compile", str(file), "--target", "slurm", "-o", str(on_slurm.folder / "manifests"))
    assert made.returncode == 0, made.said
    file.unlink()  # it travels with the manifests
    python, store = bare_python(slurm), f"file://{on_slurm.root}"

    lacking = submit_sh(on_slurm, python, "--datastore", store)
    assert lacking.returncode == 2 and "--word" in lacking.stderr and "Traceback" not in lacking.stderr
    wrong = submit_sh(on_slurm, python, "--datastore", store, "--word", "x", "--count", "many")
    assert wrong.returncode == 2 and "count" in wrong.stderr and "Traceback" not in wrong.stderr
    assert not queue(on_slurm)

    done = submit_sh(on_slurm, python, "--datastore", store, "--word", HOSTILE, "--count", "3", "--wait")
    assert done.returncode == 0, done.stderr
    (folder,) = on_slurm.root.glob("GivenFlow/1")
    run = RunView("GivenFlow", "1", on_slurm.root, None, on_slurm, file)  # type: ignore[arg-type]
    assert done.stdout.split()[0] == "1" and run.status["state"] == "done"
    assert run.log("end", "stdout") == HOSTILE + "\n" and run.info["parameters"]["word"] == HOSTILE
    assert not list(on_slurm.folder.rglob("pwned"))
    assert run.artifact("start", "flowc_from").startswith(str(on_slurm.root))
    assert len(list(folder.glob("work/*/*/record.json"))) == 3

    failed = submit_sh(on_slurm, python, "--datastore", store, "--word", "fail", "--wait")
    assert failed.returncode == 1 and "as asked" in failed.stderr
    until(lambda: not queue(on_slurm), 15, "jobs are left in the queue")


def test_flowc_that_is_installed_is_used_where_one_asks_for_that(on_slurm: Slurm) -> None:
    file = write(on_slurm, PARAMETERS)
    words = ["submit", str(file), "--target", "slurm", "--wait", "--datastore", str(on_slurm.root)]
    done = on_slurm.command(*words, "--code", "installed", "--word", "x")
    assert done.returncode == 0, done.said
    run = RunView("GivenFlow", "1", on_slurm.root, None, on_slurm, file)  # type: ignore[arg-type]
    assert run.artifact("start", "flowc_from") == flowc.__file__
    settings = json.loads((run.folder / "slurm" / "run.json").read_text())
    assert not (Path(settings["code"]) / "flowc").exists()


STATIC = """
class StaticFlow(FlowSpec):
    folder = Parameter("folder", default="")

    @step
    def start(self):
        wait_for(os.path.join(self.folder, "go"), 100)
        if os.path.exists(os.path.join(self.folder, "die")):
            os.kill(os.getppid(), 9)  # the job's supervisor, which is its script
            time.sleep(60)
        self.next(self.left, self.right)

    @step
    def left(self):
        self.next(self.join)

    @step
    def right(self):
        self.next(self.join)

    @step
    def join(self, inputs):
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    StaticFlow()
"""


def test_a_static_flow_is_submitted_at_once_and_dies_with_its_first_job(on_slurm: Slurm, slurm: Any) -> None:
    run = submitted(on_slurm, write(on_slurm, STATIC), "--folder", str(on_slurm.folder))
    ids = {name: job_of(on_slurm, run, f"{name}._") for name in ("start", "left", "right", "join", "end")}
    waits = {name: slurm.details(job)["Dependency"] for name, job in ids.items()}
    assert waits["start"] == "(null)"
    for name, before in (("left", ["start"]), ("right", ["start"]), ("join", ["left", "right"]), ("end", ["join"])):
        assert all(f"afterany:{ids[each]}" in waits[name] for each in before), waits
    # Its node goes off, and nobody is left to say so: what depends on it must not wait for ever.
    node = slurm.wait_state(ids["start"], "RUNNING").nodes
    index = next(i for i, each in enumerate(slurm.nodes) if each.name in node)
    slurm.kill_node(index)
    slurm.run(["scontrol", "update", f"nodename={slurm.nodes[index].name}", "state=down", "reason=off"])
    until(lambda: not queue(on_slurm), 60, "jobs wait for what will never be")
    assert ended(on_slurm, "StaticFlow", run, 60)["failure"]["type"] == "JobLost"


def test_a_task_whose_parent_slurm_has_forgotten_looks_for_itself(on_slurm: Slurm, slurm: Any) -> None:
    """Slurm takes a dependency on a job that it does not know for met, however the job ended."""
    file = write(on_slurm, STATIC)
    runs, parents, children = [], [], []
    with slurm.changed(MinJobAge=2):
        for name in ("good", "lost"):
            (on_slurm.folder / name).mkdir()
            runs.append(submitted(on_slurm, file, "--folder", str(on_slurm.folder / name)))
            parents.append(job_of(on_slurm, runs[-1], "start._"))
            children += [job_of(on_slurm, runs[-1], key) for key in ("left._", "right._")]
        slurm.run(["scontrol", "hold", *children], check=True)
        (on_slurm.folder / "lost" / "die").touch()
        for name in ("good", "lost"):
            (on_slurm.folder / name / "go").touch()
        for parent in parents:
            until(lambda job=parent: slurm.run(["scontrol", "show", "job", job]).returncode, 60, "it is not forgotten")
        slurm.run(["scontrol", "release", *children], check=True)
        good, lost = (ended(on_slurm, "StaticFlow", run) for run in runs)
    assert good["state"] == "done"
    assert (lost["state"], lost["failure"]["type"]) == ("failed", "ContractError")
    assert "no record says that start is done" in lost["failure"]["message"]
    view = RunView("StaticFlow", runs[1], on_slurm.root, None, on_slurm, file)  # type: ignore[arg-type]
    assert view.started() == {"start"}
    until(lambda: not queue(on_slurm), 15, "jobs are left in the queue")


HELD = """
class HeldFlow(FlowSpec):
    folder = Parameter("folder", default="")

    @step
    def start(self):
        self.items = [1, 2, 3]
        self.next(self.work, foreach="items")

    @retry(times=1, minutes_between_retries=0)
    @step
    def work(self):
        mark = os.path.join(self.folder, "at-%d" % self.input)
        if not os.path.exists(mark):
            open(mark, "w").write(os.environ["SLURMD_NODENAME"])
            time.sleep(60)
        self.host = os.environ["SLURMD_NODENAME"]
        self.next(self.join)

    @step
    def join(self, inputs):
        self.hosts = [i.host for i in inputs]
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    HeldFlow()
"""


def test_slurm_itself_starts_a_task_again_whose_node_is_lost(on_slurm: Slurm, slurm: Any) -> None:
    run = submitted(on_slurm, write(on_slurm, HELD.replace("[1, 2, 3]", "[1]")), "--folder", str(on_slurm.folder))
    mark = on_slurm.folder / "at-1"
    until(lambda: mark.exists() and mark.read_text(), 60, "the task never began")
    gone = mark.read_text()
    slurm.kill_node([node.name for node in slurm.nodes].index(gone))
    slurm.run(["scontrol", "update", f"nodename={gone}", "state=down", "reason=off"])
    array = job_of(on_slurm, run, "work._.c0")
    assert ended_in_a_hurry(on_slurm, run, f"{array}_0", "HeldFlow")["state"] == "done"
    view = RunView("HeldFlow", run, on_slurm.root, None, on_slurm, on_slurm.folder / "flow.py")  # type: ignore[arg-type]
    assert gone not in view.artifact("join", "hosts")


@pytest.mark.parametrize("how", [[], ["--signal=KILL", "--full"]])
def test_a_task_of_an_array_that_is_cancelled_ends_the_run(how: list[str], on_slurm: Slurm, slurm: Any) -> None:
    text = HELD.replace("    @retry(times=1, minutes_between_retries=0)\n", "")
    run = submitted(on_slurm, write(on_slurm, text), "--folder", str(on_slurm.folder))
    until(lambda: (on_slurm.folder / "at-2").exists(), 60, "the tasks never began")
    slurm.run(["scancel", *how, job_of(on_slurm, run, "work._.c0") + "_1"], check=True)
    failure = ended(on_slurm, "HeldFlow", run, 60)["failure"]
    assert failure["address"] == "work/1" and failure["type"] in ("Cancelled", "JobLost", "Crashed"), failure
    until(lambda: not queue(on_slurm), 30, "jobs are left in the queue")


def test_a_controller_that_crashes_and_a_submission_meanwhile(on_slurm: Slurm, slurm: Any) -> None:
    """flowc submit waits for a controller that is not there; jobs go on without one."""
    file = write(on_slurm, PARAMETERS)
    slurm.stop_controller(crash=True)
    try:
        said: list[Any] = []
        words = ["submit", str(file), "--target", "slurm", "--wait", "--datastore", str(on_slurm.root), "--word", "x"]
        thread = threading.Thread(target=lambda: said.append(on_slurm.command(*words)))
        thread.start()
        thread.join(3)
        assert thread.is_alive(), said
    finally:
        slurm.start_controller()
    thread.join(120)
    assert said and said[0].returncode == 0, said


PYXIS = """#!{python}
# Stands for srun with the plugin pyxis: says what image it was given, and runs the command.
import os, sys
words = sys.argv[1:]
os.environ["IN_THE_CONTAINER"] = " ".join(word for word in words if word.startswith("--container"))
start = next(at for at, word in enumerate(words) if not word.startswith("-"))
os.execvp(words[start], words[start:])
"""


def test_the_command_line_of_pyxis_works(on_slurm: Slurm, slurm: Any) -> None:
    """The plugin itself is not there: that srun's options are understood by it is not shown."""
    text = PARAMETERS.replace(
        "    @step\n    def start(self):\n",
        '    @slurm(container="pyxis:docker://python:3.12")\n    @step\n    def start(self):\n'
        '        self.inside = os.environ.get("IN_THE_CONTAINER")\n',
    )
    programs = Path(slurm.shared) / "with-pyxis"
    programs.mkdir(exist_ok=True)
    (programs / "srun").write_text(PYXIS.format(python=sys.executable))
    (programs / "srun").chmod(0o755)
    try:
        path = f"{programs}:{on_slurm.cluster.env['PATH']}"
        run = on_slurm.run(write(on_slurm, text), params={"word": "x"}, env={"PATH": path})
    finally:
        shutil.rmtree(programs)
    assert "--container-image=docker://python:3.12" in run.artifact("start", "inside")


SBATCH = """#!/bin/bash
# sbatch, but that whoever calls it for the AT-th time is killed before or after.
count=$(ls "{folder}" | grep -c "^call-")
: > "{folder}/call-$count"
[ "$count" = {at} ] && [ {when} = before ] && kill -9 $PPID && exit 1
"{sbatch}" "$@"
code=$?
[ "$count" = {at} ] && kill -9 $PPID
exit $code
"""


@pytest.mark.parametrize(("at", "when"), [(0, "after"), (1, "before"), (1, "after"), (2, "before"), (2, "after")])
def test_who_submits_is_killed_and_nothing_is_lost_or_done_twice(
    at: int, when: str, on_slurm: Slurm, slurm: Any
) -> None:
    """The first call is ``flowc submit``'s, those that follow the job's that has the width of the foreach."""
    folder = on_slurm.folder / "bin"
    folder.mkdir()
    path = str(on_slurm.cluster.env["PATH"])
    (folder / "sbatch").write_text(
        SBATCH.format(folder=folder, at=at, when=when, sbatch=shutil.which("sbatch", path=path))
    )
    (folder / "sbatch").chmod(0o755)
    file = write(on_slurm, PARAMETERS)
    words = ["submit", str(file), "--target", "slurm", "--datastore", str(on_slurm.root), "--word", "x"]
    done = on_slurm.command(*words, env={"PATH": f"{folder}:{path}"})
    assert (done.returncode == 0) == (at > 0), done.said
    state = ended(on_slurm, "GivenFlow", "1", 60)["state"]
    until(lambda: not queue(on_slurm), 30, "jobs are left in the queue")
    # Jobs of the region see to it that it is whole; where there are none, somebody has to resume the run.
    assert state == ("done" if when == "after" or at == 2 else "failed")
    run = "1"
    if state == "failed":
        resumed = on_slurm.command("resume", "GivenFlow/1", "--wait", "--datastore", str(on_slurm.root))
        assert resumed.returncode == 0, resumed.said
        run = "2"
    view = RunView("GivenFlow", run, on_slurm.root, None, on_slurm, file)  # type: ignore[arg-type]
    assert view.done() == {"start", "work/0", "work/1", "join", "end"}
    began = list(on_slurm.root.glob("GivenFlow/*/*/*/[0-9]*/stdout.log"))
    assert len(began) == 5, began
