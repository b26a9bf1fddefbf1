"""A switch: which step follows is decided by an artifact at run time."""

from flowc import FlowSpec, Parameter, step


class SwitchFlow(FlowSpec):
    """Sort a list in the way that suits its size."""

    size = Parameter("size", default=8, help="How many numbers to sort")

    @step
    def start(self):
        # A fixed permutation: 7 has no factor in common with the numbers used here.
        self.numbers = [(7 * i + 3) % (self.size + 1) for i in range(self.size)]
        self.kind = "short" if self.size <= 10 else "long"
        self.next({"short": self.insertion, "long": self.merge}, condition="kind")

    @step
    def insertion(self):
        out = []
        for number in self.numbers:
            place = sum(1 for other in out if other <= number)
            out.insert(place, number)
        self.ordered, self.method = out, "insertion sort"
        self.next(self.show)

    @step
    def merge(self):
        def order(items):
            if len(items) < 2:
                return items
            left, right = order(items[: len(items) // 2]), order(items[len(items) // 2 :])
            out = []
            while left and right:
                out.append(left.pop(0) if left[0] <= right[0] else right.pop(0))
            return out + left + right

        self.ordered, self.method = order(self.numbers), "merge sort"
        self.next(self.show)

    @step
    def show(self):
        # Not a join: exactly one of the two steps before has run.
        print(f"{self.method}: {self.ordered}")
        self.next(self.end)

    @step
    def end(self):
        assert self.ordered == sorted(self.numbers)


if __name__ == "__main__":
    SwitchFlow()
