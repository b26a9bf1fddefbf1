"""A training under DeepSpeed over the nodes of a gang, without ssh between them."""

from flowc import FlowSpec, Parameter, current, deepspeed, step


class DeepSpeedFlow(FlowSpec):
    """Train a small network with ZeRO, on GPUs where there are some and on CPUs where there are none."""

    nodes = Parameter("nodes", default=2, help="Size of the gang")
    steps = Parameter("steps", default=60, help="Steps of the training")
    stage = Parameter("stage", default=2, help="Stage of ZeRO: 0, 1 or 2")

    @step
    def start(self):
        self.next(self.train, num_parallel=self.nodes)

    @deepspeed
    @step
    def train(self):
        # This runs on the first node; the launcher is started on every node.
        current.deepspeed.run(
            "train.py",
            entrypoint_args={"steps": self.steps, "stage": self.stage, "out": "loss.txt"},
            deepspeed_args={"log_level": "warning"},
        )
        with open("loss.txt") as file:
            self.first, self.last = map(float, file.read().split())
        self.next(self.join)

    @step
    def join(self, inputs):
        self.first, self.last = inputs[0].first, inputs[0].last
        self.next(self.end)

    @step
    def end(self):
        print(f"the loss went from {self.first:.3f} to {self.last:.3f}")


if __name__ == "__main__":
    DeepSpeedFlow()
