from metaflow import FlowSpec, current, parallel, step


class GangOf4(FlowSpec):
    @step
    def start(self):
        self.next(self.work, num_parallel=4)

    @parallel
    @step
    def work(self):
        self.rank = current.parallel.node_index
        self.next(self.join)

    @step
    def join(self, inputs):
        self.ranks = sorted(i.rank for i in inputs)
        self.next(self.end)

    @step
    def end(self):
        print("ranks", self.ranks)


if __name__ == "__main__":
    GangOf4()
