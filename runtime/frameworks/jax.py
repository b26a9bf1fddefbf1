"""JAX: ``jax.distributed`` is initialised on every node before the body runs there."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from . import environment
from .base import FrameworkMissing, Site


class Jax:
    """``@jax``."""

    on_control_only = False

    def require(self, options: Mapping[str, Any]) -> None:
        """JAX."""
        if importlib.util.find_spec("jax") is None:
            raise FrameworkMissing(f"@jax needs JAX, which {sys.executable} does not have: pip install jax")

    @contextmanager
    def boot(self, site: Site) -> Iterator[Mapping[str, Any]]:
        """One process on each node, which has all devices that the node sees."""
        gang = site.gang
        os.environ.update(environment.defaults(site))
        main = gang.members[0].address
        port = environment.agreed_port(gang)
        jax: Any = importlib.import_module("jax")
        if "JAX_CPU_COLLECTIVES_IMPLEMENTATION" not in os.environ:
            jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(
            coordinator_address=f"[{main}]:{port}" if ":" in main else f"{main}:{port}",
            num_processes=gang.size,
            process_id=gang.rank,
        )
        yield {}
        # Only if all is well: it waits for the other processes, and the gang ends those of one that is not.
        gang.barrier()
        jax.distributed.shutdown()

    def stand_by(self, site: Site) -> None:
        """Every rank runs the body."""


FRAMEWORK = Jax()
