"""Code that does not travel in ConfigMaps: in the image, or in a bucket. The commands run in pods of the lab."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from argo_cluster import Cluster, report
from argo_flows import ONE, compiled, documents, schema_errors, workflow
from flowc.backends.argo import code
from flowc.backends.argo.backend import BACKEND
from flowc.backends.base import EmitSettings, Unfaithful
from flowc.cli.code_upload import upload_code
from flowc.compiler import compile_flow
from flowc.runtime import __main__ as entry
from flowc.runtime import contract, fetch
from flowc.runtime.datastore import DatastoreError, open_datastore
from s3_server import s3_server

FLOW = """
import helper
from flowc import FlowSpec, checkpoint, current, parallel, retry, step

class MyFlow(FlowSpec):
    @retry(times=1, minutes_between_retries=0)
    @checkpoint
    @step
    def start(self):
        if current.retry_count == 0:
            with open("state", "w") as file:
                file.write(helper.WORD)
            current.checkpoint.save("state")
            raise RuntimeError("once")
        with open(current.checkpoint.latest) as file:
            assert file.read() == helper.WORD
        self.next(self.train, num_parallel=2)

    @parallel
    @step
    def train(self):
        self.next(self.join)

    @step
    def join(self, inputs):
        self.next(self.end)

    @step
    def end(self):
        pass
