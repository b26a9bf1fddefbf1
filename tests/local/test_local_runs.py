"""Whole runs in this process: shapes, failures, retries, time limits, gangs."""

from __future__ import annotations

import json

import pytest
from flowc.backends.local import events as told
from flowc.dsl import CaughtFailure

FOREACH = """
class Items(FlowSpec):
    n = Parameter("n", default=5)
    @step
    def start(self):
        self.xs = list(range(self.n))
        self.next(self.work, foreach="xs")
    @step
    def work(self):
        self.y = self.input ** 2
        print("item", self.input)
        self.next(self.join)
    @step
    def join(self, inputs):
        self.ys = [one.y for one in inputs]
        self.next(self.end)
    @step
    def end(self):
        pass
"""


def test_every_task_of_a_foreach_runs_once_and_the_join_sees_them_in_order(flow):
    run = flow(FOREACH).run(parameters={"n": 20}, max_workers=3)
    assert run.result.state == "done"
    assert run.result.exit_code == 0
    assert run.artifact("join", "ys") == [i**2 for i in range(20)]
    done = [str(event.address) for event in run.of(told.TaskDone)]
    assert sorted(done) == sorted(["start", *(f"work/{i}" for i in range(20)), "join", "end"])
    assert sum(event.width for event in run.of(told.StepWidth) if event.step == "work") == 20
    lines = {str(event.address): event.line for event in run.of(told.TaskOutput)}
    assert lines == {f"work/{i}": f"item {i}" for i in range(20)}
    assert run.log("work/7") == "item 7\n"


def test_output_is_told_while_a_task_runs_and_before_its_end(flow, tmp_path):
    seen = tmp_path / "seen"

    def listen(event):
        if isinstance(event, told.TaskOutput) and event.line == "first":
            seen.write_text("yes")

    run = flow(f"""
        class Live(FlowSpec):
            @step
            def start(self):
                print("first")
                while not os.path.exists({str(seen)!r}):
                    time.sleep(0.01)
                print("last", end="")
                self.next(self.end)
            @step
            def end(self):
                pass
        """).run(listen)
    assert [event.line for event in run.of(told.TaskOutput)] == ["first", "last"]
    kinds = [type(event) for event in run.events]
    assert kinds.index(told.TaskDone) > max(i for i, kind in enumerate(kinds) if kind is told.TaskOutput)


def test_a_foreach_over_nothing_goes_on_at_its_join(flow):
    run = flow(FOREACH).run(parameters={"n": 0})
    assert run.result.state == "done"
    assert run.artifact("join", "ys") == []
    assert told.StepWidth("work", 0, 1) in run.events


def test_a_foreach_wider_than_allowed_fails_with_step_width_and_option(flow):
    run = flow(FOREACH).run(parameters={"n": 11}, max_num_splits=10)
    assert run.result.state == "failed"
    assert run.result.exit_code == 1
    text = str(run.result.failure)
    for word in ("start", "work", "11", "10", "--max-num-splits"):
        assert word in text
    assert not any(event.address.step == "work" for event in run.of(told.TaskStarted))


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("os._exit(7)", "exit code 7"),
        ("os._exit(0)", "ended with exit code 0 without committing its record"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "killed by SIGKILL (out of memory?)"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "killed by SIGSEGV"),
    ],
)
def test_a_task_that_dies_fails_the_run_and_says_how(flow, statement, words):
    run = flow(f"""
        class Dies(FlowSpec):
            @step
            def start(self):
                import faulthandler
                faulthandler.disable()
                for i in range(30):
                    print("line", i, file=sys.stderr)
                {statement}
                self.next(self.end)
            @step
            def end(self):
                pass
        """).run()
    failure = run.result.failure
    assert (run.result.state, failure.address, failure.message) == ("failed", "start", words)
    assert failure.last_lines == tuple(f"line {i}" for i in range(10, 30))
    status = json.loads((run.folder / "status.json").read_text())
    assert status["state"] == "failed"
    assert status["failure"]["message"] == words


