"""Code of a run on the shared folder: by its content, once, and whole."""

from __future__ import annotations

import shutil
from pathlib import Path

from flowc.cli import main
from flowc.runtime.datastore import open_datastore
from flowc.runtime.slurm.staging import read_bundle, stage

FLOW = """
from flowc import FlowSpec, step

class OneFlow(FlowSpec):
    @step
    def start(self):
        self.next(self.end)

    @step
    def end(self):
        pass
"""


def test_code_is_put_there_anew_where_some_of_it_was_tidied_away(tmp_path: Path) -> None:
    (tmp_path / "flow.py").write_text(FLOW)
    assert main(["compile", str(tmp_path / "flow.py"), "--target", "slurm", "-o", str(tmp_path / "manifests")]) == 0
    bundle, store = read_bundle(str(tmp_path / "manifests" / "slurm")), open_datastore(str(tmp_path / "store"))
    staged = stage(bundle, store)
    folder = Path(staged.folder)
    whole = {path.relative_to(folder) for path in folder.rglob("*")}
    (folder / "mark").touch()
    assert stage(bundle, store) == staged and (folder / "mark").exists(), "it was there already"
    # What tidies scratch up removes files, and leaves folders.
    for path in [*folder.rglob("*.py"), *folder.rglob("*.pyc")]:
        path.unlink()
    assert stage(bundle, store) == staged
    assert {path.relative_to(folder) for path in folder.rglob("*")} == whole | {Path("mark")}
    shutil.rmtree(folder / "flowc")
    (folder / "steps" / "start.sbatch").write_text("cut o")
    assert stage(bundle, store) == staged
    assert "supervise start" in (folder / "steps" / "start.sbatch").read_text()
    assert {path.relative_to(folder) for path in folder.rglob("*")} == whole | {Path("mark")}
