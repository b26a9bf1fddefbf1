"""Ray gangs that share a host with others: with one another, with a Ray of the user's own, and with strangers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from framework_rows_control import RAY
from frameworks_lab import HEAVY, PYTHON, GangLab, require

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * HEAVY)]

FLOW = '''
import os, subprocess, sys, time
from flowc import FlowSpec, current, metaflow_ray, step

HERE = os.path.dirname(os.path.abspath(__file__))

def note(name, text=""):
    with open(os.path.join(HERE, name + ".part"), "w") as file:
        file.write(text)
    os.rename(os.path.join(HERE, name + ".part"), os.path.join(HERE, name))

def wait_for(name):
    deadline = time.monotonic() + 120
    while not os.path.exists(os.path.join(HERE, name)):
        assert time.monotonic() < deadline, name
        time.sleep(0.05)

def head_option(name):
    """What this gang's head was told."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = open(f"/proc/{pid}/cmdline").read().split("\\0")
            parent = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[1]
        except OSError:
            continue
        if parent == str(os.getpid()) and "--head" in words:
            return next(word.partition("=")[2] for word in words if word.startswith(name + "="))

def try_to_get_in(file, mode):
    """What a process says that knows where the cluster is: of its head, and of its service for clients."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_") or mode == "known"}
    if mode == "wrong":
        env.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="0123456789abcdef" * 4)
    client = f"127.0.0.1:{head_option('--ray-client-server-port')}"
    words = [sys.executable, os.path.join(HERE, "stranger.py"), os.environ["RAY_ADDRESS"], client, file]
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=100)
    return done.stdout.splitlines() or done.stderr

class MatrixFlow(FlowSpec):
    @step
    def start(self):
        self.names = ["a", "b"]
        self.next(self.each, foreach="names")

    @step
    def each(self):
        self.gang = self.input
        self.next(self.work, num_parallel=2)

    @metaflow_ray
    @step
    def work(self):
        import ray
        ray.init()
        self.seen = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
        self.folder = head_option("--temp-dir")
        note(f"up-{self.gang}")
        wait_for("up-a"), wait_for("up-b")
        where = ray.remote(num_cpus=0.01)(lambda: ray.get_runtime_context().get_node_id())
        self.ran = set(ray.get([where.remote() for _ in range(20)]))
        if self.gang == "a":
            self.said = {mode: try_to_get_in(os.path.join(HERE, mode), mode) for mode in ("known", "none", "wrong")}
            note("tried")
        wait_for("tried")
        self.next(self.join)

    @step
    def join(self, inputs):
        self.seen, self.ran, self.said = inputs[0].seen, inputs[0].ran, getattr(inputs[0], "said", None)
        self.folder = inputs[0].folder
        self.next(self.all)

    @step
    def all(self, inputs):
        self.seen, self.ran = [i.seen for i in inputs], [i.ran for i in inputs]
        self.said = inputs[0].said
        self.folders = [i.folder for i in inputs]
        self.next(self.end)

    @step
    def end(self):
        pass
'''

STRANGER = """
import sys
head, client, file = sys.argv[1:]
try:
    from ray._raylet import GcsClient
    GcsClient(address=head).internal_kv_keys(b"", None, 5)
    print("let in")
except Exception as error:
    print(type(error).__name__)
for last in (False, False, True):
    try:
        import ray, ray.util
        ray.util.connect(client, connection_retries=1)
        ray.get(ray.remote(lambda: open(file, "w").close()).remote())
        print("let in")
    except Exception as error:
        # Let in, and then dropped: on a busy machine Ray gives up on the process that it starts for each client.
        if isinstance(error, ConnectionAbortedError) and not last:
            continue
        print(type(error).__name__)
    break
"""

IN_THE_OTHER = """
import sys, ray
ray.init(sys.argv[1], log_to_driver=False, logging_level="ERROR")
print(sum(node["Alive"] for node in ray.nodes()), ray.get(ray.remote(lambda: 6 * 7).remote()))
"""


@pytest.fixture
def own_ray() -> Iterator[str]:
    """A Ray that the user has started before; the address of its head."""
    require(RAY)
    # A mark of its own: what the flow starts is looked for by another one.
    env = {**os.environ, "PATH": f"{os.path.dirname(PYTHON)}{os.pathsep}{os.environ['PATH']}"}
    with socket.create_server(("127.0.0.1", 0)) as free:
        client = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="r", dir="/tmp", ignore_cleanup_errors=True) as folder:
        words = [PYTHON, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--port=0", "--num-cpus=1"]
        words += ["--node-ip-address=127.0.0.1", "--include-dashboard=false", "--disable-usage-stats"]
        words += [f"--temp-dir={folder}", "--object-store-memory=100000000", f"--ray-client-server-port={client}"]
        head = subprocess.Popen(
            words, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        try:
            assert head.stdout is not None
            said = ""
            while "--address='" not in said:
                line = head.stdout.readline()
                assert line, said
                said += line
            yield said.split("--address='")[1].split("'")[0]
        finally:
            os.killpg(head.pid, signal.SIGKILL)
            head.wait()


def test_gangs_on_one_host_meet_neither_one_another_nor_strangers_nor_a_ray_that_was_there(
    own_ray: str, tmp_path: Path
) -> None:
    gang = GangLab(tmp_path, FLOW, {"stranger.py": STRANGER})
    # The folder for temporary files lies too deep for the paths of sockets.
    deep = gang.scratch / ("deep-" * 12)
    deep.mkdir()
    said = gang.run(TMPDIR=str(deep))
    deep.rmdir()
    for folder in map(Path, gang.artifact("all", "folders")):
        assert folder.parent == Path("/tmp") and folder.name.startswith("flowc-") and not folder.exists()
    seen, ran = gang.artifact("all", "seen"), gang.artifact("all", "ran")
    assert [len(nodes) for nodes in seen] == [2, 2] and len({*seen[0], *seen[1]}) == 4
    assert all(there <= set(nodes) for there, nodes in zip(ran, seen))
    # Who knows the token gets in by both ways, so those ways are the right ones.
    assert gang.artifact("all", "said") == {
        "known": ["let in", "let in"],
        "none": ["AuthenticationError", "ConnectionError"],
        "wrong": ["AuthenticationError", "ConnectionError"],
    }
    assert [(tmp_path / mode).exists() for mode in ("known", "none", "wrong")] == [True, False, False]
    gang.assert_clean(said)
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run([PYTHON, "-c", IN_THE_OTHER, own_ray], env=env, capture_output=True, text=True, timeout=HEAVY)
    assert done.stdout.split() == ["1", "42"], done.stderr
