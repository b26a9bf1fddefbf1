"""``current.torch.run``: what it hands over, what it makes of restarts and elastic nodes, and how it tells failures."""

from __future__ import annotations

import gc
import importlib.util
import os
import signal
import socket
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flowc.dsl import FlowcError
from flowc.runtime.frameworks import programs, scripts, torchrun
from flowc.runtime.frameworks.base import FrameworkMissing, Site
from framework_rows import Row
from frameworks_lab import HEAVY, GangLab, patient, require
from hosts_gangs import HostsGang
from hosts_lab import HostsLab, require_lab
from test_environment import HERE, OneHost

FRAMEWORK = torchrun.FRAMEWORK


def torch_of(rank: int = 1, **options: Any) -> torchrun.Torch:
    return torchrun.Torch(Site(OneHost(rank, *HERE), options, "/nowhere"))  # type: ignore[arg-type]


def test_static_unless_restarts_or_elastic_nodes_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchrun.environment, "agreed_port", lambda gang: 23456)
    static = torch_of()._rendezvous([])
    assert static == [
        "--nnodes=2", "--local-addr=127.0.0.1", "--node-rank=1", "--master-addr=127.0.0.1", "--master-port=23456"
    ]  # fmt: skip
    for given in (["--max-restarts=2"], ["--max_restarts", "2"]):
        assert torch_of()._rendezvous(given) == [
            "--nnodes=2", "--local-addr=127.0.0.1", "--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:23456",
            "--rdzv-id=flowc-23456-0", "--rdzv-conf=is_host=0,last_call_timeout=30",
        ]  # fmt: skip
    elastic = torch_of(0)._rendezvous(["--nnodes", "1:2"])
    assert "--rdzv-backend=c10d" in elastic and "--rdzv-conf=is_host=1,last_call_timeout=30" in elastic
    assert not any(word.startswith("--nnodes") for word in elastic)
    assert torch_of()._rendezvous(["--standalone"]) == []
    # Whoever asks for the static one by name means it: each node has to be told which one it is.
    for given in (["--rdzv-backend=static"], ["--rdzv_backend", "static", "--max-restarts=2"]):
        assert torch_of()._rendezvous(given) == static
    own = torch_of()._rendezvous(["--rdzv-backend", "etcd-v2"])
    assert "--rdzv-endpoint=127.0.0.1:23456" in own and not any("node-rank" in word for word in own)
    # The gang has two nodes: there is no third to wait for.
    assert torch_of()._no_more_nodes(["--nnodes", "1:3"]) == ["--nnodes=1:2"]
    assert [torch_of()._no_more_nodes(given) for given in ([], ["--nnodes=2"], ["--nnodes=1:2"])] == [[], [], []]


def test_what_the_user_says_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchrun.environment, "agreed_port", lambda gang: 23456)
    given = ["--master_addr=me", "--master-port", "1", "--node_rank=7", "--local-addr=x", "--nnodes=2"]
    assert torch_of()._rendezvous(given) == []


@pytest.mark.parametrize("nodes", ["3", "3:4", "1:1", "two"])
def test_a_number_of_nodes_that_does_not_fit_the_gang_is_refused(nodes: str) -> None:
    with pytest.raises(FlowcError, match=f"nnodes={nodes} does not fit a gang of 2 nodes"):
        torch_of()._rendezvous(["--nnodes", nodes])


def test_a_master_port_that_is_taken_is_said_before_torchrun_starts() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(FlowcError, match=rf"master_port={port}\): port {port} of 127.0.0.1 cannot be used"):
            torch_of(0, master_port=port)._rendezvous([])
    assert f"--master-port={port}" in torch_of(0, master_port=port)._rendezvous([])


def test_how_many_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert torch_of()._processes(None, []) == 1
    assert torch_of(nproc_per_node=4)._processes(None, []) == 4
    assert torch_of(nproc_per_node=4)._processes(None, ["--nproc_per_node=3"]) == "3"
    assert torch_of(nproc_per_node=4)._processes(2, ["--nproc_per_node=3"]) == 2
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3,4,5")
    assert torch_of()._processes(None, []) == 3  # half of them is the other rank's
    with pytest.raises(FlowcError, match="at least 1 process"):
        torch_of()._processes(0, [])


