"""Hello from every process that torchrun starts on every node of a gang."""

from flowc import FlowSpec, Parameter, current, step, torchrun


class TorchHelloFlow(FlowSpec):
    """Start torchrun on all nodes; each node runs the step, each of its processes the script."""

    nodes = Parameter("nodes", default=2, help="Size of the gang")
    processes = Parameter("processes", default=2, help="Processes on each node")

    @step
    def start(self):
        self.next(self.hello, num_parallel=self.nodes)

    @torchrun
    @step
    def hello(self):
        current.torch.run("hello.py", nproc_per_node=self.processes)
        self.node = current.parallel.node_index
        self.next(self.join)

    @step
    def join(self, inputs):
        self.nodes_seen = [node.node for node in inputs]
        self.next(self.end)

    @step
    def end(self):
        print(f"{len(self.nodes_seen)} nodes said hello")


if __name__ == "__main__":
    TorchHelloFlow()
