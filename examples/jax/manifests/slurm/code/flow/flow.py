"""JAX over several nodes: one array whose parts lie on all of them."""

from flowc import FlowSpec, Parameter, jax, step


class JaxFlow(FlowSpec):
    """Sum an array that no node has as a whole."""

    nodes = Parameter("nodes", default=2, help="Size of the gang")
    each = Parameter("each", default=1000, help="Numbers on each device")

    @step
    def start(self):
        self.next(self.add, num_parallel=self.nodes)

    @jax
    @step
    def add(self):
        # jax.distributed is initialised by now, on every node.
        import jax
        import jax.numpy as jnp
        from jax.sharding import Mesh, NamedSharding, PartitionSpec

        mesh = Mesh(jax.devices(), ("devices",))
        count = self.each * jax.device_count()
        sharding = NamedSharding(mesh, PartitionSpec("devices"))
        numbers = jax.make_array_from_callback((count,), sharding, lambda part: jnp.arange(count, dtype=float)[part])
        self.total = float(jax.jit(jnp.sum)(numbers))
        print(f"process {jax.process_index()} of {jax.process_count()}: the sum is {self.total:.0f}")
        self.next(self.join)

    @step
    def join(self, inputs):
        self.totals = [node.total for node in inputs]
        self.count = self.each * len(self.totals)
        self.next(self.end)

    @step
    def end(self):
        print(f"every node has {self.totals[0]:.0f}")


if __name__ == "__main__":
    JaxFlow()