"""


@pytest.fixture(scope="module")
def bucket() -> Iterator[dict[str, str]]:
    boto3 = pytest.importorskip("boto3")
    with s3_server() as variables, pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="code-of-flows")
        yield variables


def containers(files: Any) -> Iterator[dict[str, Any]]:
    for item in workflow(files)["templates"]:
        if "container" in item:
            yield item["container"]


def variables_of(container: Mapping[str, Any]) -> dict[str, str]:
    return {item["name"]: item.get("value", "") for item in container["env"]}


@pytest.mark.slow
@pytest.mark.parametrize("way", ["image", "s3://code-of-flows/somewhere/"])
def test_every_container_insists_on_the_code_beside_the_manifests(tmp_path: Path, way: str) -> None:
    (tmp_path / "helper.py").write_text("WORD = 'x'\n")
    produced = compiled(tmp_path, FLOW, code=way, image="registry/flow:1")
    assert produced.files is not None
    digests = {variables_of(item)[contract.CODE_DIGEST] for item in containers(produced)}
    gang = next(item for item in workflow(produced)["templates"] if "resource" in item)["resource"]["manifest"]
    assert len(digests) == 1 and f"value: {next(iter(digests))}" in gang.replace('"', "")
    kinds = {item["kind"] for item in documents(produced)}
    assert ("ConfigMap" in kinds) == (way != "image")
    if way == "image":
        assert {"Dockerfile", "code/plan.json", "code/flow/helper.py", "code/flowc/runtime/task.py"} <= set(
            produced.files
        )
        damaged = "code/flow/helper.py"
    else:
        url = variables_of(next(containers(produced)))[contract.CODE_URL]
        assert url == f"{way.rstrip('/')}/myflow-{digests.pop()}.zip"
        assert all(item["command"] == ["python", "/flowc/code/fetch.py"] for item in containers(produced))
        damaged = "code.zip"
    assert schema_errors(produced.files) == []
    with pytest.raises(Unfaithful):
        files = {**produced.files, damaged: produced.files[damaged][:-1]}
        BACKEND.read({name: data for name, data in files.items() if name != "SHA256SUMS"})
    other = BACKEND.emit(
        compile_flow(str(tmp_path / "flow.py")).require(),
        EmitSettings({"flow.py": b"", "helper.py": b"WORD = 'y'\n"}, code=way, image="registry/flow:1"),
    )
    assert other["workflow-template.yaml"] != produced.files["workflow-template.yaml"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"code": "image"}, "name no image"),
        ({"code": "s3://"}, "no folder of a bucket"),
        ({"code": "s3://b u/x"}, "no folder of a bucket"),
    ],
)
def test_code_that_no_pod_could_have_is_refused(tmp_path: Path, given: dict[str, str], said: str) -> None:
    (found,) = compiled(tmp_path, ONE.format(decorators=""), **given).diagnostics
    assert found.code == "FC409" and said in found.message


def test_the_names_that_fetching_repeats_are_those_of_the_contract() -> None:
    source = Path(fetch.__file__).read_text()
    for name in (contract.CODE_URL, contract.CODE_DIGEST):
        assert f'"{name}"' in source
    assert entry._CODE == (code.CODE, fetch.CODE)
    assert "from ." not in source and "import flowc" not in source


@pytest.mark.slow
def test_code_is_fetched_from_a_bucket_and_other_code_is_refused(tmp_path: Path, bucket: dict[str, str]) -> None:
    (tmp_path / "helper.py").write_text("WORD, BESIDE = 'from the bucket', lambda: open('argparse.py')\n")
    (tmp_path / "argparse.py").write_text("raise ImportError('not the one of Python')\n")
    produced = compiled(tmp_path, FLOW, code="s3://code-of-flows/here", datastore="s3://code-of-flows/runs")
    assert produced.files is not None
    url = upload_code(produced.files)
    assert url is not None and upload_code(produced.files) == url
    folder, _, name = url.rpartition("/")
    with Cluster(tmp_path / "cluster", variables=bucket, at_once=2) as cluster:
        cluster.apply(produced.files)
        done = cluster.submit("myflow", {}, "myflow-1")
        assert done.root.phase == "Succeeded", report(done)
        store = open_datastore("s3://code-of-flows/runs")
        assert json.loads(store.read("MyFlow/myflow-1/status.json"))["state"] == "done"
        assert sorted(store.list("MyFlow/myflow-1/train")) == ["0", "1"]
    open_datastore(folder).write(name, produced.files["code.zip"][:-1])
    env = {**os.environ, **bucket, **variables_of(next(containers(produced))), "FLOWC_RUN_ID": "myflow-2"}
    failed = subprocess.run(
        [sys.executable, str(fetch.__file__), "step", "start"], env=env, capture_output=True, text=True
    )
    assert failed.returncode == 2 and f"{url} does not hold the code" in failed.stderr
    upload_code(produced.files)  # which mends it
    assert open_datastore(folder).read(name) == produced.files["code.zip"]


@pytest.mark.slow
def test_code_of_the_image_runs_and_another_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("WORD = 'from the image'\n")
    produced = compiled(tmp_path, FLOW, code="image", image="mine")
    assert produced.files is not None
    for name, data in produced.files.items():
        if name.startswith("code/"):
            file = tmp_path / "image" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
    with Cluster(tmp_path / "cluster", image={"/flowc/code": tmp_path / "image" / "code"}, at_once=2) as cluster:
        cluster.apply(produced.files)
        done = cluster.submit("myflow", {}, "myflow-1")
        assert done.root.phase == "Succeeded", report(done)
        (tmp_path / "image" / "code" / "flow" / "helper.py").write_text("WORD = 'another'\n")
        failed = cluster.submit("myflow", {}, "myflow-2")
        assert failed.root.phase == "Failed" and "build the image anew" in report(failed), report(failed)


@pytest.mark.slow
def test_a_bucket_that_is_not_there_is_told(tmp_path: Path, bucket: dict[str, str]) -> None:
    produced = compiled(tmp_path, ONE.format(decorators=""), code="s3://no-such-bucket/x")
    assert produced.files is not None
    with pytest.raises(DatastoreError, match="no bucket no-such-bucket"):
        upload_code(produced.files)
    with pytest.raises(fetch.Refused, match="cannot be fetched from s3://no-such-bucket/x/myflow-"):
        fetch.fetched(str(json.loads(produced.files["bundle.json"])["url"]))
    assert upload_code(compiled(tmp_path, ONE.format(decorators="")).files or {}) is None
