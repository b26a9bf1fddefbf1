"""FC1xx: `self.next`."""

from __future__ import annotations

from .code import Code, entry

TRANSITIONS: tuple[Code, ...] = (
    entry(
        "FC104", "A step does not say what follows",
        "Every step but the last ends with self.next.",
        """
        @step
        def start(self):
            self.next(self.work)

        @step
        def work(self):  # <--
            self.total = 1
        """,
        """
        @step
        def start(self):
            self.next(self.work)

        @step
        def work(self):
            self.total = 1
            self.next(self.end)
        """,
    ),
    entry(
        "FC105", "self.next is called more than once",
        "A step is left once. To start several steps at once, name them all in one call.",
        """
        @step
        def start(self):
            self.next(self.one)
            self.next(self.two)  # <--

        @step
        def one(self):
            self.next(self.join)

        @step
        def two(self):
            self.next(self.join)

        @step
        def join(self, inputs):
            self.next(self.end)
        """,
        """
        @step
        def start(self):
            self.next(self.one, self.two)

        @step
        def one(self):
            self.next(self.join)

        @step
        def two(self):
            self.next(self.join)

        @step
        def join(self, inputs):
            self.next(self.end)
        """,
    ),
    entry(
        "FC106", "self.next stands inside another statement",
        """The ways of a flow are read from its source before it runs, so self.next stands by itself at the end of a
        step. Where the data decide, a switch names all the ways.""",
        """
        @step
        def start(self):
            self.ready = True
            if self.ready:
                self.next(self.work)  # <--
            else:
                self.next(self.end)

        @step
        def work(self):
            self.next(self.end)
        """,
        """
        @step
        def start(self):
            self.ready = True
            self.next({True: self.work, False: self.end}, condition="ready")

        @step
        def work(self):
            self.next(self.end)
        """,
    ),
    entry(
        "FC107", "self.next is not the last statement",
        "What stands after self.next still runs, which nobody who reads the flow expects.",
        """
        @step
        def start(self):
            self.next(self.end)  # <--
            self.total = 1
        """,
        """
        @step
        def start(self):
            self.total = 1
            self.next(self.end)
        """,
    ),
    entry(
        "FC108", "self.next is given something that is not a step",
        "Steps are written out, as self.<step>: no text, no call, no variable, no *list.",
        """
        @step
        def start(self):
            self.next("work")  # <--

        @step
        def work(self):
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
        "FC109", "There is no such step",
        "The name is misspelt, or the method lacks @step.",
        """
        @step
        def start(self):
            self.next(self.wrok)  # <--

        @step
        def work(self):
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
        "FC110", "self.next has no such option",
        "Its options are foreach, num_parallel and condition.",
        """
        @step
        def start(self):
            self.items = [1, 2]
            self.next(self.work, for_each="items")  # <--

        @step
        def work(self):
            self.next(self.end)
        """,
        """
        @step
        def start(self):
            self.items = [1, 2]
            self.next(self.work, foreach="items")

        @step
        def work(self):
            self.next(self.join)

        @step
        def join(self, inputs):
            self.next(self.end)
        """,
    ),
    entry(
        "FC111", "Options of self.next that exclude each other",
        """A step is left in one way: to the next step, to branches, as a foreach, to a gang or as a switch. foreach and
        num_parallel lead to one step; condition goes with cases.""",
        """
        @step
        def start(self):
            self.items = [1, 2]
            self.next(self.work, foreach="items", num_parallel=2)  # <--

        @parallel
        @step
        def work(self):
            self.next(self.join)

        @step
        def join(self, inputs):
            self.next(self.end)
        """,
        """
        @step
        def start(self):
            self.items = [1, 2]
            self.next(self.each, foreach="items")

        @step
        def each(self):
            self.next(self.work, num_parallel=2)

        @parallel
        @step
        def work(self):
            self.next(self.join_gang)

        @step
        def join_gang(self, inputs):
            self.next(self.join)

        @step
        def join(self, inputs):
            self.next(self.end)
        """,
    ),
    entry(
        "FC112", "foreach is given a value instead of a name",
        "foreach takes the name of the artifact to go through, as text.",
        """
        @step
        def start(self):
            self.items = [1, 2]
            self.next(self.work, foreach=self.items)  # <--

        @step
        def work(self):
            self.next(self.join)

        @step
        def join(self, inputs):
            self.next(self.end)
        """,
        """
        @step
        def start(self):
            self.items = [1, 2]
            self.next(self.work, foreach="items")

        @step
        def work(self):
            self.next(self.join)

        @step
        def join(self, inputs):
            self.next(self.end)
        """,
    ),
    entry(
        "FC113", "foreach names an artifact that nothing sets",
        """No code of the flow can set an artifact of this name. flowc says nothing where it cannot know: where self is
        handed to other functions, where setattr computes the name, or where a decorator of your own stands on a
        step.""",
        """
        @step
        def start(self):
            self.items = [1, 2]
            self.next(self.work, foreach="itmes")  # <--

        @step
        def work(self):
            self.next(self.join)

        @step
        def join(self, inputs):
            self.next(self.end)
        """,
        """
        @step
        def start(self):
            self.items = [1, 2]
            self.next(self.work, foreach="items")

        @step
        def work(self):
            self.next(self.join)

        @step
        def join(self, inputs):
            self.next(self.end)
        """,
    ),
    entry(
        "FC114", "foreach cannot go through this",
        "The name stands for a single number or for None, whatever the run.",
        """
        count = Parameter("count", default=3)

        @step
        def start(self):
            self.next(self.work, foreach="count")  # <--

        @step
        def work(self):
            self.next(self.join)

        @step
        def join(self, inputs):
            self.next(self.end)
        """,
        """
        count = Parameter("count", default=3)

        @step
        def start(self):
            self.numbers = range(self.count)
            self.next(self.work, foreach="numbers")

        @step
        def work(self):
            self.next(self.join)

        @step
        def join(self, inputs):
            self.next(self.end)
        """,
    ),
    entry(
        "FC124", "The last step leads on",
        "The flow is over after its last step.",
        """
        @step
        def start(self):
            self.next(self.end)

        @step
        def end(self):
            self.next(self.report)  # <--

        @step
        def report(self):
            pass
        """,
        """
        @step
        def start(self):
            self.next(self.report)

        @step
        def report(self):
            self.next(self.end)

        @step
        def end(self):
            pass
        """,
    ),
    entry(
        "FC140", "self.next names a step twice",
        "Each branch is a step of its own. One step for many items is a foreach.",
        """
        @step
        def start(self):
            self.next(self.work, self.work)  # <--

        @step
        def work(self):
            self.next(self.end)
        """,
        """
        @step
        def start(self):
            self.copies = [1, 2]
            self.next(self.work, foreach="copies")

        @step
        def work(self):
            self.next(self.join)

        @step
        def join(self, inputs):
            self.next(self.end)
        """,
    ),
    entry(
        "FC144", "self.next names no step",
        "It says which step follows.",
        """
        @step
        def start(self):
            self.next()  # <--
        """,
        """
        @step
        def start(self):
            self.next(self.end)
        """,
    ),
)  # fmt: skip
