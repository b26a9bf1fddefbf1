"""The local backend: runs a flow on this machine, each task in a process of its own."""

from __future__ import annotations

from ...runtime.report import Failure
from .events import Event, Listener
from .run import run_local
from .settings import LocalSettings, RunResult

__all__ = ["Event", "Failure", "Listener", "LocalSettings", "RunResult", "run_local"]
