"""Finer points of the rules: what else they find, and what they must leave alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from flowc.compiler import compile_flow
from flowc.compiler.codes.code import whole_flow
from flowc.compiler.diagnostics import Severity

Writer = Callable[..., Path]

GANG = """
@parallel
@step
def train(self):
    self.next(self.join)

@step
def join(self, inputs):
    self.next(self.end)
"""
EACH = """
@step
def work(self):
    self.next(self.join)

@step
def join(self, inputs):
    self.next(self.end)
"""
CHOICE = """
@step
def check(self):
    self.next(self.end)
"""


def start(*lines: str) -> str:
    return "\n".join(["@step", "def start(self):", *(f"    {line}" for line in lines), ""])


# Each source marks the lines that must be pointed at with `# CODE`; everything else must be silent.
WRONG: dict[str, str] = {
    "foreach over an unset name, no suggestion": start('self.next(self.work, foreach="colours")  # FC113') + EACH,
    "misspelt step and misspelt variable": start(
        "self.items = [1]", 'self.next(self.wrok, foreach="itmes")  # FC109 FC113'
    )
    + EACH,
    "foreach over a class constant": "LIMIT = 3\n" + start('self.next(self.work, foreach="LIMIT")  # FC114') + EACH,
    "foreach name is no identifier": start('self.next(self.work, foreach="a b")  # FC112') + EACH,
    "num_parallel negative": start("self.next(self.train, num_parallel=-2)  # FC115") + GANG,
    "num_parallel of text": start('self.next(self.train, num_parallel="4")  # FC115') + GANG,
    "num_parallel True": start("self.next(self.train, num_parallel=True)  # FC115") + GANG,
    "num_parallel a fraction": start("self.next(self.train, num_parallel=5 / 2)  # FC115") + GANG,
    "num_parallel of a parameter with default 0": 'size = Parameter("size", default=0)\n'
    + start("self.next(self.train, num_parallel=self.size)  # FC115")
    + GANG,
    "num_parallel of a text parameter": 'size = Parameter("size", default="4")\n'
    + start("self.next(self.train, num_parallel=self.size)  # FC115")
    + GANG,
    "num_parallel of a class constant": "size = 0\n"
    + start("self.next(self.train, num_parallel=self.size)  # FC115")
    + GANG,
    "num_parallel of a config": 'sizes = Config("sizes", default_value={"gang": 0})\n'
    + start("self.next(self.train, num_parallel=self.sizes.gang)  # FC115")
    + GANG,
    "gang whose size is wrong and that is not joined": start("self.next(self.train, num_parallel=0)  # FC115")
    + """
@parallel
@step
def train(self):
    self.next(self.end)  # FC118
""",
    "gang is the last step": start("self.next(self.end, num_parallel=2)")
    + """
@parallel
@step
def end(self):  # FC118
    pass
""",
    "gang that is a switch": start("self.next(self.train, num_parallel=2)")
    + """
@torchrun
@step
def train(self):
    self.way = "a"
    self.next({"a": self.join, "b": self.other}, condition="way")  # FC119

@step
def other(self):
    self.next(self.join)

@step
def join(self, inputs):
    self.next(self.end)
""",
    "gang to two steps": start("self.next(self.train, self.train2, num_parallel=2)  # FC111")
    + """
@parallel
@step
def train(self):
    self.next(self.join)

@parallel
@step
def train2(self):
    self.next(self.join)

@step
def join(self, inputs):
    self.next(self.end)
""",
    "catch on a framework's gang": start("self.next(self.train, num_parallel=2)")
    + """
@mpi
@catch  # FC210
@step
def train(self):
    self.next(self.join)

@step
def join(self, inputs):
    self.next(self.end)
