"""Every code that flowc may show, with what it means and how to mend it. `docs/diagnostics.md` is made from here."""

from __future__ import annotations

from .code import Code
from .decorators import DECORATORS
from .gangs_and_switches import GANGS_AND_SWITCHES
from .inputs import INPUTS
from .loading import LOADING
from .names import NAMES
from .splits import SPLITS
from .targets import TARGETS
from .transitions import TRANSITIONS

SECTIONS: dict[str, tuple[Code, ...]] = {
    "Loading a flow": LOADING,
    "Steps and what follows them": tuple(
        sorted((*NAMES, *TRANSITIONS, *GANGS_AND_SWITCHES, *SPLITS), key=lambda item: item.code)
    ),
    "Decorators": DECORATORS,
    "Parameters and configs": INPUTS,
    "Targets": TARGETS,
}
"""All codes as the documentation groups them."""

CODES: dict[str, Code] = {item.code: item for group in SECTIONS.values() for item in group}
"""All codes by name."""
