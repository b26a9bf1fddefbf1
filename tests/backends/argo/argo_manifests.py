"""A workflow template with all that the verifier and the interpreter know, written by hand, and ways to change it."""

from __future__ import annotations

import functools
import json
import re
from typing import Any

import yaml

JOBSET = """
apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata:
  generateName: train-
  labels: {"flowc/run": "{{workflow.name}}", "flowc/step": "train"}
spec:
  network: {enableDNSHostnames: true, publishNotReadyAddresses: true}
  successPolicy: {operator: All}
  failurePolicy:
    maxRestarts: 0
    rules:
      - {name: preempted, action: RestartJobSetAndIgnoreMaxRestarts, onJobFailureReasons: [PodFailurePolicy]}
      - {name: others, action: FailJobSet}
  replicatedJobs:
    - name: gang
      replicas: 1
      template:
        spec:
          completionMode: Indexed
          parallelism: {{inputs.parameters.size}}
          completions: {{inputs.parameters.size}}
          backoffLimit: 0
          activeDeadlineSeconds: 3600
          podReplacementPolicy: Failed
          podFailurePolicy:
            rules:
              - {action: FailJob, onExitCodes: {containerName: main, operator: In, values: [75]}}
              - {action: FailJob, onPodConditions: [{type: DisruptionTarget, status: "True"}]}
          template:
            spec:
              restartPolicy: Never
              terminationGracePeriodSeconds: 45
              containers:
                - name: main
                  image: python:3.12
                  command: ["python", "-m", "flowc.runtime"]
                  args: ["step", "train", "--index", "{{inputs.parameters.index}}"]
                  env:
                    - {name: FLOWC_GANG_SIZE, value: "{{inputs.parameters.size}}"}
                    - {name: FLOWC_ATTEMPT, value: "{{retries}}"}
                  resources: {requests: {cpu: "2", memory: 512Mi}}
                  volumeMounts: [{name: data, mountPath: /data}]
              volumes: [{name: data, persistentVolumeClaim: {claimName: flowc}}]
"""

TEMPLATE = """
apiVersion: argoproj.io/v1alpha1
kind: WorkflowTemplate
metadata: {name: some-flow}
spec:
  entrypoint: main
  onExit: on-exit
  arguments:
    parameters: [{name: n, value: "3"}, {name: word}]
  volumes:
    - {name: data, persistentVolumeClaim: {claimName: flowc}}
  templates:
    - name: main
      dag:
        tasks:
          - {name: start, template: split}
          - name: work
            depends: start
            template: body
            withSequence: {count: "{{tasks.start.outputs.parameters.width}}"}
            arguments: {parameters: [{name: index, value: "{{item}}"}]}
          - name: join
            depends: work
            template: choose
            arguments: {parameters: [{name: index, value: ""}]}
          - name: left
            depends: join.Succeeded
            when: "'{{tasks.join.outputs.parameters.to}}' == 'left'"
            template: plain
            arguments: {parameters: [{name: index, value: "left of {{workflow.parameters.word}}"}]}
          - name: right
            depends: join.Succeeded
            when: "'{{tasks.join.outputs.parameters.to}}' == 'right'"
            template: plain
            arguments: {parameters: [{name: index, value: "{{=asInt(workflow.parameters.n) + 1}}"}]}
          - name: end
            depends: (left.Succeeded || right.Succeeded) && start
            template: plain
            arguments: {parameters: [{name: index, value: "{{tasks.join.status}}"}]}
    - name: split
      container: &container
        image: python:3.12
        command: [python, -m, flowc.runtime]
        args: [step, start]
        env:
          - {name: FLOWC_RUN_ID, value: "{{workflow.name}}"}
          - {name: FLOWC_PARAMETERS, value: "{{=sprig.b64enc(workflow.parameters.json)}}"}
        volumeMounts: [{name: data, mountPath: /data}]
      outputs: {parameters: [{name: width, valueFrom: {path: /tmp/outputs/width}}]}
    - name: body
      inputs: {parameters: [{name: index}]}
      dag:
        tasks:
          - name: train
            template: gang
            arguments: {parameters: [{name: index, value: "{{inputs.parameters.index}}"}, {name: size, value: "2"}]}
    - name: gang
      inputs: {parameters: [{name: index}, {name: size}]}
      retryStrategy: {limit: "2", retryPolicy: Always, expression: "asInt(lastRetry.exitCode) != 2"}
      activeDeadlineSeconds: "7200"
      resource:
        action: create
        setOwnerReference: true
        successCondition: status.terminalState == Completed
        failureCondition: status.terminalState == Failed
        manifest: see JOBSET
    - name: choose
      inputs: {parameters: [{name: index}]}
      container: *container
      outputs: {parameters: [{name: to, valueFrom: {path: /tmp/outputs/to}}]}
    - name: plain
      inputs: {parameters: [{name: index}]}
      timeout: 90s
      retryStrategy: {limit: "3", backoff: {duration: "10", factor: "2"}}
      container:
        <<: *container
        args: [step, plain, --index, "{{inputs.parameters.index}}"]
        env: [{name: FLOWC_ATTEMPT, value: "{{retries}}"}]
    - name: on-exit
      dag:
        tasks:
          - {name: record, template: record}
          - {name: clean-up, template: clean-up, depends: record.Succeeded || record.Failed || record.Errored}
    - name: record
      container: {image: "python:3.12", command: [python], args: [end, --status, "{{workflow.status}}"]}
    - name: clean-up
      resource: {action: delete, flags: [jobset, --selector, "flowc/run={{workflow.name}}", --ignore-not-found]}
"""

Document = dict[str, Any]


@functools.cache
def _read() -> Document:
    document: Document = yaml.load(TEMPLATE, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    named(document, "gang")["resource"]["manifest"] = JOBSET
    return document


def template() -> Document:
    """The template as values, without anything shared."""
    document: Document = json.loads(json.dumps(_read()))
    return document


def named(document: Document, name: str) -> Document:
    """One template of the workflow."""
    found: Document = next(item for item in document["spec"]["templates"] if item["name"] == name)
    return found


def at(document: Document, path: str) -> tuple[Any, Any]:
    """The holder and the key of ``spec.templates[plain].container.image``; names stand for positions in lists."""
    node: Any = document
    words = re.findall(r"[^.\[\]]+|\[[^\]]*\]", path)
    for word in words[:-1]:
        node = node[_key(node, word)]
    return node, _key(node, words[-1])


def _key(node: Any, word: str) -> Any:
    name = word.strip("[]")
    if not isinstance(node, list):
        return name
    return int(name) if name.isdigit() else next(n for n, item in enumerate(node) if item["name"] == name)


ABSENT = object()


def changed(path: str, value: Any) -> Document:
    """The template with a value at a path; ABSENT takes it away."""
    document = template()
    node, key = at(document, path)
    if value is ABSENT:
        if isinstance(node, list) or key in node:
            del node[key]
    elif isinstance(node, list) and key == len(node):
        node.append(value)
    else:
        node[key] = value
    return document
