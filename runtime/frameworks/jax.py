"""JAX: ``jax.distributed`` is initialised on every node before the body runs there."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import signal
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Optional

from . import environment
from .base import FrameworkMissing, Site


class Jax:
    """``@jax``."""

    on_control_only = False

    def require(self, options: Mapping[str, Any], calls: Collection[str] = ()) -> None:
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
        _bind_gloo(os.environ.get("GLOO_SOCKET_IFNAME"))
        jax.distributed.initialize(
            coordinator_address=f"{environment.bracketed(main)}:{port}",
            num_processes=gang.size,
            process_id=gang.rank,
            # All is said. On Slurm its detection would leave this process one device of the node, and in a pod it
            # fails where the package kubernetes is installed and the pod has no token.
            cluster_detection_method="deactivate",
        )
        if "JAX_ENABLE_PREEMPTION_SERVICE" not in os.environ:
            # Its preemption service took SIGTERM for itself; who asks for it by name asks it when to save, too.
            signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))
        yield {}
        # Only if all is well: it waits for the other processes, and the gang ends those of one that is not.
        gang.barrier()
        jax.distributed.shutdown()

    def stand_by(self, site: Site) -> None:
        """Every rank runs the body."""


def _bind_gloo(interface: Optional[str]) -> None:
    # Without an interface it binds what the host's own name resolves to, which may be the loopback. JAX passes none on
    # and has no setting for it; where it has changed inside, all is as it would be without this.
    try:
        inside = importlib.import_module("jax._src.lib")._jax
        make = inside.make_gloo_tcp_collectives
    except (ImportError, AttributeError):
        return
    if interface is not None:
        inside.make_gloo_tcp_collectives = functools.partial(make, interface=interface)


FRAMEWORK = Jax()
