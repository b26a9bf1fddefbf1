"""What was emitted is read back, and everything that does not describe the Plan is noticed."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from flow_in_process import compiled as compiled_file
from flow_text import FlowText
from flow_trees import flows
from flowc.backends.base import EmitSettings, Unfaithful, get_backend
from flowc.backends.bundle import RUNTIME, pack, unpack
from flowc.backends.manifests import produce
from flowc.backends.slurm.reading import parse_script
from hypothesis import given, settings
from hypothesis import strategies as st
from slurm_flows import EVERYTHING, compiled, emitted, scripts, shellcheck

SLURM = get_backend("slurm")
Files = dict[str, bytes]


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Files:
    files = emitted(tmp_path_factory.mktemp("everything"), EVERYTHING)
    del files["SHA256SUMS"]
    return files


def problems(files: Files) -> tuple[str, ...]:
    with pytest.raises(Unfaithful) as caught:
        SLURM.read(files)
    return caught.value.problems


def test_the_plan_comes_back(everything: Files, tmp_path: Path) -> None:
    assert SLURM.read(everything) == compiled(tmp_path, EVERYTHING).require()


def test_a_script_is_taken_apart(everything: Files) -> None:
    train = parse_script(everything["steps/train.sbatch"].decode())
    assert train.directives["nodes"] == "4" and train.directives["exclusive"] is None
    assert (train.supervised, train.strange) == ("train", "")
    assert train.run[:3] == ["srun", "--cpus-per-task=8", "--kill-on-bad-exit=1"]
    prepare = parse_script(everything["steps/prepare.sbatch"].decode())
    assert prepare.exports == {"OMP_NUM_THREADS": "2", "TITLE": "it's $HOME `id`\nand # more"}
    assert parse_script(everything["steps/start.sbatch"].decode()).modules == ["gcc/13.2", "openmpi/5.0"]


def _line(old: str, new: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new, 1)

    return change


def _of_a_step_that_needs_nothing(text: str, step: str) -> str:
    """The head of a script, with the command of one that has nothing to set up."""
    head = text.partition("set -euo pipefail\n")
    return f'{head[0]}{head[1]}exec "${{FLOWC_PYTHON:-python3}}" "$FLOWC_CODE/start-flowc.py" supervise {step}\n'


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("start", _line("#SBATCH --mem=4096M\n", ""), "--mem is None"),
        ("start", _line("--mem=4096M", "--mem=4G"), ""),
        ("start", _line("--mem=4096M", "--mem=4096"), "--mem is '4096'"),
        ("start", _line("--cpus-per-task=2", "--cpus-per-task=3"), "--cpus-per-task is '3'"),
        ("start", _line("--nodes=1", "--nodes=2"), "--nodes is '2'"),
        ("start", _line("--partition=cpu,long", "--partition=cpu"), "--partition is 'cpu'"),
        ("start", _line("--partition=cpu,long", "--partition=cpu #,long"), "--partition is 'cpu'"),
        ("start", _line("--account=physics", "--account=physics --hold"), "--hold is not the flow's"),
        ("start", _line("--account=physics", "--account=physics\n#SBATCH --hold"), "--hold is not the flow's"),
        ("start", _line("--time=01:30:00", "--time=01:00:00"), "--time is '01:00:00'"),
        ("start", _line("--time=01:30:00", "--time=01:30:00\n#SBATCH --signal=B:USR1@60"), "can do nothing then"),
        ("train", _line("--signal=B:USR1@60", "--signal=USR1@60"), "--signal is 'USR1@60'"),
        ("start", _line("--no-requeue", "--requeue"), "--no-requeue is missing"),
        ("start", _line("--tmp=10240M", "--tmp=10G"), ""),
        ("start", _line("set -euo pipefail\n", "id\nset -euo pipefail\n"), "not flowc's: 'id'"),
        ("start", _line("#SBATCH --mem", "id\n#SBATCH --mem"), "not flowc's: 'id'"),
        ("start", _line("openmpi/5.0", "openmpi/4.0"), "it loads the modules"),
        ("start", _line("    exec \"${FLOWC_PYTHON:-python3}\"", "    id; exec p"), "this is not flowc's"),
        ("start", _line("start-flowc.py\" step start", "start-flowc.py\" step end"), "it does not run the step"),
        ("start", _line("supervise start", "supervise end"), "it supervises step 'end'"),
        ("start", lambda text: text + "id\n", "not flowc's: 'id'"),
        ("start", lambda text: "", "not flowc's"),
        ("collect", _line("ulimit -n 65536", "ulimit -n 1"), "its setup is not the flow's"),
        ("prepare", _line("OMP_NUM_THREADS=2", "OMP_NUM_THREADS=4"), "it exports OMP_NUM_THREADS"),
        ("prepare", _line("export OMP_NUM_THREADS=2", "export OTHER=2"), "it exports OTHER"),
        ("prepare", _line("export OMP_NUM_THREADS=2", "export OMP_NUM_THREADS=2; id"), "not flowc's"),
        ("prepare", _line("--nice=100", "--nice=1"), "--nice is '1'"),
        ("prepare", _line("n[2-3,7]", "n[2-3]"), "--exclude is 'n[2-3]'"),
        ("train", _line("--nodes=4", "--nodes=2"), "--nodes is '2', and the flow says '4'"),
        ("train", _line("--gpus-per-node=2", "--gpus-per-node=1"), "the nodes have 1 GPUs"),
        ("train", _line("#SBATCH --exclusive\n", ""), "--exclusive is missing"),
        ("train", _line(" --kill-on-bad-exit=1", ""), "started without --kill-on-bad-exit=1"),
        ("train", _line("exec srun --cpus-per-task=8", "exec srun"), "started without --cpus-per-task=8"),
        ("train", _line("exec srun", "exec mpirun"), "started without srun"),
        ("evaluate", _line("--container-image=", "--container-imag="), "does not run in the container"),
        ("evaluate", _line("#SBATCH --no-requeue", "#SBATCH --nodes=2\n#SBATCH --no-requeue"), "--nodes is '2'"),
        ("report", _line("report.sif", "other.sif"), "does not run in the container"),
        ("prepare", _line("\nexec \"${FLOWC_PYTHON:-python3}\"", "\nexec srun p"), "its task is started by 'srun'"),
        ("end", _line("exec \"${FLOWC_PYTHON:-python3}\"", "exec srun p"), "this is not flowc's"),
        ("end", _line("supervise end", "supervise start"), "it supervises step 'start'"),
        ("prepare", lambda text: _of_a_step_that_needs_nothing(text, "prepare"), "not set up as the flow says"),
        ("train", lambda text: _of_a_step_that_needs_nothing(text, "train"), "not set up as the flow says"),
    ],
)  # fmt: skip
def test_a_script_that_says_something_else(
    everything: Files, name: str, change: Callable[[str], str], said: str
) -> None:
    file = f"steps/{name}.sbatch"
    files = {**everything, file: change(everything[file].decode()).encode()}
    if not said:
        assert SLURM.read(files)[name].name == name
        return
    found = problems(files)
    assert any(said in item for item in found), found
    assert all(item.startswith(f"{file}: ") for item in found)


def test_what_only_extra_can_say_of_memory_and_of_sharing_nodes_is_read_back(tmp_path: Path) -> None:
    decorators = "@slurm(extra={'mem': '0', 'exclusive': 'user'})"
    files = emitted(tmp_path, f"{decorators}\n@step\ndef start(self):\n    self.next(self.end)\n")
    del files["SHA256SUMS"]
    assert SLURM.read(files)["start"].options["slurm"]["extra"] == {"mem": "0", "exclusive": "user"}
    script = files["steps/start.sbatch"].decode()
    for old, new, said in [("--mem=0", "--mem=1M", "--mem is '1M'"), ("=user", "", "--exclusive is None")]:
        changed = {**files, "steps/start.sbatch": _line(old, new)(script).encode()}
        assert any(said in item for item in problems(changed))


def test_a_warning_that_comes_too_late_to_save_is_noticed(tmp_path: Path) -> None:
    files = emitted(tmp_path, "@checkpoint(grace=120)\n@step\ndef start(self):\n    self.next(self.end)\n")
    del files["SHA256SUMS"]
    assert SLURM.read(files)["start"].grace == 120
    script = files["steps/start.sbatch"].decode()
    for seconds, said in [(120, "too late for the 120 s"), (30, "too late for the 120 s"), (180, "no warning before")]:
        changed = _line("--signal=B:USR1@135", f"--signal=B:USR1@{seconds}")(script).encode()
        (problem,) = problems({**files, "steps/start.sbatch": changed})
        assert said in problem


@pytest.mark.parametrize(
    "file",
    ["plan.json", "submit.sh", "bundle.json", RUNTIME, "code/flow/flow.py", "code/start-flowc.py", "steps/end.sbatch"],
)
def test_a_file_that_is_missing_or_empty(everything: Files, file: str) -> None:
    assert problems({name: data for name, data in everything.items() if name != file})
    assert problems({**everything, file: b""})


def test_a_file_too_much(everything: Files) -> None:
    assert problems({**everything, "steps/other.sbatch": b""}) == ("steps/other.sbatch: the flow has no such step",)
    assert "code/flow/ does not hold the code" in problems({**everything, "code/flow/more.py": b""})[0]


def test_another_flow_s_code_or_runtime(everything: Files) -> None:
    changed = everything["code/flow/flow.py"] + b"\n"
    assert "code/flow/ does not hold the code" in problems({**everything, "code/flow/flow.py": changed})[0]
    members = unpack(everything[RUNTIME])
    members["flowc/runtime/task.py"] += b"\n"
    assert "flowc.zip does not hold" in problems({**everything, RUNTIME: pack(members)})[0]


def test_a_plan_of_another_version(everything: Files) -> None:
    text = everything["plan.json"].replace(b'"version": 1', b'"version": 2')
    assert "version 2" in problems({**everything, "plan.json": text})[0]


def test_emitting_a_flow_with_errors_is_refused(tmp_path: Path) -> None:
    plan = compiled(tmp_path, "@slurm(qos='a b')\n@step\ndef start(self):\n    self.next(self.end)\n").require()
    with pytest.raises(ValueError, match="errors for Slurm"):
        SLURM.emit(plan, EmitSettings())


DECORATORS = st.lists(
    st.sampled_from(
        [
            "@retry(times=2, minutes_between_retries=0)",
            "@timeout(minutes=3)",
            "@checkpoint(grace=90)",
            "@resources(cpu=3, memory=700, disk=10)",
            "@resources(gpu=1)",
            "@slurm(partition='p,q', time='1-2', modules=['m/1'], setup='true\\nfalse || true')",
            "@slurm(container='a.sif', extra={'nice': 3, 'contiguous': True})",
            "@slurm(gres='gpu:1,nvme', nodelist='n[3]', exclusive=True)",
            "@slurm(extra={'exclusive': 'user'})",
        ]
    ),
    max_size=3,
    unique_by=lambda text: re.split(r"\W", text)[1],
)


@pytest.mark.slow
@settings(max_examples=25)
@given(flows(), st.data())
def test_random_flows_are_emitted_faithfully(
    tmp_path_factory: pytest.TempPathFactory, seq: object, data: st.DataObject
) -> None:
    text = FlowText(seq)  # type: ignore[arg-type]
    value = data.draw(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20))
    for number, name in enumerate(text.steps):
        if number < 4:
            env = [f"@environment(vars={{'VALUE': {value!r}}})"]
            text.put(name, decorators=[*data.draw(DECORATORS), *env])
    folder = tmp_path_factory.mktemp("random")
    file = folder / "random_flow.py"
    file.write_text(
        text.text().replace(
            "from flowc import ", "from flowc import checkpoint, environment, resources, retry, slurm, timeout, "
        ),
        "utf-8",
    )
    compilation = compiled_file(file)
    assert compilation.plan is not None, compilation.diagnostics
    produced = produce(compilation, "slurm", code="installed")
    assert produced.files is not None, produced.diagnostics
    assert set(scripts(produced.files)) == {"submit.sh", *(f"steps/{name}.sbatch" for name in text.steps)}
    if data.draw(st.integers(0, 9)) == 0:
        assert shellcheck(folder / "check", scripts(produced.files).values()) == ""
