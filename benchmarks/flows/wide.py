from flowc import FlowSpec, Parameter, step


class Wide(FlowSpec):
    width = Parameter("width", default=5000)

    @step
    def start(self):
        self.items = list(range(self.width))
        self.next(self.work, foreach="items")

    @step
    def work(self):
        self.result = self.input * 2
        self.next(self.join)

    @step
    def join(self, inputs):
        self.total = sum(i.result for i in inputs)
        self.next(self.end)

    @step
    def end(self):
        assert self.total == self.width * (self.width - 1)


if __name__ == "__main__":
    Wide()
