"""flowc: write a workflow once in Python; run it here or compile it for Argo Workflows, AWS Batch and Slurm."""

from __future__ import annotations

from typing import Any

from . import dsl
from .dsl import *  # noqa: F403

__version__ = "0.1.0"

_CLIENT = ("DataArtifact", "Flow", "Metaflow", "Run", "Runner", "Step", "Task", "get_namespace", "namespace")

__all__ = [*dsl.__all__, *_CLIENT]


def __getattr__(name: str) -> Any:
    # The client looks into datastores; a task that only runs a step should not pay for importing it.
    if name in _CLIENT:
        import importlib

        return getattr(importlib.import_module(".client", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
