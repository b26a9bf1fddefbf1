"""What pods are given beside the code: Secrets, packages, boto3. Manifests as compiled, run in pods of the lab."""

from __future__ import annotations

import json
import sys
import time
import venv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from argo_cluster import Cluster, report
from argo_flows import compiled
from hosts_lab import require_lab
from s3_server import s3_server
from wheels import pack_installed, write_wheel

pytestmark = pytest.mark.slow

GANG = """
import os
from flowc import FlowSpec, {imported}, current, parallel, step

class MyFlow(FlowSpec):
    @step
    def start(self):
        self.next(self.train, num_parallel=2)

    {decorator}
    @parallel
    @step
    def train(self):
        {body}
        self.next(self.join)

    @step
    def join(self, inputs):
        assert [each.found for each in inputs] == {wanted}, [each.found for each in inputs]
        self.next(self.end)

    {decorator}
    @step
    def end(self):
        {body}
"""


def run(tmp_path: Path, flow: str, settings: Mapping[str, Any], **cluster: Any) -> tuple[str, str]:
    """How a workflow ended, and all that its pods left: logs, records, artifacts as they lie there."""
    require_lab()
    files = compiled(tmp_path, flow, **settings).files
    assert files is not None
    with Cluster(tmp_path / "cluster", at_once=2, **cluster) as lab:
        lab.apply(files)
        done = lab.submit("myflow", {}, "myflow-1")
        left = [file.read_bytes() for file in (tmp_path / "cluster").rglob("*") if file.is_file()]
    return done.root.phase, report(done) + b"".join(left).decode(errors="replace")


def test_secrets_are_in_the_environment_of_their_steps_alone(tmp_path: Path) -> None:
    body = "self.found = [os.environ['DB_USER'], len(os.environ['DB_PASSWORD'])]"
    flow = GANG.format(
        imported="secrets", decorator='@secrets(sources=["database", "broker"])', body=body, wanted=[["ada", 18]] * 2
    )
    flow = flow.replace("self.next(self.train", "assert 'DB_USER' not in os.environ; self.next(self.train")
    secrets = {"database": {"DB_USER": "bob", "DB_PASSWORD": "no-business-of-logs"[:18]}, "broker": {"DB_USER": "ada"}}
    phase, left = run(tmp_path, flow, {}, secrets=secrets)
    assert phase == "Succeeded", left
    assert "no-business" not in left


ABSENT = "import importlib.util; assert importlib.util.find_spec('sample_words') is None"
INSTALLED = """import subprocess, sys, sample_words
        said = subprocess.run([sys.executable, "-c", "import sample_words; print(sample_words.WORD)"], check=True,
            stdout=subprocess.PIPE, text=True).stdout
        self.found = [sample_words.WORD, said.strip()]"""


def test_packages_are_installed_in_the_pods_of_their_steps(tmp_path: Path) -> None:
    index = tmp_path / "index"
    index.mkdir()
    for version in ("1.2", "1.3", "2.0"):
        write_wheel(index, "sample-words", version, {"sample_words.py": f"WORD = '{version}'\n"})
    flow = GANG.format(
        imported="pypi", decorator='@pypi(packages={"sample-words": ">=1.2,<2"})', body=INSTALLED,
        wanted=[["1.3", "1.3"]] * 2,
    )  # fmt: skip
    flow = flow.replace("self.next(self.train", f"{ABSENT}; self.next(self.train")
    pip = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(index)}
    phase, left = run(tmp_path, flow, {}, shared=[index], variables=pip)
    assert phase == "Succeeded", left
    (tmp_path / "again").mkdir()
    phase, left = run(tmp_path / "again", flow.replace("<2", "<1.2"), {}, shared=[index], variables=pip)
    assert phase == "Failed"
    assert "sample-words>=1.2,<1.2 could not be installed; take an image that has" in left, left


BOTO3 = ("boto3", "botocore", "jmespath", "python-dateutil", "s3transfer", "six", "urllib3")


def test_boto3_is_installed_where_the_image_lacks_it(tmp_path: Path) -> None:
    index, python = tmp_path / "index", tmp_path / "python"
    index.mkdir()
    pack_installed(index, BOTO3)
    venv.create(python, with_pip=True)
    flow = """
from flowc import FlowSpec, step

class MyFlow(FlowSpec):
    @step
    def start(self):
        self.word = "kept in the bucket"
        self.next(self.end)

    @step
    def end(self):
        import boto3
        assert self.word == "kept in the bucket" and "/flowc-packages-" in boto3.__file__
"""
    image = {"/flowc/python": python}
    path = f"/flowc/python/bin:/usr/bin:/bin:{Path(sys.executable).parent}"
    with s3_server() as bucket, pytest.MonkeyPatch.context() as patch:
        for name, value in bucket.items():
            patch.setenv(name, value)
        import boto3
        from flowc.runtime.datastore import open_datastore

        boto3.client("s3").create_bucket(Bucket="runs")
        settings = {"datastore": "s3://runs/flowc"}
        pip = {**bucket, "PATH": path, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(index), "PIP_NO_COMPILE": "1"}
        phase, left = run(tmp_path, flow, settings, shared=[index], image=image, variables=pip)
        assert phase == "Succeeded", left
        status = json.loads(open_datastore("s3://runs/flowc").read("MyFlow/myflow-1/status.json"))
        assert status["state"] == "done"


SAVING = """
import time
from flowc import FlowSpec, checkpoint, current, step

class MyFlow(FlowSpec):
    @checkpoint(grace=20)
    @step
    def start(self):
        open("{folder}/at-work", "w").close()
        try:
            time.sleep(60)
        finally:
            time.sleep(2)
            open("{folder}/saved", "w").close()
        self.next(self.end)

    @step
    def end(self):
        pass
"""


def test_a_pod_that_is_ended_has_the_time_to_save_that_its_step_asks_for(tmp_path: Path) -> None:
    require_lab()
    shared = tmp_path / "shared"
    shared.mkdir()
    files = compiled(tmp_path, SAVING.replace("{folder}", str(shared))).files
    assert files is not None
    # Pods that say nothing have next to no time.
    with Cluster(tmp_path / "cluster", shared=[shared], grace=0.2) as lab:
        lab.apply(files)
        run = lab.workflow("myflow", {}, "myflow-1")
        running = lab.begin(run)
        until = time.monotonic() + 60
        while not (shared / "at-work").exists():
            assert time.monotonic() < until and running.is_alive(), report(run)
            time.sleep(0.05)
        run.stop()
        running.join(60)
        assert not running.is_alive() and (shared / "saved").exists(), report(run)