def test_the_first_failure_stops_what_runs_and_starts_nothing_more(flow):
    run = flow("""
        class Stops(FlowSpec):
            @step
            def start(self):
                self.xs = list(range(50))
                self.next(self.work, foreach="xs")
            @step
            def work(self):
                if self.input == 1:
                    raise ValueError("one is bad")
                time.sleep(60)
                self.next(self.join)
            @step
            def join(self, inputs):
                self.next(self.end)
            @step
            def end(self):
                pass
        """).run(max_workers=2)
    assert run.result.state == "failed"
    assert run.result.seconds < 20
    failure = run.result.failure
    assert (failure.address, failure.type, failure.message) == ("work/1", "ValueError", "one is bad")
    assert "one is bad" in failure.traceback
    assert [str(event.address) for event in run.of(told.TaskStopped)] == ["work/0"]
    assert len(run.of(told.TaskStarted)) == 3


# Retry, timeout, catch ------------------------------------------------------------------------------------------------


def test_a_retry_waits_longer_each_time_and_keeps_every_attempts_log(flow):
    run = flow("""
        class Retries(FlowSpec):
            @retry(times=3, minutes_between_retries=0.1 / 60, backoff=2)
            @step
            def start(self):
                print("attempt", current.retry_count)
                if current.retry_count == 0:
                    os._exit(3)
                if current.retry_count == 1:
                    raise RuntimeError("again")
                self.count = current.retry_count
                self.next(self.end)
            @step
            def end(self):
                pass
        """).run()
    assert run.result.state == "done"
    assert run.artifact("start", "count") == 2
    retries = run.of(told.TaskRetrying)
    assert [event.attempt for event in retries] == [1, 2]
    assert [event.wait for event in retries] == pytest.approx([0.1, 0.2])
    assert [event.failure.type for event in retries] == ["ProcessFailure", "RuntimeError"]
    assert [event.final for event in run.of(told.TaskFailed)] == [False, False]
    assert [run.log("start", i) for i in range(3)] == [f"attempt {i}\n" for i in range(3)]
    assert run.result.seconds > 0.3


def test_a_task_that_fails_every_time_fails_after_its_last_retry(flow):
    run = flow("""
        class Gives_up(FlowSpec):
            @retry(times=2, minutes_between_retries=0)
            @step
            def start(self):
                raise KeyError(current.retry_count)
                self.next(self.end)
            @step
            def end(self):
                pass
        """).run()
    assert (run.result.state, run.result.failure.attempt) == ("failed", 2)
    assert [event.final for event in run.of(told.TaskFailed)] == [False, False, True]


def test_a_time_limit_ends_the_attempt_and_what_it_started(flow, tmp_path):
    run = flow(f"""
        class Late(FlowSpec):
            @timeout(seconds=1)
            @retry(times=1, minutes_between_retries=0)
            @step
            def start(self):
                if current.retry_count == 0:
                    child = subprocess.Popen(["sleep", "60"])
                    open(os.path.join({str(tmp_path)!r}, str(child.pid)), "w").close()
                    print("waiting", flush=True)
                    time.sleep(60)
                self.next(self.end)
            @step
            def end(self):
                pass
        """).run()
    from local_runs import is_alive, numbers_in

    assert run.result.state == "done"
    (event,) = run.of(told.TaskRetrying)
    assert (event.failure.type, event.failure.message) == ("Timeout", "took longer than 1 s (@timeout)")
    assert event.failure.last_lines == ("waiting",)
    assert not any(map(is_alive, numbers_in(tmp_path)))


@pytest.mark.parametrize(
    ("statement", "kind", "message", "processes"),
    [
        ("raise ValueError('bad')", "ValueError", "bad", 1),
        ("os._exit(9)", "ProcessFailure", "exit code 9", 2),
        ("time.sleep(60)", "Timeout", "took longer than 1 s (@timeout)", 2),
    ],
)
def test_catch_goes_on_after_an_exception_a_death_and_a_time_limit(flow, statement, kind, message, processes):
    run = flow(f"""
        class Caught(FlowSpec):
            @catch(var="trouble", print_exception=False)
            @timeout(seconds=1)
            @step
            def start(self):
                self.before = 1
                {statement}
                self.next(self.end)
            @step
            def end(self):
                pass
        """).run()
    assert run.result.state == "done"
    trouble = run.artifact("start", "trouble")
    assert isinstance(trouble, CaughtFailure)
    assert (trouble.type, trouble.message) == (kind, message)
    started = [event for event in run.of(told.TaskStarted) if event.address.step == "start"]
    assert [event.recording for event in started] == [False, True][:processes]
    (done,) = [event for event in run.of(told.TaskDone) if event.address.step == "start"]
    assert done.caught


# Gangs ----------------------------------------------------------------------------------------------------------------


