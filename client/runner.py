"""`Runner`: start flows from a script or a notebook, each in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from typing import IO, Any

from ..dsl.errors import FlowcError
from ..runtime import contract
from ..runtime.datastore import open_datastore
from ..runtime.runs import read_run
from .objects import Run

_GRACE = 15.0
"""Seconds that a run gets to end its tasks before its process is killed."""

_OPTIONS = {"max_workers": "--max-workers", "max_num_splits": "--max-num-splits", "isolation": "--isolation"}
_REPEATED = {"tags": "--tag", "decospecs": "--with", "with_specs": "--with"}


class Runner:
    """Runs one flow's file, as ``flowc run`` does, and gives the result as a client object.

    Parameters
    ----------
    flow_file : str
        Path of the flow's file, or ``FILE:Flow``.
    show_output : bool
        Whether to pass on what the run prints.
    datastore : str, optional
        Where the run is kept; FLOWC_DATASTORE or ``.flowc`` below ``cwd`` otherwise.
    env : mapping, optional
        Environment variables on top of this process's.
    cwd : str, optional
        Folder in which the run is started; the current one otherwise.
    decospecs : sequence of str
        Decorators for every step, as ``--with`` takes them.

    Examples
    --------
    >>> with Runner("flow.py").run(alpha=3, max_workers=4, tags=["try"]) as result:
    ...     print(result.status, result.run["train"].task.data.loss)
    """

    def __init__(
        self,
        flow_file: str,
        *,
        show_output: bool = True,
        datastore: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        decospecs: Sequence[str] = (),
    ) -> None:
        self.flow_file = flow_file
        self.show_output = show_output
        self.cwd = os.path.abspath(cwd or os.curdir)
        self.env = {**os.environ, **(env or {})}
        store = datastore or self.env.get(contract.DATASTORE) or ".flowc"
        self.datastore = store if "://" in store else os.path.join(self.cwd, store)
        self.decospecs = tuple(decospecs)
        self._executing: list[ExecutingRun] = []

    def run(self, **options: Any) -> ExecutingRun:
        """Run the flow to its end.

        Parameters
        ----------
        **options
            The flow's parameters by name, and ``max_workers``, ``max_num_splits``, ``isolation``, ``tags``,
            ``decospecs``.

        Returns
        -------
        ExecutingRun
            Also where the run failed: see its ``status``.

        Raises
        ------
        FlowcError
            If no run came about: a parameter is wrong, the flow has errors.
        """
        return self._start("run", [], options)._finish()

    def resume(self, run: str | None = None, *, step: str | None = None, **options: Any) -> ExecutingRun:
        """Continue a run, by default the flow's latest, in a new run; options and errors as in `run`.

        Parameters
        ----------
        run : str, optional
            ``12`` or ``Flow/12``.
        step : str, optional
            The step from which everything runs again; otherwise where the run stopped.
        """
        return self._start("resume", _resume_words(run, step), options)._finish()

    async def async_run(self, **options: Any) -> ExecutingRun:
        """Start the flow and return at once; ``await result.wait()`` waits for its end. Options as in `run`."""
        return self._start("run", [], options)

    async def async_resume(self, run: str | None = None, *, step: str | None = None, **options: Any) -> ExecutingRun:
        """Start what `resume` does and return at once."""
        return self._start("resume", _resume_words(run, step), options)

    def cleanup(self) -> None:
        """End every run that this runner started and that is still going."""
        for executing in self._executing:
            executing.terminate()

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *error: object) -> None:
        self.cleanup()

    async def __aenter__(self) -> Runner:
        return self

    async def __aexit__(self, *error: object) -> None:
        await asyncio.to_thread(self.cleanup)

    def _start(self, command: str, words: Sequence[str], options: Mapping[str, Any]) -> ExecutingRun:
        handle, name_file = tempfile.mkstemp(prefix="flowc-run-", suffix=".json")
        os.close(handle)
        line = [sys.executable, "-m", __package__.partition(".")[0], command, *words]
        line += ["--file", self.flow_file] if command == "resume" else [self.flow_file]
        line += ["--datastore", self.datastore, "--runner-attribute-file", name_file]
        for spec in self.decospecs:
            line += ["--with", spec]
        for name, value in options.items():
            line += _option(name, value)
        executing = ExecutingRun(line, self.cwd, self.env, name_file, self.datastore, self.show_output)
        self._executing.append(executing)
        return executing


def _resume_words(run: str | None, step: str | None) -> list[str]:
    return [*([run] if run else []), *(["--from", step] if step else [])]


def _option(name: str, value: Any) -> list[str]:
    if value is None:
        return []
    if name in _OPTIONS:
        return [_OPTIONS[name], str(value)]
    if name in _REPEATED:
        return [word for item in value for word in (_REPEATED[name], str(item))]
    if isinstance(value, bool):
        value = "true" if value else "false"
    elif isinstance(value, (dict, list, tuple)):
        value = json.dumps(value)
    # One word, so that a value that begins with a dash is no option.
    return [f"--{name}={value}"]


class ExecutingRun:
    """A run that a `Runner` started.

    Attributes
    ----------
    stdout, stderr : str
        What it printed so far.
    returncode : int or None
        Its exit code: 0 good, 1 failed, 2 bad input, 130 interrupted; None while it runs.
    """

    def __init__(
        self,
        command: Sequence[str],
        cwd: str,
        env: Mapping[str, str],
        name_file: str,
        datastore: str,
        show_output: bool,
    ) -> None:
        self.command = list(command)
        self._name_file = name_file
        self._name: str | None = None
        self._datastore = datastore
        self._output: dict[str, list[str]] = {"stdout": [], "stderr": []}
        self._run: Run | None = None
        self._process = subprocess.Popen(  # noqa: S603 (this interpreter and flowc's own command line)
            self.command, cwd=cwd, env=dict(env), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, encoding="utf-8", errors="replace",
        )  # fmt: skip
        self._readers = [
            threading.Thread(target=self._read, args=(pipe, name, show_output), daemon=True)
            for name, pipe in (("stdout", self._process.stdout), ("stderr", self._process.stderr))
            if pipe is not None
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, pipe: IO[str], name: str, show: bool) -> None:
        kept = self._output[name]
        for line in pipe:
            kept.append(line)
            if show:
                stream = sys.stdout if name == "stdout" else sys.stderr
                try:
                    stream.write(line)
                    stream.flush()
                except UnicodeEncodeError:
                    # Whatever is shown, the run's output must be read on, or it would wait for that.
                    stream.write(line.encode("ascii", "backslashreplace").decode())
                    stream.flush()
        pipe.close()

    @property
    def stdout(self) -> str:
        return "".join(self._output["stdout"])

    @property
    def stderr(self) -> str:
        return "".join(self._output["stderr"])

    @property
    def returncode(self) -> int | None:
        return self._process.poll()

    @property
    def status(self) -> str:
        """``running``, ``successful``, ``failed`` or ``interrupted``."""
        code = self.returncode
        if code is None:
            return "running"
        return {0: "successful", 130: "interrupted"}.get(code, "failed")

    @property
    def run(self) -> Run:
        """The run as a client object; waits until it has its id.

        Raises
        ------
        FlowcError
            If it ended before it had one; the text is what it said.
        """
        while self._run is None:
            ended = self._process.poll() is not None
            if name := self._read_name():
                self._run = Run(name, datastore=open_datastore(self._datastore))
            elif ended:
                self._tidy()
                raise FlowcError(f"the run did not start (exit code {self.returncode}):\n{self.stderr.strip()}")
            else:
                time.sleep(0.02)
        return self._run

    def _read_name(self) -> str | None:
        """``Flow/12``, once the run that was started has said so."""
        if self._name is None:
            try:
                with open(self._name_file, encoding="utf-8") as file:
                    names = json.loads(file.read() or "null")
            except FileNotFoundError:
                names = None
            if names is not None:
                self._name = f"{names['flow_name']}/{names['run_id']}"
        return self._name

    def _tidy(self) -> None:
        """After its process has ended: keep what it said, and leave no file behind."""
        self._join_readers()
        self._read_name()
        try:
            os.unlink(self._name_file)
        except FileNotFoundError:
            pass

    async def wait(self, timeout: float | None = None) -> ExecutingRun:
        """Wait for the end of the run, which goes on where the time is up.

        Raises
        ------
        TimeoutError
            If it still runs after ``timeout`` seconds.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while self._process.poll() is None:
            if end is not None and time.monotonic() >= end:
                raise TimeoutError(f"the run still goes on after {timeout} s")
            await asyncio.sleep(0.02)
        await asyncio.to_thread(self._tidy)
        return self

    def terminate(self) -> None:
        """End the run, if it still goes on, with all its tasks; it can be resumed."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(_GRACE + self._saving())
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._tidy()

    def _saving(self) -> float:
        """Seconds that its steps may ask for, to save a checkpoint before they end."""
        name = self._read_name()
        if name is None:
            return 0.0
        flow, _, run_id = name.partition("/")
        try:
            steps = read_run(open_datastore(self._datastore), flow, run_id).outline.steps.values()
        except (FlowcError, ValueError):
            return 0.0
        return max((step.grace or 0.0 for step in steps), default=0.0)

    def _finish(self) -> ExecutingRun:
        try:
            self._process.wait()
        except BaseException:
            self.terminate()
            raise
        self._tidy()
        _ = self.run
        return self

    def _join_readers(self) -> None:
        for reader in self._readers:
            reader.join()

    def __enter__(self) -> ExecutingRun:
        return self

    def __exit__(self, *error: object) -> None:
        self.terminate()

    async def __aenter__(self) -> ExecutingRun:
        return self

    async def __aexit__(self, *error: object) -> None:
        await asyncio.to_thread(self.terminate)

    def __repr__(self) -> str:
        return f"<{self.status} {' '.join(self.command[3:])}>"