""",
    "catch on the opener of a gang": "@catch  # FC211\n" + start("self.next(self.train, num_parallel=2)") + GANG,
    "catch on a switch": "@catch  # FC211\n"
    + start("self.way = 1", 'self.next({1: self.check, 2: self.end}, condition="way")')
    + CHOICE,
    "catch variable is a parameter": 'rate = Parameter("rate", default=1)\n@catch(var="rate")  # FC141\n'
    + start("self.next(self.end)"),
    "catch variable is no name": '@catch(var="not a name")  # FC203\n' + start("self.next(self.end)"),
    "switch without condition": start("self.next({1: self.check, 2: self.end})  # FC121") + CHOICE,
    "switch with computed cases": start(
        "self.way = 1", 'self.next({self.way: self.check, 2: self.end}, condition="way")  # FC123'
    )
    + CHOICE,
    "condition without cases": start("self.way = 1", 'self.next(self.check, condition="way")  # FC111') + CHOICE,
    "switch with foreach": start("self.way = 1", 'self.next({1: self.check, 2: self.end}, foreach="way")  # FC111')
    + CHOICE,
    "misspelt condition keyword": start(
        "self.way = 1", 'self.next({1: self.check, 2: self.end}, conditon="way")  # FC110'
    )
    + CHOICE,
    "next in a loop": start("for _ in range(2):", "    self.next(self.end)  # FC106"),
    "next in with": start("with open('x'):", "    self.next(self.end)  # FC106"),
    "next in a nested function": start("def go():", "    self.next(self.end)  # FC106", "go()"),
    "next returned": start("return self.next(self.end)  # FC106"),
    "next in a list of steps": start("steps = [self.check]", "self.next(*steps)  # FC108") + CHOICE,
    "next calls the step": start("self.next(self.check())  # FC108") + CHOICE,
    "next names a method": start("self.next(self.check)  # FC109") + "\ndef check(self):\n    pass\n",
    "next of the step itself": start("self.next(self.work)")
    + "\n@step\ndef work(self):\n    self.next(self.work)  # FC126\n",
    "cycle of three beside a good switch": start("self.next(self.a)")
    + """
@step
def a(self):
    self.ok = 1
    self.next({1: self.b, 2: self.end}, condition="ok")

@step
def b(self):
    self.next(self.c)

@step
def c(self):
    self.next(self.d)

@step
def d(self):
    self.next(self.b)  # FC126
""",
    "two orphans in a row are one error": start("self.next(self.end)")
    + """
@step
def lone(self):  # FC125
    self.next(self.lonely)

@step
def lonely(self):
    self.next(self.end)
