"""A rank of a gang as a task: its secret, its place, what it lacks, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from flowc.runtime import scratch
from flowc.runtime.scratch import scratch_folder
from framework_rows import PARALLEL, Row
from frameworks_lab import GangLab, patient, require
from lab_keeper import is_zombie
from test_matrix import ROWS

pytestmark = pytest.mark.slow


def gang(folder: Path, body: str, *, retry: bool = False, **options: Any) -> GangLab:
    return GangLab(folder, Row("parallel", body, lambda size: []).flow(retry=retry), options.get("files"))


def test_nothing_of_the_secret_is_in_any_process(tmp_path: Path) -> None:
    lab = gang(
        tmp_path,
        """
        current.parallel.barrier()
        self.seen = b""
        for pid in filter(str.isdigit, os.listdir("/proc")):
            for name in ("cmdline", "environ"):
                try:
                    self.seen += open(f"/proc/{pid}/{name}", "rb").read()
                except OSError:
                    pass
        current.parallel.barrier()
        """,
    )
    said = lab.run()
    seen = lab.artifact("work/0", "seen")
    assert lab.mark.encode() in seen
    assert not any(token in seen for token in lab.tokens())
    lab.assert_clean(said)


def test_current_parallel_is_what_it_was(tmp_path: Path) -> None:
    lab = gang(
        tmp_path,
        """
        self.info = current.parallel
        self.value = [tuple(current.parallel), len(current.parallel), current.parallel._fields, current.task_id]
        self.folder = os.environ["TMPDIR"], os.stat(os.environ["TMPDIR"]).st_mode & 0o777
        """,
    )
    lab.run()
    for rank in range(2):
        info, fields, folder = (lab.artifact(f"work/{rank}", name) for name in ("info", "value", "folder"))
        expected = ("127.0.0.1", 2, rank, "0")
        assert tuple(info) == expected
        assert fields == [expected, 4, ("main_ip", "num_nodes", "node_index", "control_task_id"), str(rank)]
        assert folder[1] == 0o700 and not Path(folder[0]).exists()


@pytest.mark.parametrize("name", [name for name in ROWS if name != "parallel"])
def test_what_is_missing_is_said_once_and_before_the_gang_forms(name: str, tmp_path: Path) -> None:
    row = ROWS[name]
    # No module and no program is found any more, which is what a bare image has.
    bare = "import importlib.util, os, shutil\nfind = importlib.util.find_spec\n"
    bare += f"bare = {BARE!r}\n"
    bare += "importlib.util.find_spec = lambda name, *rest: None if name.split('.')[0] in bare else find(name, *rest)\n"
    bare += "shutil.which = lambda *rest, **more: None\nos.environ['PATH'] = '/nowhere'\n"
    lab = GangLab(tmp_path, bare + row.flow(), row.files)
    began = time.monotonic()
    said = lab.run(code=1)
    assert time.monotonic() - began < patient(20)
    failure = lab.failure()
    assert failure["type"] == "FrameworkMissing", said
    assert "install" in failure["message"]
    assert said.count("Traceback") == 0
    assert lab.record("work/0") is None
    lab.assert_clean(said)


def test_the_lab_sees_what_is_left_in_shared_memory(tmp_path: Path) -> None:
    lab = gang(tmp_path, "open(f'/dev/shm/left-by-{rank}', 'w').close()")
    said = lab.run()
    if lab.memory is None:  # only root gets one
        (Path("/dev/shm") / "left-by-0").unlink()
        (Path("/dev/shm") / "left-by-1").unlink()
        return
    with pytest.raises(AssertionError, match="left-by-0"):
        lab.assert_clean(said)
    assert not list(Path("/dev/shm").glob("left-by-*"))


@pytest.mark.parametrize("at", ["", "if self.ranks:\n    "])
def test_a_compiler_that_the_step_calls_is_missed_before_the_gang_forms(at: str, tmp_path: Path) -> None:
    require(ROWS["mpi"])
    body = f"open(self.file('began'), 'w').close()\n{at}current.mpi.cc(['-o', 'x', 'x.c'])\n"
    bare = "import os, shutil\nwhich = shutil.which\n"
    bare += "shutil.which = lambda name, *rest, **more: None if name == 'mpicc' else which(name, *rest, **more)\n"
    lab = GangLab(tmp_path, bare + Row("mpi", body, lambda size: []).flow(), {})
    said = lab.run(code=1)
    failure = lab.failure()
    assert failure["type"] == "FrameworkMissing" and "there is no mpicc on this machine" in failure["message"], said
    # What only some runs of the step may call is missed by those that do.
    assert (lab.folder / "began").exists() == bool(at)


BARE = ("torch", "tensorflow", "jax", "ray", "deepspeed", "distributed", "dask", "mpi4py")


@pytest.mark.parametrize("bare", [0, 1])
def test_a_rank_that_lacks_its_framework_is_named_by_all_at_once(bare: int, tmp_path: Path) -> None:
    # As where no scheduler ends the others: each rank is a process of its own, and one of them has a bare image.
    row = ROWS["ray"]
    lab = GangLab(tmp_path, row.flow(), row.files)
    require(row)
    lab.create_run(ranks=3)

    began = time.monotonic()
    codes, said = ranks_alone(lab, *({"PYTHONPATH": lab.bare()} if number == bare else {} for number in range(3)))
    assert time.monotonic() - began < patient(15)
    assert codes == [1 if number == bare else 69 for number in range(3)], said
    for number, text in enumerate(said):
        what = "@metaflow_ray: this Python has no ray: install it on every node, as with `pip install ray`"
        assert text.count(what) == 1, text
        assert number == bare or f"rank {bare} on host " in text
    lab.assert_clean(*said)


def test_a_gang_that_is_started_anew_though_it_was_to_end_says_why(tmp_path: Path) -> None:
    lab = gang(tmp_path, "self.value = rank", retry=True)
    lab.create_run()
    of_jobset = {"JOBSET_NAME": "a", "REPLICATED_JOB_NAME": "rank", "JOBSET_RESTART_ATTEMPT": "1"}
    began = lab.store / "MatrixFlow" / "1" / "work" / "0" / "begun"
    began.mkdir(parents=True)
    (began / "over.a").touch()
    words = [sys.executable, "-m", "flowc.runtime", "step", "work"]
    env = lab.of_run(FLOWC_GANG_SIZE="2", JOB_COMPLETION_INDEX="1", **of_jobset)
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=60)
    record = lab.record("work/1", 1)
    assert done.returncode == 1 and record is not None and record.failure is not None, done.stderr
    assert "work/1: it has ended for good" in done.stderr and "it has ended for good" in record.failure.message
    lab.assert_clean(done.stdout, done.stderr)


def ranks_alone(lab: GangLab, *more: dict[str, str]) -> tuple[list[int], list[str]]:
    """Exit codes and output of ranks that nothing but the gang joins, each with variables of its own."""
    words = [sys.executable, "-m", "flowc.runtime", "step", "work"]
    ranks = [
        subprocess.Popen(
            words, env=lab.of_rank(rank, len(more), **own), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for rank, own in enumerate(more)
    ]
    said = [process.communicate(timeout=60)[0] for process in ranks]
    return [process.returncode for process in ranks], said


AT_IMPORT = """
import os
open(os.environ.get("IMPORTS", os.devnull), "a").write(f"{os.getpid()}\\n")
if "BROKEN" in os.environ:
    import no_such_module_anywhere
