"""Data-parallel training over several nodes with torchrun."""

import json
from pathlib import Path
from tempfile import mkdtemp

from flowc import FlowSpec, Parameter, current, step, torchrun


class DDPFlow(FlowSpec):
    """Train on a gang; what rank 0 has learnt goes on as an artifact."""

    nodes = Parameter("nodes", default=2, help="Size of the gang")
    epochs = Parameter("epochs", default=60, help="Times through all points")

    @step
    def start(self):
        self.next(self.train, num_parallel=self.nodes)

    @torchrun
    @step
    def train(self):
        out = Path(mkdtemp()) / "learnt.json"
        current.torch.run("train.py", entrypoint_args={"out": out, "epochs": self.epochs, "lr": 0.1})
        if current.parallel.node_index == 0:
            self.learnt = json.loads(out.read_text())
        self.next(self.join)

    @step
    def join(self, inputs):
        self.learnt = inputs[0].learnt
        self.next(self.end)

    @step
    def end(self):
        a, b = self.learnt["weight"]
        print(f"z = {a:.2f} x + {b:.2f} y + {self.learnt['bias']:.2f}, learnt by {self.learnt['ranks']} processes")


if __name__ == "__main__":
    DDPFlow()
