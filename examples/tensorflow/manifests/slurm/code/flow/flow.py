"""TensorFlow over several nodes: training under MultiWorkerMirroredStrategy."""

import os

from flowc import FlowSpec, Parameter, current, step, tensorflow

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # it is talkative


class TensorFlowFlow(FlowSpec):
    """Fit a line on a gang; every node runs the step, and TF_CONFIG tells it of the others."""

    nodes = Parameter("nodes", default=2, help="Size of the gang")
    steps = Parameter("steps", default=60, help="Steps of gradient descent")

    @step
    def start(self):
        self.next(self.train, num_parallel=self.nodes)

    @tensorflow
    @step
    def train(self):
        import tensorflow as tf

        strategy = tf.distribute.MultiWorkerMirroredStrategy()
        with strategy.scope():
            slope, offset = tf.Variable(0.0), tf.Variable(0.0)
        # Every node has points of its own.
        x = tf.random.stateless_normal([512], seed=[1, current.parallel.node_index])
        y = 3.0 * x - 1.0

        @tf.function
        def descend():
            replica = tf.distribute.get_replica_context()
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean((slope * x + offset - y) ** 2)
            gradients = tape.gradient(loss, [slope, offset])
            for variable, gradient in zip((slope, offset), replica.all_reduce(tf.distribute.ReduceOp.MEAN, gradients)):
                variable.assign_sub(0.1 * gradient)
            return loss

        for _ in range(self.steps):
            loss = strategy.run(descend)
        self.learnt = float(slope.numpy()), float(offset.numpy())
        self.replicas = strategy.num_replicas_in_sync
        print(f"loss {float(loss):.6f} on node {current.parallel.node_index}")
        self.next(self.join)

    @step
    def join(self, inputs):
        self.learnt = [node.learnt for node in inputs]
        self.replicas = inputs[0].replicas
        self.next(self.end)

    @step
    def end(self):
        slope, offset = self.learnt[0]
        print(f"y = {slope:.2f} x + {offset:.2f}, learnt by {self.replicas} replicas")


if __name__ == "__main__":
    TensorFlowFlow()
