"""Every mistake that Argo's lint catches, and every one that neither it nor the schemas catch: each is refused where it
stands, and the same manifest with the mistake mended passes."""

from __future__ import annotations

from typing import Any

import pytest
from argo_manifests import ABSENT, JOBSET, changed, template
from flowc.backends.argo.verify import Finding, verify_documents

TASKS = "spec.templates[main].dag.tasks"
LINTED = [
    # (what, path, wrong, right, words of the message)
    ("unresolved task output", f"{TASKS}[left].when", "'{{tasks.join.outputs.parameters.too}}' == 'a'",
     "'{{tasks.join.outputs.parameters.to}}' == 'a'", "no output parameter of join 'too'"),
    ("unresolved output in a DAG's output", "spec.templates[main].outputs",
     {"parameters": [{"name": "w", "valueFrom": {"parameter": "{{tasks.start.outputs.parameters.wide}}"}}]},
     {"parameters": [{"name": "w", "valueFrom": {"parameter": "{{tasks.start.outputs.parameters.width}}"}}]},
     "no output parameter of start 'wide'"),
    ("unresolved input", "spec.templates[plain].container.args[3]", "{{inputs.parameters.inde}}",
     "{{inputs.parameters.index}}", "no input parameter of the template 'inde'"),
    ("unknown workflow variable", "spec.templates[split].container.env[0].value", "{{workflow.nam}}",
     "{{workflow.name}}", "'workflow.nam' is unknown"),
    ("status before the end", "spec.templates[split].container.args[1]", "{{workflow.status}}",
     "{{workflow.uid}}", "only known at the workflow's end"),
    ("status of a task that is no ancestor", f"{TASKS}[end].arguments.parameters[0].value", "{{tasks.other.status}}",
     "{{tasks.left.status}}", "no task here 'other'"),
    ("status of a task beside", f"{TASKS}[right].arguments.parameters[0].value", "{{tasks.left.status}}",
     "{{tasks.join.status}}", "need not have ended by then"),
    ("undefined template", f"{TASKS}[left].template", "plane", "plain", "there is no template 'plane'"),
    ("undefined entrypoint", "spec.entrypoint", "man", "main", "there is no template 'man'"),
    ("undefined onExit", "spec.onExit", "onexit", "on-exit", "there is no template 'onexit'"),
    ("entrypoint with an input that nothing gives", "spec.templates[main].inputs", {"parameters": [{"name": "size"}]},
     {"parameters": [{"name": "n"}]}, "template 'main' needs size"),
    ("onExit with an input that nothing gives", "spec.templates[on-exit].inputs", {"parameters": [{"name": "size"}]},
     {"parameters": [{"name": "size", "default": "1"}]}, "template 'on-exit' needs size"),
    ("undefined task", f"{TASKS}[work].depends", "strat", "start", "there is no task 'strat'"),
    ("cycle", f"{TASKS}[work].depends", "start && end", "start", "wait for each other"),
    ("task that waits for itself", f"{TASKS}[work].depends", "work", "start", "wait for each other"),
    ("duplicate template", "spec.templates[plain].name", "choose", "plain", "2 of them are called 'choose'"),
    ("duplicate task", f"{TASKS}[6]", {"name": "start", "template": "split"}, {"name": "other", "template": "split"},
     "2 of them are called 'start'"),
    ("duplicate parameter", "spec.templates[body].inputs.parameters[1]", {"name": "index", "default": ""},
     {"name": "inde", "default": ""}, "2 of them are called 'index'"),
    ("duplicate workflow parameter", "spec.arguments.parameters[2]", {"name": "n", "value": ""},
     {"name": "m", "value": ""}, "2 of them are called 'n'"),
    ("wrong result", f"{TASKS}[left].depends", "join.Suceeded", "join.Succeeded", "no result 'Suceeded'"),
    ("wrong case of a result", f"{TASKS}[left].depends", "join.succeeded", "join.Succeeded", "no result 'succeeded'"),
    ("result of a loop that is none", f"{TASKS}[left].depends", "join.AnySucceeded",
     "join && work.AnySucceeded", "asked of 'join', which is not repeated"),
    ("failure of a loop that is none", f"{TASKS}[left].depends", "join || start.AllFailed", "join || work.AllFailed",
     "asked of 'start', which is not repeated"),
    ("depends and dependencies", f"{TASKS}[6]", {"name": "o", "template": "split", "dependencies": ["start"]},
     {"name": "o", "template": "split", "depends": "start"}, "both depends and dependencies"),
    ("two kinds of loop", f"{TASKS}[work].withItems", ["a"], ABSENT, "withItems and withSequence"),
    ("value outside its enum", "spec.arguments.parameters[0].enum", ["1", "2"], ["1", "3"], "'3' is not in its enum"),
    ("empty enum", "spec.arguments.parameters[1].enum", [], ["a"], "no value can be chosen"),
    ("missing input", f"{TASKS}[left].arguments", {"parameters": []},
     {"parameters": [{"name": "index", "value": "0"}]}, "template 'plain' needs index"),
    ("argument without a value", f"{TASKS}[left].arguments.parameters[0]", {"name": "index"},
     {"name": "index", "value": ""}, "argument 'index' has no value"),
    ("path in a resource", "spec.templates[gang].outputs",
     {"parameters": [{"name": "o", "valueFrom": {"path": "/x"}}]},
     {"parameters": [{"name": "o", "valueFrom": {"jsonPath": "{.status}"}}]}, "a resource has no valueFrom.path"),
    ("jsonPath in a container", "spec.templates[split].outputs.parameters[0].valueFrom", {"jsonPath": "{.x}"},
     {"path": "/x"}, "a container has no valueFrom.jsonPath"),
    ("output without a source", "spec.templates[split].outputs.parameters[0].valueFrom", {}, {"path": "/x"},
     "no source"),
    ("no template type", "spec.templates[record].container", ABSENT,
     {"image": "i", "command": ["c"]}, "the template runs nothing"),
    ("two template types", "spec.templates[record].suspend", {}, ABSENT, "container and suspend"),
    ("parallelism of a leaf", "spec.templates[plain].parallelism", 2, ABSENT, "runs nothing in parallel"),
    ("bare number as a timeout", "spec.templates[plain].timeout", "90", "90s", "'90' is no span of time"),
    ("empty image", "spec.templates[split].container.image", "", "python:3.9", "the image is empty"),
    ("sidecar named wait", "spec.templates[split].sidecars", [{"name": "wait", "image": "i", "command": ["c"]}],
     [{"name": "proxy", "image": "i", "command": ["c"]}], "one of Argo's own"),
]  # fmt: skip
UNSEEN = [
    ("unknown workflow parameter", f"{TASKS}[left].arguments.parameters[0].value", "{{workflow.parameters.wrod}}",
     "{{workflow.parameters.word}}", "there is no 'wrod'"),
    ("item without a loop", f"{TASKS}[left].arguments.parameters[0].value", "{{item}}", "0", "is not in a loop"),
    ("item in the count of its own loop", f"{TASKS}[work].withSequence.count", "{{item}}", "3", "is not in a loop"),
    ("no ancestor, inside a longer value", f"{TASKS}[right].arguments.parameters[0].value",
     "a {{tasks.left.outputs.result}} b", "a {{tasks.start.outputs.result}} b", "need not have ended by then"),
    ("no ancestor, in withParam", f"{TASKS}[6]",
     {"name": "o", "template": "split", "withParam": "{{tasks.start.outputs.parameters.width}}"},
     {"name": "o", "template": "split", "depends": "start", "withParam": "{{tasks.start.outputs.parameters.width}}"},
     "need not have ended by then"),
    ("no ancestor, in withSequence", f"{TASKS}[left].withSequence",
     {"count": "{{tasks.right.outputs.result}}"}, ABSENT, "need not have ended by then"),
    ("misspelt prefix", "spec.templates[plain].container.args[3]", "{{input.parameters.index}}",
     "{{inputs.parameters.index}}", "does not begin as any variable does"),
    ("misspelt task prefix", f"{TASKS}[end].arguments.parameters[0].value", "{{task.join.status}}",
     "{{tasks.join.status}}", "does not begin as any variable does"),
    ("expression that cannot be read", f"{TASKS}[right].arguments.parameters[0].value",
     "{{=asInt(workflow.parameters.n) +}}", "{{=asInt(workflow.parameters.n) + 1}}", "ends too early"),
    ("unknown name in an expression", f"{TASKS}[right].arguments.parameters[0].value",
     "{{=asInt(workflow.parameters.m)}}", "{{=asInt(workflow.parameters.n)}}", "there is no 'm'"),
    ("unknown function in an expression", f"{TASKS}[right].arguments.parameters[0].value",
     "{{=asInteger(workflow.parameters.n)}}", "{{=asInt(workflow.parameters.n)}}", "no function 'asInteger'"),
    ("unknown function of sprig", f"{TASKS}[right].arguments.parameters[0].value",
     "{{=sprig.b64encode(workflow.parameters.n)}}", "{{=sprig.b64enc(workflow.parameters.n)}}",
     "no function 'sprig.b64encode'"),
    ("function of sprig that Argo takes away", f"{TASKS}[right].arguments.parameters[0].value",
     "{{=sprig.env('HOME')}}", "{{=sprig.upper('home')}}", "no function 'sprig.env'"),
    ("no ancestor in an expression", f"{TASKS}[right].arguments.parameters[0].value",
     "{{=tasks.left.outputs.result}}", "{{=tasks['start'].outputs.result}}", "need not have ended by then"),
    ("parameters that are no text in an expression", "spec.templates[split].container.env[1].value",
     "{{=sprig.b64enc(workflow.parameters)}}", "{{=sprig.b64enc(workflow.parameters.json)}}", "no text"),
    ("tag that is not closed", f"{TASKS}[left].arguments.parameters[0].value", "{{workflow.name",
     "{{workflow.name}}", "cannot be read"),
    ("tag closed by one brace", f"{TASKS}[left].arguments.parameters[0].value", "{{workflow.name} x",
     "{{workflow.name}} x", "cannot be read"),
    ("empty tag", f"{TASKS}[left].arguments.parameters[0].value", "{{}}", "{}", "cannot be read"),
    ("depends that ends too early", f"{TASKS}[left].depends", "join &&", "join && start", "ends too early"),
    ("depends that is no expression", f"{TASKS}[left].depends", "join start", "join && start", "cannot be read"),
    ("withParam that is no JSON", f"{TASKS}[6]", {"name": "o", "template": "split", "withParam": "[1, 2"},
     {"name": "o", "template": "split", "withParam": "[1, 2]"}, "no list in JSON"),
    ("withParam that is no list", f"{TASKS}[6]", {"name": "o", "template": "split", "withParam": '{"a": 1}'},
     {"name": "o", "template": "split", "withParam": '["a"]'}, "no list in JSON"),
    ("superfluous argument", f"{TASKS}[start].arguments", {"parameters": [{"name": "index", "value": "0"}]}, ABSENT,
     "template 'split' has no input 'index'"),
    ("undeclared volume", "spec.templates[split].container.volumeMounts[0].name", "date", "data",
     "there is no volume 'date'"),
    ("undeclared volume of a sidecar", "spec.templates[split].sidecars",
     [{"name": "s", "image": "i", "command": ["c"], "volumeMounts": [{"name": "x", "mountPath": "/x"}]}],
     [{"name": "s", "image": "i", "command": ["c"], "volumeMounts": [{"name": "data", "mountPath": "/x"}]}],
     "there is no volume 'x'"),
    ("text as a retry limit", "spec.templates[plain].retryStrategy.limit", "three", "3", "no number of retries"),
    ("number as a retry limit", "spec.templates[plain].retryStrategy.limit", 3, "3", "no number of retries"),
    ("unknown retry policy", "spec.templates[gang].retryStrategy.retryPolicy", "OnFailed", "OnFailure",
     "'OnFailed' is no retry policy"),
    ("retry expression that cannot be read", "spec.templates[gang].retryStrategy.expression",
     "asInt(lastRetry.exitCode !=", "asInt(lastRetry.exitCode) != 1", "an expression cannot be read"),
    ("unknown name in a retry expression", "spec.templates[gang].retryStrategy.expression",
     "lastTry.exitCode == '1'", "lastRetry.exitCode == '1'", "does not begin as any variable does"),
    ("unknown field in a retry expression", "spec.templates[gang].retryStrategy.expression",
     "lastRetry.code == '1'", "lastRetry.exitCode == '1'", "no 'code'"),
    ("retries without a strategy", "spec.templates[record].container.args[0]", "{{retries}}", "{{pod.name}}",
     "only known under a retryStrategy"),
    ("when that cannot be read", f"{TASKS}[left].when", "'{{tasks.join.outputs.parameters.to}}' = 'left'",
     "'{{tasks.join.outputs.parameters.to}}' == 'left'", "cannot be read"),
    ("when that ends too early", f"{TASKS}[left].when", "'{{tasks.join.outputs.parameters.to}}' ==",
     "'{{tasks.join.outputs.parameters.to}}' == 'left'", "ends too early"),
    ("successCondition that cannot be read", "spec.templates[gang].resource.successCondition",
     "status.terminalState === Completed", "status.terminalState == Completed", "cannot be read"),
    ("failureCondition that ends too early", "spec.templates[gang].resource.failureCondition",
     "status.terminalState ==", "status.terminalState == Failed", "ends too early"),
    ("condition over an unknown field", "spec.templates[gang].resource.successCondition",
     "status.terminalStatus == Completed", "status.terminalState == Completed", "no field 'status.terminalStatus'"),
    ("condition that waits for what never comes", "spec.templates[gang].resource.successCondition",
     "status.terminalState == Succeeded", "status.terminalState == Completed", "never 'Succeeded'"),
    ("condition that holds at once", "spec.templates[gang].resource.failureCondition",
     "status.terminalState != Completed", "status.terminalState == Failed", "holds before the JobSet has ended"),
    ("no condition", "spec.templates[gang].resource.failureCondition", ABSENT, "status.terminalState == Failed",
     "does not wait for the end"),
    ("no owner", "spec.templates[gang].resource.setOwnerReference", ABSENT, True, "stays when the workflow"),
    ("no command", "spec.templates[split].container.command", ABSENT, ["python"], "there is no command"),
    ("environment that is no text", "spec.templates[plain].container.env[0].value", 3, "3", "text belongs here"),
    ("environment named false", "spec.templates[plain].container.env[0].name", False, "n", "text belongs here"),
    ("parameter that is no text", "spec.arguments.parameters[0].value", 3, "3", "text belongs here"),
    ("argument of a program that is no text", "spec.templates[split].container.args[1]", 3, "3", "text belongs here"),
]  # fmt: skip
IN_JOBSET = [
    ("restartPolicy", "restartPolicy: Never", "restartPolicy: Sometimes", "'Sometimes' is unknown"),
    ("restartPolicy of a Deployment", "restartPolicy: Never", "restartPolicy: Always", "'Always' is unknown"),
    ("backoffLimit", "backoffLimit: 0", "backoffLimit: -1", "-1 is no whole number of 0 or more"),
    ("no backoffLimit", "backoffLimit: 0", "", "nothing is said"),
    ("replicas", "replicas: 1", "replicas: -1", "-1 is no whole number of 1 or more"),
    ("size as text", "parallelism: {{inputs.parameters.size}}", 'parallelism: "{{inputs.parameters.size}}"',
     "no whole"),
    ("size that differs", "parallelism: {{inputs.parameters.size}}", "parallelism: 3", "not all ranks run at once"),
    ("completionMode", "completionMode: Indexed", "completionMode: NonIndexed", "'NonIndexed' is unknown"),
    ("no deadline", "activeDeadlineSeconds: 3600", "", "nothing ends the Job"),
    ("no grace period", "terminationGracePeriodSeconds: 45", "", "nothing is said"),
    ("no successPolicy", "successPolicy: {operator: All}", "", "not to be relied on"),
    ("no failurePolicy", "maxRestarts: 0", "", "nothing is said"),
    ("name of a rule", "name: preempted", "name: pre-empted", "'pre-empted' cannot be the name of a rule"),
    ("rule without a name", "{name: preempted, ", "{", "text belongs here"),
    ("two rules of a name", "name: others", "name: preempted", "2 of them are called 'preempted'"),
    ("action of a rule", "action: FailJobSet", "action: RestartJob", "'RestartJob' is unknown"),
    ("reason of a rule", "[PodFailurePolicy]", "[PodFailure]", "'PodFailure' is unknown"),
    ("reasons that are no list", "[PodFailurePolicy]", "PodFailurePolicy", "a list belongs here"),
    ("pods that are replaced early", "podReplacementPolicy: Failed", "podReplacementPolicy: TerminatingOrFailed",
     "'TerminatingOrFailed' is unknown"),
    ("pods that start again under a policy", "restartPolicy: Never", "restartPolicy: OnFailure",
     "'OnFailure' is unknown"),
    ("action of a pod's end", "{action: FailJob, onExit", "{action: FailIndex, onExit", "'FailIndex' is unknown"),
    ("a rule that looks at nothing", "onPodConditions: [{type: DisruptionTarget, status: \"True\"}]", "",
     "looks at exit codes or at conditions"),
    ("a rule that looks at both", "{action: FailJob, onPodConditions", "{action: FailJob, onExitCodes: {operator: In, "
     "values: [3]}, onPodConditions", "looks at exit codes or at conditions"),
    ("operator over exit codes", "operator: In,", "operator: Is,", "'Is' is unknown"),
    ("no exit codes", "values: [75]", "values: []", "no exit code is listed"),
    ("exit code of success", "values: [75]", "values: [0]", "0 is no whole number of 1 or more"),
    ("exit code as text", "values: [75]", 'values: ["75"]', "'75' is no whole number"),
    ("exit codes of no container", "containerName: main", "containerName: rank", "the pod has no container 'rank'"),
    ("status of a condition", 'status: "True"', "status: true", "True is unknown"),
    ("late names", "publishNotReadyAddresses: true", "publishNotReadyAddresses: false", "find each other by name"),
    ("undeclared volume", "volumeMounts: [{name: data", "volumeMounts: [{name: date", "there is no volume 'date'"),
    ("quantity", "memory: 512Mi", "memory: 512MiB", "'512MiB' is no quantity"),
    ("long name", "generateName: train-", f"generateName: {'t' * 40}-", "a DNS label takes 63"),
    ("name that is no DNS name", "generateName: train-", "generateName: Train_", "cannot be the name of a JobSet"),
    ("unknown tag", "{{retries}}", "{{retrys}}", "does not begin as any variable does"),
    ("unknown input", '"--index", "{{inputs.parameters.index}}"', '"--index", "{{inputs.parameters.indx}}"', "'indx'"),
    ("variable that Go takes for false", "name: FLOWC_ATTEMPT", "name: n", "does not read n as text"),
    ("label that Go takes for a number", '"flowc/step": "train"', '"flowc/step": 1e3', "does not read 1e3 as text"),
    ("no command", 'command: ["python", "-m", "flowc.runtime"]', "", "there is no command"),
    ("no YAML", "replicas: 1", "replicas: [1", "this is no YAML"),
    ("a key twice", "replicas: 1", "replicas: 1\n      replicas: 2", "is there twice"),
]  # fmt: skip


