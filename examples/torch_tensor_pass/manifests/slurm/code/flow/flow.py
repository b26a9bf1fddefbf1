"""A tensor passed from rank to rank; what came of it is an artifact of rank 0."""

from pathlib import Path
from tempfile import mkdtemp

from flowc import FlowSpec, Parameter, current, step, torchrun


class TensorPassFlow(FlowSpec):
    """Send a tensor round a ring of nodes, one process each."""

    nodes = Parameter("nodes", default=3, help="Size of the gang")

    @step
    def start(self):
        self.next(self.ring, num_parallel=self.nodes)

    @torchrun(nproc_per_node=1)
    @step
    def ring(self):
        out = Path(mkdtemp()) / "tensor"
        current.torch.run("pass_on.py", entrypoint_args={"out": out, "start": 0.5})
        if current.parallel.node_index == 0:
            self.tensor = [float(number) for number in out.read_text().split()]
        self.next(self.join)

    @step
    def join(self, inputs):
        self.tensor = inputs[0].tensor
        self.next(self.end)

    @step
    def end(self):
        print(f"the tensor came back as {self.tensor}")


if __name__ == "__main__":
    TensorPassFlow()
