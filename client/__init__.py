"""Looking at runs from scripts and notebooks, and starting them: ``Flow("TrainFlow").latest_run.data.loss``."""

from .lookup import NotFound, get_namespace, namespace
from .objects import Flow, Metaflow, Run, Step
from .runner import ExecutingRun, Runner
from .tasks import DataArtifact, Task

__all__ = [
    "DataArtifact",
    "ExecutingRun",
    "Flow",
    "Metaflow",
    "NotFound",
    "Run",
    "Runner",
    "Step",
    "Task",
    "get_namespace",
    "namespace",
]
