"""Learn a sine with a small network; DeepSpeed shares gradients and the optimizer's state out among the ranks."""

import argparse

import deepspeed
import torch

parser = argparse.ArgumentParser()
parser.add_argument("--local_rank", type=int, default=0)  # DeepSpeed's launcher gives it
parser.add_argument("--steps", type=int, required=True)
parser.add_argument("--stage", type=int, required=True)
parser.add_argument("--out", required=True)
args = parser.parse_args()

deepspeed.init_distributed(dist_backend="nccl" if torch.cuda.is_available() else "gloo")
rank, size = torch.distributed.get_rank(), torch.distributed.get_world_size()
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(1, 64), torch.nn.Tanh(), torch.nn.Linear(64, 1))
engine, _, _, _ = deepspeed.initialize(
    model=model,
    model_parameters=model.parameters(),
    config={
        "train_micro_batch_size_per_gpu": 64,
        "zero_optimization": {"stage": args.stage},
        # The fused optimizers want a GPU, or a compiler.
        "optimizer": {"type": "Adam", "params": {"lr": 0.01, "torch_adam": True}},
    },
)

generator = torch.Generator().manual_seed(rank)  # each rank sees other data
losses = []
for _ in range(args.steps):
    x = (torch.rand(64, 1, generator=generator) * 6 - 3).to(engine.device)
    loss = ((engine(x) - torch.sin(x)) ** 2).mean()
    engine.backward(loss)
    engine.step()
    losses.append(loss.item())
print(f"rank {rank} of {size}: loss {losses[0]:.3f} at first, {losses[-1]:.3f} at last")
if rank == 0:
    with open(args.out, "w") as file:
        file.write(f"{losses[0]} {losses[-1]}")
torch.distributed.destroy_process_group()
