"""Flows that start native threads while they are imported: their tasks are forked all the same."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from flowc.backends.local import native

_REQUIRED = os.environ.get("FLOWC_LABS") == "required"

_LOOP = """
#include <stdlib.h>
long total(long n) {
    long sum = 0;
    #pragma omp parallel for reduction(+:sum) num_threads(3)
    for (long i = 0; i < n; i++) sum += i;
    return sum;
}
"""

_FLOW = """
import ctypes
from flowc import FlowSpec, step

library = ctypes.CDLL({library!r})
library.total.restype = ctypes.c_long
assert library.total(ctypes.c_long(1000)) == 499500

class NativeFlow(FlowSpec):
    @step
    def start(self):
        self.total = library.total(ctypes.c_long(2000))
        print("total", self.total)
        self.next(self.end)

    @step
    def end(self):
        pass
"""

_TORCH = """
import torch
from flowc import FlowSpec, step

torch.set_num_threads(2)
W = torch.ones(400, 400)
H = W @ W + torch.ones(4_000_000).sum()

class TorchFlow(FlowSpec):
    @step
    def start(self):
        self.total = torch.ones(4_000_000).sum().item() + (W @ W).sum().item()
        print("total", self.total)
        self.next(self.end)

    @step
    def end(self):
        pass
"""


def run(file: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a flow beside its datastore; one that hangs is killed, and the test fails."""
    return subprocess.run(
        [sys.executable, "-m", "flowc", "run", file.name, *words],
        cwd=file.parent, capture_output=True, text=True, timeout=90,
    )  # fmt: skip


def unavailable(why: str) -> None:
    if _REQUIRED:
        pytest.fail(why)
    pytest.skip(why)


@pytest.fixture
def loop(tmp_path: Path) -> Path:
    """A library with an OpenMP loop."""
    compiler = shutil.which("gcc")
    if compiler is None:
        unavailable("there is no gcc")
    (tmp_path / "loop.c").write_text(_LOOP)
    library = tmp_path / "libloop.so"
    words = [str(compiler), "-O1", "-shared", "-fPIC", "-fopenmp", "-o", str(library), str(tmp_path / "loop.c")]
    made = subprocess.run(words, capture_output=True, text=True)
    if made.returncode:
        unavailable(f"gcc cannot make OpenMP code: {made.stderr}")
    return library


def test_openmp_at_import_does_not_hang_the_tasks(loop: Path, tmp_path: Path) -> None:
    file = tmp_path / "native_flow.py"
    file.write_text(_FLOW.format(library=str(loop)))
    ran = run(file)
    assert ran.returncode == 0, ran.stderr
    assert "[1] start | total 1999000" in ran.stdout
    assert ran.stderr == ""


def test_threads_that_cannot_be_ended_are_named(
    loop: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    library = ctypes.CDLL(str(loop))
    library.total(ctypes.c_long(10))
    assert native._openmp()
    monkeypatch.setattr(native, "_pause", lambda library: False)
    native.end_native_threads()
    assert "--isolation spawn" in capfd.readouterr().err
    monkeypatch.undo()
    native.end_native_threads()
    assert capfd.readouterr().err == ""


_DEVICE = """
import os
from flowc import FlowSpec, step

device = os.open({device!r}, os.O_RDONLY)
loaded_by = os.getpid()

class DeviceFlow(FlowSpec):
    @step
    def start(self):
        print("forked", os.getpid() != loaded_by)
        self.next(self.end)

    @step
    def end(self):
        pass
"""


@pytest.mark.parametrize("opened", [True, False])
def test_tasks_of_a_flow_that_began_to_use_cuda_start_afresh(opened: bool, tmp_path: Path) -> None:
    device, other = tmp_path / "nvidia-uvm", tmp_path / "nvidiactl"
    for file in (device, other):
        file.touch()
    (tmp_path / "device_flow.py").write_text(_DEVICE.format(device=str(device if opened else other)))
    code = (
        f"import sys; from flowc.backends.local import native; native._CUDA = {str(device)!r}; "
        "from flowc.cli import main; sys.exit(main())"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, "run", "device_flow.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    assert f"| forked {not opened}" in ran.stdout
    assert ("began to use CUDA" in ran.stderr) == opened


def test_a_flow_that_is_loaded_asks_for_devices_without_cuda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "asking_flow.py"
    file.write_text("import os\nfound = os.environ.get('PYTORCH_NVML_BASED_CUDA_CHECK')\n")
    code = "import sys; from flowc.dsl.loading import load_file; print(load_file(sys.argv[1]).module.found)"
    for given, found in ((None, "1"), ("0", "0")):
        monkeypatch.delenv("PYTORCH_NVML_BASED_CUDA_CHECK", raising=False)
        if given is not None:
            monkeypatch.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", given)
        ran = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True)
        assert ran.stdout.strip() == found


def test_a_flow_without_threads_pays_for_nothing() -> None:
    code = (
        "import sys; from flowc.backends.local import native; native._openmp = None; native.end_native_threads(); "
        "sys.exit('ctypes' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.slow
def test_torch_at_import_does_not_hang_the_tasks(tmp_path: Path) -> None:
    if importlib.util.find_spec("torch") is None:
        unavailable("torch is not installed")
    file = tmp_path / "torch_flow.py"
    file.write_text(_TORCH)
    ran = run(file)
    assert ran.returncode == 0, ran.stderr
    assert f"[1] start | total {4_000_000.0 + 400**3}" in ran.stdout
