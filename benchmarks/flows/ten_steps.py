from flowc import FlowSpec, Parameter, current, parallel, resources, retry, step, timeout


class TenSteps(FlowSpec):
    alpha = Parameter("alpha", default=0.5, help="A number")

    @step
    def start(self):
        self.items = [1, 2, 3]
        self.next(self.left, self.right)

    @retry(times=2)
    @step
    def left(self):
        self.next(self.each, foreach="items")

    @resources(cpu=2, memory=8192)
    @step
    def each(self):
        self.result = self.input * self.alpha
        self.next(self.collect)

    @step
    def collect(self, inputs):
        self.total = sum(i.result for i in inputs)
        self.next(self.both)

    @timeout(minutes=5)
    @step
    def right(self):
        self.next(self.train, num_parallel=4)

    @parallel
    @step
    def train(self):
        self.rank = current.parallel.node_index
        self.next(self.evaluate)

    @step
    def evaluate(self, inputs):
        self.ranks = [i.rank for i in inputs]
        self.next(self.both)

    @step
    def both(self, inputs):
        self.merge_artifacts(inputs)
        self.next(self.report)

    @step
    def report(self):
        self.next(self.end)

    @step
    def end(self):
        print(self.total, self.ranks)


if __name__ == "__main__":
    TenSteps()
