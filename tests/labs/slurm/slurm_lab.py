"""A Slurm cluster on one machine: munged, slurmctld and a slurmd a node, all state below one folder.

The nodes are hosts of their own (``hosts``, see hosts_lab.py) where the kernel allows it, and daemons with a port each
(``ports``) elsewhere. There is no systemd and no /etc/slurm. When the test's process ends, however it ends, the cluster
ends with it.

    with SlurmLab(nodes=2) as lab:
        job = lab.sbatch("--nodes=2", "--wrap", f"srun hostname > {lab.shared}/names")
        lab.finish(job)
"""

from __future__ import annotations

import contextlib
import functools
import os
import pwd
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any

from hosts_lab import obstacle
from lab_processes import LabError
from slurm_jobs import SQUEUE, Job, details_of, jobs_of
from slurm_node import Completed, Node, run_to_end
from slurm_places import NODE, Daemon, OnHosts, OnPorts, Places, Process, supervised
from slurm_settings import Settings, write_configuration

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel", "sinfo")
_SBIN = ("/usr/sbin", "/sbin")
# A socket's path has 107 bytes (unix(7)); slurmstepd makes spool/node0/node0_123456.4294967292 there.
_LONGEST_FOLDER = 107 - len("/spool/node00/node00_1234567.4294967292")
# Another cluster's, or those of a job that the tests run in.
# PYTEST_ too: pytest sets one at each test, while the threads that start runs look through the environment.
_FOREIGN = re.compile(r"(SLURM|SLURMD|SBATCH|SRUN|SALLOC|SQUEUE|SINFO|SCANCEL|PYTEST)_|(TMPDIR|TMP|TEMP)$")


