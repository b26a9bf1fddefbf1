"""Fit a plane to noisy points with DistributedDataParallel; every process has its own share of the points."""

import argparse
import json
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

parser = argparse.ArgumentParser()
parser.add_argument("--out", required=True, help="where rank 0 writes what was learnt")
parser.add_argument("--epochs", type=int, default=60)
parser.add_argument("--lr", type=float, default=0.1)
arguments = parser.parse_args()

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
rank, size = dist.get_rank(), dist.get_world_size()

# The same points on every rank, of which each takes every size-th.
generator = torch.Generator().manual_seed(1)
points = torch.randn(4096, 2, generator=generator)
heights = points @ torch.tensor([[2.0], [-3.0]]) + 0.5 + 0.01 * torch.randn(4096, 1, generator=generator)
points, heights = points[rank::size].to(device), heights[rank::size].to(device)

model = DistributedDataParallel(torch.nn.Linear(2, 1).to(device))
optimizer = torch.optim.SGD(model.parameters(), lr=arguments.lr)
for epoch in range(arguments.epochs):
    optimizer.zero_grad()
    loss = torch.nn.functional.mse_loss(model(points), heights)
    loss.backward()  # averages the gradients over all ranks
    optimizer.step()
    if rank == 0 and epoch % 20 == 19:
        print(f"epoch {epoch + 1}: loss {loss.item():.5f}")

weight, bias = model.module.weight.detach().flatten().tolist(), model.module.bias.item()
everyone = [None] * size
dist.all_gather_object(everyone, weight)
assert all(each == everyone[0] for each in everyone), "the ranks have learnt different things"
if rank == 0:
    Path(arguments.out).write_text(json.dumps({"weight": weight, "bias": bias, "ranks": size}))
dist.destroy_process_group()
