"""A gang: several ranks that start together, know one another, and succeed or fail as one."""

from flowc import FlowSpec, Parameter, current, parallel, step


class GangFlow(FlowSpec):
    """Approximate pi: each rank sums its share of a series, rank 0 gathers the shares."""

    ranks = Parameter("ranks", default=4, help="Size of the gang")
    terms = Parameter("terms", default=400_000, help="Terms of the series")

    @step
    def start(self):
        self.next(self.add_up, num_parallel=self.ranks)

    @parallel
    @step
    def add_up(self):
        rank, size = current.parallel.node_index, current.parallel.num_nodes
        # pi = 4 * (1 - 1/3 + 1/5 - 1/7 ...)
        self.share = sum(4 * (-1) ** k / (2 * k + 1) for k in range(rank, self.terms, size))
        shares = current.parallel.gather(self.share)  # a list on rank 0, None on the others
        self.total = current.parallel.broadcast(sum(shares) if rank == 0 else None)
        print(f"rank {rank} of {size}: its share is {self.share:.6f}, pi is about {self.total:.6f}")
        current.parallel.barrier()  # no rank is past this line before all are here
        self.next(self.compare)

    @step
    def compare(self, inputs):
        # An artifact belongs to the rank that set it; the inputs are the ranks, in order.
        self.by_hand = sum(rank.share for rank in inputs)
        self.total = inputs[0].total
        self.next(self.end)

    @step
    def end(self):
        print(f"gathered {self.total:.6f}, from the artifacts {self.by_hand:.6f}")


if __name__ == "__main__":
    GangFlow()