""",
    "join with three arguments": start("self.next(self.work)")
    + "\n@step\ndef work(self, inputs, extra):  # FC138\n    self.next(self.end)\n",
    "step without self": "@step\ndef start():  # FC138\n    pass\n    self.next(self.end)\n",
    "async step": "@step\nasync def start(self):  # FC138\n    self.next(self.end)\n",
    "generator": "@step\ndef start(self):  # FC138\n    yield 1\n    self.next(self.end)\n",
    "any arguments": "@step\ndef start(self, *inputs):  # FC138\n    self.next(self.end)\n",
    "capital letters": start("self.next(self.Work)") + "\n@step\ndef Work(self):  # FC135\n    self.next(self.end)\n",
    "underscore": start("self.next(self._work)") + "\n@step\ndef _work(self):  # FC135\n    self.next(self.end)\n",
    "step called input": start("self.next(self.input)")
    + "\n@step\ndef input(self):  # FC136\n    self.next(self.end)\n",
    "parameter called index": 'index = Parameter("index", default=1)  # FC136\n',
    "class attribute called name": 'name = "x"  # FC136\n',
    "method called next": "def foreach_stack(self):  # FC136\n    return 1\n",
    "assignment in a tuple, a with and a for": "rate = Parameter('rate', default=1)\n"
    + start(
        "self.rate, x = 1, 2  # FC141",
        "with open('f') as self.input: pass  # FC136",
        "for self.end in []: pass  # FC142",
        "self.rate += 1  # FC141",
        "self.next(self.end)",
    ),
    "assignment by setattr": start('setattr(self, "index", 3)  # FC136', "self.next(self.end)"),
    "assignment in a helper method": "rate = Parameter('rate', default=1)\n"
    + "def prepare(self):\n    self.rate = 2  # FC141\n"
    + start("self.prepare()", "self.next(self.end)"),
    "retry of a fraction": "@retry(times=1.5)  # FC202\n" + start("self.next(self.end)"),
    "timeout of nothing": "@timeout(seconds=0)  # FC216\n" + start("self.next(self.end)"),
    "timeout below nothing": "@timeout(minutes=-1)  # FC203\n" + start("self.next(self.end)"),
    "memory of nothing": "@resources(memory=0)  # FC203\n" + start("self.next(self.end)"),
    "half a gpu": "@resources(gpu=0.5)  # FC204\n" + start("self.next(self.end)"),
    "memory on kubernetes": '@kubernetes(memory="lots")  # FC204\n' + start("self.next(self.end)"),
    "several wrong options of one decorator": '@resources(cpu="many", memory="1Xi", gpus=2)  # FC201 FC204 FC204\n'
    + start("self.next(self.end)"),
    "pull policy": '@kubernetes(image_pull_policy="Sometimes")  # FC203\n' + start("self.next(self.end)"),
    "swappiness": "@batch(swappiness=101)  # FC203\n" + start("self.next(self.end)"),
    "slurm time": '@slurm(time="2 hours")  # FC203\n' + start("self.next(self.end)"),
    "environment names": '@environment(vars={"A-B": "1"})  # FC214\n' + start("self.next(self.end)"),
    "environment of flowc": '@environment(vars={"FLOWC_RUN_ID": "1"})  # FC214\n' + start("self.next(self.end)"),
    "environment that is no dictionary": '@environment(vars="A=1")  # FC214\n' + start("self.next(self.end)"),
    "pypi and conda": "@pypi(packages={})\n@conda(packages={})  # FC209\n" + start("self.next(self.end)"),
    "checkpoint policy": '@checkpoint(load_policy="freshh")  # FC203\n' + start("self.next(self.end)"),
    "grace of nothing": "@checkpoint(grace=0)  # FC203\n" + start("self.next(self.end)"),
    "grace below nothing": "@checkpoint(grace=-0.5)  # FC203\n" + start("self.next(self.end)"),
    "grace without end": "@checkpoint(grace=float('inf'))  # FC203\n" + start("self.next(self.end)"),
    "grace that is no number": "@checkpoint(grace=float('nan'))  # FC203\n" + start("self.next(self.end)"),
    "grace as text": "@checkpoint(grace='90')  # FC202\n" + start("self.next(self.end)"),
    "grace that is true": "@checkpoint(grace=True)  # FC202\n" + start("self.next(self.end)"),
    "step option": "@step(begin=True)\ndef start(self):  # FC201\n    self.next(self.end)\n",
    "step option of a wrong type": "@step(start='yes')\ndef start(self):  # FC202\n    self.next(self.end)\n",
    "separator of nothing": 'names = Parameter("names", separator="")  # FC308\n',
    "default of a bool": 'flag = Parameter("flag", type=bool, default="yes")  # FC306\n',
    "bool as int": 'count = Parameter("count", type=int, default=True)  # FC306\n',
    "json text that is none": 'data = Parameter("data", type=JSONType, default="{")  # FC306\n',
    "help that is no text": 'count = Parameter("count", default=1, help=3)  # FC304\n',
    "names that differ in case": 'a = Parameter("rate", default=1)\nb = Parameter("Rate", default=1)  # FC302\n',
    "names that differ in the hyphen": 'a = Parameter("a-b", default=1)\nb = Parameter("a_b", default=1)  # FC302\n',
    "option of the command line": 'w = Parameter("max_workers", default=1)  # FC303\n',
    "required config": 'settings = Config("settings", required=True)  # FC310\n',
    "unknown option of a config": 'settings = Config("settings", default_value={}, reqired=True)  # FC304\n',
    "expression with a mistake": '@resources(cpu=config_expr("nothing.there"))  # FC313\n'
    + start("self.next(self.end)"),
    "inner join missing, outer fine": start("self.next(self.a, self.b)")
    + """
@step
def a(self):
    self.items = [1]
    self.next(self.work, foreach="items")

@step
def work(self):
    self.next(self.join)

@step
def b(self):
    self.next(self.join)

@step
def join(self, inputs):  # FC131
    self.next(self.end)
""",
    "foreach straight into its join": start("self.items = [1]", 'self.next(self.join, foreach="items")  # FC133')
    + "\n@step\ndef join(self, inputs):\n    self.next(self.end)\n",
    "branches meet at the end": start("self.next(self.a, self.b)")
    + """
@step
def a(self):
    self.next(self.end)

