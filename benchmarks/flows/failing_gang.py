import os
import time

from flowc import FlowSpec, current, parallel, step


class FailingGang(FlowSpec):
    """One of four ranks fails while the others are at work."""

    @step
    def start(self):
        self.next(self.train, num_parallel=4)

    @parallel
    @step
    def train(self):
        current.parallel.barrier()
        if current.parallel.node_index == 2:
            with open(os.environ["BENCH_FAILED_AT"], "w") as file:
                file.write(str(time.time()))
            raise ValueError("this rank gives up")
        time.sleep(600)
        self.next(self.join)

    @step
    def join(self, inputs):
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    FailingGang()
