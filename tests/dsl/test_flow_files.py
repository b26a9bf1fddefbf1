"""Loading a flow's file: its name, its helpers, and what stands in for ``metaflow`` and for missing modules."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from flowc.dsl.loading import load_file, module_name
from flowc.dsl.missing_modules import StandIn, missing_module

FLOW = """
from {dsl} import FlowSpec, step

class MyFlow(FlowSpec):
    @step
    def start(self):
        self.next(self.end)

    @step
    def end(self):
        pass
"""


@pytest.fixture(autouse=True)
def _nothing_stays() -> Iterator[None]:
    path, modules, finders = list(sys.path), set(sys.modules), list(sys.meta_path)
    yield
    sys.path[:], sys.meta_path[:] = path, finders
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def write(folder: Path, text: str, name: str = "my_flow_file.py") -> str:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(textwrap.dedent(text))
    return str(file)


def python(folder: Path, script: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


@pytest.mark.parametrize("dsl", ["flowc", "metaflow"])
def test_a_flow_by_either_name(tmp_path: Path, dsl: str) -> None:
    loaded = load_file(write(tmp_path, FLOW.format(dsl=dsl)))
    assert [cls.__name__ for cls in loaded.flows()] == ["MyFlow"]
    assert (
        loaded.flow("MyFlow") is loaded.flows()[0] and loaded.flow("Other") is None and loaded.flow("FlowSpec") is None
    )
    assert loaded.module.__name__ == "my_flow_file" and loaded.folder == str(tmp_path)
    assert load_file(loaded.file).module is loaded.module, "a file is loaded once"


def test_helpers_beside_the_flow_and_pickles(tmp_path: Path) -> None:
    write(tmp_path, "class Box:\n    pass\n", "boxes_beside.py")
    file = write(tmp_path, "from boxes_beside import Box\n" + FLOW.format(dsl="flowc") + "class Own: pass\n")
    module = load_file(file).module
    for cls in (module.Box, module.Own):
        assert type(pickle.loads(pickle.dumps(cls()))) is cls


def test_a_flow_in_a_package(tmp_path: Path) -> None:
    for folder in ("pkg", "pkg/inner"):
        write(tmp_path, "", f"{folder}/__init__.py")
    write(tmp_path, "VALUE = 5\n", "pkg/helper.py")
    file = write(tmp_path, "from ..helper import VALUE\n" + FLOW.format(dsl="flowc"), "pkg/inner/flow.py")
    loaded = load_file(file)
    assert loaded.module.__name__ == "pkg.inner.flow" and loaded.module.VALUE == 5
    assert module_name(file) == ("pkg.inner.flow", str(tmp_path))


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("random.py", "flow_random"),
        ("flowc.py", "flow_flowc"),
        ("my-flow.py", "flow_my_flow"),
        ("2nd.py", "flow_2nd"),
        ("pytest.py", "flow_pytest"),
    ],
)
def test_names_that_others_have(tmp_path: Path, name: str, module: str) -> None:
    loaded = load_file(write(tmp_path, FLOW.format(dsl="flowc"), name))
    assert loaded.module.__name__ == module and sys.modules[module] is loaded.module


def test_several_flows_and_bases(tmp_path: Path) -> None:
    text = """
    from flowc import FlowSpec, step

    class Base(FlowSpec):
        @step
        def start(self): pass

    class First(Base): pass
    class Second(Base): pass
    class NoSteps(FlowSpec): pass
    """
    loaded = load_file(write(tmp_path, text))
    assert [cls.__name__ for cls in loaded.flows()] == ["First", "Second"]
    assert loaded.flow("Base") is not None
    only = load_file(write(tmp_path, "from flowc import FlowSpec\nclass NoSteps(FlowSpec): pass\n", "only.py"))
    assert [cls.__name__ for cls in only.flows()] == ["NoSteps"]


def test_files_that_do_not_load_leave_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_file(str(tmp_path / "absent.py"))
    with pytest.raises(SyntaxError):
        load_file(write(tmp_path, "class X(:\n", "broken_one.py"))
    with pytest.raises(ZeroDivisionError):
        load_file(write(tmp_path, "1 / 0\n", "broken_two.py"))
    with pytest.raises(ModuleNotFoundError):
        load_file(write(tmp_path, "import no_such_module_anywhere\n", "broken_three.py"))
    assert not {"broken_one", "broken_two", "broken_three"} & set(sys.modules)
    file = write(tmp_path, "x = 1\n", "broken_two.py")
    assert load_file(file).module.x == 1, "it can be mended and loaded"


# metaflow -------------------------------------------------------------------------------------------------------------


def test_metaflow_is_flowc(tmp_path: Path) -> None:
    out = python(
        tmp_path,
        """
        from flowc.dsl import metaflow_names
        metaflow_names.install(); metaflow_names.install()
        import flowc, metaflow
        from metaflow import *
        from metaflow import FlowSpec, JSONType, current, parallel, metaflow_ray
        from metaflow.cards import Markdown, Table
        from metaflow.exception import MetaflowException
        assert FlowSpec is flowc.FlowSpec and step is flowc.step and current is flowc.current
        assert MetaflowException is flowc.FlowcError
        Markdown("x").update("y")
        try:
            metaflow.no_such_name
        except AttributeError as error:
            print(error)
        try:
            import metaflow.plugins
        except ModuleNotFoundError:
            print("no plugins")
        """,
    )
    assert "flowc stands in for metaflow here and has no metaflow.no_such_name" in out and "no plugins" in out


def test_metaflow_can_be_kept(tmp_path: Path) -> None:
    write(tmp_path, "FlowSpec = 'the other one'\n", "metaflow.py")
    script = (
        "from flowc.dsl import metaflow_names; metaflow_names.install(); from metaflow import FlowSpec; print(FlowSpec)"
    )
    assert python(tmp_path, script, FLOWC_METAFLOW="keep") == "the other one"
    assert "flowc" in python(tmp_path, script)
    assert python(tmp_path, "import metaflow\n" + script.replace("; ", "\n")) == "the other one"


# Modules that are not there -------------------------------------------------------------------------------------------

TRAINING = """
import absent_torch as torch
import absent_torch.nn.functional as F
from absent_lightning import Trainer, seed_everything
import helper_of_training
try:
    import absent_optional