@step
def b(self):
    self.next(self.end)

@step
def end(self):  # FC129
    pass
""",
    "independent errors are all told": "@retry(tmes=1)  # FC201\n"
    + start("self.next(self.a, self.b)")
    + """
@step
def a(self):
    if True:
        self.next(self.join)  # FC106

@timeout  # FC216
@step
def b(self):
    self.index = 3  # FC136
    self.next(self.joint)  # FC109

@step
def join(self, inputs):
    self.next(self.end)
""",
}


@pytest.mark.parametrize("source", WRONG.values(), ids=WRONG)
def test_wrong(source: str, write_flow: Writer) -> None:
    text = whole_flow(source)
    wanted = [
        (number, code)
        for number, line in enumerate(text.splitlines(), 1)
        if "  # FC" in line
        for code in line.partition("  # ")[2].split()
    ]
    assert wanted
    result = compile_flow(str(write_flow(text)))
    assert sorted((d.span.line if d.span else 0, d.code) for d in result.diagnostics) == sorted(wanted)
    assert result.plan is None
    assert all(d.help for d in result.diagnostics)


LEGAL: dict[str, str] = {
    "artifact set in a tuple": start("(self.a, self.items), b = (1, [2]), 3", 'self.next(self.work, foreach="items")')
    + EACH,
    "artifact set by with": start("with x() as self.items:", "    pass", 'self.next(self.work, foreach="items")')
    + EACH,
    "artifact set with a type": start("self.items: list = [1]", 'self.next(self.work, foreach="items")') + EACH,
    "artifact set by setattr": start('setattr(self, "items", [1])', 'self.next(self.work, foreach="items")') + EACH,
    "artifact set by a computed name": start(
        "setattr(self, 'it' + 'ems', [1])", 'self.next(self.work, foreach="items")'
    )
    + EACH,
    "artifact set by a function": start("fill(self)", 'self.next(self.work, foreach="items")') + EACH,
    "artifact set through a copy of self": start("me = self", "me.items = [1]", 'self.next(self.work, foreach="items")')
    + EACH,
    "artifact set through __dict__": start("self.__dict__['items'] = [1]", 'self.next(self.work, foreach="items")')
    + EACH,
    "artifact set in a helper": "def prepare(self):\n    self.items = [1]\n\n"
    + start("self.prepare()", 'self.next(self.work, foreach="items")')
    + EACH,
    "artifact is a class attribute": 'items = ("a", "b")\n' + start('self.next(self.work, foreach="items")') + EACH,
    "artifact is a parameter": 'items = Parameter("items", separator=",", default="a,b")\n'
    + start('self.next(self.work, foreach="items")')
    + EACH,
    "artifact is a caught failure": '@catch(var="oops")\n'
    + start("self.next(self.look)")
    + '\n@step\ndef look(self):\n    self.next({"None": self.check, "no": self.end}, condition="oops")\n'
    + CHOICE,
    "data, artifacts, inputs and cmd are free names": start(
        "self.data = self.artifacts = self.cmd = self.inputs = 1", "self.next(self.end)"
    ),
    "size known only at run time": start("n = 3", "self.next(self.train, num_parallel=n)") + GANG,
    "size computed": start("self.next(self.train, num_parallel=len([1, 2]))") + GANG,
    "size of a parameter": 'size = Parameter("size", default=4)\n'
    + start("self.next(self.train, num_parallel=self.size)")
    + GANG,
    "size of a required parameter": 'size = Parameter("size", type=int, required=True)\n'
    + start("self.next(self.train, num_parallel=self.size)")
    + GANG,
    "class attribute that a step changes": "size = 0\n"
    + start("self.size = 4", "self.next(self.train, num_parallel=self.size)")
    + GANG,
    "parallel beside a framework": start("self.next(self.train, num_parallel=2)")
    + GANG.replace("@parallel", "@parallel\n@torchrun"),
    "settings for all targets": "@kubernetes(cpu=1, memory='4Gi', gpu=1)\n@batch(cpu='1', memory=4096)\n"
    + "@slurm(partition='x')\n"
    + start("self.next(self.end)"),
    "repeatable decorators": "@secrets(sources=['a'])\n@secrets(sources=['b'])\n" + start("self.next(self.end)"),
    "catch on a static split": "@catch\n"
    + start("self.next(self.a, self.b)")
    + "\n@step\ndef a(self):\n    self.next(self.join)\n\n@step\ndef b(self):\n    self.next(self.join)\n"
    + "\n@step\ndef join(self, inputs):\n    self.next(self.end)\n",
    "quantities": '@resources(cpu="500m", memory="1.5Gi", gpu="2", disk=100.5, shared_memory=0)\n'
    + start("self.next(self.end)"),
    "switch that goes straight to a join": start("self.next(self.a, self.b)")
    + """
