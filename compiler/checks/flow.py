"""What the rules look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .. import plan
from ..frontend import FlowSource
from ..graph import FlowGraph
from ..options import Settings
from ..scan import Artifacts
from ..structure import Structure
from ..values import record


@record
class Flow:
    """A flow with everything that is known about it."""

    source: FlowSource
    artifacts: Artifacts
    graph: FlowGraph
    structure: Structure
    settings: Mapping[str, Sequence[Settings]]
    flow_settings: Sequence[Settings]
    parameters: tuple[plan.Parameter, ...]
