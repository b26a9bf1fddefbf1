"""FC2xx: decorators."""

from __future__ import annotations

from .code import Code, entry


def _around(decorator: str, mark: str = "") -> str:
    return f"""
        {decorator}{mark}
        @step
        def start(self):
            self.next(self.end)
        """


_HERE = "  # <--"

DECORATORS: tuple[Code, ...] = (
    entry(
        "FC201", "An option that the decorator does not have",
        "The name is misspelt, or belongs to another decorator.",
        _around("@retry(tims=3)", _HERE), _around("@retry(times=3)"),
    ),
    entry(
        "FC202", "An option of the wrong type",
        "Options are checked when the flow is compiled, not when a task fails on them.",
        _around('@retry(times="3")', _HERE), _around("@retry(times=3)"),
    ),
    entry(
        "FC203", "An option out of range",
        "The value is of the right type but cannot be kept.",
        _around("@retry(times=-1)", _HERE), _around("@retry(times=1)"),
    ),
    entry(
        "FC204", "A quantity that cannot be read",
        """Sizes are numbers of MiB, or text with a unit as Kubernetes writes it: 16Gi, 500M. Cores may be thousandths:
        500m. Devices are whole numbers.""",
        _around('@resources(memory="16 gigs")', _HERE), _around('@resources(memory="16Gi")'),
    ),
    entry(
        "FC205", "A decorator is there twice",
        "Which of the two would count is not clear. @secrets and @card may be repeated.",
        """
        @retry(times=1)
        @retry(times=2)  # <--
        @step
        def start(self):
            self.next(self.end)
        """,
        _around("@retry(times=2)"),
    ),
    entry(
        "FC206", "A decorator on something that is no step",
        "Decorators of flowc say something about steps; on another method they would do nothing.",
        """
        @retry
        def load(self):  # <--
            return 1

        @step
        def start(self):
            self.next(self.end)
        """,
        """
        def load(self):
            return 1

        @retry
        @step
        def start(self):
            self.next(self.end)
        """,
    ),
    entry(
        "FC207", "A decorator of flows on a step",
        "@schedule, @project, @trigger and the like say something about the whole flow.",
        _around("@schedule(daily=True)", _HERE),
        """
        @schedule(daily=True)
        class MyFlow(FlowSpec):
            @step
            def start(self):
                self.next(self.end)

            @step
            def end(self):
                pass
        """,
    ),
    entry(
        "FC208", "A decorator of steps on a flow",
        "It stands above each step that needs it. `--with` gives one to all steps.",
        """
        @retry  # <--
        class MyFlow(FlowSpec):
            @step
            def start(self):
                self.next(self.end)

            @step
            def end(self):
                pass
        """,
        """
        class MyFlow(FlowSpec):
            @retry
            @step
            def start(self):
                self.next(self.end)

            @step
            def end(self):
                pass
        """,
    ),
    entry(
        "FC209", "Two decorators that exclude each other",
        """A gang is formed by one framework, and the packages of a step are set up by one package manager.
        @kubernetes, @batch and @slurm do not exclude each other: each holds the settings of its own target. Where two
        of them ask for different amounts of one thing, a warning says so (FC218).""",
        """
        @step
        def start(self):
            self.next(self.train, num_parallel=2)

        @torchrun
        @deepspeed  # <--
        @step
        def train(self):
            self.next(self.join)

        @step
        def join(self, inputs):
            self.next(self.end)
        """,
        """
        @step
        def start(self):
            self.next(self.train, num_parallel=2)

        @deepspeed
        @step
        def train(self):
            self.next(self.join)

        @step
        def join(self, inputs):
            self.next(self.end)
        """,
    ),
    entry(
        "FC210", "@catch on a gang",
        """A gang lives and dies as one: when a rank fails, there are no results of the others that a join could go on
        with. Run the whole gang again with @retry.""",
        """
        @step
        def start(self):
            self.next(self.train, num_parallel=2)

        @catch(var="problem")  # <--
        @parallel
        @step
        def train(self):
            self.next(self.join)

        @step
        def join(self, inputs):
            self.next(self.end)
        """,
        """
        @step
        def start(self):
            self.next(self.train, num_parallel=2)

        @retry(times=2)
        @parallel
        @step
        def train(self):
            self.next(self.join)

        @step
        def join(self, inputs):
            self.next(self.end)
        """,
    ),
    entry(
        "FC211", "@catch on a step whose way on only it knows",
        """After the failure of a foreach, of the step that opens a gang or of a switch, nobody knows how wide or where
        to go on.""",
        """
        @catch  # <--
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
        """
        @step
        def start(self):
            self.items = [1, 2]
            self.next(self.work, foreach="items")

        @catch
        @step
        def work(self):
            self.next(self.join)

        @step
        def join(self, inputs):
            self.next(self.end)
        """,
    ),
    entry(
        "FC212", "Options without names",
        "Options are given by name.",
        _around("@retry(3)", _HERE), _around("@retry(times=3)"),
    ),
    entry(
        "FC213", "@schedule without one clear time",
        "It has one of cron, hourly, daily and weekly. Cron text is minute, hour, day, month, weekday.",
        """
        @schedule(cron="61 * * * *")  # <--
        class MyFlow(FlowSpec):
            @step
            def start(self):
                self.next(self.end)

            @step
            def end(self):
                pass
        """,
        """
        @schedule(cron="59 * * * *")
        class MyFlow(FlowSpec):
            @step
            def start(self):
                self.next(self.end)

            @step
            def end(self):
                pass
        """,
    ),
    entry(
        "FC214", "An environment variable that cannot be set",
        "Names are letters, digits and underscores, values are text, and names that begin with FLOWC_ are flowc's.",
        _around('@environment(vars={"WORKERS": 4})', _HERE), _around('@environment(vars={"WORKERS": "4"})'),
    ),
    entry(
        "FC215", "A decorator that is lost",
        """A decorator of your own that gives back a new function without functools.wraps drops what stands below it.
        Only the mark of @step above it survives.""",
        """
        def logged(function):
            def call(self):
                function(self)
            return call


        class MyFlow(FlowSpec):
            @step
            @logged
            @retry  # <--
            def start(self):
                self.next(self.end)

            @step
            def end(self):
                pass
        """,
        """
        def logged(function):
            def call(self):
                function(self)
            return call


        class MyFlow(FlowSpec):
            @retry
            @step
            @logged
            def start(self):
                self.next(self.end)

            @step
            def end(self):
                pass
        """,
    ),
    entry(
        "FC216", "A decorator that says nothing",
        "@timeout needs a time and @project a name.",
        _around("@timeout", _HERE), _around("@timeout(minutes=5)"),
    ),
    entry(
        "FC217", "An option that is not plain data",
        """Options become part of manifests, so they are text, numbers, True, False, None, and lists and dictionaries
        of them.""",
        _around("@secrets(sources=[object()])", _HERE), _around('@secrets(sources=["database"])'),
    ),
    entry(
        "FC218", "Two compute decorators that disagree",
        """What a step needs seldom depends on where it runs, so one of the two is probably out of date. This is a
        warning: nodes may differ, and then both are right.""",
        """
        @kubernetes(memory=4096)
        @batch(memory=8192)  # <--
        @step
        def start(self):
            self.next(self.end)
        """,
        _around("@resources(memory=8192)"),
    ),
)  # fmt: skip