"""


def test_the_flow_is_imported_by_the_process_of_the_body_alone(tmp_path: Path) -> None:
    # CUDA, for one, can be used by no process that was forked after the import asked for it.
    body = Row("parallel", "self.own = os.getpid()", lambda size: [])
    lab = GangLab(tmp_path, AT_IMPORT + body.flow())
    lab.create_run()
    noted = tmp_path.with_name(f"{tmp_path.name}-imports")
    imports = {"IMPORTS": str(noted)}
    codes, said = ranks_alone(lab, imports, imports)
    assert codes == [0, 0], said
    own = [str(lab.artifact(f"work/{rank}", "own")) for rank in range(2)]
    assert sorted(noted.read_text().split()) == sorted(own)
    lab.assert_clean(*said)


def test_a_flow_may_say_where_its_framework_is_when_it_is_imported(tmp_path: Path) -> None:
    row = ROWS["jax"]
    require(row)
    found = "import importlib.util, sys\nhiding = sys.modules.get('sitecustomize')\n"
    found += "importlib.util.find_spec = getattr(hiding, 'find', importlib.util.find_spec)\n"
    lab = GangLab(tmp_path, found + row.flow(), row.files)
    lab.create_run()
    bare = {"PYTHONPATH": lab.bare()}
    codes, said = ranks_alone(lab, bare, bare)
    assert codes == [0, 0], said


def test_a_rank_that_cannot_import_the_flow_is_named_by_the_others_at_once(tmp_path: Path) -> None:
    lab = GangLab(tmp_path, AT_IMPORT + PARALLEL.flow())
    lab.create_run()
    began = time.monotonic()
    codes, said = ranks_alone(lab, {}, {"BROKEN": "1"})
    assert codes == [70, 2] and time.monotonic() - began < patient(15), said
    assert "cannot be loaded" in said[1] and "no_such_module_anywhere" in said[1]
    assert "rank 1 on host " in said[0] and "exited with code 2" in said[0]
    lab.assert_clean(*said)


def test_a_rank_that_is_asked_to_end_may_checkpoint_and_does_not_use_up_a_retry(tmp_path: Path) -> None:
    lab = gang(
        tmp_path,
        """
        if current.retry_count == 0:
            current.parallel.barrier()
            try:
                if rank == 0:
                    time.sleep(1)  # until the other rank is in its block, too
                    os.kill(os.getppid(), 15)
                time.sleep(60)
            finally:
                time.sleep(0.5)
                open(self.file(f"saved-{rank}"), "w").close()
        if current.retry_count == 1:
            raise ValueError("a failure that counts")
        self.value = current.retry_count
        """,
        retry=True,
    )
    said = lab.run()
    assert [lab.artifact(f"work/{rank}", "value") for rank in range(2)] == [2, 2]
    assert "Preempted: rank 0" in said and "was asked to end by SIGTERM" in said
    assert (tmp_path / "saved-0").exists() and (tmp_path / "saved-1").exists()
    lab.assert_clean(said)


def test_a_scheduler_that_signals_every_process_of_a_rank_does_not_cut_its_saving_short(tmp_path: Path) -> None:
    lab = gang(
        tmp_path,
        """
        import subprocess
        if current.retry_count == 0:
            # As Slurm and systemd may do it: the step is signalled, and so is its supervisor, which signals it, too.
            words = ["sh", "-c", f"kill {os.getpid()}; sleep 0.3; kill {os.getppid()}"]
            try:
                current.parallel.barrier()
                subprocess.Popen(words, start_new_session=True)
                time.sleep(60)
            finally:
                time.sleep(1)
                ignored = subprocess.check_output(["grep", "SigIgn", "/proc/self/status"], text=True).split()[1]
                open(self.file(f"saved-{rank}"), "w").write(ignored)
        self.value = current.retry_count
        """,
        retry=True,
    )
    said = lab.run()
    assert [lab.artifact(f"work/{rank}", "value") for rank in range(2)] == [1, 1]
    assert "Preempted: rank" in said and "was asked to end by SIGTERM" in said, said
    # What the step starts in order to save can be ended, too.
    ignored = [int((tmp_path / f"saved-{rank}").read_text(), 16) for rank in range(2)]
    assert not any(mask >> (signal.SIGTERM - 1) & 1 for mask in ignored)
    lab.assert_clean(said)


def test_a_rank_that_will_not_end_is_killed_within_the_stated_grace(tmp_path: Path) -> None:
    lab = gang(
        tmp_path,
        """
        import signal
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        current.parallel.barrier()
        if rank == 0:
            open(self.file("failing-0"), "w").close()
            os.kill(os.getppid(), 15)
        time.sleep(60)
        """,
    )
    lab.run(code=1, FLOWC_PREEMPT_GRACE="1")
    assert 0.9 < lab.since_failing() < patient(3.0)
    assert lab.failure()["type"] == "Preempted"
    lab.assert_clean()


def test_a_supervisor_that_is_killed_takes_the_gang_with_it(tmp_path: Path) -> None:
    lab = gang(
        tmp_path,
        """
        current.parallel.barrier()
        if rank == 1 and self.what:
            open(self.file("failing-0"), "w").close()
            os.kill(os.getppid(), 9)
        time.sleep(60 if self.what else 0)
        """,
    )
    lab.run("--what", "kill", code=1)
    failure = lab.failure()
    assert (failure["rank"], failure["signal"]) == (1, "SIGKILL")
    assert lab.since_failing() < patient(3.0)
    # What the killed rank had in its folder goes with the next one that ends on the host, at the latest.
    left = next(lab.scratch.glob("flowc-*"), None)
    lab.run()
    assert left is None or not left.exists()
    lab.assert_clean()


def test_a_folder_stays_as_long_as_one_of_its_processes_lives(tmp_path: Path) -> None:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        with scratch_folder(str(tmp_path)) as folder:
            Path(folder, "file").touch()
            if os.fork():
                os.kill(os.getpid(), signal.SIGKILL)
            os.write(write, folder.encode())
            time.sleep(60)
    os.waitpid(pid, 0)
    folder = Path(os.read(read, 4096).decode())
    other = tmp_path / "flowc-of-somebody-else"
    other.mkdir()
    with scratch_folder(str(tmp_path)) as second:
        assert (folder / "file").exists() and folder.stat().st_mode & 0o777 == 0o700
        child = next(int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit() and _holds(p, folder))
        os.kill(child, signal.SIGKILL)
        deadline = time.monotonic() + 5
        # What it holds is out of sight a moment before it is let go.
        while not is_zombie(child) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert folder.exists()
    assert sorted(tmp_path.iterdir()) == [other] and not Path(second).exists()


def test_what_a_killed_process_had_at_a_short_path_goes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "SHORT", str(tmp_path / "short"))
    with scratch_folder(str(tmp_path / "deep")):
        pid = os.fork()
        if pid == 0:
            with scratch_folder(scratch.SHORT) as folder:
                Path(folder, "socket").touch()
                os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(pid, 0)
        assert len(list((tmp_path / "short").iterdir())) == 1
    assert list((tmp_path / "short").iterdir()) == []


def test_folders_that_are_made_and_removed_at_once_are_not_in_each_other_s_way(tmp_path: Path) -> None:
    def take_and_leave() -> int:
        for number in range(50):
            with scratch_folder(str(tmp_path)) as folder:
                Path(folder, str(number)).touch()
        return 0

    pids = []
    for _ in range(4):
        pids.append(os.fork())
        if pids[-1] == 0:
            code = 1
            try:
                code = take_and_leave()
            finally:
                os._exit(code)
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * 4
    assert list(tmp_path.iterdir()) == []


def _holds(process: Path, folder: Path) -> bool:
    try:
        return any(os.path.realpath(each) == str(folder) for each in (process / "fd").iterdir())
    except OSError:
        return False


def test_an_interrupted_run_leaves_nothing(tmp_path: Path) -> None:
    lab = gang(tmp_path, "open(self.file(f'up-{rank}'), 'w').close()\ntime.sleep(60)")
    process = lab.start()
    deadline = time.monotonic() + 30
    while not ((tmp_path / "up-0").exists() and (tmp_path / "up-1").exists()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 130
    process.communicate()
    lab.assert_clean()


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"FLOWC_GANG_SIZE": "3", "FLOWC_GANG_RANK": "1"}, "was started as one of 3 ranks; the gang was opened with 2"),
        ({}, "is rank 1 of a gang, and nothing says how large the gang is"),
        ({"FLOWC_GANG_SIZE": "2", "FLOWC_GANG_RANK": "0"}, "is rank 1 of its gang, but was started as rank 0"),
        ({"FLOWC_GANG_SIZE": "2", "FLOWC_GANG_RANK": "1", "FLOWC_GANG_TIMEOUT": "soon"}, "is not a number of seconds"),
    ],
)
def test_a_place_that_does_not_fit_is_refused(variables: dict[str, str], said: str, tmp_path: Path) -> None:
    lab = GangLab(tmp_path, PARALLEL.flow())
    lab.run()
    own = {"FLOWC_FLOW_NAME": lab.name, "FLOWC_RUN_ID": "1", "FLOWC_ATTEMPT": "1", **variables}
    done = subprocess.run(
        [sys.executable, "-m", "flowc.runtime", "step", "work", "--index", "1"],
        env=lab.environment(**own), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2 and said in done.stderr, done.stderr


@pytest.mark.parametrize("scheduler", ["slurm", "jobset", "batch"])
def test_a_gang_forms_from_the_schedulers_own_variables(scheduler: str, tmp_path: Path) -> None:
    lab = GangLab(tmp_path, PARALLEL.flow())
    lab.run()
    own = {"FLOWC_FLOW_NAME": lab.name, "FLOWC_RUN_ID": "1", "FLOWC_ATTEMPT": "1", "FLOWC_GANG_MAIN": "127.0.0.1"}
    ranks = []
    for rank in range(2):
        said = {
            "slurm": {"SLURM_PROCID": str(rank), "SLURM_NTASKS": "2", "SLURM_STEP_NODELIST": "localhost"},
            "jobset": {"JOBSET_NAME": "set", "JOB_COMPLETION_INDEX": str(rank), "FLOWC_GANG_SIZE": "2"},
            "batch": {
                "AWS_BATCH_JOB_NODE_INDEX": str(rank),
                "AWS_BATCH_JOB_NUM_NODES": "2",
                "AWS_BATCH_JOB_MAIN_NODE_INDEX": "0",
                "AWS_BATCH_JOB_MAIN_NODE_PRIVATE_IPV4_ADDRESS": "127.0.0.1",
            },
        }[scheduler]
        ranks.append(
            subprocess.Popen(
                [sys.executable, "-m", "flowc.runtime", "step", "work"],
                env=lab.environment(**own, **said), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )
        )  # fmt: skip
    outputs = [process.communicate(timeout=60)[0] for process in ranks]
    assert [process.returncode for process in ranks] == [0, 0], outputs
    assert [lab.record(f"work/{rank}").attempt for rank in range(2)] == [1, 1]  # type: ignore[union-attr]
    lab.assert_clean(*outputs)
