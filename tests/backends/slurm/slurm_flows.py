"""Flows that say much about Slurm, and what tests do with their scripts."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from flowc.backends.manifests import produce
from flowc.compiler import Compilation, compile_flow
from flowc.compiler.codes.code import whole_flow
from flowc.compiler.plan import Plan

GOLDEN = Path(__file__).parent / "golden"

# Everything that a script can hold; its scripts lie in golden/.
EVERYTHING = '''
class EverythingFlow(FlowSpec):
    """What a script can hold."""

    nodes = Parameter("nodes", default=2, help="How many nodes evaluate")

    @slurm(partition="cpu,long", account="physics", time=90, modules=["gcc/13.2", "openmpi/5.0"])
    @resources(cpu=2, memory="4Gi", disk=10240)
    @step
    def start(self):
        """Read the shards."""
        self.shards = [1, 2, 3]
        self.next(self.prepare, foreach="shards")

    @slurm(constraint="nvme&intel", exclude="n[2-3,7]", extra={"mail-type": ["FAIL", "END"], "nice": 100})
    @environment(vars={"TITLE": "it's $HOME `id`\\nand # more", "OMP_NUM_THREADS": "2", "PATH": "/opt/bin"})
    @timeout(minutes=10)
    @retry(times=2, minutes_between_retries=1, backoff=2)
    @step
    def prepare(self):
        self.next(self.collect)

    @slurm(setup="""
ulimit -n 65536
cd "$(mktemp -d)"  # a scratch folder
""")
    @step
    def collect(self, inputs):
        self.next(self.train, num_parallel=4)

    @slurm(qos="long", gres="nvme:1", exclusive=True, reservation="course", nodelist="gpu[01-04]", time="1-00")
    @resources(cpu=8, gpu=2, memory=65536)
    @retry(times=1, minutes_between_retries=0)
    @torchrun
    @step
    def train(self):
        """Train on four nodes."""
        self.next(self.gather)

    @step
    def gather(self, inputs):
        self.next(self.evaluate, num_parallel=nodes_of(self))

    @slurm(container="nvcr.io#nvidia/pytorch:24.01-py3")
    @parallel
    @step
    def evaluate(self):
        self.next(self.report)

    @slurm(container="/shared/images/report.sif")
    @resources(gpu=1)
    @catch(var="failure")
    @timeout(seconds=30)
    @step
    def report(self, inputs):
        self.next(self.end)

    @step
    def end(self):
        pass


def nodes_of(flow):
    return flow.nodes
'''


def compiled(folder: Path, text: str, name: str = "flow.py") -> Compilation:
    """A flow, compiled from a file of its own."""
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(whole_flow(text), "utf-8")
    kept = set(sys.modules), list(sys.path)
    try:
        return compile_flow(str(file))
    finally:
        for module in set(sys.modules) - kept[0]:
            if str(getattr(sys.modules[module], "__file__", None) or "").startswith(str(folder)):
                del sys.modules[module]
        sys.path[:] = kept[1]


def emitted(folder: Path, text: str, **settings: Any) -> dict[str, bytes]:
    """The files of a flow without findings."""
    compilation = compiled(folder, text)
    assert compilation.plan is not None, compilation.diagnostics
    produced = produce(compilation, "slurm", **settings)
    assert produced.files is not None, produced.diagnostics
    return dict(produced.files)


def plan_of(folder: Path, decorators: str) -> Plan:
    """The Plan of a flow whose step ``start`` has these decorators."""
    return compiled(folder, f"{decorators}\n@step\ndef start(self):\n    self.next(self.end)\n").require()


def scripts(files: Mapping[str, bytes]) -> dict[str, str]:
    """The texts that bash reads, by name."""
    return {name: data.decode() for name, data in files.items() if name.endswith((".sbatch", ".sh"))}


def shellcheck(folder: Path, texts: Iterable[str]) -> str:
    """What shellcheck has to say of scripts; nothing, as a rule."""
    program = shutil.which("shellcheck", path=str(Path(sys.executable).parent)) or shutil.which("shellcheck")
    if program is None:
        pytest.skip("shellcheck is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for number, text in enumerate(texts):
        (folder / f"{number}.sh").write_text(text, "utf-8")
        names.append(f"{number}.sh")
    done = subprocess.run([program, *names], cwd=folder, capture_output=True, text=True, encoding="utf-8")
    return done.stdout + done.stderr
