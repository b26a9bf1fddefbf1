"""Flows that the tests of the command line run, and a way to call it in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

FLOWC = [sys.executable, "-m", "flowc"]

HELLO = '''
from flowc import FlowSpec, Parameter, step


class HelloFlow(FlowSpec):
    """Say hello.

    More about it.
    """

    alpha = Parameter("alpha", default=0.5, help="learning rate")
    name_of = Parameter("name-of", default="world", help="whom to greet")
    loud = Parameter("loud", default=False, type=bool)

    @step
    def start(self):
        """Begin with a greeting."""
        self.greeting = f"hello {self.name_of} {self.alpha!r} {self.loud!r}"
        print(self.greeting)
        self.next(self.end)

    @step
    def end(self):
        self.total = 42


if __name__ == "__main__":
    HelloFlow()
'''

FANOUT = """
import os
import sys
import time

from flowc import FlowSpec, Parameter, retry, step


class FanFlow(FlowSpec):
    width = Parameter("width", default=3)
    bad = Parameter("bad", default=-1, help="index that fails")
    flaky = Parameter("flaky", default=-1, help="index whose first attempt fails")
    crash = Parameter("crash", default=-1, help="index that is killed")
    nap = Parameter("nap", default=0.0)

    @step
    def start(self):
        self.items = list(range(self.width))
        self.next(self.work, foreach="items")

    @retry(times=1, minutes_between_retries=0)
    @step
    def work(self):
        from flowc import current

        print("item", self.input)
        print("to stderr", self.input, file=sys.stderr)
        if self.input == self.flaky and current.retry_count == 0:
            raise RuntimeError("only once")
        if self.input == self.bad and not os.path.exists("mended"):
            raise ValueError(f"bad item {self.input}")
        if self.input == self.crash:
            os.kill(os.getpid(), 9)
        time.sleep(self.nap)
        self.square = self.input ** 2
        self.next(self.join)

    @step
    def join(self, inputs):
        self.squares = [each.square for each in inputs]
        self.next(self.end)

    @step
    def end(self):
        print("squares", self.squares)


if __name__ == "__main__":
    FanFlow()
"""


def flowc(folder: Path, *words: str, command: list[str] | None = None, **env: str) -> tuple[int, str, str]:
    """Exit code, output and errors of a command in a process of its own."""
    result = subprocess.run(
        [*(command or FLOWC), *words], cwd=folder, env={**os.environ, **env}, capture_output=True, text=True, timeout=60
    )
    return result.returncode, result.stdout, result.stderr
