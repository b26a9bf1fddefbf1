"""An MPI program in Python over the nodes of a gang."""

from flowc import FlowSpec, Parameter, current, mpi, step


class Mpi4pyFlow(FlowSpec):
    """Integrate a quarter of the unit circle with mpirun; a failing program fails the step."""

    nodes = Parameter("nodes", default=2, help="Size of the gang")
    slices = Parameter("slices", default=1_000_000, help="Slices of the integral")

    @step
    def start(self):
        self.next(self.integrate, num_parallel=self.nodes)

    @mpi(slots=1)
    @step
    def integrate(self):
        # This runs on the first node; the others stand by until mpirun wants them.
        print(f"{current.mpi.slots} processes")
        current.mpi.run(program="python pi.py", program_args={"slices": self.slices, "out": "pi.txt"})
        with open("pi.txt") as file:
            self.pi = float(file.read())
        self.next(self.join)

    @step
    def join(self, inputs):
        self.pi = inputs[0].pi
        self.next(self.end)

    @step
    def end(self):
        print(f"pi is {self.pi:.9f}")


if __name__ == "__main__":
    Mpi4pyFlow()
