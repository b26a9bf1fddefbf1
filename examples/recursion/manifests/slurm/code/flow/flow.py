"""Recursion: a switch that leads back to an earlier step, round after round, until a condition holds."""

from flowc import FlowSpec, Parameter, step


class RecursionFlow(FlowSpec):
    """Newton's method for a square root, one round a step."""

    number = Parameter("number", default=2.0, help="The number whose square root is wanted")
    tolerance = Parameter("tolerance", default=1e-12, help="Stop when a round changes the value by less")

    @step
    def start(self):
        self.value = self.number
        self.history = [self.value]
        self.next(self.improve)

    @step
    def improve(self):
        before = self.value
        self.value = (before + self.number / before) / 2
        self.history.append(self.value)
        self.state = "done" if abs(self.value - before) < self.tolerance else "again"
        print(f"{self.value:.15f}")
        self.next({"again": self.improve, "done": self.end}, condition="state")

    @step
    def end(self):
        print(f"the square root of {self.number} is {self.value:.12f}, after {len(self.history) - 1} rounds")


if __name__ == "__main__":
    RecursionFlow()
