"""Resume: after a failure the run goes on where it stopped; what was done is not done again."""

import os
import time

from flowc import FlowSpec, current, step


class ResumeFlow(FlowSpec):
    """A foreach of which one branch fails as long as the environment has no READY in it."""

    @step
    def start(self):
        self.stamp = time.time()
        self.places = ["north", "east", "south"]
        self.next(self.survey, foreach="places")

    @step
    def survey(self):
        self.done_in = current.run_id
        if self.input == "south" and "READY" not in os.environ:
            time.sleep(0.5)  # the other branches are through by then
            raise RuntimeError("the south is not ready yet: set READY and resume")
        self.result = f"{self.input} surveyed"
        self.next(self.collect)

    @step
    def collect(self, inputs):
        self.results = [branch.result for branch in inputs]
        self.runs = [branch.done_in for branch in inputs]
        self.merge_artifacts(inputs, include=["stamp"])
        self.next(self.end)

    @step
    def end(self):
        for result, run in zip(self.results, self.runs):
            print(f"{result} in run {run}")


if __name__ == "__main__":
    ResumeFlow()
