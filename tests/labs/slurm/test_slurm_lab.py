"""The cluster that the Slurm backend is proven on: a real one, whose nodes are hosts that can be lost."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import lab_processes
import pytest
import slurm_lab
from lab_keeper import is_zombie
from lab_processes import LabError
from slurm_fixture import require_slurm
from slurm_lab import SlurmLab

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
NAMES = ["node0", "node1", "node2", "node3"]


def output(lab: SlurmLab, job: str) -> list[str]:
    """The sorted lines that a job printed."""
    return sorted((lab.shared / f"slurm-{job}.out").read_text().splitlines())


def only_on_hosts(lab: SlurmLab) -> None:
    if lab.mode != "hosts":
        pytest.skip("not here: the kernel gives no hosts, and nodes are ports of one")


# What a job sees


def test_a_job_over_all_nodes_sees_a_host_on_each(slurm: SlurmLab) -> None:
    only_on_hosts(slurm)
    assert slurm.node_states() == dict.fromkeys(NAMES, "idle")
    script = 'echo "$(hostname) $(ip -4 -o addr show eth0 | cut -d" " -f7) $SLURMD_NODENAME"; touch /tmp/$(hostname)'
    job = slurm.sbatch("-N4", "--wrap", f"srun sh -c {shlex.quote(script)}; srun sh -c 'ls /tmp/node*'")
    assert [each.state for each in slurm.finish(job)] == ["COMPLETED"]
    addresses = [f"{node.name} {node.address}/24 {node.name}" for node in slurm.nodes]
    assert output(slurm, job) == sorted([*addresses, *(f"/tmp/{name}" for name in NAMES)])


def test_nodes_see_the_project_its_python_and_the_shared_folder(slurm: SlurmLab, shared_path: Path) -> None:
    (shared_path / "text").write_text("from here")
    code = f"import flowc, os; print(open({str(shared_path / 'text')!r}).read(), os.path.realpath(flowc.__path__[0]))"
    for node in (slurm.node(0), slurm.node(3)):
        assert node.run([sys.executable, "-c", code], check=True).stdout.split("here ")[1].strip() == str(ROOT)
    job = slurm.sbatch("-w", "node2", "--wrap", f"{sys.executable} -c {shlex.quote(code)}")
    slurm.finish(job)
    assert output(slurm, job) == [f"from here {ROOT}"]


def test_nodes_reach_each_other_by_name(slurm: SlurmLab) -> None:
    only_on_hosts(slurm)
    script = Path(__file__).with_name("tcp_exchange.py")
    job = slurm.sbatch("-N4", "--wrap", f"srun --kill-on-bad-exit=1 {sys.executable} {script} 7077")
    assert [each.state for each in slurm.finish(job)] == ["COMPLETED"], slurm.logs()
    assert output(slurm, job) == [f"{rank} {' '.join(NAMES)}" for rank in range(4)]


def test_mpirun_starts_its_ranks_through_srun(slurm: SlurmLab) -> None:
    mpirun = shutil.which("mpirun", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}")
    if mpirun is None:
        pytest.skip("needs mpirun (.ci/frameworks)")
    as_root = {f"{name}_ALLOW_RUN_AS_ROOT{more}": "1" for name in ("OMPI", "PRTE") for more in ("", "_CONFIRM")}
    # An ssh that fails: nothing but srun may start ranks.
    ssh = slurm.shared / "bin/ssh"
    ssh.parent.mkdir(exist_ok=True)
    ssh.write_text("#!/bin/sh\nexit 9\n")
    ssh.chmod(0o755)
    path = f"{ssh.parent}:{Path(mpirun).parent}:{slurm.env['PATH']}"
    env = {**slurm.env, **as_root, "PATH": path}
    job = slurm.sbatch("-N4", "--ntasks-per-node=1", "--wrap", "mpirun sh -c 'echo $SLURMD_NODENAME'", env=env)
    assert [each.state for each in slurm.finish(job)] == ["COMPLETED"], output(slurm, job)
    assert output(slurm, job) == NAMES


def test_gpus_are_given_out(slurm: SlurmLab) -> None:
    shown = "echo $CUDA_VISIBLE_DEVICES; srun sh -c 'echo step $CUDA_VISIBLE_DEVICES'"
    one = slurm.sbatch("--gres=gpu:1", "--wrap", shown)
    two = slurm.sbatch("--gpus-per-node=2", "--wrap", shown)
    none = slurm.sbatch("--wrap", "echo none $CUDA_VISIBLE_DEVICES")
    for job in (one, two, none):
        slurm.finish(job)
    assert output(slurm, one) == ["0", "step 0"]
    assert output(slurm, two) == ["0,1", "step 0,1"]
    assert output(slurm, none) == ["none"]
    with pytest.raises(LabError, match="Requested node configuration is not available"):
        slurm.sbatch("--gres=gpu:3", "--wrap", shown)


# Arrays and settings


def test_an_array_and_its_join(slurm: SlurmLab) -> None:
    array = slurm.sbatch("--array=0-9", "--wrap", "test $SLURM_ARRAY_TASK_ID != 7")
    join = slurm.sbatch("--kill-on-invalid-dep=yes", f"--dependency=afterok:{array}", "--wrap", "true")
    waiting = next(job for job in slurm.jobs() if job.id == join)
    assert (waiting.state, waiting.dependency) == ("PENDING", f"afterok:{array}_*(unfulfilled)")
    tasks = slurm.finish(array)
    assert [task.id for task in tasks] == [f"{array}_{index}" for index in range(10)]
    assert [task.state for task in tasks] == ["FAILED" if index == 7 else "COMPLETED" for index in range(10)]
    assert [job.state for job in slurm.finish(join)] == ["CANCELLED"]
    assert slurm.details(f"{array}_7")["ExitCode"] == "1:0"
    assert {task.array for task in tasks} == {array}


@pytest.mark.slow
def test_other_settings_for_a_while(slurm: SlurmLab) -> None:
    job = slurm.sbatch("--wrap", "true")
    slurm.finish(job)
    with slurm.changed(MaxArraySize=3, MinJobAge=2):
        slurm.finish(slurm.sbatch("--array=0-2", "--wrap", "true"))
        with pytest.raises(LabError, match="Invalid job array specification"):
            slurm.sbatch("--array=0-3", "--wrap", "true")
        deadline = time.monotonic() + 30
        while any(each.id == job for each in slurm.jobs(ended=True)):  # soon the controller has forgotten it
            assert time.monotonic() < deadline
            time.sleep(0.2)
        with pytest.raises(LabError, match="Invalid job id"):
            slurm.details(job)
    slurm.run(["scancel", slurm.sbatch("--array=0-3", "--hold", "--wrap", "true")], check=True)


# Faults


def test_scancel_asks_and_then_kills(slurm: SlurmLab, shared_path: Path) -> None:
    politely = f"trap 'echo asked > {shared_path}/asked; exit 3' TERM; sleep 60 & touch {shared_path}/polite; wait $!"
    polite = slurm.sbatch("--wrap", politely)
    stubborn = slurm.sbatch("--wrap", f"trap '' TERM; touch {shared_path}/stubborn; while :; do sleep 0.2; done")
    slurm.wait_state(polite, "RUNNING")
    slurm.wait_state(stubborn, "RUNNING")
    while not all((shared_path / name).exists() for name in ("polite", "stubborn")):
        time.sleep(0.02)
    began = time.monotonic()
    slurm.run(["scancel", polite, stubborn], check=True)
    assert [job.state for job in slurm.finish(polite)] == ["CANCELLED"]
    slurm.wait_idle()
    assert time.monotonic() - began >= slurm.settings.kill_wait - 1
    assert (shared_path / "asked").read_text() == "asked\n"
    time.sleep(0.5)  # a sleep that was started while its shell was killed ends by itself
    assert not any("sleep" in line for node in slurm.nodes for line in node.processes())


@pytest.mark.slow
@pytest.mark.parametrize("crash", [False, True])
def test_jobs_outlive_their_controller(slurm: SlurmLab, shared_path: Path, crash: bool) -> None:
    script = f"until [ -e {shared_path}/go ]; do sleep 0.1; done"
    running = slurm.sbatch("--no-requeue", "--wrap", script)
    slurm.wait_state(running, "RUNNING")
    waiting = slurm.sbatch(f"--dependency=afterok:{running}", "--wrap", "true")
    held = slurm.sbatch("--hold", "--wrap", "true")
    if crash:
        time.sleep(6)  # until it has saved what it knows
    slurm.stop_controller(crash=crash)
    assert "is DOWN" in slurm.run(["scontrol", "ping"]).stdout
    if not crash:
        (shared_path / "go").touch()  # the job ends while nobody is there to be told
    slurm.start_controller()
    (shared_path / "go").touch()
    slurm.run(["scontrol", "release", held], check=True)
    assert [slurm.finish(job)[0].state for job in (running, waiting, held)] == ["COMPLETED"] * 3


@pytest.mark.slow
def test_a_node_without_power_is_missed_and_comes_back() -> None:
    require_slurm()
    # Soon missed, for the price of false alarms on a busy machine.
    with SlurmLab(nodes=2, slurmd_timeout=3, extra={"MessageTimeout": 2}) as lab:
        lab.node(1).run(["touch", "/tmp/before"], check=True)
        step = f"touch {lab.shared}/$SLURM_PROCID; sleep 300"
        job = lab.sbatch("-N2", "--no-requeue", "--wrap", f"srun --kill-on-bad-exit=1 sh -c {shlex.quote(step)}")
        while not all((lab.shared / rank).exists() for rank in "01"):
            time.sleep(0.02)
        lab.kill_node(1)
        assert not lab.node(1).is_on and lab.node(0).is_on
        assert [each.state for each in lab.finish(job)] == ["NODE_FAIL"], lab.logs()
        assert lab.node_states() == {"node0": "idle", "node1": "down*"}
        lab.wait_idle()  # that is, of the nodes that have power
        lab.start_node(1)
        assert lab.node_states() == {"node0": "idle", "node1": "idle"}
        if lab.mode == "hosts":
            assert (
                lab.node(1).run(["ls", "-A", "/tmp"]).stdout.split()
                == lab.node(0).run(["ls", "-A", "/tmp"]).stdout.split()
            )
        assert [each.state for each in lab.finish(lab.sbatch("-N2", "--wrap", "srun hostname"))] == ["COMPLETED"]


def test_a_node_that_the_operator_gives_up_is_lost_at_once(slurm: SlurmLab) -> None:
    job = slurm.sbatch("-N2", "-w", "node[1,3]", "--no-requeue", "--wrap", "srun sleep 300")
    slurm.wait_state(job, "RUNNING")
    slurm.run(["scontrol", "update", "nodename=node3", "state=down", "reason=test"], check=True)
    began = time.monotonic()
    assert [each.state for each in slurm.finish(job)] == ["NODE_FAIL"]
    assert time.monotonic() - began < 10


def test_what_a_test_leaves_is_tidied_away(slurm: SlurmLab) -> None:
    job = slurm.sbatch("-w", "node1", "--wrap", "setsid sleep 300 & sleep 0.1")
    slurm.finish(job)
    assert slurm.node(1).processes() == ["sleep 300"]
    slurm.sbatch("-N4", "--wrap", "srun sleep 300")
    slurm.sbatch("--hold", "--array=0-5", "--wrap", "true")
    slurm.run(["scontrol", "update", "nodename=node2", "state=drain", "reason=test"], check=True)
    slurm.kill_node(0)
    slurm.stop_controller(crash=True)
    slurm.tidy()
    assert slurm.node_states() == dict.fromkeys(NAMES, "idle")
    assert slurm.jobs() == []
    assert [node.processes() for node in slurm.nodes] == [[], [], [], []]


# The login side


def test_a_person_sees_the_machine_from_the_network_of_the_cluster(
    slurm: SlurmLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_NTASKS", "9")
    monkeypatch.setenv("SBATCH_PARTITION", "nowhere")
    monkeypatch.setenv("OF_THE_TEST", "a b")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "name").write_text("here")
    assert "SLURM_NTASKS" not in slurm.env and "SBATCH_PARTITION" not in slurm.env
    done = slurm.run(["sh", "-c", 'pwd -P; cat name -; echo " $OF_THE_TEST"; command -v slurmctld'], input=", there")
    where, text, program = done.stdout.splitlines()
    assert (where, text) == (str(tmp_path.resolve()), "here, there a b")
    assert program.endswith("/slurmctld")
    if slurm.mode == "hosts":
        assert slurm.run(["hostname"]).stdout == "login\n"
        assert slurm.node(1).run(["getent", "hosts", "login"]).returncode == 0
        assert slurm.node(1).run(["cat", str(tmp_path / "name")]).returncode != 0
    with pytest.raises(LabError, match="exit code 3\nwhy"):
        slurm.run(["sh", "-c", "echo why; exit 3"], check=True)


def test_signals_reach_what_a_person_started(slurm: SlurmLab) -> None:
    script = (
        "import signal, time; signal.signal(signal.SIGINT, lambda *_: exit(5)); print('up', flush=True); time.sleep(60)"
    )
    process = slurm.popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 5
    process.stdout.close()


@pytest.mark.slow
def test_the_tests_of_the_cluster_stay_on_one_worker(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text((ROOT / "tests/labs/slurm/slurm_fixture.py").read_text())
    body = "def test_{name}(worker_id):\n    print(worker_id, {name!r}, file=open('log', 'a'))\n"
    for name in ("a", "slurm_b", "c", "slurm_d", "e", "slurm_f", "g", "slurm_h"):
        (tmp_path / f"test_{name}.py").write_text(body.format(name=name))
    (tmp_path / "test_z.py").write_text("def test_z(slurm): pass\n")
    few = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "xdist", "-n", "2", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": ":".join(labs_folders(ROOT / "tests/labs")), **few},
        capture_output=True,
        text=True,
    )
    assert "8 passed, 1 error" in done.stdout, done.stdout
    assert "this test uses the Slurm cluster: say slurm" in done.stdout
    ran = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    assert len(ran) == 8
    assert len({worker for worker, name in ran if "slurm" in name}) == 1


def test_the_reason_is_said_where_slurm_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm_lab, "PROGRAMS", ("sh", "slurm-of-nobody"))
    slurm_lab.slurm_obstacle.cache_clear()
    try:
        with pytest.raises(pytest.skip.Exception, match="no Slurm cluster here: it needs slurm-of-nobody"):
            require_slurm()
    finally:
        slurm_lab.slurm_obstacle.cache_clear()


# Modes and ends


def left_of(folder: Path) -> list[str]:
    """Processes that have to do with a lab, and its mounts."""
    found = [line for line in Path("/proc/mounts").read_text().splitlines() if str(folder) in line]
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                texts = [(entry / name).read_bytes() for name in ("environ", "cmdline")]
            except OSError:
                continue
            if texts[1] and any(os.fsencode(folder) in text for text in texts):
                found.append(texts[1].replace(b"\0", b" ").decode(errors="replace"))
    return found


def links() -> str:
    return subprocess.run(["ip", "-o", "link"], capture_output=True, text=True).stdout


@pytest.mark.parametrize("mode", ["hosts", "rootless", "ports"])
def test_it_starts_within_seconds_and_leaves_nothing(mode: str) -> None:
    require_slurm()
    if os.geteuid() and mode == "hosts":
        pytest.skip("not here: only root can do it without a user namespace")
    before, began = links(), time.monotonic()
    lab = SlurmLab(mode="ports" if mode == "ports" else "hosts", rootless=mode == "rootless")
    with lab:
        assert time.monotonic() - began < 15  # it is about half a second where nothing else runs
        assert lab.node_states() == dict.fromkeys(NAMES, "idle")
        # Nothing in the job's environment says where it belongs, and it has left its parents.
        script = f"srun sh -c 'env -i setsid sleep 301 >/dev/null 2>&1 & id -un > {lab.shared}/$SLURM_PROCID'"
        job = lab.sbatch("-N4", "--wrap", script)
        assert [each.state for each in lab.finish(job)] == ["COMPLETED"]
        assert len({(lab.shared / f"{rank}").read_text() for rank in range(4)}) == 1
        assert [node.processes() for node in lab.nodes] == [["sleep 301"]] * 4
        lab.sbatch("-N4", "--wrap", "srun sleep 302")
        person = lab.popen(["sh", "-c", "echo up; exec sleep 303"], stdout=subprocess.PIPE, start_new_session=True)
        assert person.stdout is not None and person.stdout.readline() == b"up\n"
        orphans = [pid for node in lab.nodes for pid in lab.places.commands(node.index)]
        assert left_of(lab.folder) != []
    assert person.wait(10) == -signal.SIGKILL
    person.stdout.close()
    assert not lab.folder.exists()
    assert left_of(lab.folder) == []
    assert all(is_zombie(pid) for pid in orphans)  # the machine's own PID 1 may take its time
    assert links() == before


def gone(folder: Path, pids: list[int], within: float) -> bool:
    """Whether all of a lab goes by itself."""
    deadline = time.monotonic() + within
    while folder.exists() or left_of(folder) or not all(is_zombie(pid) for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


STARTS_ONE = """
import sys, time
sys.path[:0] = sys.argv[1:3]
from slurm_lab import SlurmLab
lab = SlurmLab(mode=sys.argv[3], nodes=2)
lab.start()
job = lab.sbatch("-N2", "--wrap", "srun sh -c 'env -i setsid sleep 304 & sleep 305'")
lab.wait_state(job, "RUNNING")
lab.popen(["sleep", "306"])
while sum(len(node.processes()) for node in lab.nodes) < 4:
    time.sleep(0.02)
