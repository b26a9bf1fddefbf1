from pathlib import Path

from flowc import FlowSpec, Parameter, current, step, torchrun


class TorchrunGang(FlowSpec):
    script = Parameter("script", default="all_reduce.py")

    @step
    def start(self):
        self.next(self.train, num_parallel=2)

    @torchrun
    @step
    def train(self):
        current.torch.run(entrypoint=str(Path(__file__).with_name(self.script)), nproc_per_node=1)
        self.next(self.join)

    @step
    def join(self, inputs):
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    TorchrunGang()
