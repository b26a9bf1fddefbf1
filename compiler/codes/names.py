"""FC1xx: what steps, methods and artifacts are called."""

from __future__ import annotations

from .code import Code, entry

NAMES: tuple[Code, ...] = (
    entry(
        "FC101", "The flow has no start step",
        "A flow begins with the step called start, or with the one marked @step(start=True).",
        """
        class MyFlow(FlowSpec):  # <--
            @step
            def begin(self):
                self.next(self.end)

            @step
            def end(self):
                pass
        """,
        """
        class MyFlow(FlowSpec):
            @step(start=True)
            def begin(self):
                self.next(self.end)

            @step
            def end(self):
                pass
        """,
    ),
    entry(
        "FC102", "The flow has no end step",
        "A flow ends with the step called end, or with the one marked @step(end=True).",
        """
        class MyFlow(FlowSpec):  # <--
            @step
            def start(self):
                self.next(self.finish)

            @step
            def finish(self):
                pass
        """,
        """
        class MyFlow(FlowSpec):
            @step
            def start(self):
                self.next(self.finish)

            @step(end=True)
            def finish(self):
                pass
        """,
    ),
    entry(
        "FC103", "Several steps are marked as start or end",
        "There is one step to begin with and one to end with.",
        """
        @step(start=True)
        def one(self):
            self.next(self.two)

        @step(start=True)
        def two(self):  # <--
            self.next(self.end)
        """,
        """
        @step(start=True)
        def one(self):
            self.next(self.two)

        @step
        def two(self):
            self.next(self.end)
        """,
    ),
    entry(
        "FC135", "A name that no step can have",
        """Step names become names of folders, jobs and templates on every target: a small letter first, then small
        letters, digits and underscores, and no more than 100 characters.""",
        """
        @step
        def start(self):
            self.next(self.trainModel)

        @step
        def trainModel(self):  # <--
            self.next(self.end)
        """,
        """
        @step
        def start(self):
            self.next(self.train_model)

        @step
        def train_model(self):
            self.next(self.end)
        """,
    ),
    entry(
        "FC136", "A name that belongs to FlowSpec",
        """self.next, self.input, self.index, self.name, self.foreach_stack, self.merge_artifacts and self.script_name
        are part of every flow. A step, parameter, method or artifact of that name would hide them.""",
        """
        @step
        def start(self):
            self.input = "data.csv"  # <--
            self.next(self.end)
        """,
        """
        @step
        def start(self):
            self.source = "data.csv"
            self.next(self.end)
        """,
    ),
    entry(
        "FC137", "A step is defined twice",
        "Python keeps the last of two methods of one name in a class; the first is lost without a word.",
        """
        @step
        def start(self):
            self.next(self.work)

        @step
        def work(self):
            self.next(self.end)

        @step
        def work(self):  # <--
            self.next(self.end)
        """,
        """
        @step
        def start(self):
            self.next(self.work)

        @step
        def work(self):
            self.next(self.more_work)

        @step
        def more_work(self):
            self.next(self.end)
        """,
    ),
    entry(
        "FC138", "A step that cannot be called",
        """A step takes self; a join takes self and its inputs. It is an ordinary function: flowc neither awaits it nor
        goes through what it yields.""",
        """
        @step
        def start(self):
            self.next(self.work)

        @step
        def work(self, first, second):  # <--
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
        "FC139", "The first or last step is a join",
        "Nothing comes before the first step, and the last one ends the flow for good; a join is a step of its own.",
        """
        @step
        def start(self):
            self.items = [1, 2]
            self.next(self.work, foreach="items")

        @step
        def work(self):
            self.next(self.end)

        @step
        def end(self, inputs):  # <--
            pass
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

        @step
        def end(self):
            pass
        """,
    ),
    entry(
        "FC141", "A parameter or config is assigned to",
        "Parameters and configs have the same value throughout a run. An artifact needs a name of its own.",
        """
        rate = Parameter("rate", default=0.1)

        @step
        def start(self):
            self.rate = self.rate / 2  # <--
            self.next(self.end)
        """,
        """
        rate = Parameter("rate", default=0.1)

        @step
        def start(self):
            self.half_rate = self.rate / 2
            self.next(self.end)
        """,
    ),
    entry(
        "FC142", "An artifact has the name of a step",
        "After self.work = ... the name no longer means the step, so no later self.next could lead to it.",
        """
        @step
        def start(self):
            self.work = 3  # <--
            self.next(self.work)

        @step
        def work(self):
            self.next(self.end)
        """,
        """
        @step
        def start(self):
            self.amount = 3
            self.next(self.work)

        @step
        def work(self):
            self.next(self.end)
        """,
    ),
    entry(
        "FC143", "A decorator hides a step",
        """A decorator above @step that gives back a function of its own, without functools.wraps, takes the mark of
        @step away. Below @step it does no harm.""",
        """
        def logged(function):
            def call(self):
                print("working")
                function(self)
            return call


        class MyFlow(FlowSpec):
            @logged  # <--
            @step
            def hello(self):
                self.next(self.end)

            @step
            def start(self):
                self.next(self.end)

            @step
            def end(self):
                pass
        """,
        """
        def logged(function):
            def call(self):
                print("working")
                function(self)
            return call


        class MyFlow(FlowSpec):
            @step
            @logged
            def start(self):
                self.next(self.end)

            @step
            def end(self):
                pass
        """,
    ),
)  # fmt: skip
