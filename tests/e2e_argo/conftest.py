"""The tests on a real cluster ask what those of tests/semantics ask."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "semantics"))