print(lab.folder, *[pid for node in lab.nodes for pid in lab.places.commands(node.index)], flush=True)
time.sleep(300)
"""


def labs_folders(parent: Path) -> list[str]:
    return [str(parent / "hosts"), str(parent / "slurm")]


@pytest.mark.parametrize("mode", ["hosts", "ports"])
def test_nothing_is_left_when_the_tests_are_killed(slurm: SlurmLab, mode: str) -> None:
    if mode == "hosts":
        only_on_hosts(slurm)
    command = [sys.executable, "-c", STARTS_ONE, *labs_folders(ROOT / "tests/labs"), mode]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        folder, *pids = process.stdout.readline().split()
        process.kill()
    assert len(pids) >= 6 and left_of(Path(folder)) is not None
    assert gone(Path(folder), [int(pid) for pid in pids], within=20), left_of(Path(folder))
    assert slurm.node_states() == dict.fromkeys(NAMES, "idle")  # that of the others is none of its business


ORDINARY = """
import os, sys
sys.path[:0] = sys.argv[1:3]
from slurm_lab import SlurmLab
with SlurmLab(mode=sys.argv[3]) as lab:
    job = lab.sbatch("-N4", "--wrap", "srun sh -c 'id -u; echo $SLURM_PROCID $CUDA_VISIBLE_DEVICES'", "--gres=gpu:1")
    print(*[each.state for each in lab.finish(job)], os.geteuid())
    print(*sorted((lab.shared / f"slurm-{job}.out").read_text().splitlines()), sep=",")
