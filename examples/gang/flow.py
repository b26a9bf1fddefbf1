"""A gang: several ranks that start together, know one another, and succeed or fail as one."""

import socket
import time

from flowc import FlowSpec, Parameter, current, parallel, step

ADDRESS_WAIT = 60  # seconds that rank 0 waits for the others


class GangFlow(FlowSpec):
    """Approximate pi: each rank sums its share of a series, rank 0 adds the shares up over TCP."""

    ranks = Parameter("ranks", default=4, help="Size of the gang")
    terms = Parameter("terms", default=400_000, help="Terms of the series")

    @step
    def start(self):
        # A port for the ranks to meet at that is free here; on a cluster, agree on one.
        with socket.socket() as probe:
            probe.bind(("", 0))
            self.port = probe.getsockname()[1]
        self.next(self.add_up, num_parallel=self.ranks)

    @parallel
    @step
    def add_up(self):
        rank, size = current.parallel.node_index, current.parallel.num_nodes
        # pi = 4 * (1 - 1/3 + 1/5 - 1/7 ...)
        self.share = sum(4 * (-1) ** k / (2 * k + 1) for k in range(rank, self.terms, size))
        if rank == 0:
            self.total = self.share + collect(self.port, size - 1)
            print(f"rank 0 of {size}: pi is about {self.total:.6f}")
        else:
            send(current.parallel.main_ip, self.port, self.share)
            print(f"rank {rank} of {size}: sent {self.share:.6f}")
        self.next(self.compare)

    @step
    def compare(self, inputs):
        # An artifact belongs to the rank that set it; the inputs are the ranks, in order.
        self.by_hand = sum(rank.share for rank in inputs)
        self.total = inputs[0].total
        self.next(self.end)

    @step
    def end(self):
        print(f"over TCP {self.total:.6f}, from the artifacts {self.by_hand:.6f}")



def collect(port, others):
    """Receive one number from each of the other ranks and add them up."""
    with socket.create_server(("", port)) as server:
        server.settimeout(ADDRESS_WAIT)
        total = 0.0
        for _ in range(others):
            connection, _ = server.accept()
            with connection, connection.makefile() as lines:
                total += float(lines.readline())
    return total


def send(host, port, number):
    """Send a number to rank 0, which may not be listening yet."""
    for _ in range(ADDRESS_WAIT * 20):
        try:
            with socket.create_connection((host, port), timeout=ADDRESS_WAIT) as connection:
                connection.sendall(f"{number!r}\n".encode())
            return
        except ConnectionRefusedError:
            time.sleep(0.05)
    raise TimeoutError(f"rank 0 did not listen at {host}:{port}")


if __name__ == "__main__":
    GangFlow()
