"""The lab itself: it does what Argo was seen to do, and refuses what it does not know."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from argo_cluster import Cluster, StillRunning
from argo_language import (
    NotModelled,
    Unresolved,
    evaluate_depends,
    evaluate_when,
    expand,
    known,
    seconds,
    substitute,
)
from hosts_lab import HostsLab, require_lab

pytestmark = pytest.mark.slow

FLOW = """
entrypoint: main
onExit: bye
arguments: {parameters: [{name: width, value: "3"}, {name: word, value: plain}]}
volumes: [{name: data, persistentVolumeClaim: {claimName: store}}]
templates:
  - name: main
    dag:
      tasks:
        - name: start
          template: split
          arguments: {parameters: [{name: text, value: "{{workflow.parameters.width}}"}]}
        - name: each
          template: body
          depends: start.Succeeded
          withSequence: {count: "{{tasks.start.outputs.parameters.out}}"}
          arguments: {parameters: [{name: index, value: "{{item}}"}]}
        - {name: join, template: say, depends: each, arguments: {parameters: [{name: text, value: joined}]}}
        - {name: pick, template: split, depends: join.Succeeded, arguments: {parameters: [{name: text, value: right}]}}
        - name: left
          template: say
          depends: pick.Succeeded
          when: "'{{tasks.pick.outputs.parameters.out}}' == 'left'"
          arguments: {parameters: [{name: text, value: left}]}
        - name: right
          template: say
          depends: pick.Succeeded
          when: "'{{tasks.pick.outputs.parameters.out}}' == 'right'"
          arguments: {parameters: [{name: text, value: right}]}
        - name: end
          template: say
          depends: (left.Succeeded || right.Succeeded)
          arguments: {parameters: [{name: text, value: end}]}
  - name: body
    inputs: {parameters: [{name: index}]}
    dag:
      tasks:
        - name: one
          template: say
          arguments: {parameters: [{name: text, value: "{{inputs.parameters.index}}"}]}
        - name: two
          template: body-2
          depends: one.Succeeded
          arguments: {parameters: [{name: index, value: "{{inputs.parameters.index}}"}]}
  - name: body-2
    inputs: {parameters: [{name: index}]}
    dag:
      tasks:
        - name: inner
          template: say
          withSequence: {count: "2"}
          arguments: {parameters: [{name: text, value: "{{inputs.parameters.index}}.{{item}}"}]}
  - name: split
    inputs: {parameters: [{name: text}]}
    outputs: {parameters: [{name: out, valueFrom: {path: /tmp/o/out}}]}
    container:
      image: busybox
      command: [sh, -c]
      args: ['mkdir /tmp/o; echo "$TEXT" > /tmp/o/out']
      env: [{name: TEXT, value: "{{inputs.parameters.text}}"}]
  - name: say
    inputs: {parameters: [{name: text}]}
    container:
      image: busybox
      command: [sh, -c]
      args: ['echo "$0" >> /data/said; [ "$0" != "$(WORD)" ]', "{{inputs.parameters.text}}"]
      env: [{name: WORD, value: "{{workflow.parameters.word}}"}]
      volumeMounts: [{name: data, mountPath: /data}]
  - name: bye
    container:
      image: busybox
      command: [sh, -c]
      args: ['echo "$0" >> /data/end', "{{workflow.status}} {{workflow.name}}"]
      volumeMounts: [{name: data, mountPath: /data}]
"""
JOBSET = """
apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata: {generateName: gang-, labels: {"flowc/run": "{{workflow.name}}"}}
spec:
  network: {enableDNSHostnames: true, publishNotReadyAddresses: true}
  successPolicy: {operator: All}
  failurePolicy: {maxRestarts: RESTARTS}
  replicatedJobs:
    - name: r
      replicas: 1
      template:
        spec:
          completionMode: Indexed
          parallelism: {{inputs.parameters.size}}
          completions: {{inputs.parameters.size}}
          backoffLimit: 0
          activeDeadlineSeconds: 60
          template:
            spec:
              restartPolicy: Never
              terminationGracePeriodSeconds: 5
              containers:
                - name: rank
                  image: busybox
                  command: [python, -c]
                  args: [PROGRAM]
                  env:
                    - name: SET
                      valueFrom: {fieldRef: {fieldPath: "metadata.annotations['jobset.sigs.k8s.io/jobset-name']"}}
                    - name: TRY
                      valueFrom: {fieldRef: {fieldPath: "metadata.labels['jobset.sigs.k8s.io/restart-attempt']"}}
                  volumeMounts: [{name: data, mountPath: /data}]
              volumes: [{name: data, persistentVolumeClaim: {claimName: store}}]
