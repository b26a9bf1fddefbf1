from pathlib import Path

from flowc import FlowSpec, current, step, torchrun


class FailingTorchrun(FlowSpec):
    """A script fails on one of two nodes while the other one waits for it in a collective."""

    @step
    def start(self):
        self.next(self.train, num_parallel=2)

    @torchrun
    @step
    def train(self):
        current.torch.run(entrypoint=str(Path(__file__).with_name("failing_script.py")), nproc_per_node=1)
        self.next(self.join)

    @step
    def join(self, inputs):
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    FailingTorchrun()