@pytest.mark.parametrize(
    ("given", "seen", "count"),
    [(3, "", 3), ("3", "", 3), ("cpu", "0,1", 6), ("auto", "", 6), ("auto", "0,1,2,3", 2), ("gpu", "0,1,2,3", 2),
     ("gpu", "", 1), ("xpu", "", 1)],
)  # fmt: skip
def test_the_threads_are_shared_by_as_many_processes_as_torchrun_starts(
    given: Any, seen: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torchrun.environment, "allowed_cpus", lambda: 6)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", seen)  # half of them is the other rank's
    assert torch_of()._count(given) == count


@pytest.mark.parametrize("given", ["cpu", "auto"])
def test_each_process_of_torchrun_gets_its_share_of_the_cores(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Noted:
        pid = 0

        def __init__(self, argv: list[str], env: dict[str, str], err: Any) -> None:
            started.append(env["OMP_NUM_THREADS"])

        def wait(self) -> int:
            return 0

    started: list[str] = []
    (tmp_path / "train.py").touch()
    monkeypatch.setattr(torchrun, "Program", Noted)
    monkeypatch.setattr(torchrun.environment, "cores", lambda: 64)
    monkeypatch.setattr(torchrun.environment, "allowed_cpus", lambda: 8)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    torch_of(0).run(tmp_path / "train.py", nproc_per_node=given)
    torch_of(0).run(tmp_path / "train.py", torchrun_args={"nproc_per_node": given})
    assert started == ["4", "4"]  # of 64, by two ranks with eight processes each


WAITED_FOR = "W1122 04:01:26 1096 torch/distributed/elastic/api.py:1028] Sending process {} closing signal SIGTERM"
ASKED_TO_END = "W1122 04:01:26 1096 torch/distributed/elastic/api.py:753] Received 15 death signal, shutting down"


def straggler(*lines: str, launcher: int | None = None) -> int | None:
    """How a process ends that another one, which has to wait for it, tells of in these lines; None if it goes on."""
    process = subprocess.Popen(["sleep", "100"], start_new_session=True)
    try:
        stragglers = torchrun._Stragglers()
        stragglers.launcher = os.getpid() if launcher is None else launcher
        for line in lines:
            stragglers.notice(line.format(process.pid))
        return process.wait(2)
    except subprocess.TimeoutExpired:
        return None
    finally:
        process.kill()
        process.wait()


def test_who_keeps_torchrun_waiting_after_a_failure_is_ended_soon() -> None:
    assert straggler("something", WAITED_FOR) == -signal.SIGKILL
    # It was asked to end itself, or the process is not its own.
    assert straggler(ASKED_TO_END, WAITED_FOR) is None
    assert straggler(WAITED_FOR, launcher=1) is None


def test_what_the_user_says_about_the_time_to_end_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", raising=False)
    assert torch_of()._ends_stragglers([])
    # torch ends processes that are well when it starts all of them anew.
    restarts = ["--max-restarts=2"], ["--nnodes=1:2"], ["--max-restarts=2", "--rdzv-backend=static"]
    for given in (*restarts, ["--shutdown-timeout", "9"]):
        assert not torch_of()._ends_stragglers(given)
    monkeypatch.setenv("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "60")
    assert not torch_of()._ends_stragglers([])


STUBBORN = Row(
    "torchrun",
    """
    current.torch.run("stubborn.py", [self.trouble()])
    """,
    lambda size: [],
    needs=("torch",),
    victim=0,
    options="nproc_per_node=2",
    files={
        "stubborn.py": "import signal, sys, time\n"
        "import torch.distributed as dist\n"
        "from trouble import meet\n"
        "dist.init_process_group('gloo')\n"
        "if dist.get_rank() == 0:\n"
        "    signal.signal(signal.SIGTERM, lambda number, frame: None)\n"
        "dist.barrier()\n"
        "if dist.get_rank() == 1:\n"
        "    meet(sys.argv[1])\n"
        "if dist.get_rank() == 0:\n"
        "    while True:\n"
        "        time.sleep(1)\n"
        "dist.barrier()\n"
    },
)


@pytest.mark.slow
@pytest.mark.timeout(2 * HEAVY)
def test_a_process_that_does_not_end_at_sigterm_keeps_no_failure_back(tmp_path: Path) -> None:
    require(STUBBORN)
    gang = GangLab(tmp_path, STUBBORN.flow(), STUBBORN.files)
    said = gang.run("--what", "raise", code=1)
    expected = "TorchrunFailed: stubborn.py exited with code 1 in local rank 1 (rank 1): ValueError: bad luck"
    assert f"work/0 failed: {expected}" in said, said
    failure, seconds = gang.report()
    assert (failure.rank, failure.exit_code) == (0, 1) and seconds < patient(3)
    gang.assert_clean(said)


def test_without_torch_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FrameworkMissing, match=r"@torchrun needs PyTorch, which .* does not have: pip install torch"):
        FRAMEWORK.require({})


def test_the_first_error_is_found_among_those_that_follow() -> None:
    lines = """\
[rank1]: Traceback (most recent call last):
[rank1]:   File "train.py", line 3, in <module>
[rank1]: my.module.Bad: first: of all
Traceback (most recent call last):
  File "x/torch/distributed/run.py", line 1, in main
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
Traceback (most recent call last):
  File "train.py", line 3, in <module>
KeyError: 'second'""".splitlines()
    assert scripts.first_error(lines) == "my.module.Bad: first: of all"
    assert scripts.first_error(lines, last_restart=True) == "KeyError: 'second'"
    assert scripts.first_error(["no traceback"]) is None


LOST = [
    "RuntimeError: [../third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [10.0.0.2]:2222",
    "RuntimeError: [/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:539] Read error [::1]:2222: "
    "Connection reset by peer",
    "torch.distributed.DistNetworkError: Broken pipe",
    "[rank1]: RuntimeError: Connection reset by peer",
    "torch.distributed.DistBackendError: NCCL error in: ../torch/csrc/distributed/c10d/ProcessGroupNCCL.cpp:1970, "
    "remote process exited or there was a network error, NCCL version 2.20.5",
    "ncclRemoteError: A call failed possibly due to a network error or a remote process exiting prematurely.",
]
ELSEWHERE = [
    "ConnectionResetError: [Errno 104] Connection reset by peer",
    "BrokenPipeError: [Errno 32] Broken pipe",
    "urllib.error.URLError: <urlopen error [Errno 104] Connection reset by peer>",
    "requests.exceptions.ConnectionError: ('Connection aborted.', BrokenPipeError(32, 'Broken pipe'))",
    "subprocess.CalledProcessError: remote error: repository not found",
]


@pytest.mark.parametrize("error", LOST)
def test_what_the_loss_of_another_process_looks_like(error: str) -> None:
    assert scripts.is_consequence(error) and scripts.is_consequence(f"something before\n{error}\nsomething after")


@pytest.mark.parametrize("error", ELSEWHERE)
def test_a_connection_to_elsewhere_is_no_process_of_the_gang(error: str) -> None:
    assert not scripts.is_consequence(f"[Gloo] Rank 0 is connected to 1 peer ranks.\n{error}\n")


@pytest.mark.parametrize(
    ("nodes", "error", "held"), [(2, LOST[0], True), (1, LOST[0], False), (2, ELSEWHERE[0], False)]
)
def test_only_a_report_that_another_node_may_have_to_make_first_is_held_back(
    nodes: int, error: str, held: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing:
        pid = 0

        def __init__(self, argv: list[str], env: dict[str, str], err: Any) -> None:
            err(f"Traceback (most recent call last):\n  File 'train.py'\n{error}".encode())  # and no newline at its end

        def wait(self) -> int:
            return 1

    slept: list[float] = []
    (tmp_path / "train.py").touch()
    monkeypatch.setattr(torchrun, "Program", Failing)
    monkeypatch.setattr(torchrun, "time", SimpleNamespace(sleep=slept.append))
    gang: Any = OneHost(0, *HERE[:nodes])
    with pytest.raises(torchrun.TorchrunFailed) as failed:
        torchrun.Torch(Site(gang, {}, "/nowhere")).run(tmp_path / "train.py")
    assert error in str(failed.value) and bool(slept) == held


def test_what_a_script_leaves_behind_touches_no_file_of_the_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def start(argv: list[str], env: dict[str, str], err: Any) -> programs.Program:
        late = "(sleep 1; echo late >&2; sleep 0.3; echo later >&2)"
        return programs.Program(["sh", "-c", f"echo at once >&2; {late} & exit 0"], env, err=err)

    (tmp_path / "train.py").touch()
    monkeypatch.setattr(torchrun, "Program", start)
    monkeypatch.setattr(programs, "_LINGER", 0.3)
    torch_of(0).run(tmp_path / "train.py")
    gc.collect()  # nobody knows the program any more
    # They have whatever numbers of descriptors are free now.
    (tmp_path / "file").write_text("the step's own\n")
    files = [(tmp_path / "file").open("r+b") for _ in range(30)]
    said, until = "", time.monotonic() + 10
    while "later\n" not in said and time.monotonic() < until:
        time.sleep(0.05)
        said += capfd.readouterr().err
    assert said == "at once\nlate\nlater\n"
    assert (tmp_path / "file").read_text() == "the step's own\n"
    for file in files:
        assert os.lseek(file.fileno(), 0, os.SEEK_CUR) == 0
        file.close()


def test_a_script_is_looked_for_beside_the_flow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "beside.py").touch()
    monkeypatch.chdir("/")
    assert scripts.find_script("beside.py", str(tmp_path)) == str(tmp_path / "beside.py")
    with pytest.raises(FlowcError, match=r"there is no script nowhere\.py, neither in / nor beside the flow in "):
        scripts.find_script("nowhere.py", str(tmp_path))


WORDS = ["--", "it's", 'a "quote"', "two words", "$HOME", "", "--l", "x\ny", "*", "--flag"]
SAID = """
    words = {words!r}
    def said(name):
        import json
        return [json.loads(line) for line in open(self.file(f"said-{{rank}}-{{name}}"))]
    def name(text):
        return {{"entrypoint_args": [self.file(f"said-{{rank}}-{{text}}"), *words]}}
"""
RESTART = """
    current.torch.run("restart.py", [self.file(f"said-{rank}-restart")],
                      torchrun_args={"max_restarts": 10, "nnodes": "1:2"}, nproc_per_node=1)
    self.value = {"restart": said("restart")}
"""
ROW = Row(
    "torchrun",
    SAID.format(words=WORDS)
    + """
    current.torch.run("say.py", **name("list"), torchrun_args={"rdzv_backend": "static"})
    current.torch.launch("say.py", **name("old"), nproc_per_node=1)
    """
    + RESTART
    + """
    self.value.update(old=said("old"), list=said("list"))
    """,
    lambda size: [],
    needs=("torch",),
    options="nproc_per_node=2",
    files={
        "say.py": "import json, os, sys\n"
        "words = sys.argv[1:]\n"
        "old = words[0].startswith('--local_rank=') and words.pop(0)\n"
        "out = words.pop(0)\n"
        "said = [int(os.environ['RANK']), int(os.environ['WORLD_SIZE']), old, words]\n"
        "open(out, 'a').write(json.dumps(said) + '\\n')\n",
        "restart.py": "import json, os, sys\n"
        "import torch.distributed as dist\n"
        "dist.init_process_group('gloo')\n"
        "mark = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'once')\n"
        "if dist.get_rank() == 1 and not os.path.exists(mark):\n"
        "    open(mark, 'w').close()\n"
        "    sys.exit('not yet')\n"
        "dist.barrier()\n"
        "own_store = os.environ['TORCHELASTIC_USE_AGENT_STORE'] == 'False'\n"
        "open(sys.argv[1], 'w').write(json.dumps([dist.get_world_size(), own_store]))\n"
        "dist.destroy_process_group()\n",
    },
)


@pytest.mark.slow
@pytest.mark.timeout(2 * HEAVY)
def test_several_runs_in_one_step_get_their_arguments_exactly(tmp_path: Path) -> None:
    require(ROW)
    gang = GangLab(tmp_path, ROW.flow(), ROW.files)
    said = gang.run()
    for rank in range(2):
        value = gang.artifact(f"work/{rank}", "value")
        own = [2 * rank, 2 * rank + 1]
        assert sorted(value["list"]) == [[process, 4, False, WORDS] for process in own]
        assert value["old"] == [[rank, 2, "--local_rank=0", WORDS]]
        assert value["restart"] == [[2, True]]
    gang.assert_clean(said)


@pytest.mark.slow
@pytest.mark.timeout(2 * HEAVY)
def test_restarts_and_elastic_nodes_work_over_hosts() -> None:
    row = replace(ROW, body=SAID.format(words=WORDS) + RESTART)
    require(row)
    require_lab()
    with HostsLab(2) as lab:
        gang = HostsGang(lab, row)
        assert gang.finish(gang.ranks()) == [0, 0], gang.said
        for rank in range(2):
            assert gang.artifact(f"work/{rank}", "value") == {"restart": [[2, True]]}
        gang.assert_nothing_left()
