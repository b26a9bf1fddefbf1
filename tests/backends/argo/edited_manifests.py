"""Manifests of a flow as values, and ways to edit them."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from argo_flows import compiled
from flowc.backends.argo.backend import BACKEND
from flowc.backends.base import Unfaithful


@dataclass(frozen=True)
class Manifests:
    """What has been loaded of a flow's files, by file."""

    files: dict[str, list[dict[str, Any]]]

    @classmethod
    def of(cls, files: Mapping[str, bytes], *names: str) -> Manifests:
        """Some of a flow's files, read."""
        return cls({name: list(yaml.load_all(files[name], Loader=yaml.CSafeLoader)) for name in names})

    def written(self) -> dict[str, bytes]:
        """The files as they are now."""
        return {
            name: yaml.dump_all(items, Dumper=yaml.CSafeDumper, sort_keys=False).encode()
            for name, items in self.files.items()
        }

    @property
    def spec(self) -> dict[str, Any]:
        found: dict[str, Any] = self.files["workflow-template.yaml"][0]["spec"]
        return found

    @property
    def cron(self) -> dict[str, Any]:
        found: dict[str, Any] = self.files["cron-workflow.yaml"][0]["spec"]
        return found

    def template(self, name: str) -> dict[str, Any]:
        """A template by name."""
        found: dict[str, Any] = next(item for item in self.spec["templates"] if item["name"] == name)
        return found

    def dag_of(self, task: str) -> list[dict[str, Any]]:
        """The tasks of the template in which a task of that name stands."""
        dags = [item["dag"]["tasks"] for item in self.spec["templates"] if "dag" in item]
        found: list[dict[str, Any]] = next(tasks for tasks in dags if task in [item["name"] for item in tasks])
        return found

    def task(self, name: str) -> dict[str, Any]:
        """A task by name."""
        return next(item for item in self.dag_of(name) if item["name"] == name)

    def argument(self, task: str, name: str) -> dict[str, str]:
        """What a task is given under a name."""
        found: dict[str, str] = next(
            item for item in self.task(task)["arguments"]["parameters"] if item["name"] == name
        )
        return found

    def variable(self, template: str, name: str) -> dict[str, str]:
        """A variable of a template's container."""
        env = self.template(template)["container"]["env"]
        found: dict[str, str] = next(item for item in env if item["name"] == name)
        return found

    def in_jobset(self, template: str, old: str, new: str) -> None:
        """Replace what stands once in the text of a gang's JobSet."""
        resource = self.template(template)["resource"]
        assert resource["manifest"].count(old) == 1, resource["manifest"]
        resource["manifest"] = resource["manifest"].replace(old, new)

    def rbac(self, kind: str, name: str) -> dict[str, Any]:
        """An object of rbac.yaml."""
        return next(
            item for item in self.files["rbac.yaml"] if (item["kind"], item["metadata"]["name"]) == (kind, name)
        )

    def of_kind(self, kind: str) -> dict[str, Any]:
        """The first object of a kind."""
        return next(item for items in self.files.values() for item in items if item["kind"] == kind)

    @contextmanager
    def jobset(self, template: str) -> Iterator[dict[str, Any]]:
        """The JobSet of a gang, to be edited as values."""
        resource = self.template(template)["resource"]
        size = ": {{inputs.parameters.size}}\n"
        made = yaml.load(resource["manifest"].replace(size, ": the-size\n"), Loader=yaml.CSafeLoader)
        yield made
        resource["manifest"] = yaml.dump(made, Dumper=yaml.CSafeDumper, sort_keys=False).replace(": the-size\n", size)

    @contextmanager
    def pod(self, template: str) -> Iterator[Pod]:
        """The pod of a template, or those of its JobSet, to be edited."""
        item = self.template(template)
        if "container" in item:
            yield Pod(item["metadata"], item, item["container"])
            return
        with self.jobset(template) as made:
            found = made["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]
            yield Pod(found["metadata"], found["spec"], found["spec"]["containers"][0])


@dataclass(frozen=True)
class Pod:
    """Parts of a pod, wherever they stand."""

    metadata: dict[str, Any]
    spec: dict[str, Any]
    container: dict[str, Any]

    def volume(self, name: str) -> dict[str, Any]:
        """A volume by name."""
        return next(item for item in self.spec["volumes"] if item["name"] == name)

    def mount(self, path: str) -> dict[str, Any]:
        """What is mounted at a path."""
        return next(item for item in self.container["volumeMounts"] if item["mountPath"] == path)


Edit = Callable[[Manifests], object]


def files_of(folder: Path, flow: str) -> dict[str, bytes]:
    """What is compiled of a flow's text in an empty folder, but for the digests, which any edit changes."""
    produced = compiled(folder, flow, code="installed")
    assert produced.files is not None, produced.diagnostics
    return {name: data for name, data in produced.files.items() if name != "SHA256SUMS"}


def edited_problems(files: Mapping[str, bytes], loaded: Manifests, edit: Edit) -> tuple[str, ...]:
    """What is said of the files of a flow with an edit; ``loaded`` are those of them that can be edited."""
    manifests = copy.deepcopy(loaded)
    edit(manifests)
    with pytest.raises(Unfaithful) as caught:
        BACKEND.read({**files, **manifests.written()})
    return caught.value.problems


def assert_noticed(files: Mapping[str, bytes], loaded: Manifests, edit: Edit, words: str) -> None:
    """An edit is said in words that match these, and not just that something cannot be read."""
    found = edited_problems(files, loaded, edit)
    assert any(re.search(words, item) for item in found), found
    assert "flowc's form" not in str(found)
