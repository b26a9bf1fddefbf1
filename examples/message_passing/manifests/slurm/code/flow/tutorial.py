"""Message passing, step by step: from one rank to another, among all of them, and in a training.

It runs under torchrun, and under mpirun, which tells each process its rank in OMPI_COMM_WORLD_* instead.
"""

import os
import sys

import torch
import torch.distributed as dist


def meet() -> None:
    """Join the other processes, whoever has started them."""
    if "OMPI_COMM_WORLD_RANK" in os.environ:
        os.environ["RANK"] = os.environ["OMPI_COMM_WORLD_RANK"]
        os.environ["WORLD_SIZE"] = os.environ["OMPI_COMM_WORLD_SIZE"]
        os.environ["LOCAL_RANK"] = os.environ["OMPI_COMM_WORLD_LOCAL_RANK"]
        # mpirun says nothing of a master; whoever calls it names one.
        os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = sys.argv[1].rsplit(":", 1)
    dist.init_process_group("gloo")


def point_to_point(rank: int) -> None:
    """Rank 0 sends to rank 1, without waiting for it."""
    tensor = torch.zeros(1)
    if rank == 0:
        tensor += 1
        dist.isend(tensor, dst=1).wait()
    elif rank == 1:
        dist.irecv(tensor, src=0).wait()
    print(f"rank {rank} has {tensor[0]:.0f} after point to point")


def collective(rank: int, size: int) -> None:
    """A group of ranks adds up what each has."""
    group = dist.new_group(list(range(size)))
    tensor = torch.ones(1) * (rank + 1)
    dist.all_reduce(tensor, op=dist.ReduceOp.SUM, group=group)
    print(f"rank {rank} has {tensor[0]:.0f} after all_reduce")


def training(rank: int, size: int) -> None:
    """Gradient descent by hand: each rank has its own data, the gradients are averaged."""
    generator = torch.Generator().manual_seed(rank)
    x = torch.randn(256, generator=generator)
    y = 4 * x
    slope = torch.zeros(1, requires_grad=True)
    for _ in range(40):
        loss = ((slope * x - y) ** 2).mean()
        (gradient,) = torch.autograd.grad(loss, slope)
        dist.all_reduce(gradient)
        with torch.no_grad():
            slope -= 0.1 * gradient / size
    print(f"rank {rank} has learnt a slope of {slope.item():.3f}")


if __name__ == "__main__":
    meet()
    point_to_point(dist.get_rank())
    collective(dist.get_rank(), dist.get_world_size())
    training(dist.get_rank(), dist.get_world_size())
    dist.destroy_process_group()
