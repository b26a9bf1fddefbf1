"""FC0xx: the file, the class in it and the command line."""

from __future__ import annotations

from .code import Code, entry

LOADING: tuple[Code, ...] = (
    entry(
        "FC001", "The flow's file is not there",
        "The file does not exist, is a folder or may not be read.",
        "$ flowc check traning.py", "$ flowc check training.py", "command",
    ),
    entry(
        "FC002", "The file is not Python",
        "Python cannot parse the file, or a module of the flow's own that it imports.",
        """
        @step
        def start(self:
            self.next(self.end)
        """,
        """
        @step
        def start(self):
            self.next(self.end)
        """, "command",
    ),
    entry(
        "FC003", "An import of the flow fails",
        """The flow is imported to be read. A module that is not installed is stood in for while a flow is checked or
        compiled, but not where it is to run, and not where a module is there but lacks the name.""",
        """
        from os import pathh
        """,
        """
        from os import path
        """, "command",
    ),
    entry(
        "FC004", "The file raises while it is imported",
        """Code outside of steps runs whenever the flow is read. It must not fail, and it must not end the program.
        Where the line uses a module that is not installed here, what stands in for it may not do: move the line into a
        step.""",
        """
        LIMIT = int("many")
        """,
        """
        LIMIT = int("12")
        """, "command",
    ),
    entry(
        "FC005", "The file defines no flow",
        "A flow is a class derived from FlowSpec that the file itself defines.",
        """
        class Training:
            @step
            def start(self):
                self.next(self.end)
        """,
        """
        class Training(FlowSpec):
            @step
            def start(self):
                self.next(self.end)
        """, "command",
    ),
    entry(
        "FC006", "The file defines several flows",
        "Say which one is meant. Classes that only serve as bases of others do not count.",
        "$ flowc check flows.py", "$ flowc check flows.py:Training", "command",
    ),
    entry(
        "FC007", "The file has no flow of that name",
        "What follows the colon must be a flow class that the file defines or imports.",
        "$ flowc check flows.py:Trainning", "$ flowc check flows.py:Training", "command",
    ),
    entry(
        "FC008", "A module is stood in for",
        """The flow imports a module that is not installed on this machine. To check or compile the flow that is no
        hindrance: the module is replaced by one that takes everything and does nothing. Where the flow runs, it must be
        installed. This is a note, not an error.""",
        "import torch  # not installed here", "$ pip install torch", "command",
    ),
    entry(
        "FC009", "The source of a step is not to be found",
        "What follows a step is read from its source, so a step must be written in a .py file.",
        """
        exec("def work(self): self.next(self.end)", scope)
        work = step(scope["work"])
        """,
        """
        @step
        def work(self):
            self.next(self.end)
        """, "command",
    ),
    entry(
        "FC010", "A --with cannot be read",
        "The form is NAME or NAME:option=value,option=value. Lists and dictionaries are written as in JSON.",
        "$ flowc run flow.py --with retry:times", "$ flowc run flow.py --with retry:times=2", "command",
    ),
    entry(
        "FC011", "A --with names no decorator for every step",
        """Only decorators of steps can be given to all steps at once. A gang decorator cannot: it changes what a step
        is.""",
        "$ flowc run flow.py --with rety", "$ flowc run flow.py --with retry", "command",
    ),
    entry(
        "FC012", "A --package that changes nothing",
        """--package names further files that travel with the flow, as a glob relative to the flow's folder; with ! in
        front it leaves some out. Hidden files, manifests/, __pycache__ and what lies outside the folder never travel.
        """,
        "$ flowc compile flow.py --target slurm --package /data/stations.csv",
        "$ flowc compile flow.py --target slurm --package 'data/*.csv' --package '!data/old.csv'", "command",
    ),
)  # fmt: skip
