"""What one call of the command line has settled before its command starts."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass, field

from ..runtime import contract

DEFAULT_DATASTORE = ".flowc"


@dataclass
class Invocation:
    """Options that may stand before or after the command, and the flow where ``python flow.py`` presets it.

    Attributes
    ----------
    program : str
        How the user calls it: ``flowc`` or ``python flow.py``; messages show commands in this spelling.
    file : str or None
        ``FILE:Flow`` of the preset flow.
    flow : str or None
        Name of the preset flow.
    datastore : str or None
        What ``--datastore`` says; None where it is not given.
    ignored : list of str
        Options that were accepted and mean nothing here.
    """

    program: str = "flowc"
    file: str | None = None
    flow: str | None = None
    datastore: str | None = None
    with_specs: list[str] = field(default_factory=list)
    config_files: dict[str, str] = field(default_factory=dict)
    config_values: dict[str, str] = field(default_factory=dict)
    quiet: bool = False
    ignored: list[str] = field(default_factory=list)

    @property
    def datastore_url(self) -> str:
        """The datastore: the option, else FLOWC_DATASTORE, else ``.flowc`` in the current folder."""
        return self.datastore or os.environ.get(contract.DATASTORE) or DEFAULT_DATASTORE

    def command(self, *words: str) -> str:
        """A command that the user can paste, in the spelling and with the datastore of this call."""
        store = ["--datastore", self.datastore] if self.datastore else []
        return " ".join([self.program, *map(shlex.quote, [*words[:1], *store, *words[1:]])])

    def say_ignored(self) -> None:
        """Name, once, the options that were accepted and mean nothing here."""
        if self.ignored:
            names = ", ".join(dict.fromkeys(self.ignored))
            print(f"flowc: note: without a meaning here, so ignored: {names}", file=sys.stderr)
            self.ignored.clear()
