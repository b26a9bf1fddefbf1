"""FC4xx: what a target cannot do."""

from __future__ import annotations

from .code import Code, entry

TARGETS: tuple[Code, ...] = (
    entry(
        "FC401", "A framework that the target cannot form",
        "`flowc targets` shows which gangs each target can form; the example is for a target with @parallel alone.",
        """
        @step
        def start(self):
            self.next(self.train, num_parallel=2)

        @torchrun
        @step
        def train(self):  # <--
            self.next(self.join)

        @step
        def join(self, inputs):
            self.next(self.end)
        """,
        """
        @step
        def start(self):
            self.next(self.train, num_parallel=2)

        @parallel
        @step
        def train(self):
            self.next(self.join)

        @step
        def join(self, inputs):
            self.next(self.end)
        """, target="local",
    ),
    entry(
        "FC402", "A timeout that the target cannot keep",
        """Kubernetes pods and AWS Batch jobs take a while to start and to end; AWS Batch takes no timeout under 60
        seconds, and on Kubernetes a shorter one would end tasks that have only just begun.""",
        """
        @timeout(seconds=20)
        @step
        def start(self):  # <--
            self.next(self.end)
        """,
        """
        @timeout(seconds=60)
        @step
        def start(self):
            self.next(self.end)
        """, target="batch",
    ),
    entry(
        "FC403", "A gang that is too large for the target",
        "AWS Batch runs a multi-node job on at most 1000 nodes.",
        """
        @step
        def start(self):  # <--
            self.next(self.train, num_parallel=2000)

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
            self.next(self.train, num_parallel=1000)

        @parallel
        @step
        def train(self):
            self.next(self.join)

        @step
        def join(self, inputs):
            self.next(self.end)
        """, target="batch",
    ),
    entry(
        "FC404", "More retries than the target allows",
        "AWS Batch makes at most 10 attempts at a job, the first included.",
        """
        @retry(times=20)
        @step
        def start(self):  # <--
            self.next(self.end)
        """,
        """
        @retry(times=9)
        @step
        def start(self):
            self.next(self.end)
        """, target="batch",
    ),
    entry(
        "FC405", "A loop, on a target that has none",
        "The jobs of a Slurm run are chained by dependencies, and a chain has no way back.",
        """
        @step
        def start(self):
            self.next(self.work)

        @step
        def work(self):  # <--
            self.good = "yes"
            self.next({"yes": self.end, "no": self.work}, condition="good")
        """,
        """
        @step
        def start(self):
            self.next(self.work)

        @step
        def work(self):
            self.good = "yes"
            self.next({"yes": self.end, "no": self.mend}, condition="good")

        @step
        def mend(self):
            self.next(self.end)
        """, target="slurm",
    ),
    entry(
        "FC406", "A decorator without effect on the target",
        """flowc accepts it, so that the flow stays one for all targets, and says once by name where it does nothing. A
        warning where a task may miss it, a note where it only concerns how tasks are placed or started.""",
        """
        @pypi(packages={"numpy": "2.0"})  # <--
        @step
        def start(self):
            self.next(self.end)
        """,
        """
        @step
        def start(self):
            self.next(self.end)
        """, target="local",
    ),
    entry(
        "FC407", "An option without effect on the target",
        "The decorator is honoured, but not this option of it. A warning.",
        """
        @kubernetes(compute_pool="large")
        @step
        def start(self):  # <--
            self.next(self.end)
        """,
        """
        @kubernetes(node_selector={"pool": "large"})
        @step
        def start(self):
            self.next(self.end)
        """, target="argo",
    ),
    entry(
        "FC408", "An environment variable that belongs to the target",
        "AWS Batch refuses jobs that set variables beginning with AWS_BATCH; Slurm sets the SLURM_ ones itself.",
        """
        @environment(vars={"AWS_BATCH_MODE": "x"})
        @step
        def start(self):  # <--
            self.next(self.end)
        """,
        """
        @environment(vars={"BATCH_MODE": "x"})
        @step
        def start(self):
            self.next(self.end)
        """, target="batch",
    ),
)  # fmt: skip
