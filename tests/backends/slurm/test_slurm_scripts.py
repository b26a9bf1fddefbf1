"""The scripts: as written by hand, clean, and understood by bash as the flow means them."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from flowc.backends.slurm.script import step_script
from flowc.backends.slurm.start import START_TEXT
from slurm_flows import EVERYTHING, GOLDEN, compiled, emitted, plan_of, scripts, shellcheck

HOSTILE = [
    "two words",
    "it's",
    'say "hi"',
    "a\nb",
    "a\r\nb",
    "$(touch owned)",
    "`touch owned`",
    "$HOME ${HOME}",
    "a,b",
    "# not a comment",
    "\\",
    "tab\there",
    "!history",
    "*?[a]~",
    "-n",
    "ünïcode ☃",
    "",
    "'; touch owned; '",
    "\n#SBATCH --partition=owned\n",
    "%j %A",
]


def test_the_scripts_are_the_golden_ones(tmp_path: Path) -> None:
    """WRITE_GOLDEN=1 writes them anew; look at what changed."""
    found = scripts(emitted(tmp_path, EVERYTHING))
    if os.environ.get("WRITE_GOLDEN"):
        GOLDEN.mkdir(exist_ok=True)
        for name, text in found.items():
            (GOLDEN / Path(name).name).write_text(text, "utf-8")
    assert {Path(name).name for name in found} == {file.name for file in GOLDEN.iterdir()}
    for name, text in found.items():
        assert text == (GOLDEN / Path(name).name).read_text("utf-8"), name


def test_the_scripts_are_shellcheck_clean(tmp_path: Path) -> None:
    texts = scripts(emitted(tmp_path, EVERYTHING, datastore="file:///shared/it's here"))
    assert shellcheck(tmp_path / "check", texts.values()) == ""
    assert "SC" in shellcheck(tmp_path / "wrong", ["#!/bin/bash\necho $1\n"]), "shellcheck sees what is wrong"


def test_directives_are_sorted_and_stand_before_the_first_command(tmp_path: Path) -> None:
    for name, text in scripts(emitted(tmp_path, EVERYTHING)).items():
        lines = text.splitlines()
        directives = [line for line in lines if line.startswith("#SBATCH")]
        first = next(number for number, line in enumerate(lines) if line and not line.startswith("#"))
        assert directives == sorted(directives) == [line for line in lines[:first] if line.startswith("#SBATCH")], name
        assert bool(directives) == name.startswith("steps/")
        assert lines[0] == "#!/bin/bash" and all(line == line.rstrip() for line in lines)


@pytest.mark.parametrize("value", HOSTILE, ids=repr)
def test_a_value_of_the_environment_arrives_unchanged_and_is_not_executed(tmp_path: Path, value: str) -> None:
    flow = f"@environment(vars={{'VALUE': {value!r}}})\n@step\ndef start(self):\n    self.next(self.end)\n"
    text = emitted(tmp_path, flow)["steps/start.sbatch"].decode()
    assert "--partition" not in [word.partition("=")[0] for word in _directives(text)]
    run = tmp_path / "run"
    run.mkdir()
    (run / "python").write_text('#!/bin/sh\nprintf "%s" "$VALUE" > value; printf "%s\\n" "$@" > words\n')
    (run / "python").chmod(0o755)
    (run / "job").write_text(text, "utf-8", newline="")
    done = _bash(run, "attempt", FLOWC_INDEX="0.3")
    assert done.returncode == 0, done.stderr
    assert (run / "value").read_bytes() == value.encode()
    assert (run / "words").read_text() == "/code/start-flowc.py\nstep\nstart\n--index\n0.3\n"
    assert sorted(item.name for item in run.iterdir()) == ["job", "python", "value", "words"]


def _directives(text: str) -> list[str]:
    head = text.partition("\nset -")[0]
    return [line.split(maxsplit=1)[1] for line in head.split("\n") if line.startswith("#SBATCH")]


def _bash(folder: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "job", *words],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "FLOWC_PYTHON": str(folder / "python"), "FLOWC_CODE": "/code", **env},
        capture_output=True,
        text=True,
    )


def test_the_job_itself_runs_the_supervisor_before_any_setup(tmp_path: Path) -> None:
    flow = "@slurm(setup='touch set-up')\n@step\ndef start(self):\n    self.next(self.end)\n"
    text = emitted(tmp_path, flow)["steps/start.sbatch"].decode()
    run = tmp_path / "run"
    run.mkdir()
    (run / "python").write_text('#!/bin/sh\nprintf "%s\\n" "$@" > words\n')
    (run / "python").chmod(0o755)
    (run / "job").write_text(text)
    assert _bash(run).returncode == 0
    words = (run / "words").read_text().split()
    assert words == ["/code/start-flowc.py", "supervise", "start", "--", "bash", "job", "attempt"]
    assert not (run / "set-up").exists()
    assert _bash(run, "attempt", FLOWC_INDEX="").returncode == 0
    assert (run / "set-up").exists()
    assert (run / "words").read_text() == "/code/start-flowc.py\nstep\nstart\n--index\n\n"


def test_the_authors_setup_is_kept_as_it_is(tmp_path: Path) -> None:
    lines = "cat <<'X'\n  #SBATCH --nice=1\nexec nothing\nX\nexport A=1 # b\n\n  echo \"$A\""
    flow = f"@slurm(setup={lines!r})\n@step\ndef start(self):\n    self.next(self.end)\n"
    text = emitted(tmp_path, flow)["steps/start.sbatch"].decode()
    assert f"7 lines:\n{lines}\n\nexec " in text
    assert "--nice=1" not in _directives(text)


@pytest.mark.parametrize(
    "doc",
    ["#SBATCH --nice=9", "one\\n#SBATCH --nice=9", "a\\r#SBATCH --nice=9", "shellcheck disable=SC2086", "$(id) `id`",
     "x" * 300, "line\\u2028#SBATCH --nice=9"],
)  # fmt: skip
def test_a_docstring_is_only_a_comment(tmp_path: Path, doc: str) -> None:
    flow = f'@step\ndef start(self):\n    """{doc}"""\n    self.next(self.end)\n'
    text = emitted(tmp_path, flow)["steps/start.sbatch"].decode()
    plain = emitted(tmp_path / "plain", "@step\ndef start(self):\n    self.next(self.end)\n")
    lines = [line for line in text.split("\n") if not line.startswith("# What it is for: ")]
    assert "\n".join(lines).replace("MyFlow", "") == plain["steps/start.sbatch"].decode().replace("MyFlow", "")
    assert shellcheck(tmp_path / "check", [text]) == ""


def test_submit_names_the_parameters_and_bundles_or_not(tmp_path: Path) -> None:
    flow = (
        "alpha = Parameter('alpha', default=0.1, help='the $(rate)\\nand more')\n\n"
        "@step\ndef start(self):\n    self.next(self.end)\n"
    )
    bundled = emitted(tmp_path, flow)
    text = bundled["submit.sh"].decode()
    assert "#   --alpha  (number) the $(rate)" in text and "code/start-flowc.py" in text
    installed = emitted(tmp_path, flow, code="installed", datastore="/shared/runs")
    assert set(bundled) - set(installed) == {"code/flowc.zip"}
    assert b"export FLOWC_DATASTORE=/shared/runs\n" in installed["submit.sh"]


def test_nothing_in_the_current_folder_is_taken_for_a_part_of_flowc(tmp_path: Path) -> None:
    here = tmp_path / "here"
    for name, data in emitted(tmp_path, "@step\ndef start(self):\n    self.next(self.end)\n").items():
        file = tmp_path / "bundle" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    (here / "flowc").mkdir(parents=True)
    for name in ("flowc/__init__.py", "json.py", "typing.py"):
        (here / name).write_text("raise SystemExit('of the current folder')\n")
    words = ["bash", str(tmp_path / "bundle" / "submit.sh"), "--help"]
    env = {"PATH": os.environ["PATH"], "FLOWC_PYTHON": sys.executable}
    done = subprocess.run(words, cwd=here, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--datastore" in done.stdout


def test_submit_calls_the_runtime_with_its_folder_and_the_words_as_they_are(tmp_path: Path) -> None:
    text = emitted(tmp_path, "x = 1\n", datastore="/shared/it's")["submit.sh"].decode()
    run = tmp_path / "a folder 'with' $names"
    run.mkdir()
    (run / "python").write_text('#!/bin/sh\nprintf "%s|" "$@" "$PYTHONPATH" "$FLOWC_DATASTORE" > words\n')
    (run / "python").chmod(0o755)
    (run / "submit.sh").write_text(text)
    env = {"PATH": os.environ["PATH"], "FLOWC_PYTHON": str(run / "python")}
    words = ["--alpha", "a b", "$(touch owned)", "*", "", "it's", "new\nline"]
    subprocess.run(["bash", str(run / "submit.sh"), *words], cwd=tmp_path, env=env, check=True)
    said = (tmp_path / "words").read_text().split("|")
    assert said == [
        f"{run}/code/start-flowc.py",
        "submit",
        str(run),
        *words,
        "",
        "/shared/it's",
        "",
    ]
    subprocess.run(["bash", str(run / "submit.sh")], cwd=tmp_path, env={**env, "FLOWC_DATASTORE": "/other"}, check=True)
    assert (tmp_path / "words").read_text().split("|")[-2] == "/other"
    assert not (tmp_path / "owned").exists()


def test_lone_surrogates_are_refused(tmp_path: Path) -> None:
    from flowc.backends.base import check_target

    plan = plan_of(tmp_path, "@environment(vars={'A': 'x\\udc80'})")
    assert [item.code for item in check_target(plan, "slurm")] == ["FC409"]


def test_what_travels(tmp_path: Path) -> None:
    (tmp_path / "flow").mkdir()
    folder = tmp_path / "flow"
    for name, text in {
        "helper.py": "import inner.deep\nNAME = 'table.csv'\n",
        "inner/__init__.py": "",
        "inner/deep.py": "TEXT = 'words.txt'\n",
        "inner/words.txt": "w",
        "table.csv": "1,2",
        "scripts/train.py": "import beside\n",
        "scripts/beside.py": "",
        "shared.py": "",
        "data/a.txt": "a",
        "data/deep/b.txt": "b",
        "data/.hidden": "h",
        "manifests/slurm/x.txt": "old",
        "unused.py": "",
        "notes.md": "n",
        ".env": "secret",
        "../outside.txt": "o",
        "extra/one.bin": "1",
        "extra/two.bin": "2",
    }.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (folder / "linked.txt").symlink_to(tmp_path / "outside.txt")
    flow = '''
class MyFlow(FlowSpec):
    """It says notes.md here."""

    @step
    def start(self):
        import helper
        here = Path(__file__).parent
        names = [here / "data", "python scripts/train.py", ".env", "../outside.txt", "linked.txt", "extra",
                 "/etc/passwd", "manifests/slurm/x.txt"]
        self.next(self.end)

    @step
    def end(self):
        pass
'''
    compilation = compiled(folder, flow)
    assert compilation.package is not None
    assert set(compilation.package.paths) == {
        "flow.py", "helper.py", "inner/__init__.py", "inner/deep.py", "inner/words.txt", "table.csv",
        "scripts/train.py", "scripts/beside.py", "data/a.txt", "data/deep/b.txt",
    }  # fmt: skip


def test_package_patterns(tmp_path: Path) -> None:
    from flowc.compiler import compile_flow

    (tmp_path / "extra").mkdir()
    for name in ("one.bin", "two.bin"):
        (tmp_path / "extra" / name).write_text(name)
    file = tmp_path / "packaged.py"
    file.write_text("from flowc import *\n\n\nclass P(FlowSpec):\n    @step\n    def start(self):\n"
                    "        self.next(self.end)\n\n    @step\n    def end(self):\n        pass\n")  # fmt: skip

    def names(*patterns: str) -> set[str]:
        compilation = compile_flow(str(file), package=patterns)
        assert compilation.ok and compilation.package is not None, compilation.diagnostics
        return set(compilation.package.paths)

    assert names() == {"packaged.py"}
    assert names("extra/*.bin") == names("extra") == names("**/*.bin") == {
        "packaged.py", "extra/one.bin", "extra/two.bin"}  # fmt: skip
    assert names("extra", "!*/two.*") == {"packaged.py", "extra/one.bin"}
    first, second = (compile_flow(str(file), package=p).require().digest for p in ((), ("extra",)))
    assert first != second, "what travels belongs to the identity of the code"
    for wrong in ("nothing*", "/etc/passwd", "../*", "!nothing"):
        assert [item.code for item in compile_flow(str(file), package=[wrong]).errors] == ["FC012"], wrong


def test_too_much_code(tmp_path: Path) -> None:
    from flowc.backends.manifests import produce

    flow = "@step\ndef start(self):\n    open('large.bin')\n    self.next(self.end)\n"
    with (tmp_path / "large.bin").open("wb") as file:
        file.truncate(11 * 1024 * 1024)
    compilation = compiled(tmp_path, flow)
    produced = produce(compilation, "slurm")
    assert produced.files is None
    assert [item.code for item in produced.diagnostics] == ["FC412"]
    assert "large.bin 11.0 MiB" in produced.diagnostics[0].help


def test_an_old_python_is_told_what_is_needed() -> None:
    text = START_TEXT.decode()
    # The Python of RHEL 8 must come as far as the message.
    ast.parse(text, feature_version=(3, 6))
    old = "import sys\nsys.version_info = (3, 6, 8)\n" + text
    done = subprocess.run([sys.executable, "-c", old], capture_output=True, text=True)
    assert done.returncode == 1 and "needs Python 3.9 or later" in done.stderr and "FLOWC_PYTHON" in done.stderr


def test_modules_are_known_to_a_shell_that_is_no_login_shell(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "@slurm(modules=['cuda/12.4'])")
    script = step_script(plan, plan["start"])
    assert script.index("type module >/dev/null 2>&1 || . /etc/profile || true") < script.index("module purge")
