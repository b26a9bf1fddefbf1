"""The message-passing tutorial of PyTorch over the nodes of a gang."""

import socket

from flowc import FlowSpec, Parameter, current, mpi, step, torchrun


class MessagePassingFlow(FlowSpec):
    """Start the same script with torchrun, and with mpirun."""

    nodes = Parameter("nodes", default=2, help="Size of the gang")

    @step
    def start(self):
        self.next(self.with_torchrun, num_parallel=self.nodes)

    @torchrun(nproc_per_node=1)
    @step
    def with_torchrun(self):
        current.torch.run("tutorial.py")
        self.next(self.after_torchrun)

    @step
    def after_torchrun(self, inputs):
        self.next(self.with_mpirun, num_parallel=self.nodes)

    @mpi(slots=1)
    @step
    def with_mpirun(self):
        # mpirun tells the processes their ranks, but not where to meet.
        with socket.create_server((current.parallel.main_ip, 0)) as probe:
            master = f"{current.parallel.main_ip}:{probe.getsockname()[1]}"
        current.mpi.run(program="python tutorial.py", program_args=[master])
        self.next(self.after_mpirun)

    @step
    def after_mpirun(self, inputs):
        self.next(self.end)

    @step
    def end(self):
        print("all messages have arrived")


if __name__ == "__main__":
    MessagePassingFlow()
