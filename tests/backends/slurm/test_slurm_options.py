"""From decorators to the options of sbatch: each mapping, and each value that is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from flowc.backends.base import check_target
from flowc.backends.slurm.hostlist import problem
from flowc.backends.slurm.limits import UNLIMITED, BadTime, clock, read_limit, warning
from flowc.backends.slurm.options import OPTIONS, container, flags
from flowc.backends.slurm.script import KEPT_BACK, run_line
from flowc.backends.slurm.sizes import size_problems
from flowc.dsl.decorators import Slurm
from flowc.runtime.slurm_limits import MOST_BEFORE
from slurm_flows import compiled, plan_of

PLAIN = ["no-requeue", "nodes=1", "ntasks=1", "open-mode=append"]


def words(folder: Path, decorators: str) -> list[str]:
    """The options of the step ``start`` with these decorators, as sbatch reads them."""
    plan = plan_of(folder, decorators)
    assert [item for item in check_target(plan, "slurm") if item.is_error] == []
    return [name if value is None else f"{name}={value}" for name, value in flags(plan, plan["start"]).items()]


@pytest.mark.parametrize(
    ("decorators", "more", "less"),
    [
        ("", [], []),
        ("@resources(cpu=4)", ["cpus-per-task=4"], []),
        ("@resources(cpu=0.5)", [], []),
        ("@resources(cpu=2.5)", ["cpus-per-task=3"], []),
        ("@resources(memory=4096)", ["mem=4096M"], []),
        ("@resources(memory='16Gi')", ["mem=16384M"], []),
        ("@resources(disk='10Gi')", ["tmp=10240M"], []),
        ("@resources(gpu=2)", ["gpus-per-node=2"], []),
        ("@resources(gpu=2)\n@slurm(gres='gpu:a100:2')", ["gres=gpu:a100:2"], []),
        ("@slurm(gres='gpu,nvme:3')", ["gres=gpu,nvme:3"], []),
        ("@slurm(partition='gpu')", ["partition=gpu"], []),
        ("@slurm(partition='gpu,cpu_long')", ["partition=gpu,cpu_long"], []),
        ("@slurm(account='a.b', qos='high')", ["account=a.b", "qos=high"], []),
        ("@slurm(constraint='[rack1*2&rack2]|intel')", ["constraint=[rack1*2&rack2]|intel"], []),
        ("@slurm(exclusive=True)", ["exclusive"], []),
        ("@slurm(exclusive=False)", [], []),
        ("@slurm(reservation='course')", ["reservation=course"], []),
        ("@slurm(nodelist='n1', exclude='r[0-1]n[01-16]')", ["exclude=r[0-1]n[01-16]", "nodelist=n1"], []),
        ("@slurm(nodelist='n[07],n07')", ["nodelist=n[07],n07"], []),
        ("@slurm(time=90)", ["time=01:30:00"], []),
        ("@slurm(time='2-12')\n@checkpoint", ["time=2-12:00:00", "signal=B:USR1@60"], []),
        ("@slurm(time='00:05:00')\n@retry(times=1)", ["time=00:05:00", "signal=B:USR1@30", "requeue"], ["no-requeue"]),
        ("@slurm(time='UNLIMITED')\n@checkpoint", ["time=UNLIMITED"], []),
        ("@slurm(time='UNLIMITED')\n@checkpoint(grace=100000)", ["time=UNLIMITED"], []),
        ("@checkpoint(grace=10)", ["signal=B:USR1@30"], []),
        ("@checkpoint(grace=99.5)", ["signal=B:USR1@115"], []),
        ("@slurm(time=60)\n@checkpoint(grace=30)", ["time=01:00:00", "signal=B:USR1@60"], []),
        ("@slurm(time=60)\n@checkpoint(grace=300)", ["time=01:00:00", "signal=B:USR1@315"], []),
        ("@slurm(time=2)\n@checkpoint(grace=60)", ["time=00:02:00", "signal=B:USR1@75"], []),
        ("@timeout(minutes=10)\n@checkpoint(grace=30)", ["time=00:13:00", "signal=B:USR1@60"], []),
        ("@timeout(minutes=10)\n@checkpoint(grace=630)", ["time=00:33:00", "signal=B:USR1@645"], []),
        ("@slurm(time='UNLIMITED')", ["time=UNLIMITED"], []),
        ("@timeout(minutes=10)", ["time=00:13:00"], []),
        ("@timeout(minutes=10)\n@catch", ["time=00:14:00", "signal=B:USR1@60"], []),
        ("@timeout(minutes=10)\n@retry(times=2, minutes_between_retries=1, backoff=3)",
         ["time=00:39:00", "signal=B:USR1@60", "requeue"], ["no-requeue"]),
        ("@timeout(minutes=10)\n@slurm(time='1:00:00')", ["time=01:00:00"], []),
        ("@timeout(hours=1)\n@retry(times=4000, minutes_between_retries=600, backoff=2)",
         ["time=UNLIMITED", "requeue"], ["no-requeue"]),
        ("@retry(times=2)", ["requeue", "signal=B:USR1@30"], ["no-requeue"]),
        ("@slurm(extra={'mail-type': 'FAIL', 'nice': 100, 'hint': 'nomultithread', 'contiguous': True})",
         ["mail-type=FAIL", "nice=100", "hint=nomultithread", "contiguous"], []),
        ("@slurm(extra={'mail-user': 'a.b@c.org', 'licenses': ['foo:4', 'bar']})",
         ["mail-user=a.b@c.org", "licenses=foo:4,bar"], []),
        ("@slurm(extra={'mem-per-cpu': '2G'})", ["mem-per-cpu=2G"], []),
        ("@slurm(extra={'mem': 0}, exclusive=True)", ["mem=0", "exclusive"], []),
        ("@slurm(extra={'mem': '0', 'exclusive': 'user'})", ["mem=0", "exclusive=user"], []),
        ("@slurm(extra={'exclusive': 'mcs'}, exclusive=False)", ["exclusive=mcs"], []),
        ("@resources(cpu=1, gpu=2)\n@slurm(extra={'cpus-per-gpu': 4})", ["cpus-per-gpu=4", "gpus-per-node=2"], []),
    ],
)  # fmt: skip
def test_decorators_become_options(tmp_path: Path, decorators: str, more: list[str], less: list[str]) -> None:
    found = words(tmp_path, decorators)
    assert found == sorted(found, key=lambda word: word.partition("=")[0])
    assert sorted(found) == sorted([*(word for word in PLAIN if word not in less), *more])


@pytest.mark.parametrize(
    ("leave", "nodes"),
    [("num_parallel=4", ["nodes=4"]), ("num_parallel=size", []), ("num_parallel=self.ranks", [])],
)
def test_gangs(tmp_path: Path, leave: str, nodes: list[str]) -> None:
    text = f"""
    ranks = Parameter("ranks", default=3)

    @step
    def start(self):
        size = 2 + self.ranks
        self.next(self.train, {leave})

    @resources(cpu=2)
    @mpi
    @step
    def train(self):
        self.next(self.join)

    @step
    def join(self, inputs):
        self.next(self.end)
    """
    import textwrap

    plan = compiled(tmp_path, textwrap.dedent(text)).require()
    found = [name if value is None else f"{name}={value}" for name, value in flags(plan, plan["train"]).items()]
    assert found == ["cpus-per-task=2", "no-requeue", *nodes, "ntasks-per-node=1", "open-mode=append"]
    assert " ".join(run_line(plan["train"])).startswith(
        "srun --cpus-per-task=2 --kill-on-bad-exit=1 --ntasks-per-node=1 "
    )


BAD = [
    "a b",
    "a'b",
    'a"b',
    "a\nb",
    "a#b",
    "#",
    "$HOME",
    "a\\b",
    "`id`",
    "",
    " ",
    "ünï",
    "a;b",
    "a\tb",
    "a\0b",
    "a\u2028b",
]


@pytest.mark.parametrize("value", BAD, ids=ascii)
@pytest.mark.parametrize(
    "option",
    ["partition", "account", "qos", "constraint", "gres", "reservation", "nodelist", "exclude", "container", "time"],
)
def test_no_value_with_which_a_line_could_be_misread(tmp_path: Path, option: str, value: str) -> None:
    compilation = compiled(tmp_path, f"@slurm({option}={value!r})\n@step\ndef start(self):\n    self.next(self.end)\n")
    if compilation.plan is None:  # the compiler knows what a time is
        assert [item.code for item in compilation.errors] == ["FC203"] and option == "time"
        return
    found = check_target(compilation.plan, "slurm")
    if (option, value) == ("container", "a#b"):
        assert found == []  # the registry of an image; it is quoted, since bash reads it
        return
    assert [item.code for item in found] == ["FC409"]
    assert found[0].span == compilation.plan["start"].span and f"{option}=" in found[0].help
    assert "\n" not in found[0].message


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ("modules=['cuda 12']", "FC409"),
        ("modules=['-gcc']", "FC409"),
        ("modules=['gcc; touch owned']", "FC409"),
        ("modules=['$(id)']", "FC409"),
        ("modules=['']", "FC409"),
        ("setup='a\\rb'", "FC409"),
        ("setup='a\\0b'", "FC409"),
        ("container='--help'", "FC409"),
        ("container='pyxis:'", "FC409"),
        ("container='a,b'", "FC409"),
        ("container='a$(id)'", "FC409"),
        ("account='a,b'", "FC409"),
        ("account='-x'", None),
        ("partition='a,,b'", "FC409"),
        ("partition='a,'", "FC409"),
        ("gres='gpu:a:b:2'", "FC409"),
        ("nodelist='n[1-'", "FC409"),
        ("nodelist='n[4-2]'", "FC409"),
        ("nodelist='/etc/hosts'", "FC409"),
        ("nodelist='n1,,n2'", "FC409"),
        ("time='0'", "FC409"),
        ("time='00:00'", "FC409"),
        ("extra={'comment': 'two words'}", "FC409"),
        ("extra={'comment': 'a#b'}", "FC409"),
        ("extra={'comment': '$HOME'}", "FC409"),
        ("extra={'mail-type': ['A,B']}", "FC409"),
        ("extra={'mail-type': []}", "FC409"),
        ("extra={'mail-type': [True]}", "FC409"),
        ("extra={'mail-type': {'a': 1}}", "FC409"),
        ("extra={'mail_type': 'A'}", "FC409"),
        ("extra={'--mail-type': 'A'}", "FC409"),
        ("extra={'p': 'gpu'}", "FC409"),
        ("extra={'a b': 'gpu'}", "FC409"),
        ("extra={'a=b\\n#SBATCH --x': 'gpu'}", "FC409"),
        ("nodelist='n[1-2]'", "FC410"),
        ("nodelist='n[1-999999999]'", "FC410"),
        ("extra={'mem': '1G'}", "FC410"),
        ("extra={'exclusive': True}", "FC410"),
        ("extra={'exclusive': 'others'}", "FC410"),
        ("extra={'exclusive': 'user'}, exclusive=True", "FC410"),
        ("extra={'mem': '0', 'mem-per-gpu': '1G'}", "FC410"),
        ("extra={'mem-per-cpu': '1G', 'mem-per-gpu': '1G'}", "FC410"),
        ("extra={'partition': 'gpu'}", "FC410"),
        ("extra={'nodes': 3}", "FC410"),
        ("extra={'array': '1-3'}", "FC410"),
        ("extra={'dependency': 'singleton'}", "FC410"),
        ("extra={'wrap': 'id'}", "FC410"),
        ("extra={'export': 'NONE'}", "FC410"),
    ],
)
def test_settings_that_are_refused(tmp_path: Path, settings: str, code: str | None) -> None:
    found = check_target(plan_of(tmp_path, f"@slurm({settings})"), "slurm")
    assert [item.code for item in found] == ([code] if code else [])
    assert all(item.is_error and item.help and item.span for item in found)


@pytest.mark.parametrize(
    ("decorators", "code"),
    [
        ("@resources(gpu=2)\n@slurm(gres='gpu:a100:4')", "FC410"),
        ("@resources(memory=100)\n@slurm(extra={'mem-per-cpu': '2G'})", "FC410"),
        ("@resources(memory=100)\n@slurm(extra={'mem': '0'})", "FC410"),
        ("@slurm(time=1)\n@checkpoint(grace=45)", "FC410"),
        ("@checkpoint(grace=70000)", "FC410"),
        ("@slurm(time='0')\n@checkpoint(grace=45)", "FC409"),
        ("@resources(cpu=1.5, gpu=1)\n@slurm(extra={'cpus-per-gpu': '2'})", "FC410"),
        ("@environment(vars={'SLURM_NTASKS': '2'})", "FC408"),
        ("@environment(vars={'SBATCH_ACCOUNT': 'x'})", "FC408"),
        ("@environment(vars={'A': 'x' * 200_000})", "FC411"),
        ("@slurm(setup='true\\n' * 900_000)", "FC411"),
    ],
)
def test_decorators_that_do_not_go_together_or_are_too_much(tmp_path: Path, decorators: str, code: str) -> None:
    assert [item.code for item in check_target(plan_of(tmp_path, decorators), "slurm")] == [code]


@pytest.mark.parametrize(
    ("leave", "hosts", "said"),
    [
        ("num_parallel=2", "n1,n[2-3]", "names more hosts than the 2 nodes of the gang"),
        ("num_parallel=2", "n[1-2],n2", ""),
        ("num_parallel=4", "n1", ""),
        ("num_parallel=size", "n[1-3]", ""),
    ],
)
def test_a_gang_has_room_for_the_hosts_that_it_names(tmp_path: Path, leave: str, hosts: str, said: str) -> None:
    text = f"""
