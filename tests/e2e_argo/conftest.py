"""The tests on a real cluster ask what those in the lab ask."""

from __future__ import annotations

import sys
from pathlib import Path

for _folder in ("semantics", "semantics_on_argo"):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / _folder))
