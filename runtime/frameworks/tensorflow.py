"""TensorFlow: every node runs the body under TF_CONFIG, so that MultiWorkerMirroredStrategy finds the others."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from . import environment, sigterm
from .base import FrameworkMissing, Site


class TensorFlow:
    """``@tensorflow``."""

    on_control_only = False

    def require(self, options: Mapping[str, Any], calls: Collection[str] = ()) -> None:
        """TensorFlow."""
        if importlib.util.find_spec("tensorflow") is None:
            raise FrameworkMissing(
                f"@tensorflow needs TensorFlow, which {sys.executable} does not have: pip install tensorflow"
            )

    @contextmanager
    def boot(self, site: Site) -> Iterator[Mapping[str, Any]]:
        """TF_CONFIG, with a port that is free on each node. Keras, 3 or legacy, is left as the user has it."""
        gang = site.gang
        os.environ.update(environment.defaults(site))
        workers = [
            f"{environment.bracketed(member.address)}:{port}"
            for member, port in zip(gang.members, environment.agreed_ports(gang))
        ]
        os.environ["TF_CONFIG"] = json.dumps(
            {"cluster": {"worker": workers}, "task": {"type": "worker", "index": gang.rank}}
        )
        # The strategy's coordination service takes SIGTERM for itself, and has no setting for it.
        with sigterm.kept_for_python():
            yield {}
        # A worker's server ends with its process; the others may still be talking to it.
        gang.barrier()

    def stand_by(self, site: Site) -> None:
        """Every rank runs the body."""


FRAMEWORK = TensorFlow()
