"""A small GPT trained from scratch over several nodes. A training that breaks down goes on where it was."""

import json
from pathlib import Path
from tempfile import mkdtemp

from flowc import FlowSpec, Parameter, checkpoint, current, retry, step, torchrun

HERE = Path(__file__).parent


class GPTFlow(FlowSpec):
    """Train on a gang, with checkpoints."""

    nodes = Parameter("nodes", default=2, help="Size of the gang")
    steps = Parameter("steps", default=120, help="Steps of training")
    fail_at = Parameter("fail_at", default=0, help="Step at which the first attempt breaks down; 0 for none")

    @step
    def start(self):
        self.next(self.train, num_parallel=self.nodes)

    @retry(times=2, minutes_between_retries=0)
    @checkpoint
    @torchrun(nproc_per_node=1)
    @step
    def train(self):
        out = Path(mkdtemp()) / "learnt.json"
        # It begins with what the newest checkpoint of this rank holds.
        folder = current.checkpoint.directory
        try:
            current.torch.run(
                "train.py",
                entrypoint_args={
                    "text": HERE / "text.txt",
                    "checkpoint": folder,
                    "out": out,
                    "steps": self.steps,
                    "fail-at": (self.fail_at or None) if current.retry_count == 0 else None,
                },
            )
        finally:
            # Also when it failed, or was told to end because its machine is needed for something else.
            if any(Path(folder).iterdir()):
                current.checkpoint.save()
        self.attempt = current.retry_count
        if current.parallel.node_index == 0:
            self.learnt = json.loads(out.read_text())
        self.next(self.join)

    @step
    def join(self, inputs):
        self.learnt, self.attempt = inputs[0].learnt, inputs[0].attempt
        self.next(self.end)

    @step
    def end(self):
        losses = self.learnt["losses"]
        print(f"loss {losses[0]:.2f} at first, {losses[-1]:.2f} after {len(losses)} steps and {self.attempt} retries")
        print(self.learnt["written"])


if __name__ == "__main__":
    GPTFlow()
