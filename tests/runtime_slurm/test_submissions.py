"""Random flows on a Slurm in memory: every task runs once, after what it needs, whatever dies on the way."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from flowc.runtime.address import Address
from flowc.runtime.cloning import Cloner
from flowc.runtime.outline import Outline
from flowc.runtime.record import Next
from flowc.runtime.slurm.commands import SlurmError
from flowc.runtime.slurm.launch import take_over
from flowc.runtime.slurm.submission import RunOver, Submitter, TooManySplits, find_done, task_environment
from flowc.runtime.slurm_limits import MOST_BEFORE
from hypothesis import given, settings
from hypothesis import strategies as st
from random_plans import Lowering, Model, next_of, random_blocks
from slurm_in_memory import InMemory, Simulation

FLOWS = st.tuples(st.integers(0, 2**32), st.integers(0, 2))


class Flow:
    """A random flow: its Plan, where each task leads, and what a run must visit."""

    def __init__(self, seed: int, depth: int) -> None:
        blocks = random_blocks(random.Random(seed), depth, [0])
        self.seed = seed
        self.plan = Lowering().plan(blocks).to_json()
        self.outline = Outline.from_plan(self.plan)
        model = Model(self.decide)
        model.run(blocks)
        self.visits = model.visits

    def decide(self, address: Address, below: int) -> int:
        return random.Random(f"{self.seed} {address}").randrange(below)

    def next_of(self, address: Address) -> Next:
        # All ranks of a gang lead to the same.
        return next_of(self.outline, address, self.decide)

    @property
    def jobs(self) -> Counter[Address]:
        """What must run: tasks, and gangs as a whole."""
        found = []
        for address in self.visits:
            if self.outline[address.step].kind != "gang":
                found.append(address)
            elif address.index[-1] == 0:
                found.append(Address(address.step, address.index[:-1], address.round))
        return Counter(found)


def assert_ran(run: Simulation, flow: Flow) -> None:
    assert Counter(run.ran) == flow.jobs
    assert run.journal.ended is not None and run.journal.ended.state == "done"
    assert run.commands.live("me", "F.") == []


@settings(max_examples=40)
@given(FLOWS)
def test_every_task_runs_once(choice: tuple[int, int]) -> None:
    flow = Flow(*choice)
    with TemporaryDirectory() as folder:
        run = Simulation(Path(folder), flow.plan, flow.next_of, InMemory(), choice[0])
        run.submit()
        run.go()
        assert_ran(run, flow)


@pytest.mark.slow
@settings(max_examples=30)
@given(FLOWS, st.data())
def test_a_crash_between_two_submissions_loses_nothing_and_repeats_nothing(
    choice: tuple[int, int], data: st.DataObject
) -> None:
    flow = Flow(*choice)
    with TemporaryDirectory() as folder:
        whole = Simulation(Path(folder, "whole"), flow.plan, flow.next_of, InMemory(), choice[0])
        whole.submit()
        whole.go()
        # Where the very first submission is lost, there is nothing that could go on.
        total = whole.commands.count
        places = st.tuples(st.integers(2, total + 5), st.sampled_from(["before", "after"]))
        commands = InMemory(crashes=data.draw(st.sets(places, max_size=6)))
        run = Simulation(Path(folder, "crashing"), flow.plan, flow.next_of, commands, choice[0])
        run.submit()
        run.go()
        assert_ran(run, flow)


@pytest.mark.slow
def test_a_crash_at_every_place_of_a_flow(tmp_path: Path) -> None:
    # Deep enough to have joins of both kinds, loops and fan-outs in fan-outs.
    flow = next(flow for seed in range(1000) if 25 < len((flow := Flow(seed, 2)).jobs) < 45)
    count = 10
    at = 2
    while at <= count:
        for kind in ("before", "after"):
            commands = InMemory(crashes={(at, kind)})
            run = Simulation(tmp_path / f"{at}-{kind}", flow.plan, flow.next_of, commands, at)
            run.submit()
            run.go()
            assert_ran(run, flow)
            count = commands.count
        at += 1
    assert count > 10


@settings(max_examples=8)
@given(FLOWS)
def test_jobs_that_end_at_the_same_time_submit_what_follows_once(choice: tuple[int, int]) -> None:
    flow = Flow(*choice)
    with TemporaryDirectory() as folder:
        commands = InMemory()
        run = Simulation(Path(folder), flow.plan, flow.next_of, commands, choice[0])
        run.submit()
        failed: list[BaseException] = []

        def work(job: object, position: int) -> None:
            try:
                run.step(job, position)  # type: ignore[arg-type]
            except BaseException as error:
                failed.append(error)

        while ready := commands.ready():
            threads = [threading.Thread(target=work, args=unit) for unit in ready]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert not failed, failed
        assert_ran(run, flow)


@settings(max_examples=20)
@given(FLOWS, st.integers(0, 2**32))
def test_a_resumed_run_runs_what_is_missing_and_no_more(choice: tuple[int, int], luck: int) -> None:
    flow = Flow(*choice)
    rng = random.Random(luck)
    broken = {address for address in flow.jobs if rng.random() < 0.15}
    with TemporaryDirectory() as folder:
        first = Simulation(Path(folder), flow.plan, flow.next_of, InMemory(), choice[0])
        first.failing = broken.__contains__
        first.submit()
        first.go()
        second = Simulation(Path(folder), flow.plan, flow.next_of, InMemory(), luck, origin=first.run_info.run_id)
        take_over(second.run_info, Cloner(second.outline, first.records, second.records, None))
        kept = {address for address in flow.jobs if find_done(second.run_info, second.records, address)}
        assert kept <= set(first.ran)
        second.submit()
        second.go()
        assert Counter(second.ran) == Counter({address: 1 for address in flow.jobs if address not in kept})
        if "end" not in {address.step for address in kept}:
            assert second.journal.ended is not None and second.journal.ended.state == "done"


def wide() -> tuple[Outline, dict[str, Any]]:
    """A foreach over two steps."""
    from flowc.compiler.plan import End, Foreach, Plan, Step
    from flowc.compiler.plan import Next as To

    plan = Plan(
        "Wide",
        "start",
        "end",
        (
            Step("start", "task", Foreach("x", "items")),
            Step("x", "task", To("y"), (("start",),), None, ("start",)),
            Step("y", "task", To("join"), (("x",),), None, ("start",)),
            Step("join", "task", To("end"), (("y",),), "start"),
            Step("end", "task", End(), (("join",),)),
        ),
    ).to_json()
    return Outline.from_plan(plan), plan


def test_a_fan_out_wider_than_an_array_becomes_several(tmp_path: Path) -> None:
    outline, plan = wide()
    commands = InMemory(max_array_size=5)
    run = Simulation(tmp_path, plan, lambda address: next_of(outline, address, lambda a, n: 0), commands)
    run.next_of = lambda address: (
        Next("foreach", ("x",), 12) if address.step == "start" else next_of(outline, address, lambda a, n: 0)
    )
    run.submit()
    assert [job.step for job in commands.jobs.values()] == ["start"]
    run.go()
    assert [len(job.states) for job in commands.jobs.values() if job.step in ("x", "y")] == [5, 5, 2, 5, 5, 2]
    join = next(job for job in commands.jobs.values() if job.step == "join")
    assert [kind for kind, _ in join.after] == ["afterany"] * 3
    assert len(run.ran) == 1 + 12 + 12 + 2


def test_a_fan_out_in_more_arrays_than_a_job_can_wait_for_is_not_begun(tmp_path: Path) -> None:
    _, plan = wide()
    commands = InMemory(max_array_size=2)
    run = Simulation(tmp_path, plan, lambda address: Next("foreach", ("x",), 2 * MOST_BEFORE + 1), commands)
    run.submit()
    with pytest.raises(TooManySplits, match="step join has to wait for 11,914 job arrays of up to 2 tasks"):
        run.go()
    assert [job.step for job in commands.jobs.values()] == ["start"]


@pytest.mark.slow
@settings(max_examples=25)
@given(FLOWS, st.integers(7, 12))
def test_a_queue_that_has_room_for_a_few_jobs_is_enough(choice: tuple[int, int], limit: int) -> None:
    flow = Flow(*choice)
    with TemporaryDirectory() as folder:
        commands = InMemory(limit=limit)
        run = Simulation(Path(folder), flow.plan, flow.next_of, commands, choice[0])
        refused: list[SlurmError] = []
        failed: list[BaseException] = []

        def work(step: Callable[..., None], *unit: Any) -> None:
            try:
                step(*unit)
            except SlurmError as error:
                refused.append(error)
                if unit:
                    unit[0].states[unit[1]] = "FAILED"
            except RunOver:
                pass  # the others were faster, to the very end
            except BaseException as error:
                failed.append(error)

        # This process, which is there for as long as it waits.
        threads = [threading.Thread(target=work, args=(Submitter(run.journal, commands, {}).begin,))]
        threads[0].start()
        until = time.monotonic() + 60
        while threads or commands.ready():
            assert time.monotonic() < until, "everybody waits for everybody"
            for unit in commands.ready():
                threads.append(threading.Thread(target=work, args=(run.step, *unit), daemon=True))
                threads[-1].start()
            threads = [thread for thread in threads if thread.is_alive()]
            time.sleep(0.001)
        assert not failed, failed
        # Where all that are left wait for room, that is said; otherwise everything has run, once.
        if refused:
            assert commands.waited
        else:
            assert_ran(run, flow)


def test_whoever_ends_leaves_a_submission_to_who_waits_for_room(tmp_path: Path) -> None:
    outline, plan = wide()
    commands = InMemory(max_array_size=8, limit=9)
    run = Simulation(tmp_path, plan, lambda address: next_of(outline, address, lambda a, n: 0), commands)
    run.next_of = lambda address: (
        Next("foreach", ("x",), 8) if address.step == "start" else next_of(outline, address, lambda a, n: 0)
    )
    run.submit()
    (start,) = commands.ready()
    # With its own job and the eight of x the queue is full, so it waits with y in hand.
    waiting = threading.Thread(target=run.step, args=start, daemon=True)
    waiting.start()
    until = time.monotonic() + 30
    while not commands.waited:
        assert time.monotonic() < until
        time.sleep(0.01)
    while waiting.is_alive():
        assert time.monotonic() < until
        for unit in commands.ready():
            run.step(*unit)
        waiting.join(0.01)
    run.go()
    assert len(run.ran) == 1 + 8 + 8 + 2
    assert run.journal.ended is not None and run.journal.ended.state == "done"


def test_what_depends_on_a_failed_task_never_runs(tmp_path: Path) -> None:
    flow = Flow(7, 2)
    victim = sorted(flow.jobs)[len(flow.jobs) // 2]
    run = Simulation(tmp_path, flow.plan, flow.next_of, InMemory())
    run.failing = lambda address: address == victim
    run.submit()
    run.go()
    assert victim not in run.ran
    assert run.commands.live("me", "F.") == []
    # Whoever comes after it and finds no record says so, for it could not.
    assert run.journal.ended is not None and run.journal.ended.state == "failed"


def test_parents_that_slurm_has_forgotten_do_not_matter(tmp_path: Path) -> None:
    flow = next(flow for seed in range(1000) if len((flow := Flow(seed, 1)).jobs) > 8)
    commands = InMemory(crashes={(3, "before")})
    run = Simulation(tmp_path, flow.plan, flow.next_of, commands)
    run.submit()
    while ready := commands.ready():
        run.step(*ready[0])
        commands.forgotten = {job.id for job in commands.jobs.values() if set(job.states.values()) == {"COMPLETED"}}
    assert_ran(run, flow)


def test_what_slurm_gave_a_job_does_not_reach_the_jobs_that_it_submits() -> None:
    mine = {"CUDA_VISIBLE_DEVICES": "1", "PATH": "/bin", "FLOWC_SLURM_INDEX": "3"}
    assert task_environment(mine) == {"CUDA_VISIBLE_DEVICES": "1", "PATH": "/bin"}
    assert task_environment({**mine, "SLURM_JOB_ID": "4"}) == {"PATH": "/bin"}