@step
def a(self):
    self.way = 1
    self.next({1: self.join, 2: self.c}, condition="way")

@step
def c(self):
    self.next(self.join)

@step
def b(self):
    self.next(self.join)

@step
def join(self, inputs):
    self.next(self.end)
""",
    "loop with two ways in": start("self.way = 1", 'self.next({1: self.a, 2: self.b}, condition="way")')
    + """
@step
def a(self):
    self.next({1: self.b, 2: self.end}, condition="way")

@step
def b(self):
    self.next({1: self.a, 2: self.end}, condition="way")
""",
    "foreach in a loop": start("self.next(self.begin)")
    + """
@step
def begin(self):
    self.items = [1]
    self.next(self.work, foreach="items")

@step
def work(self):
    self.next(self.gather)

@step
def gather(self, inputs):
    self.good = "yes"
    self.next({"yes": self.end, "no": self.begin}, condition="good")
""",
    "parameter from a config": 'settings = Config("settings", default_value={"rate": 0.5})\n'
    + 'rate = Parameter("rate", default=settings.rate, type=float)\n',
    "default argument": start("self.next(self.work)") + "\n@step\ndef work(self, times=3):\n    self.next(self.end)\n",
    "named ends": "@step(start=True)\ndef one(self):\n    self.next(self.two)\n\n"
    "@step(end=True)\ndef two(self):\n    pass\n",
    "one step": "@step(start=True, end=True)\ndef only(self):\n    pass\n",
}


@pytest.mark.parametrize("source", LEGAL.values(), ids=LEGAL)
def test_legal(source: str, write_flow: Writer) -> None:
    result = compile_flow(str(write_flow(whole_flow(source))))
    assert result.diagnostics == ()
    assert result.plan is not None


def test_names_of_steps_have_an_end(write_flow: Writer) -> None:
    def flow(name: str) -> str:
        return (
            "from flowc import FlowSpec, step\nclass A(FlowSpec):\n"
            f"    @step\n    def start(self):\n        self.next(self.{name})\n"
            f"    @step\n    def {name}(self):\n        self.next(self.end)\n"
            "    @step\n    def end(self):\n        pass\n"
        )

    assert compile_flow(str(write_flow(flow("a" * 100), name="fits.py"))).diagnostics == ()
    (item,) = compile_flow(str(write_flow(flow("a" * 101), name="too_long.py"))).diagnostics
    assert (item.code, item.help) == ("FC135", "take a shorter name") and item.span is not None and item.span.line == 7
    assert item.message == "the name of a step has at most 100 characters, and this one has 101"


@pytest.mark.parametrize(
    ("kubernetes", "batch", "told"),
    [
        ("cpu=2", "cpu=4", ["cpu=2 in @kubernetes and for cpu=4 in @batch"]),
        ("gpu=1, shared_memory='1Gi'", "gpu=2, shared_memory=1000", ["gpu=1", "shared_memory='1Gi'"]),
        ("memory='4Gi', cpu='500m'", "memory=4096, cpu=0.5", []),
        ("cpu=2", "memory=4096", []),
        ("cpu='many'", "cpu=4", []),
    ],
)
def test_compute_decorators_that_disagree(kubernetes: str, batch: str, told: list[str], write_flow: Writer) -> None:
    text = whole_flow(f"@kubernetes({kubernetes})\n@batch({batch})\n" + start("self.next(self.end)"))
    result = compile_flow(str(write_flow(text)))
    found = [d for d in result.diagnostics if d.code == "FC218"]
    assert len(found) == len(told) and all(words in d.message for d, words in zip(found, told))
    assert all(d.severity is Severity.WARNING and "@resources(" in d.help for d in found)