class SlurmLab:
    """A cluster, from ``start`` to ``stop`` or for the length of a ``with`` block.

    Parameters
    ----------
    mode : {"hosts", "ports"}, optional
        What the nodes are; by default hosts, if there can be any.
    rootless : bool, optional
        For ``hosts``: whether to work in a user namespace; by default, if this process is not root's.
    choices
        Those of :class:`slurm_settings.Settings`: ``nodes=4, cpus=2, gpus=2, max_array_size=1001, ...``; ``extra``
        are more lines of slurm.conf.

    Attributes
    ----------
    folder : Path
        All that the cluster writes.
    shared : Path
        A folder that all nodes and this process see under the same path.
    """

    def __init__(self, *, mode: str | None = None, rootless: bool | None = None, **choices: Any) -> None:
        self.settings = Settings(**choices)
        self.mode = mode or ("ports" if rootless is None and obstacle() else "hosts")
        self._rootless = rootless
        self._munged: Daemon | None = None
        self._controller: Daemon | None = None
        self._changed: dict[str, str | int] = {}
        self.places: Places

    def __enter__(self) -> SlurmLab:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    # Start and end

    def start(self) -> None:
        """Start everything, and wait until all nodes are idle.

        Raises
        ------
        LabError
            With the daemons' logs.
        """
        count = self.settings.nodes
        self._changed = {}
        self.places = OnPorts(count) if self.mode == "ports" else OnHosts(count, self._rootless)
        try:
            self.folder = self.places.folder
            if len(os.fsencode(self.folder)) > _LONGEST_FOLDER:
                raise LabError(f"{self.folder} is too long for the names of sockets in it: set TMPDIR to a shorter one")
            self.shared = self.folder / "shared"
            for name in ("etc", "run", "log", "state", "shared", *(f"spool/{NODE.format(i)}" for i in range(count))):
                (self.folder / name).mkdir(parents=True)
            (self.folder / "state").chmod(0o700)
            self._place = self.places.place()
            write_configuration(self.settings, self._place, {})
            self._nodes = [Node(self, index, address) for index, address in enumerate(self._place.addresses)]
            self._start_munged()
            self.start_controller()
            for index in range(count):
                self._start_slurmd(index)
            self.wait_idle()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End all that came from the cluster and remove its folder; once is enough, more do no harm."""
        for daemon in (self._controller, self._munged):
            if daemon is not None:
                daemon.kill()
        self._controller = self._munged = None
        self.places.end()

    def _start_munged(self) -> None:
        key, run = self.folder / "etc/munge.key", self.folder / "run"
        with open(os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400), "wb") as file:
            file.write(os.urandom(128))
        # --force: root's, and in a folder that others may write to.
        options = [f"--key-file={key}", f"--socket={run}/munge.sock", f"--pid-file={run}/munged.pid"]
        options += [f"--seed-file={run}/munged.seed", "--num-threads=4"]
        self._munged = self._daemon("munged", ["--foreground", "--force", *options])
        self._await(lambda: (run / "munge.sock").exists(), "munged does not start", 10)

    def _start_slurmd(self, index: int) -> None:
        log = self.folder / f"log/slurmd-{NODE.format(index)}.out"
        self.places.start_slurmd(index, [_program("slurmd"), "-D", "-N", NODE.format(index)], self._daemon_env, log)

    def _daemon(self, name: str, options: list[str]) -> Daemon:
        with (self.folder / f"log/{name}.out").open("ab") as log:
            return Daemon(supervised(self.places, [_program(name), *options], self._daemon_env, log))

    @property
    def _daemon_env(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("HOME", "LANG", "LC_ALL") if name in os.environ}
        path = ":".join(("/usr/local/bin", "/usr/bin", "/bin", *_SBIN))
        return {**kept, "PATH": path, "SLURM_CONF": f"{self.folder}/etc/slurm.conf"}

    # What a person does on it

    @property
    def env(self) -> dict[str, str]:
        """This process's environment, made for the cluster: SLURM_CONF, PATH, nothing of another Slurm."""
        env = {name: os.environ[name] for name in os.environ if not _FOREIGN.match(name)}
        path = env.get("PATH", os.defpath).split(":")
        env["PATH"] = ":".join([*path, *(folder for folder in _SBIN if folder not in path)])
        env["SLURM_CONF"] = f"{self.folder}/etc/slurm.conf"
        return env

    def popen(self, argv: Sequence[str], env: Mapping[str, str] | None = None, **options: Any) -> Process:
        """Start a program where a person would type it; it sees this machine's folders, and the cluster's network.

        Signals that are sent to what is returned reach the program. Options as for ``subprocess.Popen``.
        """
        return self.places.popen(argv, self.env if env is None else env, **options)

    def run(self, argv: Sequence[str], env: Mapping[str, str] | None = None, **options: Any) -> Completed:
        """Run a program where a person would type it, to its end.

        Parameters
        ----------
        argv : sequence of str
            The program and its arguments.
        env : mapping, optional
            In place of :attr:`env`.
        options
            ``timeout`` in seconds (60), ``check`` (False), ``input``, and those of ``subprocess.Popen``. The output is
            captured as text.
        """
        return run_to_end(self.popen, argv, env, **options)

    def sbatch(self, *options: str, script: str | None = None, **others: Any) -> str:
        """Submit a job from the shared folder, with its output there (``slurm-ID.out``), and give its number.

        Parameters
        ----------
        options
            Of sbatch.
        script : str, optional
            What sbatch reads from its standard input.
        others
            As for :meth:`run`.
        """
        done = self.run(["sbatch", "--parsable", *options], **{"cwd": self.shared, "input": script, **others})
        if done.returncode:
            raise LabError(f"sbatch {' '.join(options)}: {done.stderr.strip()}")
        return done.stdout.strip().split(";")[0]

    def jobs(self, *, ended: bool = False) -> list[Job]:
        """What squeue shows, a line for each task of an array; also what has ended and is still remembered."""
        return self._squeue(["--states=all"] if ended else [])

    def _squeue(self, options: list[str]) -> list[Job]:
        done = self.run([*SQUEUE, *options])
        if done.returncode:
            raise LabError(f"squeue: {done.stderr.strip()}")
        return jobs_of(done.stdout)

    def details(self, job: str) -> dict[str, str]:
        """What ``scontrol show job`` says of a job, by its own words: JobState, ExitCode, Requeue, StdOut, ..."""
        done = self.run(["scontrol", "-o", "show", "job", job])
        if done.returncode:
            raise LabError(f"job {job}: {done.stderr.strip()}")
        return details_of(done.stdout)

    def finish(self, job: str, timeout: float = 60) -> list[Job]:
        """Wait until a job has ended, or all tasks of an array, and give them in the order of their indices."""
        seen: list[Job] = []

        def has_ended() -> bool:
            seen[:] = self._squeue(["--states=all", f"--jobs={job}"])
            return all(each.has_ended for each in seen)

        self._await(has_ended, f"job {job} does not end", timeout)
        return sorted(seen, key=lambda each: each.index)

    def wait_state(self, job: str, *states: str, timeout: float = 30) -> Job:
        """Wait until a job is in one of the states, and give it."""
        seen: list[Job] = []

        def is_there() -> bool:
            seen[:] = self._squeue(["--states=all", f"--jobs={job}"])
            return bool(seen) and all(each.state in states for each in seen)

        self._await(is_there, f"job {job} does not become {' or '.join(states)}", timeout)
        return seen[0]

    # Nodes and the controller

    def node(self, index: int) -> Node:
        """One of the nodes."""
        return self._nodes[index]

    @property
    def nodes(self) -> list[Node]:
        """All of them."""
        return list(self._nodes)

    def node_states(self) -> dict[str, str]:
        """What the controller thinks of each node; empty while it does not answer."""
        done = self.run(["sinfo", "--noheader", "-N", "--partition=main", "-o", "%N %T"])
        return dict(line.split() for line in done.stdout.splitlines()) if done.returncode == 0 else {}

    def kill_node(self, index: int) -> None:
        """Power loss: all processes of the node are gone at once. The controller learns of it by asking in vain."""
        self.places.kill(index)

    def start_node(self, index: int) -> None:
        """Give it power again, and wait until the controller counts on it: a host as before, with an empty /tmp."""
        began = int(time.time())
        self._start_slurmd(index)
        node = self._nodes[index]

        def is_back() -> bool:
            # Where the controller has not missed the node it calls it idle all the time; so see when slurmd started.
            return node.up_since >= began and node.state in ("idle", "mixed", "allocated")

        self._await(is_back, f"{node.name} does not come back", 30)

    def stop_controller(self, *, crash: bool = False) -> None:
        """End slurmctld: as an operator would, or by a kill -9. The nodes and the jobs on them go on.

        It saves what it knows every few seconds. After a crash it may have forgotten the last of it, and start a job
        once more that runs: Slurm then holds the job ("launch failed requeued held") and drains the node.
        """
        assert self._controller is not None, "the controller does not run"
        if crash:
            self._controller.kill()
        else:
            self._controller.terminate()
        self._controller = None

    def start_controller(self) -> None:
        """Start slurmctld, with what it remembers, and wait until it answers."""
        assert self._controller is None, "the controller runs"
        self._controller = self._daemon("slurmctld", ["-D"])
        self._await(self._answers, "slurmctld does not answer", 20)
        if any(node.is_on for node in self._nodes):
            # The nodes report to it at once; by itself it asks them after 4 seconds.
            self.run(["scontrol", "reconfigure"])

    def _answers(self) -> bool:
        return "is UP" in self.run(["scontrol", "ping"]).stdout

    def restart_controller(self, *, crash: bool = False) -> None:
        """Both, one after the other."""
        self.stop_controller(crash=crash)
        self.start_controller()

    @contextlib.contextmanager
    def changed(self, **values: str | int) -> Iterator[None]:
        """Other values in slurm.conf (``MaxArraySize=5, MinJobAge=2``) for a while; the controller starts twice."""
        before = dict(self._changed)
        self._configure({**before, **values})
        try:
            yield
        finally:
            self._configure(before)

    def _configure(self, changed: dict[str, str | int]) -> None:
        self._changed = changed
        write_configuration(self.settings, self._place, changed)
        self.restart_controller()

    # For tests that share a cluster

    def wait_idle(self, timeout: float = 60) -> None:
        """Wait until every node that has power is idle, and no job waits or runs."""
        self._await(self._is_idle, "the cluster does not become idle", timeout)

    def _is_idle(self) -> bool:
        states = self.node_states()
        on = [node.name for node in self._nodes if node.is_on]
        return bool(states) and all(states.get(name) == "idle" for name in on) and not self.jobs()

    def tidy(self) -> None:
        """As at the start: no jobs nor what they left running, all nodes idle, the controller up. Files remain."""
        if self._controller is None:
            self.start_controller()
        if self._changed:
            self._configure({})
        if not (all(node.is_on for node in self._nodes) and self._is_idle()):
            jobs = sorted({job.array for job in self.jobs()})
            if jobs:
                self.run(["scancel", *jobs])
            for node in self._nodes:
                if not node.is_on:
                    self.start_node(node.index)
            for name, state in self.node_states().items():
                if state.startswith(("down", "drain", "drng", "fail")):
                    self.run(["scontrol", "update", f"nodename={name}", "state=resume"])
            self.wait_idle()
        for node in self._nodes:
            node.kill_processes()

    def logs(self, lines: int = 40) -> str:
        """The last lines of every log, and what Slurm says of jobs and nodes."""
        texts = []
        if self._controller is not None:
            for command in (["squeue", "--states=all"], ["sinfo", "-N", "-l"], ["sinfo", "-R"]):
                with contextlib.suppress(subprocess.SubprocessError, OSError):
                    texts.append(f"$ {' '.join(command)}\n{self.run(command, timeout=5).stdout}")
        for file in sorted((self.folder / "log").iterdir()):
            # A daemon's output is its log once more, but for what came before it had one.
            text = file.read_text(errors="replace").splitlines()
            if text and not (file.suffix == ".out" and file.with_suffix(".log").exists()):
                texts.append("\n".join([f"--- {file.name}", *text[-lines:], ""]))
        return "\n".join(texts)

    def _await(self, happens: Any, complaint: str, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        pause = 0.02
        while not happens():
            if time.monotonic() > deadline:
                raise LabError(f"{complaint} within {timeout:g} s\n{self.logs()}")
            time.sleep(pause)
            pause = min(pause * 1.5, 0.2)


def _program(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path=":".join(_SBIN))
    if found is None:
        raise LabError(f"{name} is missing")
    return found


@functools.cache
def slurm_obstacle() -> str | None:
    """Why there can be no cluster here; None if there can."""
    path = os.environ.get("PATH", os.defpath) + ":" + ":".join(_SBIN)
    missing = [program for program in PROGRAMS if shutil.which(program, path=path) is None]
    if missing:
        return f"it needs {', '.join(missing)} (Debian: slurmctld slurmd slurm-client munge)"
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        return f"Slurm wants an entry in the password file for user {os.geteuid()}"
    return None
