"""A training with Lightning, as a user would have it; what it found goes to the file that it is given."""

from __future__ import annotations

import json
import os
import sys

import lightning
import torch
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader, TensorDataset


def data_of(rank: int) -> TensorDataset:
    x = torch.randn(32, 2, generator=torch.Generator().manual_seed(rank))
    return TensorDataset(x, x @ torch.tensor([[2.0], [-1.0]]) + 0.5)


class Line(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)
        self.losses: list[float] = []
        self.first_gradient: list[float] = []
        self.expected: list[float] = []

    def training_step(self, batch: list[torch.Tensor]) -> torch.Tensor:
        if not self.losses:
            everyone = [data_of(rank).tensors for rank in range(self.trainer.world_size)]
            each = [torch.autograd.grad(mse_loss(self.layer(x), y), self.layer.weight)[0] for x, y in everyone]
            self.expected = torch.stack(each).mean(0).flatten().tolist()
        loss = mse_loss(self.layer(batch[0]), batch[1])
        self.losses.append(float(loss))
        return loss

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        self.first_gradient = self.first_gradient or self.layer.weight.grad.flatten().tolist()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.2)


lightning.seed_everything(7)
model = Line()
trainer = lightning.Trainer(
    accelerator="cpu",
    strategy="ddp",
    devices=int(os.environ["LOCAL_WORLD_SIZE"]),
    num_nodes=int(os.environ["GROUP_WORLD_SIZE"]),
    max_epochs=20,
    use_distributed_sampler=False,
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)
trainer.fit(model, DataLoader(data_of(int(os.environ["RANK"])), batch_size=32))
mean_loss = trainer.strategy.reduce(torch.tensor(model.losses[-1]), reduce_op="mean")
found = {
    "rank": trainer.global_rank,
    "world": trainer.world_size,
    "gradient": model.first_gradient,
    "expected": model.expected,
    "losses": [model.losses[0], float(mean_loss)],
    "weights": model.layer.weight.flatten().tolist(),
}
with open(sys.argv[1], "w") as file:
    json.dump(found, file)
