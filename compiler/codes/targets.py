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
        "AWS Batch takes no timeout under 60 seconds.",
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
        "A switch may lead back to an earlier step only where the target can run a step again.",
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
        """, target="batch",
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
        """AWS Batch refuses jobs that set variables beginning with AWS_BATCH; Slurm sets the SLURM_ ones itself. On
        Argo those that begin with ARGO_, KUBERNETES_ or JOBSET_ are set already, and REPLICATED_JOB_NAME and
        JOB_COMPLETION_INDEX, which tell the ranks of a gang who they are.""",
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
    entry(
        "FC409", "A value that the target would misread",
        """sbatch reads the lines of a script word by word: a blank ends a value, a comma begins the next one, and #
        ends the line. flowc quotes nothing there and refuses what would need it. Lists of hosts must follow Slurm's
        form. On Kubernetes names, labels, tolerations and the like must be as its API wants them, and no text may hold
        {{, which Argo replaces.""",
        """
        @slurm(partition="gpu #1")
        @step
        def start(self):  # <--
            self.next(self.end)
        """,
        """
        @slurm(partition="gpu1")
        @step
        def start(self):
            self.next(self.end)
        """, target="slurm",
    ),
    entry(
        "FC410", "An option of sbatch that has its place elsewhere",
        """extra= is for options of sbatch that flowc knows nothing of. What another decorator says, or what flowc sets
        itself to chain the jobs, cannot be said there once more. Nor can a step say two things of which Slurm takes
        only one: more hosts in nodelist= than it has nodes, other GPUs in gres= than in @resources, or more time to
        save in @checkpoint(grace=) than its job has.""",
        """
        @slurm(extra={"mem": "16G"})
        @step
        def start(self):  # <--
            self.next(self.end)
        """,
        """
        @resources(memory="16G")
        @step
        def start(self):
            self.next(self.end)
        """, target="slurm",
    ),
    entry(
        "FC411", "More text than a job can hold",
        """Slurm takes scripts of up to 4 MiB, and Linux starts no program with a variable of more than 128 KiB. On Argo
        the variables of a step have 112 KiB together, and no object of Kubernetes, such as the flow's WorkflowTemplate,
        more than 1 MiB.""",
        """
        @environment(vars={"TABLE": "0123456789abcdef" * 10_000})
        @step
        def start(self):  # <--
            self.next(self.end)
        """,
        """
        @step
        def start(self):
            self.table = "0123456789abcdef" * 10_000
            self.next(self.end)
        """, target="slurm",
    ),
    entry(
        "FC412", "More code than can travel",
        """The flow's file, what it imports from its folder and the files that its sources name by a literal go to every
        target, at most 10 MiB in all. Data is read where it lies, or is stored as an artifact.""",
        "$ flowc compile flow.py --target slurm", "$ flowc compile flow.py --target slurm --package '!data/*'",
        "command",
    ),
    entry(
        "FC413", "A way for the code to travel that the target does not know",
        """On Slurm all nodes share a folder, to which the code is copied. Only pods have it in their image, or fetch it
        from a bucket.""",
        "$ flowc compile flow.py --target slurm --code s3://bucket/code",
        "$ flowc compile flow.py --target slurm", "command",
    ),
    entry(
        "FC414", "A parameter's name that the target keeps for itself",
        "Argo gives all parameters of a Workflow under the name json, which a parameter of that name would hide.",
        """
        json = Parameter("json", default="")  # <--

        @step
        def start(self):
            self.next(self.end)
        """,
        """
        options = Parameter("options", default="")

        @step
        def start(self):
            self.next(self.end)
        """, target="argo",
    ),
    entry(
        "FC415", "A schedule for a flow that has to be asked for",
        "What starts by the clock takes the defaults of all parameters; nobody is there to give a required one.",
        """
        @schedule(daily=True)
        class MyFlow(FlowSpec):
            day = Parameter("day", required=True)  # <--

            @step
            def start(self):
                self.next(self.end)

            @step
            def end(self):
                pass
        """,
        """
        @schedule(daily=True)
        class MyFlow(FlowSpec):
            day = Parameter("day", default="today")

            @step
            def start(self):
                self.next(self.end)

            @step
            def end(self):
                pass
        """, target="argo",
    ),
    entry(
        "FC416", "Steps in several namespaces",
        "All pods of an Argo Workflow, and its JobSets, are in the Workflow's own namespace.",
        """
        @kubernetes(namespace="training")
        @step
        def start(self):
            self.next(self.work)

        @kubernetes(namespace="serving")
        @step
        def work(self):  # <--
            self.next(self.end)
        """,
        """
        @kubernetes(namespace="training")
        @step
        def start(self):
            self.next(self.work)

        @kubernetes(namespace="training")
        @step
        def work(self):
            self.next(self.end)
        """, target="argo",
    ),
    entry(
        "FC417", "A datastore that the target's tasks cannot reach",
        """Pods share no disk with the machine that compiles. pvc://CLAIM/FOLDER names a PersistentVolumeClaim, which
        all pods mount, and a folder in it; s3://BUCKET/PREFIX an object store.""",
        "$ flowc compile flow.py --target argo --datastore /scratch/runs",
        "$ flowc compile flow.py --target argo --datastore pvc://flowc/runs", "command",
    ),
    entry(
        "FC418", "An object too large for plain kubectl apply",
        """kubectl apply keeps what it applied in an annotation of the object, which cannot be longer than 256 KiB.
        Server-side apply keeps none. Above 1 MiB Kubernetes takes no object at all (FC411). A warning.""",
        "$ kubectl apply -k manifests/argo", "$ kubectl apply --server-side -k manifests/argo", "command",
    ),
    entry(
        "FC419", "A flow whose Workflows may grow too large",
        """Every Workflow holds a copy of the flow, and beside it what became of each node, packed. Argo gives it up
        once that is more than the 1 MiB that Kubernetes takes, unless its controller keeps the nodes in a database
        (nodeStatusOffLoad). How much the nodes take is estimated. A warning.""",
        "$ flowc compile flow.py --target argo", "$ flowc compile flow.py --target argo --code installed", "command",
    ),
    entry(
        "FC420", "A file that the target's tasks do not find",
        """Pods see the files that travel with the flow, those of their image and of what they mount. The default of an
        IncludeFile has to be one of them: where it lies below the flow's folder, --package lets it travel. An absolute
        path and a required IncludeFile are warnings: whoever starts a run names a path that the pods find, for no file
        is sent to Argo with a run.""",
        "$ flowc compile flow.py --target argo --package '!table.csv'",
        "$ flowc compile flow.py --target argo --package table.csv", "command",
    ),
)  # fmt: skip
