"""What becomes of a flow: its Plan."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pytest
from flowc.compiler import compile_flow
from flowc.compiler.codes.code import whole_flow
from flowc.compiler.plan import (
    Branches,
    End,
    Feature,
    Foreach,
    Gang,
    Next,
    Plan,
    Resources,
    Retry,
    Span,
    Switch,
)
from flowc.runtime.outline import Outline

Writer = Callable[..., Path]

EVERYTHING = '''
import math

SIZE = 2 * 2


@schedule(cron="0 6 * * mon-fri", timezone="Europe/Berlin")
@project(name="house")
@exit_hook(on_success=[math.floor])
class Everything(FlowSpec):
    """A flow.

        With a second line.
    """

    rate = Parameter("learning-rate", default=0.5, help="how  fast")
    names = Parameter("names", separator=",", default="a,b")
    options = Parameter("options", default={"a": [1]})
    now = Parameter("now", default=lambda context: 3, type=int)
    flag = Parameter("flag", default=False)
    settings = Config("settings", default_value={"cores": 3, "nodes": 5})

    @retry(times=2, minutes_between_retries=1.5, backoff=2)
    @timeout(hours=1, minutes=1, seconds=1)
    @environment(vars={"A": "b"})
    @step
    def start(self):
        """Begin."""
        self.items = [1]
        self.next(self.each, self.alone)

    @step
    def each(self):
        self.next(self.inner, foreach="items")

    @resources(cpu=settings.cores, memory="16Gi", gpu=1, disk=500)
    @kubernetes(memory="8Gi", image="x:1")
    @card
    @step
    def inner(self):
        self.next(self.open_gang)

    @step
    def open_gang(self):
        self.next(self.train, num_parallel=SIZE)

    @torchrun(nproc_per_node=2)
    @secrets(sources=["s"])
    @step
    def train(self):
        self.next(self.gang_join)

    @step
    def gang_join(self, inputs):
        self.next(self.each_join)

    @step
    def each_join(self, inputs):
        self.mode = "again"
        self.next({"again": self.each_join2, "go": self.join}, condition="mode")

    @step
    def each_join2(self):
        self.next({"again": self.each_join2, "go": self.join}, condition="mode")

    @catch(var="problem", print_exception=False)
    @step
    def alone(self):
        self.next(self.join)

    @step
    def join(self, inputs):
        self.next(self.config_gang, num_parallel=self.settings.nodes)

    @metaflow_ray
    @step
    def config_gang(self):
        self.next(self.last_join)

    @step
    def last_join(self, inputs):
        self.next(self.end)

    @step
    def end(self):
        pass
'''


@pytest.fixture
def plan(write_flow: Writer) -> Plan:
    result = compile_flow(str(write_flow(whole_flow(EVERYTHING))))
    assert result.plan is not None, result.diagnostics
    return result.plan


def test_the_flow(plan: Plan) -> None:
    assert (plan.name, plan.first, plan.last, plan.project) == ("Everything", "start", "end", "house")
    assert plan.doc == "A flow.\n\nWith a second line."
    assert plan.schedule is not None
    assert plan.schedule.options == {"cron": "0 6 * * mon-fri", "timezone": "Europe/Berlin"}
    assert [(f.name, f.options) for f in plan.features] == [("exit_hook", {"on_success": ["floor"]})]
    assert plan.configs == {"settings": {"cores": 3, "nodes": 5}}
    assert len(plan.digest) == 64


def test_the_order(plan: Plan) -> None:
    assert [step.name for step in plan.steps] == [
        "start", "each", "inner", "open_gang", "train", "gang_join", "each_join", "each_join2", "alone", "join",
        "config_gang", "last_join", "end",
    ]  # fmt: skip


def test_how_steps_are_left(plan: Plan) -> None:
    assert plan["start"].leave == Branches(("each", "alone"))
    assert plan["each"].leave == Foreach("inner", "items")
    assert plan["open_gang"].leave == Gang("train", 4)
    assert plan["join"].leave == Gang("config_gang", 5)
    assert plan["each_join"].leave == Switch("mode", (("again", "each_join2"), ("go", "join")))
    assert plan["train"].leave == Next("gang_join")
    assert plan["end"].leave == End()


def test_scopes_inputs_and_joins(plan: Plan) -> None:
    shown = {step.name: (step.scope, step.inputs, step.joins) for step in plan.steps}
    assert shown["start"] == ((), (), None)
    assert shown["inner"] == (("each",), (("each",),), None)
    assert shown["train"] == (("each", "open_gang"), (("open_gang",),), None)
    assert shown["gang_join"] == (("each",), (("train",),), "open_gang")
    assert shown["each_join"] == ((), (("gang_join",),), "each")
    assert shown["each_join2"] == ((), (("each_join", "each_join2"),), None)
    assert shown["join"] == ((), (("each_join", "each_join2"), ("alone",)), "start")


def test_loops(plan: Plan) -> None:
    loops = {step.name: (step.loop, step.repeats) for step in plan.steps if step.loop or step.repeats}
    assert loops == {"each_join2": ("each_join2", ("each_join2",))}


def test_what_steps_need(plan: Plan) -> None:
    start, inner, train = plan["start"], plan["inner"], plan["train"]
    assert start.retry == Retry(2, 90, 2)
    assert start.timeout == 3661
    assert start.env == {"A": "b"}
    assert start.doc == "Begin."
    assert inner.resources == Resources(cpu=3, memory=16384, gpu=1, disk=500)
    assert inner.options == {"kubernetes": {"memory": "8Gi", "image": "x:1"}}
    assert [feature.name for feature in inner.features] == ["card"]
    assert train.kind == "gang" and train.framework is not None
    assert (train.framework.name, train.framework.options["nproc_per_node"]) == ("torchrun", 2)
    assert [(f.name, f.options) for f in train.features] == [("secrets", {"sources": ["s"]})]
    ray = plan["config_gang"].framework
    assert ray is not None and ray.name == "ray"
    catch = plan["alone"].catch
    assert catch is not None and (catch.var, catch.print_exception) == ("problem", False)


@pytest.mark.parametrize(
    ("body", "calls"),
    [
        ("current.mpi.run('x')", ()),
        ("current.mpi.cc(['-o', 'x', 'x.c'])\ncurrent.mpi.run('x')", ("cc",)),
        ("with open('x') as x:\n    self.x = [current.mpi.exec(['x']), current.mpi.cc()]", ("cc", "exec")),
        ("import os\nx = os.path.join('a', 'b')\ncurrent.mpi.cc([x])", ("cc",)),
        # What may be passed over may be missing.
        ("if self.x:\n    current.mpi.cc()", ()),
        ("for _ in ():\n    current.mpi.cc()", ()),
        ("try:\n    current.mpi.cc()\nexcept Exception:\n    pass", ()),
        ("def later():\n    current.mpi.cc()", ()),
        ("with suppress(Exception):\n    current.mpi.cc()", ()),
        ("self.x = {current.mpi.cc(x) for x in ()}", ()),
        # What it sets or installs may be what is missing now.
        ("os.environ['OMPI_CC'] = 'clang'\ncurrent.mpi.cc()", ()),
        ("with open('x') as x:\n    subprocess.check_call(['apt-get', 'install', 'gcc'])\n    current.mpi.cc()", ()),
        ("mpi = self.mpi\nmpi.cc()", ()),
        ("self.x and current.mpi.cc()", ()),
        ("current.cc()\nself.cc.cc()", ()),
    ],
)
def test_what_a_step_calls_in_any_case_is_in_the_plan(body: str, calls: tuple[str, ...], write_flow: Writer) -> None:
    step = "@mpi\n@step\ndef train(self):\n" + textwrap.indent(f"{body}\nself.next(self.join)\n", "    ")
    flow = "@step\ndef start(self):\n    self.next(self.train, num_parallel=2)\n\n" + step
    flow += "\n@step\ndef join(self, inputs):\n    self.next(self.end)\n"
    plan = Plan.loads(compile_flow(str(write_flow(whole_flow(flow)))).require().dumps())
    assert plan["train"].framework is not None and plan["train"].framework.calls == calls
    assert compile_flow(str(write_flow(whole_flow(flow)))).require() == plan


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("(grace=90)", 90), ("(grace=0.5)", 0.5), ("(grace=settings.grace)", 45), ("(grace=None)", None), ("", None)],
)
def test_the_time_to_save_is_in_the_plan_and_reaches_the_runtime(
    said: str, seconds: float | None, write_flow: Writer
) -> None:
    config = 'settings = Config("settings", default_value={"grace": 45})\n'
    flow = whole_flow(f"{config}\n@checkpoint{said}\n@step\ndef start(self):\n    self.next(self.end)\n")
    plan = Plan.loads(compile_flow(str(write_flow(flow))).require().dumps())
    assert (plan["start"].grace, plan["end"].grace) == (seconds, None)
    read = Outline.from_plan(plan.to_json())
    assert (read["start"].grace, read["end"].grace) == (seconds, None)


def test_parameters(plan: Plan) -> None:
    rate, names, options, now, flag = plan.parameters
    assert (rate.name, rate.attribute, rate.type, rate.default, rate.help) == (
        "learning-rate",
        "rate",
        "float",
        0.5,
        "how fast",
    )
    assert (names.type, names.separator, names.default, names.attribute) == ("str", ",", "a,b", "")
    assert (options.type, options.default) == ("json", {"a": [1]})
    assert (now.type, now.computed, now.default) == ("int", True, None)
    assert (flag.type, flag.default) == ("bool", False)


def test_json_and_back(plan: Plan) -> None:
    assert Plan.loads(plan.dumps()) == plan
    assert Plan.loads(plan.dumps()).dumps() == plan.dumps()
    with pytest.raises(ValueError, match="version 99"):
        Plan.from_json({**plan.to_json(), "version": 99})
    with pytest.raises(ValueError, match="not a Plan"):
        Plan.from_json({**plan.to_json(), "surprise": 1})
    with pytest.raises(ValueError, match="not a Plan"):
        Plan.from_json({"version": 1})


def test_no_absolute_path(plan: Plan, tmp_path: Path) -> None:
    assert str(tmp_path) not in plan.dumps()
    assert plan["start"].span is not None
    assert (plan["start"].span.file, plan["start"].span.line) == ("flow.py", 30)


@pytest.mark.slow
def test_the_same_bytes_everywhere(write_flow: Writer, tmp_path: Path) -> None:
    here = write_flow(whole_flow(EVERYTHING))
    there = write_flow(whole_flow(EVERYTHING), name="elsewhere/deeper/flow.py")
    program = (
        "import sys\nfrom flowc.compiler import compile_flow\n"
        "sys.stdout.write(compile_flow(sys.argv[1]).require().dumps())"
    )
    texts = set()
    for file, seed in ((here, "0"), (here, "1"), (there, "4711")):
        env = {**os.environ, "PYTHONHASHSEED": seed, "TZ": "Asia/Tokyo", "USER": f"u{seed}"}
        done = subprocess.run(
            [sys.executable, "-c", program, str(file)],
            env=env,
            capture_output=True,
            text=True,
            check=True,
            cwd=tmp_path,
        )
        texts.add(done.stdout)
    assert len(texts) == 1
    assert json.loads(texts.pop())["name"] == "Everything"


def test_a_healthy_flow_needs_no_heavy_module(write_flow: Writer) -> None:
    text = whole_flow("@resources(cpu=2, memory=4096)\n@step\ndef start(self):\n    self.next(self.end)\n")
    program = (
        "import sys\nfrom flowc.compiler import compile_flow\nassert compile_flow(sys.argv[1]).ok\n"
        "heavy = ('networkx', 'lark', 'rich', 'click', 'difflib', 'flowc.compiler.codes')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(write_flow(text))], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_the_digest_follows_the_flows_own_files(write_flow: Writer) -> None:
    def digest(name: str) -> str:
        done = subprocess.run(
            [
                sys.executable, "-c",
                "import sys\nfrom flowc.compiler import compile_flow\n"
                "print(compile_flow(sys.argv[1]).require().digest)",
                name,
            ],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout

    text = "import helper_of_digest\n" + whole_flow("x = 1\n")
    file = write_flow(text)
    write_flow("from package_of_digest.inner import y\n", name="helper_of_digest.py")
    write_flow("", name="package_of_digest/__init__.py")
    inner = write_flow("y = 1\n", name="package_of_digest/inner.py")
    write_flow("z = 1\n", name="unused.py")
    first = digest(str(file))
    write_flow("z = 2\n", name="unused.py")
    assert digest(str(file)) == first
    inner.write_text("y = 2\n")
    second = digest(str(file))
    assert second != first
    file.write_text(text.replace("x = 1", "x = 2"))
    assert digest(str(file)) not in (first, second)


def test_the_digest_follows_the_configs(write_flow: Writer) -> None:
    file = str(write_flow(whole_flow('settings = Config("settings", default_value={"a": 1})\n')))
    plain = compile_flow(file).require()
    other = compile_flow(file, config_values={"settings": '{"a": 2}'}).require()
    assert plain.digest != other.digest and other.configs == {"settings": {"a": 2}}


def test_plan_classes_are_values() -> None:
    assert Next("a") == Next("a") and Next("a") != Next("b") and Next("a") != Branches(("a",))
    assert hash(Next("a")) == hash(Next("a"))
    assert repr(Span("f.py", 1, 2)) == "Span(file='f.py', line=1, column=2, end_line=None, end_column=None)"
    assert replace(Retry(1), times=2) == Retry(2)
    with pytest.raises(FrozenInstanceError):
        Next("a").to = "b"  # type: ignore[misc]
    assert Feature("x") == Feature("x") and Feature("x").options is not Feature("x").options


@pytest.mark.slow
def test_a_long_flow_takes_time_that_grows_with_it(write_flow: Writer) -> None:
    import gc
    import time

    def seconds(count: int) -> float:
        names = [f"s{number}" for number in range(count)]
        parts = ["@step\ndef start(self):\n    self.next(self.s0)\n"]
        for name, after in zip(names, [*names[1:], "end"]):
            parts.append(f"@step\ndef {name}(self):\n    self.next(self.{after})\n")
        file = str(write_flow(whole_flow("\n".join(parts)), name=f"long_{count}.py"))
        measured = []
        for _ in range(3):
            begin = time.process_time()
            assert len(compile_flow(file).require().steps) == count + 2
            measured.append(time.process_time() - begin)
        return min(measured)

    # What other tests left in this process is not to be collected time and again while a flow compiles.
    gc.collect()
    gc.freeze()
    try:
        seconds(50)
        assert seconds(2000) < 10 * seconds(400)
    finally:
        gc.unfreeze()
