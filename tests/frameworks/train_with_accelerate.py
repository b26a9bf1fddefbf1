"""A training with Accelerate, as a user would have it; what it found goes to the file that it is given."""

from __future__ import annotations

import json
import sys

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch.nn.functional import mse_loss


def data_of(rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(32, 2, generator=torch.Generator().manual_seed(rank))
    return x, x @ torch.tensor([[2.0], [-1.0]]) + 0.5


accelerator = Accelerator(cpu=True)
set_seed(7)
plain = torch.nn.Linear(2, 1)
each = [
    torch.autograd.grad(mse_loss(plain(x), y), plain.weight)[0]
    for x, y in map(data_of, range(accelerator.num_processes))
]
model, optimizer = accelerator.prepare(plain, torch.optim.SGD(plain.parameters(), lr=0.2))
x, y = data_of(accelerator.process_index)
gradient: list[float] = []
losses: list[float] = []
for _ in range(20):
    optimizer.zero_grad()
    loss = mse_loss(model(x), y)
    accelerator.backward(loss)
    gradient = gradient or plain.weight.grad.flatten().tolist()
    optimizer.step()
    losses.append(float(loss))
found = {
    "rank": accelerator.process_index,
    "world": accelerator.num_processes,
    "gradient": gradient,
    "expected": torch.stack(each).mean(0).flatten().tolist(),
    "losses": [losses[0], float(accelerator.reduce(torch.tensor(losses[-1]), "mean"))],
    "weights": plain.weight.flatten().tolist(),
}
with open(sys.argv[1], "w") as file:
    json.dump(found, file)
accelerator.end_training()