except ImportError:
    absent_optional = None
from flowc import FlowSpec, step

class Net(torch.nn.Module):
    size = 3

@torch.no_grad()
def predict(x):
    return x

class MyFlow(FlowSpec):
    device = str(torch.device("cuda")) and 1
    version = torch.__version__

    @step
    @torch.compile
    def start(self):
        self.next(self.end)

    @step
    def end(self):
        pass
"""


def test_a_training_stack_that_is_not_installed(tmp_path: Path) -> None:
    write(
        tmp_path, "import absent_pandas as pd\nframe: pd.DataFrame | None = pd.DataFrame()\n", "helper_of_training.py"
    )
    file = write(tmp_path, TRAINING)
    with pytest.raises(ModuleNotFoundError, match="absent_torch"):
        load_file(file)
    loaded = load_file(file, stand_in=True)
    missing = {name: (os.path.basename(where), line) for name, where, line in loaded.missing}
    assert missing == {
        "absent_torch": ("my_flow_file.py", 2),
        "absent_lightning": ("my_flow_file.py", 4),
        "absent_pandas": ("helper_of_training.py", 1),
    }
    flow = loaded.flows()[0]
    assert [cls.__name__ for cls in loaded.flows()] == ["MyFlow"]
    assert callable(flow.start) and loaded.module.predict(3) == 3 and loaded.module.Net.size == 3
    assert loaded.module.absent_optional is None, "what the author provided for is left to the author"
    with pytest.raises(ModuleNotFoundError):
        __import__("absent_torch_other")


def test_what_others_import_is_not_stood_in_for(tmp_path: Path) -> None:
    library = tmp_path / "elsewhere"
    write(library, "import absent_deep\n", "library_elsewhere.py")
    sys.path.insert(0, str(library))
    file = write(tmp_path / "flows", "import library_elsewhere\n")
    with pytest.raises(ModuleNotFoundError, match="absent_deep"):
        load_file(file, stand_in=True)


def test_a_stand_in_takes_everything() -> None:
    thing = StandIn("torch")
    assert thing.a.b(1, x=2)[3].c is not None and list(thing) == []
    with thing as inner:
        assert inner is thing
    thing.x = 3
    assert thing.x != 3 and thing.a is thing.a and thing.a != thing.b and len({thing.a, thing.a, thing.b}) == 2
    assert (thing | int) is thing and (int | thing) is thing
    assert repr(thing) == "<stand-in for torch, which is not installed here>"
    assert thing.__version__ >= "2.0" and not hasattr(thing, "__wrapped__")

    def function() -> None: ...

    assert thing(function) is function and thing.register("name")(function) is function
    assert missing_module(thing.a.b) == "torch" and missing_module(function) is None


LINES = """
import abc, dataclasses, enum, functools, os, pathlib, typing
import absent_m as m
import absent_m.inner.b as x
from absent_m import *
from absent_m.deep import thing

