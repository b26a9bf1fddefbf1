"""A foreach inside a foreach: every pair of a model and a fold, joined back level by level."""

from flowc import FlowSpec, step


class NestedForeachFlow(FlowSpec):
    """Cross-validate polynomials of several degrees, one task for each degree and fold."""

    @step
    def start(self):
        # y = x^2 with a small, fixed disturbance: the second degree should win.
        self.points = [(x / 10, (x / 10) ** 2 + 0.05 * (-1) ** x) for x in range(-20, 21)]
        self.degrees = [0, 1, 2]
        self.next(self.degree, foreach="degrees")

    @step
    def degree(self):
        self.power = self.input
        self.folds = list(range(4))
        self.next(self.fold, foreach="folds")

    @step
    def fold(self):
        held_out = [point for i, point in enumerate(self.points) if i % 4 == self.input]
        kept = [point for i, point in enumerate(self.points) if i % 4 != self.input]
        # The best c in y = c * x^power, by least squares.
        c = sum(y * x**self.power for x, y in kept) / sum(x ** (2 * self.power) for x, _ in kept)
        self.error = sum((y - c * x**self.power) ** 2 for x, y in held_out) / len(held_out)
        self.place = [(index, width) for index, width, _ in self.foreach_stack()]
        self.next(self.average)

    @step
    def average(self, inputs):
        self.power = inputs[0].power
        self.error = sum(fold.error for fold in inputs) / len(inputs)
        self.places = [fold.place for fold in inputs]
        self.next(self.choose)

    @step
    def choose(self, inputs):
        self.errors = {degree.power: degree.error for degree in inputs}
        self.best = min(self.errors, key=self.errors.get)
        self.next(self.end)

    @step
    def end(self):
        for power, error in self.errors.items():
            print(f"x^{power}: mean squared error {error:.4f}")
        print(f"best: x^{self.best}")


if __name__ == "__main__":
    NestedForeachFlow()
