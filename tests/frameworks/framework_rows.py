"""What the tests know of each framework: one row each, from which they make the same flow for all.

A row's body runs in the step ``work`` of a gang. It has ``rank``, ``size``, ``self.trouble()`` and ``self.file(name)``,
and sets ``self.value``. What goes wrong goes wrong in ``meet(self.trouble())``, there or in a script, which leaves a
mark when it happens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from textwrap import dedent, indent
from typing import Any

FLOW = '''
import os, sys, tempfile, time
from flowc import FlowSpec, Parameter, current, retry, step, {decorator}
from trouble import meet

HERE = os.path.dirname(os.path.abspath(__file__))
if not os.access(HERE, os.W_OK):  # in a pod
    HERE = tempfile.gettempdir()

class MatrixFlow(FlowSpec):
    what = Parameter("what", default="")
    ranks = Parameter("ranks", type=int, default=2)

    def file(self, name):
        return os.path.join(HERE, name)

    def trouble(self):
        """What is to go wrong here in this attempt, and where to leave the mark; empty if nothing is."""
        what = dict(enumerate(self.what.split(","))).get(current.retry_count)
        if not what or current.parallel.node_index != {victim}:
            return ""
        return what + "@" + self.file("failing-" + str(current.retry_count))

    @step
    def start(self):
        self.next(self.work, num_parallel=self.ranks)

{retry}
    @{decorator}({options})
    @step
    def work(self):
        rank, size = current.parallel.node_index, current.parallel.num_nodes
{body}
        self.next(self.join)

    @step
    def join(self, inputs):
        self.values = [getattr(i, "value", None) for i in inputs]
        self.next(self.end)

    @step
    def end(self):
        pass
'''

TROUBLE = """
import os, signal, sys, time

def meet(trouble, code=None):
    what, _, mark = trouble.partition("@")
    if not what:
        return
    open(mark, "w").close()
    if what == "wait":
        time.sleep(300)
    if what in ("kill", "shoot"):
        os.kill(os.getpid(), signal.SIGKILL)
    if code is not None:
        sys.exit(code)
    raise ValueError("bad luck")

def leave():
    # Python takes a second to put torch away, and these scripts end a hundred times. The examples' end as scripts do.
    sys.stdout.flush(), sys.stderr.flush()
    os._exit(0)
"""
"""The module of a flow and its scripts: to raise, to be killed, or to wait for what happens outside."""


@dataclass(frozen=True)
class Row:
    """One framework.

    Parameters
    ----------
    decorator : str
        Its name in the DSL.
    body : str
        What the step does.
    values : callable
        From the number of ranks to what ``self.value`` is on each of them, None where it is not set.
    needs : tuple of str
        Modules without which it is skipped.
    files : dict
        Files beside the flow.
    victim : int
        The rank on which something goes wrong.
    killed_rank : int, optional
        The rank that is killed, where it is not the one that does it.
    raised, killed, shot : str
        What the report of that rank says; it is shot where a process of the framework is killed that is not flowc's.
    sizes : tuple of int
        Numbers of ranks to succeed with.
    options : str
        Arguments of the decorator.
    """

    decorator: str
    body: str
    values: Callable[[int], list[Any]]
    needs: tuple[str, ...] = ()
    files: dict[str, str] = field(default_factory=dict)
    victim: int = 1
    killed_rank: int | None = None
    raised: str = "ValueError: bad luck"
    killed: str = "SIGKILL"
    shot: str = ""
    sizes: tuple[int, ...] = (2,)
    options: str = ""

    def flow(self, *, retry: bool = False) -> str:
        """The flow's text; it needs the module ``trouble``."""
        return FLOW.format(
            decorator=self.decorator,
            victim=self.victim,
            options=self.options,
            retry="    @retry(times=1, minutes_between_retries=0)" if retry else "",
            body=indent(dedent(self.body).strip("\n"), " " * 8),
        )


PARALLEL = Row(
    "parallel",
    """
    parallel = current.parallel
    parallel.barrier()
    self.value = [parallel.broadcast("from one" if rank == 1 else None, root=1), sum(parallel.allgather(rank))]
    gathered = parallel.gather(rank * 2)
    assert gathered == ([2 * r for r in range(size)] if rank == 0 else None)
    meet(self.trouble())
    parallel.barrier()
    """,
    lambda size: [["from one", sum(range(size))]] * size,
    sizes=(2, 4),
)

TORCHRUN = Row(
    "torchrun",
    """
    out = self.file(f"out-{rank}")
    current.torch.run("all_reduce.py", {"out": out, "trouble": self.trouble()}, nproc_per_node=1)
    self.value = open(out).read()
    """,
    lambda size: [f"rank {rank} of {size}: {size * (size + 1) / 2}" for rank in range(size)],
    needs=("torch",),
    files={
        "all_reduce.py": "import sys\nimport torch, torch.distributed as dist\n"
        "dist.init_process_group('gloo')\n"
        "rank = dist.get_rank()\n"
        "from trouble import leave, meet\n"
        "meet(sys.argv[sys.argv.index('--trouble') + 1])\n"
        "value = torch.tensor([rank + 1.0])\n"
        "dist.all_reduce(value)\n"
        "open(sys.argv[sys.argv.index('--out') + 1], 'w').write(\n"
        "    f'rank {rank} of {dist.get_world_size()}: {value.item()}')\n"
        "dist.destroy_process_group()\n"
        "leave()\n"
    },
    raised="TorchrunFailed: all_reduce.py exited with code 1 in local rank 0 (rank 1): ValueError: bad luck",
    killed="TorchrunFailed: all_reduce.py was killed by SIGKILL in local rank 0 (rank 1)",
    sizes=(2, 4),
)

TENSORFLOW = Row(
    "tensorflow",
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow as tf
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    meet(self.trouble())
    @tf.function
    def add():
        replica = tf.distribute.get_replica_context()
        return replica.all_reduce(tf.distribute.ReduceOp.SUM, tf.constant(float(rank + 1)))

    self.value = [strategy.num_replicas_in_sync, float(strategy.run(add))]
    """,
    lambda size: [[size, size * (size + 1) / 2]] * size,
    needs=("tensorflow",),
)

JAX = Row(
    "jax",
    """
    import jax, jax.numpy as jnp
    from jax.experimental import multihost_utils
    meet(self.trouble())
    together = multihost_utils.process_allgather(jnp.array([rank + 1.0]))
    self.value = [jax.process_index(), jax.process_count(), float(together.sum())]
    """,
    lambda size: [[rank, size, size * (size + 1) / 2] for rank in range(size)],
    needs=("jax",),
)

ROWS: dict[str, Row] = {"parallel": PARALLEL, "torchrun": TORCHRUN, "tensorflow": TENSORFLOW, "jax": JAX}
"""The rows by framework."""