def found(document: Any) -> list[Finding]:
    return verify_documents([document])


def test_the_template_itself_is_good() -> None:
    assert found(template()) == []


@pytest.mark.parametrize(("what", "path", "wrong", "right", "words"), LINTED, ids=[row[0] for row in LINTED])
def test_what_lint_catches(what: str, path: str, wrong: Any, right: Any, words: str) -> None:
    check(path, wrong, right, words)


@pytest.mark.parametrize(("what", "path", "wrong", "right", "words"), UNSEEN, ids=[row[0] for row in UNSEEN])
def test_what_neither_lint_nor_schemas_catch(what: str, path: str, wrong: Any, right: Any, words: str) -> None:
    check(path, wrong, right, words)


def check(path: str, wrong: Any, right: Any, words: str) -> None:
    assert [str(finding) for finding in found(changed(path, right))] == []
    findings = found(changed(path, wrong))
    said = [finding for finding in findings if words in finding.message]
    assert said, [str(finding) for finding in findings]
    assert all(finding.path.startswith("spec.") and finding.remedy for finding in findings)


@pytest.mark.parametrize(("what", "right", "wrong", "words"), IN_JOBSET, ids=[row[0] for row in IN_JOBSET])
def test_what_a_jobset_within_a_text_says(what: str, right: str, wrong: str, words: str) -> None:
    assert JOBSET.count(right) >= 1
    findings = found(changed("spec.templates[gang].resource.manifest", JOBSET.replace(right, wrong, 1)))
    assert [f for f in findings if words in f.message], [str(finding) for finding in findings]
    assert all(f.path.startswith("spec.templates[3].resource.manifest") for f in findings)
