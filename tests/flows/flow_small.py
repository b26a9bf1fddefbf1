"""A flow of three steps whose bodies a test fills in, for tests of what one step does."""

from __future__ import annotations

FLOW = """
from DSL import FlowSpec, step

class SmallFlow(FlowSpec):
    @step
    def start(self):
        self.number = 1
        START
        self.next(self.middle)

    @step
    def middle(self):
        MIDDLE
        self.next(self.end)

    @step
    def end(self):
        END

if __name__ == "__main__":
    SmallFlow()
"""

END_STEP = "    @step\n    def end"


def small(start: str = "pass", middle: str = "pass", end: str = "pass") -> str:
    return FLOW.replace("START", start).replace("MIDDLE", middle).replace("END", end)


def fanned(start: str) -> str:
    """The flow with a foreach over ``things``."""
    text = small(start).replace("self.next(self.middle)", "self.next(self.middle, foreach='things')")
    join = "    @step\n    def join(self, inputs):\n        self.next(self.end)\n\n"
    return text.replace("self.next(self.end)", "self.next(self.join)").replace(END_STEP, join + END_STEP)
