from flowc import FlowSpec, metaflow_ray, step


class RayGang(FlowSpec):
    @step
    def start(self):
        self.next(self.train, num_parallel=2)

    @metaflow_ray
    @step
    def train(self):
        import ray

        ray.init()
        assert sum(node["Alive"] for node in ray.nodes()) == 2
        self.next(self.join)

    @step
    def join(self, inputs):
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    RayGang()
