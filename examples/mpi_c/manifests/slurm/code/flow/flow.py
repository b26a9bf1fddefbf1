"""An MPI program in C: compiled on one node, copied to the others, run on all."""

import os
import tempfile

from flowc import FlowSpec, Parameter, current, mpi, step


class MpiCFlow(FlowSpec):
    """Pass a number round a ring of processes."""

    nodes = Parameter("nodes", default=2, help="Size of the gang")
    laps = Parameter("laps", default=3, help="How often the number goes round")

    @step
    def start(self):
        self.next(self.ring, num_parallel=self.nodes)

    @mpi(slots=2)
    @step
    def ring(self):
        here = os.path.dirname(os.path.abspath(__file__))
        with tempfile.TemporaryDirectory() as folder:
            program = os.path.join(folder, "ring")
            current.mpi.cc(["-O2", os.path.join(here, "ring.c"), "-o", program])
            current.mpi.broadcast_file(program)
            current.mpi.run(program=program, program_args=[self.laps])
        self.next(self.join)

    @step
    def join(self, inputs):
        self.next(self.end)

    @step
    def end(self):
        print("the ring is closed")


if __name__ == "__main__":
    MpiCFlow()
