"""A tensor goes round the ring of ranks, and every rank adds its own number to it."""

import argparse
from pathlib import Path

import torch
import torch.distributed as dist

parser = argparse.ArgumentParser()
parser.add_argument("--out", required=True, help="where rank 0 writes the tensor that came round")
parser.add_argument("--start", type=float, default=0.0)
arguments = parser.parse_args()

dist.init_process_group("gloo")
rank, size = dist.get_rank(), dist.get_world_size()
tensor = torch.full((3,), arguments.start)
if rank == 0:
    dist.send(tensor, dst=1 % size)
    dist.recv(tensor, src=size - 1)
    print(f"rank 0 got {tensor.tolist()} back from rank {size - 1}")
    Path(arguments.out).write_text(" ".join(map(str, tensor.tolist())))
else:
    dist.recv(tensor, src=rank - 1)
    print(f"rank {rank} got {tensor.tolist()} from rank {rank - 1}")
    dist.send(tensor + rank, dst=(rank + 1) % size)
dist.destroy_process_group()
