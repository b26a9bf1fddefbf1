"""FC1xx: reachability, cycles, splits and joins."""

from __future__ import annotations

from .code import Code, entry

_SPLIT = """
        @step
        def start(self):
            self.next(self.one, self.two)
        """
_ONE = """
        @step
        def one(self):
            self.next(self.join)
        """
_TWO = """
        @step
        def two(self):
            self.next(self.join)
        """
_JOIN = """
        @step
        def join(self, inputs):
            self.next(self.end)
        """
_BALANCED = f"{_SPLIT}{_ONE}{_TWO}{_JOIN}"

SPLITS: tuple[Code, ...] = (
    entry(
        "FC125", "No step leads to a step",
        "The step would never run.",
        """
        @step
        def start(self):
            self.next(self.end)

        @step
        def report(self):  # <--
            self.next(self.end)
        """,
        """
        @step
        def start(self):
            self.next(self.report)

        @step
        def report(self):
            self.next(self.end)
        """,
    ),
    entry(
        "FC126", "Steps that go round for ever",
        "A way back to an earlier step is allowed where a switch decides whether it is taken.",
        """
        @step
        def start(self):
            self.next(self.work)

        @step
        def work(self):
            self.next(self.check)

        @step
        def check(self):
            self.next(self.work)  # <--
        """,
        """
        @step
        def start(self):
            self.next(self.work)

        @step
        def work(self):
            self.next(self.check)

        @step
        def check(self):
            self.good = True
            self.next({False: self.work, True: self.end}, condition="good")
        """,
    ),
    entry(
        "FC127", "A loop without a way out",
        "All cases of the switch lead back into the loop.",
        """
        @step
        def start(self):
            self.next(self.work)

        @step
        def work(self):
            self.again = "yes"
            self.next({"yes": self.work, "no": self.rest}, condition="again")  # <--

        @step
        def rest(self):
            self.next(self.work)
        """,
        """
        @step
        def start(self):
            self.next(self.work)

        @step
        def work(self):
            self.again = "yes"
            self.next({"yes": self.work, "no": self.rest}, condition="again")

        @step
        def rest(self):
            self.next(self.end)
        """,
    ),
    entry(
        "FC128", "A split is never joined",
        "Every split, foreach and gang is closed by one join before the flow ends.",
        """
        @step
        def start(self):
            self.items = [1, 2]
            self.next(self.work, foreach="items")  # <--

        @step
        def work(self):
            self.next(self.end)
        """,
        f"""
        @step
        def start(self):
            self.items = [1, 2]
            self.next(self.work, foreach="items")

        @step
        def work(self):
            self.next(self.join)
        {_JOIN}""",
    ),
    entry(
        "FC129", "Branches meet in a step that is no join",
        "Steps that run at once can only meet in a join, which takes their results as inputs.",
        f"""{_SPLIT}{_ONE}{_TWO}
        @step
        def join(self):  # <--
            self.next(self.end)
        """,
        _BALANCED,
    ),
    entry(
        "FC130", "A join with nothing to join",
        "A step that takes inputs must close a split, a foreach or a gang.",
        """
        @step
        def start(self):
            self.next(self.work)

        @step
        def work(self, inputs):  # <--
            self.next(self.end)
        """,
        """
        @step
        def start(self):
            self.next(self.work)

        @step
        def work(self):
            self.next(self.end)
        """,
    ),
    entry(
        "FC131", "A join that joins two splits",
        "Splits nest: the inner one is joined before the outer one, each by a join of its own.",
        f"""{_SPLIT}{_ONE}
        @step
        def two(self):
            self.next(self.three, self.four)

        @step
        def three(self):
            self.next(self.join)

        @step
        def four(self):
            self.next(self.join)

        @step
        def join(self, inputs):  # <--
            self.next(self.end)
        """,
        f"""{_SPLIT}{_ONE}
        @step
        def two(self):
            self.next(self.three, self.four)

        @step
        def three(self):
            self.next(self.inner)

        @step
        def four(self):
            self.next(self.inner)

        @step
        def inner(self, inputs):
            self.next(self.join)
        {_JOIN}""",
    ),
    entry(
        "FC132", "A join that lacks a branch",
        "A join waits for every branch of its split.",
        f"""{_SPLIT}{_ONE}
        @step
        def two(self):
            self.next(self.end)

        @step
        def join(self, inputs):  # <--
            self.next(self.end)
        """,
        _BALANCED,
    ),
    entry(
        "FC133", "A split leads straight to its join",
        "A branch has at least one step, whose results the join sees as one of its inputs.",
        f"""
        @step
        def start(self):
            self.next(self.one, self.join)  # <--
        {_ONE}{_JOIN}""",
        _BALANCED,
    ),
    entry(
        "FC134", "A loop that leaves its split",
        "The way back must end in the same splits that it begins in, or there would be ever more branches to join.",
        f"""
        @step
        def start(self):
            self.next(self.begin)

        @step
        def begin(self):
            self.next(self.one, self.two)

        @step
        def one(self):
            self.good = "yes"
            self.next({{"yes": self.join, "no": self.begin}}, condition="good")  # <--
        {_TWO}{_JOIN}""",
        f"""
        @step
        def start(self):
            self.next(self.begin)

        @step
        def begin(self):
            self.next(self.one, self.two)

        @step
        def one(self):
            self.good = "yes"
            self.next({{"yes": self.join, "no": self.one}}, condition="good")
        {_TWO}{_JOIN}""",
    ),
    entry(
        "FC145", "A split is joined twice",
        """The branches of a foreach all end in the same join; a switch among them decides before it, not by choosing a
        join.""",
        """
        @step
        def start(self):
            self.items = [1, 2]
            self.next(self.work, foreach="items")

        @step
        def work(self):
            self.good = "yes"
            self.next({"yes": self.keep, "no": self.drop}, condition="good")

        @step
        def keep(self, inputs):
            self.next(self.end)

        @step
        def drop(self, inputs):  # <--
            self.next(self.end)
        """,
        """
        @step
        def start(self):
            self.items = [1, 2]
            self.next(self.work, foreach="items")

        @step
        def work(self):
            self.good = "yes"
            self.next({"yes": self.keep, "no": self.drop}, condition="good")

        @step
        def keep(self):
            self.next(self.join)

        @step
        def drop(self):
            self.next(self.join)

        @step
        def join(self, inputs):
            self.next(self.end)
        """,
    ),
    entry(
        "FC146", "A loop back to the first step",
        "The first step stands for the beginning of a run and is entered once.",
        """
        @step
        def start(self):
            self.next(self.work)

        @step
        def work(self):
            self.good = "yes"
            self.next({"yes": self.end, "no": self.start}, condition="good")  # <--
        """,
        """
        @step
        def start(self):
            self.next(self.work)

        @step
        def work(self):
            self.good = "yes"
            self.next({"yes": self.end, "no": self.work}, condition="good")
        """,
    ),
)  # fmt: skip
