"""What to do when things go wrong: try again, go on without, give up in time."""

import time

from flowc import FlowSpec, Parameter, catch, current, retry, step, timeout


class TroubleFlow(FlowSpec):
    """Four sources, of which one works at once, one at the third attempt, one hangs and one never works."""

    patience = Parameter("patience", default=60, help="How long the source that hangs would hang, in seconds")

    @step
    def start(self):
        self.sources = ["good", "shaky", "hanging", "broken"]
        self.next(self.fetch, foreach="sources")

    @catch(var="failure")
    @timeout(seconds=1)
    @retry(times=2, minutes_between_retries=0)
    @step
    def fetch(self):
        self.source = self.input
        self.data = None
        if self.source == "shaky" and current.retry_count < 2:
            raise ConnectionError(f"no answer (attempt {current.retry_count})")
        if self.source == "hanging":
            time.sleep(self.patience)
        if self.source == "broken":
            raise ValueError("the data make no sense")
        self.data = f"{self.source} data, attempt {current.retry_count}"
        self.next(self.collect)

    @step
    def collect(self, inputs):
        self.data = [branch.data for branch in inputs if branch.failure is None]
        self.failures = [str(branch.failure) for branch in inputs if branch.failure is not None]
        self.next(self.end)

    @step
    def end(self):
        print("got:", *self.data, sep="\n  ")
        print("went without:", *self.failures, sep="\n  ")


if __name__ == "__main__":
    TroubleFlow()