def test_all_ranks_run_together_even_where_there_are_more_than_workers(flow, tmp_path):
    run = flow(f"""
        class Together(FlowSpec):
            @step
            def start(self):
                self.xs = [0, 1, 2]
                self.next(self.split, foreach="xs")
            @step
            def split(self):
                self.next(self.train, num_parallel=3)
            @parallel
            @step
            def train(self):
                folder = os.path.join({str(tmp_path)!r}, "meet", str(self.foreach_stack()[0][0]))
                os.makedirs(folder, exist_ok=True)
                open(os.path.join(folder, str(current.parallel.node_index)), "w").close()
                deadline = time.monotonic() + 30
                while len(os.listdir(folder)) < current.parallel.num_nodes:
                    assert time.monotonic() < deadline
                    time.sleep(0.01)
                self.rank = current.parallel.node_index
                self.next(self.gather)
            @step
            def gather(self, inputs):
                self.ranks = [one.rank for one in inputs]
                self.next(self.join)
            @step
            def join(self, inputs):
                self.all = [one.ranks for one in inputs]
                self.next(self.end)
            @step
            def end(self):
                pass
        """).run(max_workers=2)
    assert run.result.state == "done", run.result.failure
    assert run.artifact("join", "all") == [[0, 1, 2]] * 3


GANG = """
class Fails(FlowSpec):
    @step
    def start(self):
        self.next(self.train, num_parallel=4)
    @retry(times={times}, minutes_between_retries=0)
    @parallel
    @step
    def train(self):
        print("begin", current.retry_count, flush=True)
        if current.retry_count == 0:
            if current.parallel.node_index == 2:
                time.sleep(0.3)
                print("rank 2 is lost", file=sys.stderr, flush=True)
                {statement}
            signal.signal(signal.SIGTERM, signal.SIG_IGN if current.parallel.node_index == 0 else signal.SIG_DFL)
            time.sleep(60)
        self.rank = current.parallel.node_index
        self.next(self.join)
    @step
    def join(self, inputs):
        self.ranks = [one.rank for one in inputs]
        self.next(self.end)
    @step
    def end(self):
        pass
"""


@pytest.mark.slow
def test_a_gang_fails_as_one_and_the_report_names_the_first_rank_its_end_and_its_last_lines(flow):
    run = flow(GANG.format(times=0, statement="os._exit(7)")).run()
    assert run.result.state == "failed"
    assert run.result.seconds < 20
    failure = run.result.failure
    assert (failure.address, failure.rank, failure.exit_code) == ("train/2", 2, 7)
    assert failure.last_lines == ("rank 2 is lost",)
    status = json.loads((run.folder / "status.json").read_text())["failure"]
    assert (status["rank"], status["exit_code"], status["last_lines"]) == (2, 7, ["rank 2 is lost"])
    assert sorted(str(event.address) for event in run.of(told.TaskStopped)) == ["train/0", "train/1", "train/3"]


@pytest.mark.slow
def test_a_gang_is_tried_again_as_a_whole(flow):
    run = flow(GANG.format(times=1, statement="raise ValueError('rank 2')")).run(max_workers=2)
    assert run.result.state == "done"
    assert run.artifact("join", "ranks") == [0, 1, 2, 3]
    for rank in range(4):
        assert run.log(f"train/{rank}", 1) == "begin 1\n"
    (event,) = run.of(told.TaskRetrying)
    assert (event.failure.rank, event.failure.type) == (2, "ValueError")
    assert len([event for event in run.of(told.TaskDone) if event.address.step == "train"]) == 4


@pytest.mark.slow
def test_a_time_limit_holds_for_a_gang_as_a_whole(flow):
    run = flow("""
        class Hangs(FlowSpec):
            @step
            def start(self):
                self.next(self.train, num_parallel=3)
            @timeout(seconds=1)
            @parallel
            @step
            def train(self):
                if current.parallel.node_index != 1:
                    time.sleep(60)
                self.next(self.join)
            @step
            def join(self, inputs):
                self.next(self.end)
            @step
            def end(self):
                pass
        """).run()
    failure = run.result.failure
    assert (run.result.state, failure.type, failure.address) == ("failed", "Timeout", "train/0")
    assert failure.message == "took longer than 1 s (@timeout); still running: rank 0, 2"
    assert run.result.seconds < 20


# Resuming -------------------------------------------------------------------------------------------------------------

