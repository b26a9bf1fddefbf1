from flowc import FlowSpec, step


class Chain(FlowSpec):
    @step
    def start(self):
        self.count = 1
        self.next(self.second)

    @step
    def second(self):
        self.count += 1
        self.next(self.third)

    @step
    def third(self):
        self.count += 1
        self.next(self.fourth)

    @step
    def fourth(self):
        self.count += 1
        self.next(self.fifth)

    @step
    def fifth(self):
        self.count += 1
        self.next(self.sixth)

    @step
    def sixth(self):
        self.count += 1
        self.next(self.seventh)

    @step
    def seventh(self):
        self.count += 1
        self.next(self.eighth)

    @step
    def eighth(self):
        self.count += 1
        self.next(self.ninth)

    @step
    def ninth(self):
        self.count += 1
        self.next(self.end)

    @step
    def end(self):
        assert self.count == 9


if __name__ == "__main__":
    Chain()
