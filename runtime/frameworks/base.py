"""What a framework is to the runtime: one small interface, whatever is booted behind it."""

from __future__ import annotations

import importlib
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from ...dsl import FlowcError
from ..gang import GangHandle


class FrameworkMissing(FlowcError):
    """A rank lacks what its framework needs; the text names what to install."""


@dataclass(frozen=True)
class Site:
    """Where a framework is booted: one rank of a formed gang.

    Attributes
    ----------
    gang : GangHandle
        Its ranks, and the way to talk to them.
    options : mapping
        The options of the framework's decorator, as in the Plan.
    folder : str
        A folder of this rank's own for as long as the attempt lasts; only its owner may read it.
    gpus : float
        Devices that the step asked for on each node (``@resources(gpu=)``); 0 where it asked for none.
    source : str
        The folder of the flow's file, where scripts are looked for that are not in the current one.
    storage : str
        A place in the datastore that belongs to the gang, whatever the attempt; nothing need be there yet.
    patience : float
        Seconds in which all nodes of a framework's own cluster must have come; those in which the gang had to form.
    """

    gang: GangHandle
    options: Mapping[str, Any]
    folder: str
    gpus: float = 0
    source: str = ""
    storage: str = ""
    patience: float = 600


class Framework(Protocol):
    """One framework. The same object serves every gang, so it holds no state of one.

    Attributes
    ----------
    on_control_only : bool
        Whether the step's body runs on the control rank alone while the workers stand by.
    """

    on_control_only: bool

    def require(self, options: Mapping[str, Any], calls: Collection[str] = ()) -> None:
        """Look whether this machine has what the framework needs; called on every rank before the gang forms.

        Parameters
        ----------
        options : mapping
            Those of the decorator, as in the Plan.
        calls : collection of str
            What the step's body calls in any case on this rank, of that which needs programs of its own.

        Raises
        ------
        FrameworkMissing
            Naming the package or program, and how to install it.
        """

    def boot(self, site: Site) -> AbstractContextManager[Mapping[str, Any]]:
        """Start the framework around the body; what it yields is added to ``current``. Nothing of it is left after.

        It is called on every rank, and every rank makes the same collective calls in it.
        """

    def stand_by(self, site: Site) -> None:
        """What a worker does, inside `boot`, while the body runs on the control rank; only with ``on_control_only``."""


MODULES: Mapping[str, str] = {
    "parallel": "parallel",
    "torchrun": "torchrun",
    "deepspeed": "deepspeed",
    "ray": "ray",
    "tensorflow": "tensorflow",
    "mpi": "mpi",
    "jax": "jax",
    "dask": "dask",
}
"""The module of this package for each framework of the Plan; each has a ``FRAMEWORK``."""


def get_framework(name: str) -> Framework:
    """The framework of that name, imported now.

    Raises
    ------
    KeyError
        If there is none.
    """
    module = importlib.import_module(f"{__package__}.{MODULES[name]}")
    framework: Framework = module.FRAMEWORK
    return framework