RESUMED = """
class Resumed(FlowSpec):
    @step
    def start(self):
        self.xs = list(range(6))
        self.stamp = time.time_ns()
        self.next(self.work, foreach="xs")
    @step
    def work(self):
        if self.input == 3 and not os.path.exists({marker!r}):
            raise ValueError("not yet")
        self.y = (self.input, self.stamp)
        self.next(self.open)
    @step
    def open(self):
        self.next(self.train, num_parallel=2)
    @parallel
    @step
    def train(self):
        if current.parallel.node_index == 1 and self.y[0] == 4 and not os.path.exists({marker!r} + "2"):
            os._exit(5)
        self.r = current.parallel.node_index, time.time_ns()
        self.next(self.close)
    @step
    def close(self, inputs):
        self.y = inputs[0].y
        self.next(self.join)
    @step
    def join(self, inputs):
        self.ys = [one.y for one in inputs]
        self.next(self.end)
    @step
    def end(self):
        pass
"""


def test_resume_takes_over_what_is_done_and_runs_the_rest(flow, tmp_path):
    marker = tmp_path / "marker"
    it = flow(RESUMED.format(marker=str(marker)))
    first = it.run(max_workers=1)
    assert first.result.failure.address == "work/3"
    marker.write_text("")
    second = it.run(max_workers=1, origin_run_id=first.result.run_id)
    assert (second.result.failure.address, second.result.failure.rank) == ("train/4.1", 1)
    assert {str(event.address): event.count for event in second.of(told.TaskCloned)} == {"start": 1, "work/0": 3}
    assert second.record("work/1").origin == first.result.run_id
    assert second.record("work/3").origin is None
    (tmp_path / "marker2").write_text("")
    third = it.run(origin_run_id=second.result.run_id)
    assert third.result.state == "done"
    stamp = first.artifact("start", "stamp")
    assert third.artifact("join", "ys") == [(i, stamp) for i in range(6)]
    # What was taken over twice still names the run that made it, and a gang of which one rank failed ran again whole.
    assert third.record("work/1").origin == first.result.run_id
    assert third.record("work/3").origin == second.result.run_id
    assert third.record("train/4.0").origin is None
    assert third.record("train/0.1").origin == second.result.run_id
    assert json.loads((third.folder / "run.json").read_text())["origin_run_id"] == second.result.run_id


@pytest.mark.slow
def test_resume_from_a_step_runs_it_and_everything_after_it_again(flow, tmp_path):
    marker = tmp_path / "marker"
    for file in (marker, tmp_path / "marker2"):
        file.write_text("")
    it = flow(RESUMED.format(marker=str(marker)))
    first = it.run()
    second = it.run(origin_run_id=first.result.run_id, resume_from="open")
    assert second.result.state == "done"
    assert {event.address.step for event in second.of(told.TaskCloned)} == {"start", "work"}
    assert {event.address.step for event in second.of(told.TaskStarted)} == {"open", "train", "close", "join", "end"}
    everything = it.run(origin_run_id=second.result.run_id)
    assert everything.of(told.TaskStarted) == []
    assert everything.result.state == "done"


def test_resume_of_what_is_not_there_starts_no_run(flow):
    from flowc.runtime.runs import RunError

    it = flow(FOREACH)
    with pytest.raises(RunError, match="no run"):
        it.run(origin_run_id="99")
    first = it.run()
    with pytest.raises(RunError, match="no step 'nowhere'"):
        it.run(origin_run_id=first.result.run_id, resume_from="nowhere")
    assert [folder.name for folder in first.folder.parent.iterdir() if folder.name.isdigit()] == ["1"]


# Surroundings ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_spawned_tasks_run_in_fresh_interpreters(flow):
    run = flow("""
        MAKER = os.getpid()
        class Fresh(FlowSpec):
            @step
            def start(self):
                self.fresh = MAKER == os.getpid()
                print("spawned")
                self.next(self.train, num_parallel=2)
            @parallel
            @step
            def train(self):
                self.rank = current.parallel.node_index, current.parallel.num_nodes
                self.next(self.join)
            @step
            def join(self, inputs):
                self.ranks = [one.rank for one in inputs]
                self.next(self.fall)
            @catch(var="trouble")
            @step
            def fall(self):
                os._exit(4)
                self.next(self.end)
            @step
            def end(self):
                pass
        """).run(isolation="spawn")
    assert run.result.state == "done", run.result.failure
    assert run.artifact("start", "fresh") is True
    assert run.artifact("join", "ranks") == [(0, 2), (1, 2)]
    assert run.artifact("fall", "trouble").message == "exit code 4"
    assert told.TaskOutput(run.events[2].address, 0, "stdout", "spawned") in run.events