"""


@pytest.mark.parametrize("mode", ["hosts", "ports"])
def test_an_ordinary_user_has_a_cluster_too(
    slurm: SlurmLab, tmp_path_factory: pytest.TempPathFactory, mode: str
) -> None:
    if mode == "hosts":
        only_on_hosts(slurm)
    user = os.geteuid() or 65534
    python = python_for(user)
    # Copies: nobody but root may be able to read the project.
    folder = Path(lab_processes.__file__).parents[1]
    copy = slurm.shared / f"of-{mode}"
    for name in ("hosts", "slurm"):
        shutil.copytree(folder / name, copy / "tests/labs" / name, ignore=shutil.ignore_patterns("__pycache__"))
    rights = {} if os.geteuid() else {"user": user, "group": user, "extra_groups": []}
    done = subprocess.run(
        [python, "-c", ORDINARY, *labs_folders(copy / "tests/labs"), mode],
        env={"HOME": "/", "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=100,
        **rights,
    )
    ranks = ",".join([f"{rank} 0" for rank in range(4)] + [str(user)] * 4)
    assert done.stdout == f"COMPLETED {user}\n{ranks}\n", done.stderr


def python_for(user: int) -> str:
    """A Python that this user may start."""
    if os.geteuid() == user:
        return sys.executable
    for python in (os.path.realpath(sys.executable), "/usr/bin/python3"):
        try:
            if subprocess.run([python, "-c", ""], user=user, group=user, extra_groups=[], cwd="/").returncode == 0:
                return python
        except OSError:
            continue
    pytest.skip("not here: no Python that a user but root may start")
