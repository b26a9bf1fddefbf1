"""``compile`` and ``verify``: what is written, kept, removed and compared."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from flowc.cli import main, main_for_flow
from flows_for_cli import flowc


def compiled(*words: str) -> int:
    return main(["compile", "fan.py", "--target", "slurm", *words])


def compiled_afresh(folder: Path, *words: str) -> tuple[int, str, str]:
    """In a process of its own: this one has imported the flow as it was before."""
    return flowc(folder, "compile", "fan.py", "--target", "slurm", *words)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def test_what_is_written(flows: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert compiled() == 0
    out, err = capfd.readouterr()
    folder = flows / "manifests" / "slurm"
    assert (out, err) == ("", f"manifests/slurm: {len(tree(folder))} files\n")
    assert set(tree(folder)) == {
        "SHA256SUMS", "bundle.json", "plan.json", "submit.sh", "code/flowc.zip",
        "code/start-flowc.py", "code/flow/fan.py",
        *(f"steps/{step}.sbatch" for step in ("start", "work", "join", "end")),
    }  # fmt: skip
    runs = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file() and os.access(file, os.X_OK)}
    assert runs == {name for name, data in tree(folder).items() if data.startswith(b"#!")} >= {"submit.sh"}
    first = tree(folder)
    assert compiled() == 0 and tree(folder) == first
    assert main_for_flow("fan.py", "FanFlow", ["compile", "--target", "slurm", "-o", "other"]) == 0
    assert tree(flows / "other" / "slurm") == first


def test_check_prints_a_diff_and_writes_nothing(flows: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert compiled("--check") == 1
    out, err = capfd.readouterr()
    assert "--- /dev/null\n+++ b/manifests/slurm/submit.sh\n" in out and "without --check" in err
    assert not (flows / "manifests").exists()
    assert compiled() == 0
    capfd.readouterr()
    assert compiled("--check") == 0
    assert capfd.readouterr() == ("", "")
    script = flows / "manifests" / "slurm" / "steps" / "work.sbatch"
    script.write_text(script.read_text().replace("--ntasks=1", "--ntasks=2"))
    (flows / "manifests" / "slurm" / "submit.sh").chmod(0o644)
    (flows / "manifests" / "slurm" / "notes.txt").write_text("mine")
    before = tree(flows / "manifests")
    assert compiled("--check") == 1
    out = capfd.readouterr().out
    assert "-#SBATCH --ntasks=2\n+#SBATCH --ntasks=1\n" in out
    assert "manifests/slurm/submit.sh: mode 644, not executable" in out
    assert "notes.txt" not in out
    assert tree(flows / "manifests") == before


def test_check_names_what_is_left_over_and_what_differs_in_the_runtime(
    flows: Path,
) -> None:
    from flowc.backends.bundle import pack, runtime_files

    assert compiled() == 0
    folder = flows / "manifests" / "slurm"
    text = (flows / "fan.py").read_text()
    (flows / "fan.py").write_text(text.replace("work", "toil"))
    (folder / "code" / "flowc.zip").write_bytes(pack({**runtime_files(), "flowc/py.typed": b"?"}))
    code, out, _ = compiled_afresh(flows, "--check")
    assert code == 1
    assert "--- a/manifests/slurm/steps/work.sbatch\n+++ /dev/null\n" in out
    assert "--- /dev/null\n+++ b/manifests/slurm/steps/toil.sbatch\n" in out
    assert "Binary files a/manifests/slurm/code/flowc.zip and b/manifests/slurm/code/flowc.zip differ\n" in out
    assert "\n  flowc/py.typed\n" in out


def test_stale_files_are_removed_and_nothing_else(flows: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (flows / "extra").mkdir()
    (flows / "extra" / "table.csv").write_text("1,2\n")
    assert compiled("--package", "extra/*.csv") == 0
    folder = flows / "manifests" / "slurm"
    assert (folder / "code" / "flow" / "extra" / "table.csv").read_text() == "1,2\n"
    (folder / "steps" / "mine.sbatch").write_text("#!/bin/sh\n")
    (folder / "steps" / "join.sbatch").write_text("changed by hand\n")
    text = (flows / "fan.py").read_text()
    (flows / "fan.py").write_text(text.replace("join", "gather").replace("work", "toil"))
    code, _, err = compiled_afresh(flows)
    assert code == 0, err
    names = set(tree(folder))
    assert "code/flow/extra/table.csv" not in names and not (folder / "code" / "flow" / "extra").exists()
    assert "steps/work.sbatch" not in names and "steps/toil.sbatch" in names
    assert {"steps/mine.sbatch", "steps/join.sbatch"} <= names
    assert "manifests/slurm/steps/join.sbatch is no longer needed; it was changed by hand" in err
    capfd.readouterr()
    assert main(["verify", "manifests/slurm"]) == 1
    assert "steps/mine.sbatch: the flow has no such step" in capfd.readouterr().out


def test_somebody_else_s_file_is_not_overwritten(flows: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = flows / "manifests" / "slurm"
    folder.mkdir(parents=True)
    (folder / "submit.sh").write_text("mine\n")
    assert compiled() == 2
    assert "submit.sh was not written by flowc and is in the way" in capfd.readouterr().err
    assert tree(folder) == {"submit.sh": b"mine\n"}
    (flows / "manifests" / "slurm" / "submit.sh").unlink()
    (flows / "file").write_text("")
    assert compiled("-o", "file") == 2
    assert "is in the way" in capfd.readouterr().err


def test_a_list_that_leads_out_of_the_folder_is_not_followed(flows: Path) -> None:
    folder = flows / "manifests" / "slurm"
    assert compiled() == 0
    (flows / "victim.txt").write_text("")
    digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    with (folder / "SHA256SUMS").open("a") as file:
        file.write(f"{digest}  ../../victim.txt\n{digest}  {flows}/victim.txt\n{digest}  steps/../../../victim.txt\n")
    assert compiled() == 0
    assert (flows / "victim.txt").exists()


def test_targets_without_files(flows: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", "fan.py", "--target", "local"]) == 2
    assert "flowc run" in capfd.readouterr().err
    assert main(["compile", "fan.py"]) == 2
    assert "--target" in capfd.readouterr().err
    assert main(["compile", "fan.py", "--target", "all"]) == 0
    assert "slurm" in {path.name for path in (flows / "manifests").iterdir()}
    assert not (flows / "manifests" / "local").exists()


def test_a_flow_that_does_not_fit_writes_nothing(flows: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert compiled("--with", "slurm:partition=two words") == 1
    err = capfd.readouterr().err
    assert err.count("error[FC409]") == 4 and "fan.py:" in err and "= help: " in err
    assert not (flows / "manifests").exists()
    assert main(["check", "fan.py", "--target", "slurm", "--with", "slurm:partition=two words"]) == 1
    assert "error[FC409]" in capfd.readouterr().err
    assert compiled("--package", "nothing/*") == 2
    assert "FC012" in capfd.readouterr().err


def test_code_that_only_pods_could_have(flows: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert compiled("--code", "s3://bucket/code") == 1
    assert "error[FC413]: code does not come to Slurm by --code s3://bucket/code" in capfd.readouterr().err
    assert compiled("--code", "by hand") == 2
    assert "'by hand' is none of bundled, installed, image, s3://bucket/folder" in capfd.readouterr().err


def test_options_reach_the_files(flows: Path) -> None:
    assert compiled("--with", "slurm:partition=gpu", "--code", "installed", "--datastore", "/shared/runs") == 0
    files = tree(flows / "manifests" / "slurm")
    assert b"#SBATCH --partition=gpu\n" in files["steps/work.sbatch"]
    assert b"export FLOWC_DATASTORE=/shared/runs\n" in files["submit.sh"]
    assert "code/flowc.zip" not in files


def test_verify(flows: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert compiled() == 0
    capfd.readouterr()
    for folder in ("manifests", "manifests/slurm"):
        assert main(["verify", folder]) == 0
        assert capfd.readouterr() == ("", "manifests/slurm is good\n")
    script = flows / "manifests" / "slurm" / "steps" / "work.sbatch"
    script.write_text(script.read_text().replace("--ntasks=1", "--ntasks=2"))
    (flows / "manifests" / "slurm" / "steps" / "end.sbatch").unlink()
    assert main(["verify", "manifests"]) == 1
    assert capfd.readouterr().out.splitlines() == [
        "manifests/slurm: steps/end.sbatch is missing",
        "manifests/slurm: steps/work.sbatch has been changed since flowc wrote it",
        "manifests/slurm: steps/work.sbatch: --ntasks is '2', and the flow says '1'",
    ]
    assert main(["verify", "nowhere"]) == 2
    assert "flowc compile FILE --target all -o nowhere" in capfd.readouterr().err
    assert main(["verify", "out/argo"]) == 2
    assert "there is no folder out/argo; compile makes one: flowc compile FILE --target argo -o out" in (
        capfd.readouterr().err
    )
    assert main(["verify", "."]) == 2
    assert "no manifests" in capfd.readouterr().err