class Two(m.Module, m.T): pass
class Meta(m.Module, metaclass=type(m.Module)): pass
class Both(type(m.Module), abc.ABCMeta): pass
class Abstract(m.Module, abc.ABC, metaclass=Both):
    @abc.abstractmethod
    def forward(self): ...
class Table(m.Model, abc.ABC, table=True): pass
class Mapping(m.Mixin, dict): pass
class Many(m.Base[int], typing.Generic[typing.TypeVar("T")]): pass
class Net(m.Module):
    def __init__(self, size):
        super().__init__(size)
        self.size, self.layer = size, m.Linear(size)
net = Net(3).to("cuda")
loaded = Net.from_pretrained("x")
assert Net(3).size == 3 and isinstance(Net(3), m.Module) and isinstance(Net(3), Net)

numbers = (1 + m.a - m.b * 2) @ 3 // m.c % 2 ** m.d << 1 >> m.e & 3 | m.f ^ 1
signs = [-m.a, +m.a, ~m.a, abs(m.a), round(m.a, 2), divmod(m.a, 2), divmod(2, m.a), 3 @ m.a, 3 / m.a]
m.total += 1
assert max(m.a, m.b) is not None and m.count() > 1 and 1 < m.count() and m.major >= 2 and not m.a < 2
assert m.__version__ >= "2.0" and m.sub.__version__ >= "2.0" and m.VERSION >= (2, 1)
for number in range(m.N): pass
shown = f"{m.x:d} {m.x} {x.y!r:>3}"
folder = pathlib.Path(m.__file__).parent / pathlib.Path(m.sub.__file__).name
path = os.fspath(m.path)
values = int(m.a), float(m.a), len(m.a), bool(m.a), hash(m.a), [1][m.a], 3 in m.a, m.a == 3
assert not isinstance(3, m.Tensor) and not issubclass(int, m.Tensor) and isinstance(m.zeros(3), m.Tensor)
first, second = m.load()
first, *rest = m.load()
for left, right in [m.pair]: pass

try:
    {}["none"]
except m.Error:
    raise SystemExit("not this one")
except KeyError:
    pass
class Own(m.TrainingError): pass
try:
    raise Own("x")
except m.TrainingError as error:
    shown = error.code
try:
    raise m.OtherError("x")
except m.TrainingError:
    raise SystemExit("not this one")
except m.OtherError:
    pass
loss = m.MeanSquaredError()(1, 2).numpy() + 1

with m.no_grad(), m.autocast("cuda") as cast: pass

@m.decorator(1)
def function(): return 1
@m.decorator(1)
class Decorated:
    @m.decorator(2)
    def method(self): return 2
    @m.decorator
    @staticmethod
    def static(): return 3
    @m.decorator
    @property
    def value(self): return 4
