"""The rows of the frameworks whose body runs on the control rank alone, while the workers stand by."""

from __future__ import annotations

from framework_rows import Row

# What is run on the worker is a child of the process that stands by there.
KILL_THE_WORKER = """
    trouble = self.trouble()
    if trouble.startswith("kill@"):
        {framework}.nodes.run({{1: ["/bin/sh", "-c", ': > "$0"; kill -9 $PPID', trouble[5:]]}})
"""

MPI = Row(
    "mpi",
    """
    out = self.file("out")
    """
    + KILL_THE_WORKER.format(framework="current.mpi")
    + """
    current.mpi.run(program="python mpi_sum.py", program_args=[out, trouble])
    self.value = open(out).read()
    """,
    lambda size: [f"{size * (size + 1) / 2} of {size}", *[None] * (size - 1)],
    needs=("mpi4py",),
    files={
        # It runs for long enough that whoever watches the hosts sees it.
        "mpi_sum.py": "import sys, time\nfrom mpi4py import MPI\n"
        "world = MPI.COMM_WORLD\n"
        "total = world.allreduce(world.rank + 1.0)\n"
        "if world.rank == 1:\n    from trouble import meet\n    meet(sys.argv[2], code=7)\n"
        "time.sleep(0.7)\n"
        "if world.rank == 0:\n    open(sys.argv[1], 'w').write(f'{total} of {world.size}')\n"
    },
    victim=0,
    killed_rank=1,
    raised="ProgramFailed: mpirun exited with code 7",
    shot="ProgramFailed: mpirun exited with code",
    sizes=(2, 4),
)

DEEPSPEED = Row(
    "deepspeed",
    """
    out = self.file("out")
    """
    + KILL_THE_WORKER.format(framework="current.deepspeed")
    + """
    current.deepspeed.run("zero.py", {"out": out, "trouble": trouble})
    self.value = open(out).read()
    """,
    lambda size: [f"rank 0 of {size}: learnt", *[None] * (size - 1)],
    needs=("torch", "deepspeed"),
    files={
        "zero.py": "import argparse, torch, deepspeed\n"
        "parser = argparse.ArgumentParser()\n"
        "parser.add_argument('--out'); parser.add_argument('--local_rank', type=int)\n"
        "parser.add_argument('--trouble')\n"
        "args = parser.parse_args()\n"
        "deepspeed.init_distributed(dist_backend='gloo')\n"
        "rank, size = torch.distributed.get_rank(), torch.distributed.get_world_size()\n"
        "from trouble import leave, meet\n"
        "if rank == 1:\n    meet(args.trouble, code=7)\n"
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
        "leave()\n"
    },
    victim=0,
    killed_rank=1,
    raised="ProgramFailed: deepspeed on rank 1",
    shot="ProgramFailed: deepspeed on rank 1",
)

RAY = Row(
    "metaflow_ray",
    """
    import ray
    ray.init()
    trouble = self.trouble()
    if trouble.startswith("raise"):
        meet(trouble)
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

    nodes = [node["NodeID"] for node in ray.nodes()]
    here = ray.get_runtime_context().get_node_id()
    if trouble:
        def fail(what, mark):
            if what == "wait":
                meet(what + "@" + mark)
            open(mark, "w").close()
            os.kill(os.getppid(), 9)

        other = next(node for node in nodes if node != here)
        there = ray.remote(max_retries=0, scheduling_strategy=On(other, soft=False))(fail)
        lost = there.remote(*trouble.split("@"))
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
)

DASK = Row(
    "dask",
    """
    import distributed
    trouble = self.trouble()
    if trouble.startswith("raise"):
        meet(trouble)
    workers = current.dask.scheduler_info()["workers"]
    if trouble:
        other = next(address for address, info in workers.items() if info["name"] == "rank1")
        lost = current.dask.submit(meet, trouble, workers=[other])  # forgotten, it would be taken back
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
