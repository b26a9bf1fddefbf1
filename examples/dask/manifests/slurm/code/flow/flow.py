"""A Dask cluster over the nodes of a gang, there for as long as the step."""

from flowc import FlowSpec, Parameter, current, dask, step


class DaskFlow(FlowSpec):
    """Count how many steps numbers take to 1 (Collatz), on every node at once."""

    nodes = Parameter("nodes", default=2, help="Size of the gang")
    limit = Parameter("limit", default=20_000, help="Largest number")

    @step
    def start(self):
        self.next(self.count, num_parallel=self.nodes)

    @dask
    @step
    def count(self):
        # A client whose workers are there already, one on each node.
        client = current.dask
        parts = range(0, self.limit, 2_000)
        found = client.gather(client.map(longest, parts, [min(part + 2_000, self.limit) for part in parts]))
        self.steps, self.number = max(found)
        self.workers = sorted(info["name"] for info in client.scheduler_info()["workers"].values())
        print(f"{len(found)} parts on {' and '.join(self.workers)}")
        self.next(self.join)

    @step
    def join(self, inputs):
        self.steps, self.number, self.workers = inputs[0].steps, inputs[0].number, inputs[0].workers
        self.next(self.end)

    @step
    def end(self):
        print(f"{self.number} takes {self.steps} steps")


def longest(first, last):
    """The number from first to last with the longest way to 1, and the length of that."""

    def steps(number):
        count = 0
        while number != 1:
            number = number // 2 if number % 2 == 0 else 3 * number + 1
            count += 1
        return count

    return max((steps(number), number) for number in range(max(first, 1), last))


if __name__ == "__main__":
    DaskFlow()