def test_a_task_ends_as_an_interpreter_does(flow):
    run = flow("""
        import atexit, multiprocessing
        from concurrent.futures import ThreadPoolExecutor

        def later():
            time.sleep(0.3)
            print("child", flush=True)

        class Ends(FlowSpec):
            @step
            def start(self):
                atexit.register(print, "atexit")
                pool = ThreadPoolExecutor(2)
                assert pool.submit(int, "4").result() == 4
                pool.submit(lambda: (time.sleep(0.2), print("thread")))
                multiprocessing.get_context("fork").Process(target=later).start()
                print("step")
                self.next(self.end)
            @step
            def end(self):
                pass
        """).run()
    assert run.result.state == "done"
    assert run.log("start").splitlines() == ["step", "thread", "child", "atexit"]


@pytest.mark.slow
def test_numbers_from_numpy_differ_from_task_to_task_unless_the_flow_seeds_them(flow):
    source = """
        import numpy
        {seed}
        class Random(FlowSpec):
            @step
            def start(self):
                self.xs = [1, 2, 3]
                self.next(self.draw, foreach="xs")
            @step
            def draw(self):
                self.number = float(numpy.random.random())
                self.next(self.join)
            @step
            def join(self, inputs):
                self.numbers = {{one.number for one in inputs}}
                self.next(self.end)
            @step
            def end(self):
                pass
        """
    # In processes of their own: hypothesis seeds the generator of the one that runs the tests.
    assert len(flow(source.format(seed="")).run_apart().artifact("join", "numbers")) == 3
    assert len(flow(source.format(seed="numpy.random.seed(4)")).run_apart().artifact("join", "numbers")) == 1


def test_the_run_id_is_written_before_the_first_task(flow, tmp_path):
    file = tmp_path / "id"
    seen = []

    def listen(event):
        if isinstance(event, told.TaskStarted):
            seen.append(file.read_text())

    run = flow(FOREACH).run(listen, run_id_file=str(file))
    assert set(seen) == {run.result.run_id}


def test_a_datastore_that_fills_up_gives_one_clear_failure(flow):
    run = flow("""
        class Full(FlowSpec):
            @step
            def start(self):
                import resource
                resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                self.x = "x" * 100_000
                self.next(self.end)
            @step
            def end(self):
                pass
        """).run()
    failure = run.result.failure
    assert (run.result.state, failure.address, failure.type) == ("failed", "start", "DatastoreError")
    assert "full" in failure.message
    assert "--datastore" in failure.message


def test_a_listener_that_raises_is_left_out_and_the_run_goes_on(flow, capfd):
    heard = []

    def listen(event):
        heard.append(event)
        if isinstance(event, told.TaskOutput):
            raise RuntimeError("the h\udcffard listener")

    it = flow("""
        class Heard(FlowSpec):
            @step
            def start(self):
                print("hello", flush=True)
                self.next(self.end)
            @step
            def end(self):
                print("bye", flush=True)
        """)
    run = it.run(listen)
    assert run.result.state == "done"
    assert run.result.failure is None
    assert [event.line for event in heard if isinstance(event, told.TaskOutput)] == ["hello"]
    warning = "flowc: warning: the run is no longer shown (RuntimeError: the h\\udcffard listener); it goes on\n"
    assert capfd.readouterr().err == warning
    status = json.loads((it.root / "Heard" / "1" / "status.json").read_text())
    assert (status["state"], status["failure"]) == ("done", None)


def test_a_new_run_never_looks_lost(flow, monkeypatch):
    from flowc.backends.local import run as local_run
    from flowc.runtime import runs
    from flowc.runtime.datastore import open_datastore

    it = flow(FOREACH)
    store = open_datastore(str(it.root))
    states = []

    def look():
        for run_id in runs.list_runs(store, it.name):
            states.append(runs.read_status(store, runs.read_run(store, it.name, run_id)).state)

    write, status = type(store).write, local_run.write_status

    def watched_write(self, key, data):
        write(self, key, data)
        if key.endswith("/run.json"):
            look()

    def watched_status(*given):
        look()
        status(*given)
        look()

    monkeypatch.setattr(type(store), "write", watched_write)
    monkeypatch.setattr(local_run, "write_status", watched_status)
    it.run()
    assert states == ["running"] * 4 + ["done"]
