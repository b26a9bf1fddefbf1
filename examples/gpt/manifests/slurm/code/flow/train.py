"""Train the GPT with DistributedDataParallel. It saves its state now and then, and goes on from there."""

import argparse
import json
import os
from pathlib import Path

import torch
import torch.distributed as dist
from model import GPT
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

parser = argparse.ArgumentParser()
parser.add_argument("--text", required=True)
parser.add_argument("--checkpoint", required=True, help="folder with the state, if there is one, and for it")
parser.add_argument("--out", required=True, help="where rank 0 writes the losses and a text of its own")
parser.add_argument("--steps", type=int, default=120)
parser.add_argument("--every", type=int, default=40, help="steps between two checkpoints")
parser.add_argument("--fail-at", type=int, help="break down at this step")
arguments = parser.parse_args()

dist.init_process_group("gloo")
rank, size = dist.get_rank(), dist.get_world_size()
torch.manual_seed(1)  # the same weights on all ranks to begin with

text = Path(arguments.text).read_text("utf-8")
alphabet = sorted(set(text))
numbers = torch.tensor([alphabet.index(letter) for letter in text])

model = DistributedDataParallel(GPT(len(alphabet)))
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
state = Path(arguments.checkpoint) / "state.pt"
losses: list[float] = []
saved = torch.load(state) if state.exists() else None
# All go on from the newest state that one of them has: a node may have been lost before it could save its own.
begun = [0] * size
dist.all_gather_object(begun, len(saved["losses"]) if saved else 0)
if max(begun) > 0:
    newest = [saved]
    dist.broadcast_object_list(newest, src=begun.index(max(begun)))
    model.module.load_state_dict(newest[0]["model"])
    optimizer.load_state_dict(newest[0]["optimizer"])
    losses = newest[0]["losses"]
    print(f"rank {rank} goes on from step {len(losses)}")

for step in range(len(losses), arguments.steps):
    if step == arguments.fail_at and rank == 0:
        raise RuntimeError("the machine was taken away")
    draw = torch.Generator().manual_seed(step * size + rank)  # every rank has its own part of each batch
    places = torch.randint(len(numbers) - model.module.context - 1, (16,), generator=draw)
    batch = torch.stack([numbers[at : at + model.module.context + 1] for at in places])
    optimizer.zero_grad()
    guessed = model(batch[:, :-1])
    loss = functional.cross_entropy(guessed.flatten(0, 1), batch[:, 1:].flatten())
    loss.backward()
    optimizer.step()
    mean = loss.detach()
    dist.all_reduce(mean)
    losses.append(mean.item() / size)
    if (step + 1) % arguments.every == 0:
        if rank == 0:
            print(f"step {step + 1}: loss {losses[-1]:.2f}")
        part = state.with_suffix(f".{os.getpid()}.part")
        torch.save({"model": model.module.state_dict(), "optimizer": optimizer.state_dict(), "losses": losses}, part)
        part.replace(state)

if rank == 0:
    start = torch.tensor([[alphabet.index("A")]])
    written = "".join(alphabet[number] for number in model.module.write(start, 120)[0])
    Path(arguments.out).write_text(json.dumps({"losses": losses, "written": written}))
dist.destroy_process_group()