@step
def start(self):
    size = 2 + 1
    self.next(self.train, {leave})

@slurm(nodelist={hosts!r})
@parallel
@step
def train(self):
    self.next(self.join)

@step
def join(self, inputs):
    self.next(self.end)
"""
    plan = compiled(tmp_path, text).require()
    found = check_target(plan, "slurm")
    assert [item.code for item in found] == ["FC410"] * bool(said)
    assert all(said in item.message and item.span == plan["train"].span for item in found)


def test_every_option_of_the_decorator_is_known() -> None:
    assert list(OPTIONS) == list(Slurm.defaults())
    from flowc.backends.base import get_capabilities

    assert get_capabilities("slurm").options == set(OPTIONS)


@pytest.mark.parametrize(
    ("text", "seconds", "said"),
    [
        (1, 60, "00:01:00"),
        ("90", 5400, "01:30:00"),
        ("90:30", 5430, "01:30:30"),
        ("1:2:3", 3723, "01:02:03"),
        ("1-0", 86400, "1-00:00:00"),
        ("1-2:3", 93780, "1-02:03:00"),
        ("1-2:3:4", 93784, "1-02:03:04"),
        ("UNLIMITED", UNLIMITED, "UNLIMITED"),
    ],
)
def test_time_limits(text: object, seconds: int, said: str) -> None:
    assert read_limit(text) == seconds
    assert clock(seconds) == said
    assert read_limit(said) == seconds


def test_no_time_limits() -> None:
    for text in ("", "a", "1:2:3:4", "-1", "1-", "1.5", "0", "0-0", "1 2", "٣"):
        with pytest.raises(BadTime):
            read_limit(text)


def test_a_warning_is_before_the_end() -> None:
    for limit in (60, 120, 300, 600, 86400):
        assert 10 <= warning(limit) <= min(60, limit / 4)


@pytest.mark.parametrize(
    "text", ["n1", "n1,n2", "n[1-3]", "n[01-16,20]", "r[0-1]n[1-2]-ib", "10.0.0.1", "a-b.c_d", "7"]
)
def test_lists_of_hosts(text: str) -> None:
    assert problem(text) == ""


@pytest.mark.parametrize(
    "text", ["", ",", "n1,", "n[", "n[]", "n[a]", "n[1-2-3]", "n[3-1]", "n 1", "n[1, 2]", "n[1][", "é"]
)
def test_no_lists_of_hosts(text: str) -> None:
    assert problem(text)


@pytest.mark.parametrize(
    ("text", "program", "image"),
    [
        ("ubuntu:22.04", "pyxis", "ubuntu:22.04"),
        ("nvcr.io#nvidia/pytorch:24.01-py3", "pyxis", "nvcr.io#nvidia/pytorch:24.01-py3"),
        ("/shared/a.sqsh", "pyxis", "/shared/a.sqsh"),
        ("/shared/a.sif", "apptainer", "/shared/a.sif"),
        ("docker://ubuntu:22.04", "apptainer", "docker://ubuntu:22.04"),
        ("apptainer:/shared/sandbox", "apptainer", "/shared/sandbox"),
        ("pyxis:docker://x", "pyxis", "docker://x"),
    ],
)
def test_containers(tmp_path: Path, text: str, program: str, image: str) -> None:
    plan = plan_of(tmp_path, f"@slurm(container={text!r})")
    found = container(plan["start"])
    assert found is not None and (found.program, found.image) == (program, image)
    line = " ".join(run_line(plan["start"]))
    assert line.startswith("srun " if program == "pyxis" else "apptainer exec ") and "FLOWC_PYTHON" not in line


def test_variables_of_bash_itself_are_left_to_the_runtime(tmp_path: Path) -> None:
    from slurm_flows import emitted

    values = dict.fromkeys(sorted(KEPT_BACK), "x")
    flow = f"@environment(vars={values!r})\n@step\ndef start(self):\n    self.next(self.end)\n"
    assert b"export" not in emitted(tmp_path, flow)["steps/start.sbatch"]


BRANCHES = """
@step
def start(self):
    self.next(self.left, self.right)

@step
def left(self):
    self.next(self.join)

@step
def right(self):
    self.next(self.join)

@step
def join(self, inputs):
    self.next(self.end)
"""


def test_a_join_of_more_branches_than_a_job_can_wait_for(tmp_path: Path) -> None:
    plan = compiled(tmp_path, BRANCHES).plan
    assert plan is not None
    many = tuple((f"b{number}",) for number in range(12_000))
    wide = replace(plan, steps=tuple(replace(s, inputs=many) if s.name == "join" else s for s in plan.steps))
    (found,) = size_problems(wide)
    assert found.code == "FC411" and "joins 12000 branches, and a job of Slurm's can wait for 11913" in found.message
    assert found.span == plan["join"].span
    assert not list(size_problems(plan))
    longest = "--dependency=aftercorr" + ":4294967295" * MOST_BEFORE
    assert 0 <= 128 * 1024 - len(longest + "\0") < len(":4294967295")
