"""How often an attempt that was asked to end from outside is tried again without counting. It imports nothing: backends
see it."""

from __future__ import annotations

MOST = 20
"""Attempts of a task that may end so; a further one counts as a failure, for nothing may go on for ever."""

REPLACEMENT = 3600
"""Seconds by which the ranks of such an attempt wait longer for each other: a node in the place of one that was taken
away may have to be found first."""

LONGEST = 10 * 24 * 3600
"""Seconds from the first attempt of a JobSet in which it may be started anew so."""
