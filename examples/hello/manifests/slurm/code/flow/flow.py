"""Three steps, one after the other, and an artifact that goes with them."""

from flowc import FlowSpec, step


class HelloFlow(FlowSpec):
    """Say hello."""

    @step
    def start(self):
        self.name_of_the_world = "world"
        self.next(self.hello)

    @step
    def hello(self):
        self.greeting = f"Hello, {self.name_of_the_world}!"
        print(self.greeting)
        self.next(self.end)

    @step
    def end(self):
        print(f"{len(self.greeting)} letters")


if __name__ == "__main__":
    HelloFlow()
