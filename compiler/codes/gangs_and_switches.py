"""FC1xx: gangs and switches."""

from __future__ import annotations

from .code import Code, entry

_JOIN = """
        @step
        def join(self, inputs):
            self.next(self.end)
        """
_GANG = f"""
        @parallel
        @step
        def train(self):
            self.next(self.join)
        {_JOIN}"""

GANGS_AND_SWITCHES: tuple[Code, ...] = (
    entry(
        "FC115", "num_parallel is not the size of a gang",
        """It must be a whole number of 1 or more. flowc looks at literals, constants of the module, configs, class
        attributes that nothing sets and the defaults of parameters; what a step computes is checked when it runs.""",
        f"""
        @step
        def start(self):
            self.next(self.train, num_parallel=0)  # <--
        {_GANG}""",
        f"""
        @step
        def start(self):
            self.next(self.train, num_parallel=4)
        {_GANG}""",
    ),
    entry(
        "FC116", "num_parallel leads to a step that is no gang",
        "The step says by a decorator that it is run by many ranks at once, and what is booted in them.",
        f"""
        @step
        def start(self):
            self.next(self.train, num_parallel=4)  # <--

        @step
        def train(self):
            self.next(self.join)
        {_JOIN}""",
        f"""
        @step
        def start(self):
            self.next(self.train, num_parallel=4)
        {_GANG}""",
    ),
    entry(
        "FC117", "A gang decorator on a step that runs alone",
        "@parallel, @torchrun and the like have a meaning only on a step that num_parallel leads to.",
        """
        @step
        def start(self):
            self.next(self.train)

        @torchrun  # <--
        @step
        def train(self):
            self.next(self.end)
        """,
        f"""
        @step
        def start(self):
            self.next(self.train, num_parallel=2)

        @torchrun
        @step
        def train(self):
            self.next(self.join)
        {_JOIN}""",
    ),
    entry(
        "FC118", "A gang is not joined",
        "The step after a gang is its join, which sees what every rank has set, in the order of the ranks.",
        """
        @step
        def start(self):
            self.next(self.train, num_parallel=4)

        @parallel
        @step
        def train(self):
            self.next(self.report)  # <--

        @step
        def report(self):
            self.next(self.end)
        """,
        """
        @step
        def start(self):
            self.next(self.train, num_parallel=4)

        @parallel
        @step
        def train(self):
            self.next(self.report)

        @step
        def report(self, inputs):
            self.next(self.end)
        """,
    ),
    entry(
        "FC119", "A gang splits again",
        "Each rank would open branches of its own. Join the gang first.",
        f"""
        @step
        def start(self):
            self.next(self.train, num_parallel=4)

        @parallel
        @step
        def train(self):
            self.items = [1, 2]
            self.next(self.work, foreach="items")  # <--

        @step
        def work(self):
            self.next(self.join)
        {_JOIN}""",
        f"""
        @step
        def start(self):
            self.next(self.train, num_parallel=4)

        @parallel
        @step
        def train(self):
            self.next(self.gather)

        @step
        def gather(self, inputs):
            self.items = [1, 2]
            self.next(self.work, foreach="items")

        @step
        def work(self):
            self.next(self.join)
        {_JOIN}""",
    ),
    entry(
        "FC120", "A switch with fewer than two cases",
        "With one way to go there is nothing to decide.",
        """
        @step
        def start(self):
            self.mode = "fast"
            self.next({"fast": self.end}, condition="mode")  # <--
        """,
        """
        @step
        def start(self):
            self.mode = "fast"
            self.next({"fast": self.end, "slow": self.check}, condition="mode")

        @step
        def check(self):
            self.next(self.end)
        """,
    ),
    entry(
        "FC121", "A switch does not say what decides",
        "condition takes the name of the artifact that is compared with the cases, as text.",
        """
        @step
        def start(self):
            self.mode = "fast"
            self.next({"fast": self.end, "slow": self.check}, condition=self.mode)  # <--

        @step
        def check(self):
            self.next(self.end)
        """,
        """
        @step
        def start(self):
            self.mode = "fast"
            self.next({"fast": self.end, "slow": self.check}, condition="mode")

        @step
        def check(self):
            self.next(self.end)
        """,
    ),
    entry(
        "FC122", "A switch looks at an artifact that nothing sets",
        "No code of the flow can set an artifact of this name. flowc says nothing where it cannot know, as for FC113.",
        """
        @step
        def start(self):
            self.mode = "fast"
            self.next({"fast": self.end, "slow": self.check}, condition="mood")  # <--

        @step
        def check(self):
            self.next(self.end)
        """,
        """
        @step
        def start(self):
            self.mode = "fast"
            self.next({"fast": self.end, "slow": self.check}, condition="mode")

        @step
        def check(self):
            self.next(self.end)
        """,
    ),
    entry(
        "FC123", "A case is no constant, or is there twice",
        """The ways of a flow are known before it runs, so cases are constants. They are compared with the artifact as
        text.""",
        """
        @step
        def start(self):
            self.mode = "1"
            self.next({1: self.end, "1": self.check}, condition="mode")  # <--

        @step
        def check(self):
            self.next(self.end)
        """,
        """
        @step
        def start(self):
            self.mode = "1"
            self.next({1: self.end, 2: self.check}, condition="mode")

        @step
        def check(self):
            self.next(self.end)
        """,
    ),
)  # fmt: skip
