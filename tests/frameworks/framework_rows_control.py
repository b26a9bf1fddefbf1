"""The rows of the frameworks whose body runs on the control rank alone, while the workers stand by."""

from __future__ import annotations

from textwrap import indent

from framework_rows import Row

TROUBLE = """
trouble = self.trouble()
if trouble == "raise":
    raise ValueError("bad luck")
"""

# What is run on the worker is a child of the process that stands by there.
KILL_THE_WORKER = """
if trouble == "kill":
    {framework}.nodes.run({{1: ["/bin/sh", "-c", "kill -9 $PPID"]}})
"""

MPI = Row(
    "mpi",
    """
    out = self.file("out")
    trouble = self.trouble()
    """
    + indent(KILL_THE_WORKER.format(framework="current.mpi"), "    ")
    + """
    current.mpi.run(program="python mpi_sum.py", program_args=[out, trouble])
    self.value = open(out).read()
    """,
    lambda size: [f"{size * (size + 1) / 2} of {size}", *[None] * (size - 1)],
    needs=("mpi4py",),
    files={
        "mpi_sum.py": "import sys\nfrom mpi4py import MPI\n"
        "world = MPI.COMM_WORLD\n"
        "total = world.allreduce(world.rank + 1.0)\n"
        "if 'raise' in sys.argv and world.rank == 1:\n    sys.exit(7)\n"
        "if world.rank == 0:\n    open(sys.argv[1], 'w').write(f'{total} of {world.size}')\n"
    },
    victim=0,
    killed_rank=1,
    raised="ProgramFailed: mpirun exited with code 7",
    sizes=(2, 4),
)

DEEPSPEED = Row(
    "deepspeed",
    """
    out = self.file("out")
    trouble = self.trouble()
    """
    + indent(KILL_THE_WORKER.format(framework="current.deepspeed"), "    ")
    + """
    current.deepspeed.run("zero.py", {"out": out, "fail": trouble == "raise"})
    self.value = open(out).read()
    """,
    lambda size: [f"rank 0 of {size}: learnt", *[None] * (size - 1)],
    needs=("torch", "deepspeed"),
    files={
        "zero.py": "import argparse, torch, deepspeed\n"
        "parser = argparse.ArgumentParser()\n"
        "parser.add_argument('--out'); parser.add_argument('--local_rank', type=int)\n"
        "parser.add_argument('--fail', action='store_true')\n"
        "args = parser.parse_args()\n"
        "deepspeed.init_distributed(dist_backend='gloo')\n"
        "rank, size = torch.distributed.get_rank(), torch.distributed.get_world_size()\n"
        "if args.fail and rank == 1:\n    raise SystemExit(7)\n"
        "torch.manual_seed(rank)\n"
        "model = torch.nn.Linear(4, 1)\n"
        "config = {'train_micro_batch_size_per_gpu': 16, 'zero_optimization': {'stage': 2},\n"
        "          'optimizer': {'type': 'Adam', 'params': {'lr': 0.05, 'torch_adam': True}}}\n"
        "engine, *_ = deepspeed.initialize(model=model, model_parameters=model.parameters(), config=config)\n"
        "x = torch.randn(16, 4)\n"
        "losses = []\n"
        "for _ in range(30):\n"
        "    loss = ((engine(x) - x.sum(1, keepdim=True)) ** 2).mean()\n"
        "    engine.backward(loss)\n"
        "    engine.step()\n"
        "    losses.append(loss.item())\n"
        "assert losses[-1] < losses[0] / 2, losses\n"
        "if rank == 0:\n    open(args.out, 'w').write(f'rank {rank} of {size}: learnt')\n"
    },
    victim=0,
    killed_rank=1,
    raised="ProgramFailed: deepspeed on rank 1",
    seconds=30.0,
)

RAY = Row(
    "metaflow_ray",
    """
    import ray
    ray.init()
    """
    + indent(TROUBLE, "    ")
    + """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

    nodes = [node["NodeID"] for node in ray.nodes()]
    here = ray.get_runtime_context().get_node_id()
    if trouble == "kill":
        other = next(node for node in nodes if node != here)
        kill = ray.remote(max_retries=0, scheduling_strategy=On(other, soft=False))(lambda: os.kill(os.getppid(), 9))
        kill.remote()
        time.sleep(60)
    where = ray.remote(lambda: ray.get_runtime_context().get_node_id())
    found = ray.get([where.options(scheduling_strategy=On(node, soft=False)).remote() for node in nodes])
    assert found == nodes
    assert current.ray_storage_path.endswith("/work/0/ray"), current.ray_storage_path
    self.value = len(set(found))
    """,
    lambda size: [size, *[None] * (size - 1)],
    needs=("ray",),
    victim=0,
    killed_rank=1,
    killed="Ray ended on this node before the step did",
    sizes=(2, 4),
    seconds=20.0,
)

DASK = Row(
    "dask",
    """
    import distributed
    """
    + indent(TROUBLE, "    ")
    + """
    workers = current.dask.scheduler_info()["workers"]
    if trouble == "kill":
        other = next(address for address, info in workers.items() if info["name"] == "rank1")
        current.dask.submit(lambda: os.kill(os.getpid(), 9), workers=[other])
        time.sleep(60)
    with distributed.Client() as client:
        total = client.submit(sum, client.map(lambda n: n**2, range(10))).result()
    self.value = [sorted(info["name"] for info in workers.values()), total]
    """,
    lambda size: [[[f"rank{rank}" for rank in range(size)], 285], *[None] * (size - 1)],
    needs=("distributed",),
    victim=0,
    killed_rank=1,
    killed="Dask's worker ended on this node before the step did",
)

CONTROL_ROWS: dict[str, Row] = {"mpi": MPI, "deepspeed": DEEPSPEED, "ray": RAY, "dask": DASK}
"""The rows by framework."""
