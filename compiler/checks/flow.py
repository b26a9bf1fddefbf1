"""What the rules look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .. import plan
from ..flow_source import FlowSource
from ..graph import FlowGraph
from ..options import Settings
from ..scan import Artifacts
from ..structure import Structure


@dataclass(eq=False)
class Flow:
    """A flow with everything that is known about it."""

    source: FlowSource
    artifacts: Artifacts
    graph: FlowGraph
    structure: Structure
    settings: Mapping[str, Sequence[Settings]]
    flow_settings: Sequence[Settings]
    parameters: tuple[plan.Parameter, ...]
