"""Datastores that are read-only, full, damaged or shared, and runs that were cut off."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from flow_checks import assert_as_reference, assert_clear, assert_no_flowc_frames
from flow_reference import Reference
from flow_shapes import SHAPES
from flow_small import small
from flow_target import Finished, Local, RunView, clean_environment, ended, flowc
from flow_text import FlowText

pytestmark = pytest.mark.slow

WriteFlow = Callable[..., Path]


def mounts_are_possible() -> bool:
    if shutil.which("unshare") is None:
        return False
    script = "mount -t tmpfs -o size=64k tmpfs /mnt"
    return subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, check=False).returncode == 0


needs_mounts = pytest.mark.skipif(not mounts_are_possible(), reason="this user may not mount a file system of its own")


def in_mounts(script: str, *command: str, cwd: Path) -> Finished:
    """Run a command after a shell script has changed the mounts that it alone sees."""
    return ended("unshare", "-m", "sh", "-ec", f"{script}\nexec {shlex.join(command)}", cwd=cwd)


@needs_mounts
def test_a_read_only_datastore(target: Local, write_flow: WriteFlow) -> None:
    target.root.mkdir()
    script = f"mount --bind {target.root} {target.root}; mount -o remount,ro,bind {target.root}"
    command = flowc("run", str(write_flow(small())), "--datastore", str(target.root))
    assert_clear(in_mounts(script, *command, cwd=target.folder), 2, str(target.root), "read-only")


def test_a_file_where_the_datastore_should_be(target: Local, write_flow: WriteFlow) -> None:
    target.root.write_text("I am a file")
    finished = target.command("run", str(write_flow(small())), "--datastore", str(target.root))
    assert_clear(finished, 2, str(target.root))
    assert target.root.read_text() == "I am a file"


@needs_mounts
def test_a_datastore_that_fills_up(target: Local, write_flow: WriteFlow) -> None:
    target.root.mkdir()
    text = small(middle="import os; self.big = os.urandom(4_000_000)")
    script = f"mount -t tmpfs -o size=2m tmpfs {target.root}"
    # The shell stays, so that the test sees what is left in the file system when the run has ended.
    command = shlex.join(flowc("run", str(write_flow(text)), "--datastore", str(target.root)))
    script = f"{script}; set +e; {command}; code=$?; cat {target.root}/SmallFlow/1/status.json; exit $code"
    finished = ended("unshare", "-m", "sh", "-ec", script, cwd=target.folder)
    assert_clear(finished, 1, "middle", "full")
    assert '"failed"' in finished.stdout


@needs_mounts
def test_a_datastore_that_is_full_from_the_start(target: Local, write_flow: WriteFlow) -> None:
    target.root.mkdir()
    script = (
        f"mount -t tmpfs -o size=64k tmpfs {target.root}; (cat /dev/zero > {target.root}/stuffing || true) 2>/dev/null"
    )
    command = flowc("run", str(write_flow(small())), "--datastore", str(target.root))
    finished = in_mounts(script, *command, cwd=target.folder)
    assert finished.returncode in (1, 2)
    assert_no_flowc_frames(finished.said)
    assert "full" in finished.said


# Damage -------------------------------------------------------------------------------------------------------------

BIG = "self.big = list(range(5000))"


def blobs(target: Local, flow: str = "SmallFlow") -> list[Path]:
    return sorted(file for file in (target.root / flow / "blobs").rglob("*") if file.is_file())


def failed_with_a_blob(target: Local, write_flow: WriteFlow) -> tuple[RunView, Path]:
    """A run whose middle step failed, and the one blob that its start left."""
    file = write_flow(
        small(BIG, "if not __import__('os').path.exists('mended'): raise ValueError('no')", "sum(self.big)")
    )
    run = target.run(file, expect="failed")
    (blob,) = blobs(target)
    (target.folder / "mended").touch()
    return run, blob


def test_a_blob_is_named_by_its_bytes(target: Local, write_flow: WriteFlow) -> None:
    import hashlib

    _, blob = failed_with_a_blob(target, write_flow)
    assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name


@pytest.mark.parametrize("damage", ["flip", "truncate", "delete", "empty"])
def test_a_damaged_blob_is_found_out(damage: str, target: Local, write_flow: WriteFlow) -> None:
    run, blob = failed_with_a_blob(target, write_flow)
    data = bytearray(blob.read_bytes())
    blob.chmod(0o644)
    if damage == "flip":
        data[len(data) // 2] ^= 1
        blob.write_bytes(bytes(data))
    elif damage == "truncate":
        blob.write_bytes(bytes(data[:-3]))
    elif damage == "empty":
        blob.write_bytes(b"")
    else:
        blob.unlink()
    resumed = target.resume(run, expect="failed")
    assert_no_flowc_frames(resumed.finished.said)
    failure = resumed.status["failure"]
    assert failure["address"] == "end"
    assert "big" in failure["message"] and blob.name[:8] in failure["message"]
    dumped = target.command("dump", f"SmallFlow/{run.run_id}/start", "--name", "big", "--datastore", str(target.root))
    assert_clear(dumped, 1, "big", blob.name[:8])


@pytest.mark.parametrize("damage", ["", "{", '{"version": 1}', "\0" * 40])
def test_a_half_written_record_counts_as_none(damage: str, target: Local, write_flow: WriteFlow) -> None:
    run, _ = failed_with_a_blob(target, write_flow)
    record = run.folder / "start" / "_" / "0" / "record.json"
    assert json.loads(record.read_text())["state"] == "done"
    record.chmod(0o644)
    record.write_text(damage)
    resumed = target.resume(run)
    assert resumed.record("start").origin is None, "a step without a whole record runs again"
    assert resumed.done() == {"start", "middle", "end"}


@pytest.mark.parametrize("name", ["run.json", "status.json"])
def test_a_damaged_run_is_told(name: str, target: Local, write_flow: WriteFlow) -> None:
    run = target.run(write_flow(small()))
    (run.folder / name).write_text("{")
    for command in (["show", "SmallFlow/1"], ["runs"], ["runs", "SmallFlow"]):
        finished = target.command(*command, "--datastore", str(target.root))
        assert finished.returncode in (0, 2), finished.said
        assert_no_flowc_frames(finished.said)
    # Other runs of the flow go on as ever.
    assert target.run(run.flow_file).run_id == "2"


def test_what_is_left_of_a_cut_off_write_is_no_artifact(target: Local, write_flow: WriteFlow) -> None:
    run, blob = failed_with_a_blob(target, write_flow)
    (blob.parent / f".{blob.name}.tmp-1").write_bytes(b"half")
    (run.folder / "middle" / "_" / "0" / ".record.json.tmp").write_text('{"state": "done"')
    assert target.resume(run).done() == {"start", "middle", "end"}


# Together ------------------------------------------------------------------------------------------------------------


def test_two_runs_at_once_in_one_datastore(target: Local, write_flow: WriteFlow) -> None:
    shape = SHAPES["nested_foreach"]
    file = write_flow(FlowText(shape).text())
    labs = [target.folder / f"lab{n}" for n in range(4)]
    processes = []
    for lab in labs:
        lab.mkdir()
        command = flowc(
            "run", str(file), "--datastore", str(target.root), "--lab", str(lab), "--run-id-file", f"{lab}/id"
        )
        processes.append(
            subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=clean_environment()
            )
        )
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0, 0], outputs
    ids = sorted(path.name for path in (target.root / "ShapeFlow").iterdir() if path.name != "blobs")
    assert ids == ["1", "2", "3", "4"]
    for lab, output in zip(labs, outputs):
        run_id = (lab / "id").read_text().strip().split("/")[-1]
        run = RunView("ShapeFlow", run_id, target.root, Finished(0, output, ""), target, file, {"lab": str(lab)})
        assert_as_reference(run, Reference(shape))


def test_a_datastore_given_in_every_way(target: Local, write_flow: WriteFlow) -> None:
    file = str(write_flow(small()))
    for arguments, env in (
        (["--datastore", "here"], {}),
        (["--datastore", f"file://{target.folder}/there"], {}),
        ([], {"FLOWC_DATASTORE": str(target.folder / "by env")}),
        ([], {}),
    ):
        assert ended(*flowc("run", file, *arguments), env=env, cwd=target.folder).returncode == 0
    for root in ("here", "there", "by env", ".flowc"):
        assert os.path.exists(target.folder / root / "SmallFlow" / "1" / "run.json"), root
