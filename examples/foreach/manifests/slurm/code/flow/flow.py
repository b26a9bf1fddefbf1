"""One task for each item of a list, whose length is known only at run time; the join sees their results in order."""

from flowc import FlowSpec, Parameter, step


class ForeachFlow(FlowSpec):
    """Find the prime numbers below a limit, one task for each stretch of a thousand."""

    limit = Parameter("limit", default=20_000, help="Look for primes below this number")

    @step
    def start(self):
        self.stretches = [(low, min(low + 1000, self.limit)) for low in range(0, self.limit, 1000)]
        self.next(self.sieve, foreach="stretches")

    @step
    def sieve(self):
        low, high = self.input
        candidates = range(max(low, 2), high)
        self.primes = [n for n in candidates if all(n % d for d in range(2, int(n**0.5) + 1))]
        self.next(self.collect)

    @step
    def collect(self, inputs):
        self.counts = [len(branch.primes) for branch in inputs]
        self.largest = max(prime for branch in inputs for prime in branch.primes)
        self.next(self.end)

    @step
    def end(self):
        print(f"{sum(self.counts)} primes below {self.limit}, the largest is {self.largest}")


if __name__ == "__main__":
    ForeachFlow()