"""


def gang(program: str, restarts: int = 0) -> dict[str, Any]:
    manifest = JOBSET.replace("PROGRAM", yaml.safe_dump(program, default_style='"', width=10**6).strip())
    tasks = [{"name": "gang", "template": "gang", "arguments": {"parameters": [{"name": "size", "value": "2"}]}}]
    resource = {
        "action": "create",
        "setOwnerReference": True,
        "successCondition": "status.terminalState == Completed",
        "failureCondition": "status.terminalState == Failed",
        "manifest": manifest.replace("RESTARTS", str(restarts)),
    }
    delete = ["jobset", "--selector", "flowc/run={{workflow.name}}", "--ignore-not-found"]
    templates = [
        {"name": "main", "dag": {"tasks": tasks}},
        {"name": "gang", "inputs": {"parameters": [{"name": "size"}]}, "resource": resource},
        {"name": "bye", "resource": {"action": "delete", "flags": delete}},
    ]
    return {"entrypoint": "main", "onExit": "bye", "templates": templates}


def one(container: dict[str, Any], **template: Any) -> dict[str, Any]:
    """A workflow of one container."""
    run = {"name": "run", "container": {"image": "busybox", "command": ["sh", "-c"], **container}, **template}
    templates = [{"name": "main", "dag": {"tasks": [{"name": "run", "template": "run"}]}}, run]
    data = {"name": "data", "persistentVolumeClaim": {"claimName": "store"}}
    return {"entrypoint": "main", "templates": templates, "volumes": [data]}


MOUNT = [{"name": "data", "mountPath": "/data"}]


@pytest.fixture(autouse=True)
def _lab() -> None:
    require_lab()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path / "cluster", grace=5) as made:
        yield made


def submit(cluster: Cluster, spec: dict[str, Any], timeout: float = 60, **parameters: str) -> Any:
    cluster.templates["flow"] = copy.deepcopy(spec)
    return cluster.submit("flow", parameters, timeout=timeout)


def said(cluster: Cluster, name: str = "said") -> list[str]:
    file = cluster.place.claim("store") / name
    return file.read_text().splitlines() if file.exists() else []


def phases(workflow: Any) -> dict[str, str]:
    return {node.name.partition(".")[2]: node.phase for node in workflow.root.all()}


def test_a_flow_with_everything(cluster: Cluster) -> None:
    workflow = submit(cluster, yaml.safe_load(FLOW))
    assert workflow.root.phase == "Succeeded"
    lines = said(cluster)
    assert sorted(lines[:9]) == ["0", "0.0", "0.1", "1", "1.0", "1.1", "2", "2.0", "2.1"]
    assert lines[9:] == ["joined", "right", "end"]
    assert phases(workflow)["left"] == "Skipped"
    assert said(cluster, "end") == [f"Succeeded {workflow.name}"]


def test_no_items_are_skipped_and_the_join_runs(cluster: Cluster) -> None:
    workflow = submit(cluster, yaml.safe_load(FLOW), width="0")
    assert phases(workflow)["each"] == "Skipped"
    assert said(cluster) == ["joined", "right", "end"]


def test_a_text_is_cut_in_bytes() -> None:
    cut = "{{=sprig.trunc(2, workflow.failures)}}"
    assert substitute(cut, {"workflow.failures": "a\u00fcb"}) == "a\ufffd"
    assert substitute(cut, {"workflow.failures": "a"}) == "a"
    with pytest.raises(Unresolved):
        substitute(cut, {})


def test_a_failure_omits_what_comes_after_and_fails_the_workflow(cluster: Cluster) -> None:
    workflow = submit(cluster, yaml.safe_load(FLOW), word="1.0")
    got = phases(workflow)
    assert (got["each"], got["join"], got["end"]) == ("Failed", "Omitted", "Omitted")
    assert workflow.root.phase == "Failed" and said(cluster, "end") == [f"Failed {workflow.name}"]
    # The other items run to their end.
    assert len(said(cluster)) == 9


def test_a_caught_failure_does_not_fail_the_workflow(cluster: Cluster) -> None:
    spec = yaml.safe_load(FLOW)
    say = [{"name": "text", "value": "plain"}]
    spec["templates"][0]["dag"]["tasks"] = [
        {"name": "bad", "template": "say", "arguments": {"parameters": say}},
        {"name": "caught", "template": "split", "depends": "bad.Failed || bad.Errored", "arguments": {
            "parameters": [{"name": "text", "value": "{{tasks.bad.status}}"}]}},
        {"name": "on", "template": "split", "depends": "(bad.Succeeded || caught.Succeeded)", "arguments": {
            "parameters": [{"name": "text", "value": "{{tasks.caught.outputs.parameters.out}}"}]}},
    ]  # fmt: skip
    workflow = submit(cluster, spec)
    assert workflow.root.phase == "Succeeded"
    assert next(node for node in workflow.root.all() if node.name.endswith(".on")).outputs == {"out": "Failed"}


def test_retries_count_and_stop_at_the_limit(cluster: Cluster) -> None:
    container = {
        "args": ["echo $N >> /data/said; [ $N = $GOOD ]"],
        "env": [{"name": "N", "value": "{{retries}}"}, {"name": "GOOD", "value": "1"}],
        "volumeMounts": MOUNT,
    }
    strategy = {"limit": "2", "retryPolicy": "Always", "backoff": {"duration": "0.2s", "factor": "2"}}
    assert submit(cluster, one(container, retryStrategy=strategy)).root.phase == "Succeeded"
    container["env"][1]["value"] = "9"
    assert submit(cluster, one(container, retryStrategy=strategy)).root.phase == "Failed"
    assert said(cluster) == ["0", "1", "0", "1", "2"]


def test_a_deadline_ends_a_pod_by_sigterm(cluster: Cluster) -> None:
    script = 'trap "echo told >> /data/said; exit 0" TERM; echo up >> /data/said; while true; do sleep 0.1; done'
    workflow = submit(cluster, one({"args": [script], "volumeMounts": MOUNT}, activeDeadlineSeconds="2"))
    assert said(cluster) == ["up", "told"]
    assert "longer than the specified deadline" in workflow.root.all()[-1].message


def test_an_output_that_is_not_there_is_an_error(cluster: Cluster) -> None:
    outputs = {"parameters": [{"name": "x", "valueFrom": {"path": "/tmp/none"}}]}
    assert submit(cluster, one({"args": ["true"]}, outputs=outputs)).root.phase == "Error"


@pytest.mark.parametrize("strategy", ["stop", "terminate"])
def test_stopping(cluster: Cluster, strategy: str) -> None:
    spec = yaml.safe_load(FLOW)
    spec["templates"][4]["container"]["args"][0] = "echo up >> /data/said; exec sleep 60"
    cluster.templates["flow"] = spec
    workflow = cluster.workflow("flow")
    thread = threading.Thread(target=workflow.run)
    thread.start()
    until = time.monotonic() + 30
    while not said(cluster) and time.monotonic() < until:
        time.sleep(0.05)
    getattr(workflow, strategy)()
    thread.join(30)
    assert not thread.is_alive() and workflow.root.phase == "Failed"
    assert any("shutdown with strategy" in node.message for node in workflow.root.all())
    assert bool(said(cluster, "end")) == (strategy == "stop")


RANK = """
import os, socket, time
rank, name = os.environ["JOB_COMPLETION_INDEX"], os.environ["SET"]
main = f"{name}-r-0-0.{name}"
open(f"/data/{os.environ['TRY']}-{rank}", "w").write(f"{os.getpid()} {socket.gethostbyname(main)}")
"""


def test_a_gang_on_the_loopback(cluster: Cluster) -> None:
    assert submit(cluster, gang(RANK)).root.phase == "Succeeded"
    assert [said(cluster, f"0-{rank}") for rank in range(2)] == [["1 127.0.0.1"]] * 2


def test_a_gang_on_hosts_of_its_own() -> None:
    listen = (
        "\nif rank == '0':\n    s = socket.create_server(('', 4000)); s.accept()[0].sendall(b'hello')\n"
        "else:\n    for _ in range(200):\n        try: c = socket.create_connection((main, 4000)); break\n"
        "        except OSError: time.sleep(0.1)\n    assert c.recv(9) == b'hello'\n"
    )
    with HostsLab(2) as hosts, Cluster(hosts.folder / "cluster", hosts=hosts.hosts) as cluster:
        assert submit(cluster, gang(RANK + listen)).root.phase == "Succeeded"
        addresses = {said(cluster, f"0-{rank}")[0].split()[1] for rank in range(2)}
        assert addresses == {hosts.host(0).address}


def test_a_gang_restarts_as_a_whole(cluster: Cluster) -> None:
    fails_first = RANK + "\nif rank == '1' and os.environ['TRY'] == '0': raise SystemExit(3)\ntime.sleep(1)\n"
    assert submit(cluster, gang(fails_first, 1)).root.phase == "Succeeded"
    assert all(said(cluster, f"{attempt}-{rank}") for attempt in range(2) for rank in range(2))
    workflow = submit(cluster, gang(fails_first))
    assert workflow.root.phase == "Failed" and "terminalState == Failed" in workflow.root.all()[-1].message


def test_a_jobset_outlives_terminate_but_not_stop(cluster: Cluster) -> None:
    cluster.templates["flow"] = gang(RANK + "\ntime.sleep(60)\n")
    for strategy, left in (("terminate", 1), ("stop", 0)):
        for jobset in cluster.jobsets:
            jobset.delete()
        for file in cluster.place.claim("store").iterdir():
            file.unlink()
        workflow = cluster.workflow("flow")
        thread = threading.Thread(target=workflow.run)
        thread.start()
        until = time.monotonic() + 30
        while not said(cluster, "0-1") and time.monotonic() < until:
            time.sleep(0.05)
        getattr(workflow, strategy)()
        thread.join(30)
        assert not thread.is_alive() and len(cluster.running()) == left


def test_a_workflow_that_never_ends_is_told(cluster: Cluster) -> None:
    with pytest.raises(StillRunning, match="Running"):
        submit(cluster, one({"args": ["exec sleep 60"]}), timeout=1)


@pytest.mark.parametrize(
    "spec",
    [
        one({"args": ["true"], "lifecycle": {}}),
        one({"args": ["true"]}, memoize={}),
        one({"args": ["true"], "env": [{"name": "A", "valueFrom": {"resourceFieldRef": {}}}]}),
        one({"args": ["{{=asInt('1')}}"]}),
        one({"args": ["true"]}, retryStrategy={"limit": "1", "expression": "true"}),
        {**one({"args": ["true"]}), "parallelism": 3},
        gang(RANK, 0) | {"activeDeadlineSeconds": 3},
    ],
)
def test_what_is_not_modelled_is_refused(cluster: Cluster, spec: dict[str, Any]) -> None:
    with pytest.raises(NotModelled):
        submit(cluster, spec)


def test_unresolved_tags_and_missing_parameters(cluster: Cluster) -> None:
    assert submit(cluster, one({"args": ["{{inputs.parameters.x}}"]})).root.phase == "Error"
    spec = yaml.safe_load(FLOW)
    del spec["arguments"]["parameters"][0]["value"]
    with pytest.raises(ValueError, match="is required"):
        submit(cluster, spec)
    with pytest.raises(ValueError, match="no parameters"):
        submit(cluster, yaml.safe_load(FLOW), wdth="1")


def test_the_languages() -> None:
    ended = {"a": "Succeeded", "b": "Failed", "c": "Skipped", "d-1": "Omitted"}

    def holds(text: str) -> bool:
        return evaluate_depends(text, lambda name, result: ended[name] == result)

    assert holds("a") and holds("c") and not holds("b") and not holds("d-1")
    assert holds("b.Failed && (a || b)") and holds("!b && d-1.Omitted") and not holds("a && b || b")
    assert evaluate_when("'x' == 'x' && 'a' != 'b'") and not evaluate_when("'x' == 'y'")
    variables = {"a.b": "1", "workflow.parameters.json": "[]"}
    assert substitute({"x": ["{{a.b}} {{ a.b }}", 3]}, variables) == {"x": ["1 1", 3]}
    assert substitute("{{=sprig.b64enc(workflow.parameters.json)}}{{='{' + '{'}}", variables) == "W10={{"
    assert expand("$(A) $$(A) $$ $(B) ${A} $A", {"A": "x"}) == "x $(A) $ $(B) ${A} $A"
    assert [seconds(text) for text in ("90", "1.5m", "250ms", "2h")] == [90, 90, 0.25, 7200]
    for wrong in ("a &&", "a b", "(a", "a.Good", "x &"):
        with pytest.raises(NotModelled):
            evaluate_depends(wrong, lambda name, result: True)
    for condition in ("'a' == b", "1 < 2", ""):
        with pytest.raises(NotModelled):
            evaluate_when(condition)
    with pytest.raises(Unresolved):
        substitute("{{a.c}}", variables)
    with pytest.raises(NotModelled):
        known({"a": 1, "b": 2}, "x", "a")
