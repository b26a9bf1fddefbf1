"""A Ray cluster over the nodes of a gang, there for as long as the step."""

from flowc import FlowSpec, Parameter, metaflow_ray, step


class RayFlow(FlowSpec):
    """Estimate pi by throwing darts, on every node at once."""

    nodes = Parameter("nodes", default=2, help="Size of the gang")
    darts = Parameter("darts", default=200_000, help="Darts of each throw")

    @step
    def start(self):
        self.next(self.throw, num_parallel=self.nodes)

    @metaflow_ray
    @step
    def throw(self):
        # This runs on the cluster's head, once all nodes have joined.
        import ray

        ray.init()

        @ray.remote(scheduling_strategy="SPREAD")
        def hits(seed, darts):
            import numpy as np

            x, y = np.random.default_rng(seed).random((2, darts))
            return int((x * x + y * y < 1).sum())

        found = ray.get([hits.remote(seed, self.darts) for seed in range(8)])
        self.cluster = len(ray.nodes())
        self.pi = 4 * sum(found) / (len(found) * self.darts)
        print(f"{len(found)} throws on a cluster of {self.cluster} nodes")
        self.next(self.join)

    @step
    def join(self, inputs):
        self.cluster, self.pi = inputs[0].cluster, inputs[0].pi
        self.next(self.end)

    @step
    def end(self):
        print(f"pi is about {self.pi:.3f}")


if __name__ == "__main__":
    RayFlow()
