"""What the tests know of each framework: one row each, from which they make the same flow for all.

A row's body runs in the step ``work`` of a gang. It has ``rank``, ``size``, ``self.trouble()`` and ``self.file(name)``,
and sets ``self.value``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from textwrap import dedent, indent
from typing import Any

FLOW = '''
import os, sys, time
from flowc import FlowSpec, Parameter, current, retry, step, {decorator}

HERE = os.path.dirname(os.path.abspath(__file__))

class MatrixFlow(FlowSpec):
    what = Parameter("what", default="")
    ranks = Parameter("ranks", type=int, default=2)

    def file(self, name):
        return os.path.join(HERE, name)

    def trouble(self):
        """What is to go wrong in this process: raise, kill or nothing; notes when."""
        if not self.what or current.retry_count or current.parallel.node_index != {victim}:
            return ""
        open(self.file("failing"), "w").close()
        return self.what

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

IN_BODY = """
trouble = self.trouble()
if trouble == "raise":
    raise ValueError("bad luck")
if trouble == "kill":
    os.kill(os.getpid(), 9)
"""

IN_SCRIPT = """
import os
if "raise" in sys.argv or "kill" in sys.argv:
    open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "failing"), "w").close()
if "raise" in sys.argv:
    raise ValueError("bad luck")
if "kill" in sys.argv:
    os.kill(os.getpid(), 9)
"""


@dataclass(frozen=True)
class Row:
    """One framework.

    Parameters
    ----------
    decorator : str
        Its name in the DSL.
    body : str
        What the step does. Where something is to go wrong it does what ``self.trouble()`` says.
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
    raised, killed : str
        What the report of that rank says.
    sizes : tuple of int
        Numbers of ranks to succeed with.
    options : str
        Arguments of the decorator.
    seconds : float
        Within so many seconds after the failure everything has ended.
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
    sizes: tuple[int, ...] = (2,)
    options: str = ""
    seconds: float = 8.0

    def flow(self, *, retry: bool = False) -> str:
        """The flow's text."""
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
    """
    + indent(IN_BODY, "    ")
    + """
    parallel.barrier()
    """,
    lambda size: [["from one", sum(range(size))]] * size,
    sizes=(2, 4),
    seconds=3.0,
)

TORCHRUN = Row(
    "torchrun",
    """
    out = self.file(f"out-{rank}")
    current.torch.run("all_reduce.py", {"out": out, "trouble": self.trouble() or None}, nproc_per_node=1)
    self.value = open(out).read()
    """,
    lambda size: [f"rank {rank} of {size}: {size * (size + 1) / 2}" for rank in range(size)],
    needs=("torch",),
    files={
        "all_reduce.py": "import sys\nimport torch, torch.distributed as dist\n"
        "dist.init_process_group('gloo')\n"
        "rank = dist.get_rank()\n" + IN_SCRIPT + "value = torch.tensor([rank + 1.0])\n"
        "dist.all_reduce(value)\n"
        "open(sys.argv[sys.argv.index('--out') + 1], 'w').write(\n"
        "    f'rank {rank} of {dist.get_world_size()}: {value.item()}')\n"
        "dist.destroy_process_group()\n"
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
    """
    + indent(IN_BODY, "    ")
    + """
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
    """
    + indent(IN_BODY, "    ")
    + """
    together = multihost_utils.process_allgather(jnp.array([rank + 1.0]))
    self.value = [jax.process_index(), jax.process_count(), float(together.sum())]
    """,
    lambda size: [[rank, size, size * (size + 1) / 2] for rank in range(size)],
    needs=("jax",),
)

ROWS: dict[str, Row] = {"parallel": PARALLEL, "torchrun": TORCHRUN, "tensorflow": TENSORFLOW, "jax": JAX}
"""The rows by framework."""