assert (function(), Decorated().method(), Decorated.static(), Decorated().value) == (1, 2, 3, 4)

@dataclasses.dataclass
class Data:
    a: m.T
    b: m.T = m.T()
    c: typing.Optional[m.T] = None
assert Data(1).a == 1
@functools.singledispatch
def dispatch(value): return 1
@dispatch.register(m.Tensor)
def _(value): return 2
assert dispatch(3) == 1
hints = typing.Union[m.A, None], typing.List[m.A], m.A | None, typing.TypeVar("B", bound=m.A)
"""


def test_ordinary_lines_at_module_level(tmp_path: Path) -> None:
    text = LINES + FLOW.format(dsl="flowc") + "class Mixed(m.Mixin, MyFlow, thing): pass\n"
    loaded = load_file(write(tmp_path, text), stand_in=True)
    assert [cls.__name__ for cls in loaded.flows()] == ["Mixed"]
    assert type(loaded.flows()[0]) is type and {name for name, *_ in loaded.missing} == {"absent_m"}


def test_what_was_stood_in_for_is_told_where_the_file_fails(tmp_path: Path) -> None:
    missing: list[tuple[str, str, int]] = []
    file = write(tmp_path, "import absent_m\n1 / 0\n", "fails_later.py")
    with pytest.raises(ZeroDivisionError):
        load_file(file, stand_in=True, missing=missing)
    assert missing == [("absent_m", file, 1)]


# Names that Python has, and links -------------------------------------------------------------------------------------

WITH_HELPER = """
from {dsl} import FlowSpec, step
import helper_beside_it

class MyFlow(FlowSpec):
    @step
    def start(self):
        import random, json, types, tempfile
        self.x = helper_beside_it.Box(random.random() + len(json.dumps(types.__name__)))
        self.next(self.end)

    @step
    def end(self):
        print("came to", type(self.x).__name__)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "beside"), [("random.py", True), ("metaflow.py", True), ("json.py", False), ("flowc.py", False)]
)
def test_a_flow_does_not_take_the_place_of_a_module(tmp_path: Path, name: str, beside: bool) -> None:
    # Of those that flowc itself begins with, `python -m` takes the file in the current folder before flowc is there.
    write(tmp_path, "class Box:\n    def __init__(self, value): self.value = value\n", "helper_beside_it.py")
    file = write(tmp_path, WITH_HELPER.format(dsl="flowc"), name)
    (tmp_path / "elsewhere").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "flowc", "run", name if beside else file, "--isolation", "spawn"],
        cwd=tmp_path if beside else tmp_path / "elsewhere", capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "came to Box" in done.stdout + done.stderr


def test_the_folder_of_such_a_file_comes_last(tmp_path: Path) -> None:
    sys.path.insert(0, str(tmp_path))
    load_file(write(tmp_path, FLOW.format(dsl="flowc"), "colorsys.py"))
    assert sys.path[-1] == str(tmp_path) and sys.path.count(str(tmp_path)) == 1
    import colorsys

    assert not hasattr(colorsys, "MyFlow")


def test_a_link_stands_for_its_file(tmp_path: Path) -> None:
    for base, inside in (("plain", ""), ("packed", "pkg/")):
        write(tmp_path, "VALUE = 5\n", f"{base}/{inside}beside_{base}.py")
        if inside:
            write(tmp_path, "", f"{base}/{inside}__init__.py")
        dot = "." if inside else ""
        file = write(
            tmp_path,
            f"from {dot}beside_{base} import VALUE\n" + FLOW.format(dsl="flowc"),
            f"{base}/{inside}real_{base}.py",
        )
        link = tmp_path / f"link_{base}.py"
        link.symlink_to(file)
        loaded = load_file(str(link))
        assert loaded.module.VALUE == 5 and loaded.file == file
        assert module_name(str(link)) == module_name(file) and load_file(file).module is loaded.module
