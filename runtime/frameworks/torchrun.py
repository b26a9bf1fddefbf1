"""torchrun: every node runs the body, and ``current.torch.run(...)`` starts the script's processes on all of them."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Optional, Union

from ...dsl import FlowcError
from ..checkpoint_watch import saved_while_it_runs
from ..processes import stat
from . import environment, local_rank
from .arguments import Arguments, argument_list, has_option, option_value
from .base import FrameworkMissing, Site
from .programs import Program, ProgramFailed, how_it_ended, signal_group
from .scripts import END_AT_ONCE, STRAGGLING, Tail, find_script, first_error, is_consequence

_NODES = ("--nnodes",)
_PROCESSES = ("--nproc-per-node", "--nproc_per_node")
_RESTARTS = ("--max-restarts", "--max_restarts")
_BACKEND = ("--rdzv-backend", "--rdzv_backend")
_ENDPOINT = ("--rdzv-endpoint", "--rdzv_endpoint")
_CONFIG = ("--rdzv-conf", "--rdzv_conf")
_LAST_CALL = 30
"""Seconds that an elastic rendezvous waits for more nodes than it must have, as torch's own. It seldom waits: the gang
has no more nodes than the rendezvous is told of, and they come together."""

_NO_SHARED_STORE = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"
"""With "1" each round of an elastic rendezvous has a store of its own. In the shared one the processes may read what
those before a restart left there, and wait for them (https://github.com/pytorch/pytorch/issues/135712)."""

_SHUTDOWN = ("--shutdown-timeout", "--shutdown_timeout")

_START = f"""{END_AT_ONCE}
import atexit
from torch.distributed.run import main
sys.argv[0] = "torchrun"
end_at_once(main, atexit._run_exitfuncs)
"""
"""torchrun's own command."""

_SETTLE = 10.0
"""Seconds that a node whose processes lost others waits for the node whose process ended first, which then ends it."""

_WAITED_FOR = re.compile(r"Sending process (\d+) closing signal ")
_ASKED_TO_END = re.compile(r"Received \S+ death signal")
"""What torchrun says about itself on stderr."""


class TorchrunFailed(ProgramFailed):
    """A script that torchrun ran did not end well; names the first process that failed, and its exception."""


class Torch:
    """``current.torch``."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._runs = 0

    def run(
        self,
        entrypoint: Union[str, os.PathLike[str]],
        entrypoint_args: Arguments = None,
        torchrun_args: Arguments = None,
        nproc_per_node: Union[int, str, None] = None,
    ) -> None:
        """Run a script with torchrun, on all nodes, to its end. Every node makes the same calls.

        The rendezvous is static. Where ``torchrun_args`` ask for restarts or for elastic nodes (``{"nnodes": "1:4"}``)
        it is torch's own, c10d.

        Parameters
        ----------
        entrypoint : str or path
            The script; one that is not in the current folder is looked for beside the flow.
        entrypoint_args : list or dict
            Its arguments. A list is handed over word by word as it is; of a dict ``{"lr": 0.1}`` becomes ``--lr 0.1``,
            True the option alone, False and None nothing, and a list several words.
        torchrun_args : list or dict
            Arguments of torchrun, written the same way. They go before what the gang would give.
        nproc_per_node : int or str
            Processes on each node; else as ``torchrun_args`` or the decorator say, else one for each GPU, else 1.

        Raises
        ------
        TorchrunFailed
            If a process on this node failed, or torchrun itself; with the exit code and the first error.
        """
        script = find_script(entrypoint, self._site.source)
        self._start([script], entrypoint_args, torchrun_args, nproc_per_node, script)

    def launch(
        self,
        entrypoint: Union[str, os.PathLike[str]],
        entrypoint_args: Arguments = None,
        torchrun_args: Arguments = None,
        nproc_per_node: Union[int, str, None] = None,
    ) -> None:
        """As `run`, for a script of the time of ``torch.distributed.launch``: it gets ``--local_rank=N`` first."""
        script = find_script(entrypoint, self._site.source)
        self._start([local_rank.__file__, script], entrypoint_args, torchrun_args, nproc_per_node, script)

    @saved_while_it_runs()
    def _start(
        self,
        program: list[str],
        entrypoint_args: Arguments,
        torchrun_args: Arguments,
        nproc_per_node: Union[int, str, None],
        script: str,
    ) -> None:
        words = argument_list(entrypoint_args, "entrypoint_args")
        given = argument_list(torchrun_args, "torchrun_args")
        processes = self._processes(nproc_per_node, given)
        self._runs += 1
        options = [*self._rendezvous(given), *given, *self._no_more_nodes(given)]
        if nproc_per_node is not None or not has_option(given, *_PROCESSES):
            options.append(f"--nproc-per-node={processes}")
        count = self._count(processes)
        env = {**os.environ, **environment.defaults(self._site, count)}
        if self._is_elastic(given):
            env.setdefault(_NO_SHARED_STORE, "1")
        # Without the dashes torchrun takes a script's --l for an abbreviation of one of its own options.
        command = [sys.executable, "-c", _START, *options, "--", *program, *words]
        stragglers = _Stragglers()
        errors = Tail(stragglers.notice) if self._ends_stragglers(given) else Tail()
        running = Program(command, env, err=errors.take)
        stragglers.launcher = running.pid
        code = running.wait()
        if code:
            lines = errors.lines()
            if self._site.gang.size > 1 and is_consequence(first_error(lines) or ""):
                time.sleep(_SETTLE)
            text = _failure(os.path.basename(script), code, lines, self._restarts(given) > 0)
            raise TorchrunFailed(text, code)

    def _processes(self, asked: Union[int, str, None], given: list[str]) -> Union[int, str]:
        for value in (asked, option_value(given, *_PROCESSES), self._site.options.get("nproc_per_node")):
            if value is not None:
                if isinstance(value, bool) or (isinstance(value, int) and value < 1):
                    raise FlowcError(f"nproc_per_node={value!r}: a node runs at least 1 process")
                return value
        return environment.device_count(self._site) or 1

    def _count(self, processes: Union[int, str]) -> int:
        """How many processes torchrun makes of ``--nproc-per-node``; devices that are not counted here are one."""
        text = str(processes)
        if text.isdigit():
            return int(text)
        gpus = len(environment.shared_out(self._site.gang) or environment.devices())
        if text == "cpu" or (text == "auto" and not gpus):
            return environment.allowed_cpus()
        return max(1, gpus)

    @staticmethod
    def _restarts(given: list[str]) -> int:
        text = option_value(given, *_RESTARTS) or "0"
        return int(text) if text.isdigit() else 0

    def _is_elastic(self, given: list[str]) -> bool:
        backend = option_value(given, *_BACKEND)
        if backend is not None:
            return backend != "static"
        return self._restarts(given) > 0 or ":" in (option_value(given, *_NODES) or "")

    def _ends_stragglers(self, given: list[str]) -> bool:
        """Not where the user says how long they have, nor where torch ends all that are well to start them anew."""
        starts_anew = self._is_elastic(given) or self._restarts(given) > 0
        return not (starts_anew or has_option(given, *_SHUTDOWN) or environment.SHUTDOWN in os.environ)

    def _no_more_nodes(self, given: list[str]) -> list[str]:
        """What follows the user's own words: an elastic rendezvous need not wait for nodes that the gang has not."""
        low, elastic, high = (option_value(given, *_NODES) or "").partition(":")
        size = self._site.gang.size
        return [f"--nnodes={low}:{size}"] if elastic and int(high) > size else []

    def _rendezvous(self, given: list[str]) -> list[str]:
        gang = self._site.gang
        if has_option(given, "--standalone"):
            return []
        options: list[str] = []
        nodes = option_value(given, *_NODES)
        if nodes is None:
            options.append(f"--nnodes={gang.size}")
        else:
            _check_nodes(nodes, gang.size)
        main = gang.members[0].address
        port = self._port()
        endpoint = f"{environment.bracketed(main)}:{port}"
        if not has_option(given, "--local-addr", "--local_addr"):
            options.append(f"--local-addr={gang.members[gang.rank].address}")
        if not self._is_elastic(given):
            if not has_option(given, "--node-rank", "--node_rank"):
                options.append(f"--node-rank={gang.rank}")
            if not has_option(given, "--master-addr", "--master_addr"):
                options.append(f"--master-addr={main}")
            if not has_option(given, "--master-port", "--master_port"):
                options.append(f"--master-port={port}")
            return options
        if not has_option(given, *_BACKEND):
            options.append("--rdzv-backend=c10d")
        if not has_option(given, *_ENDPOINT):
            options.append(f"--rdzv-endpoint={endpoint}")
        if not has_option(given, "--rdzv-id", "--rdzv_id"):
            options.append(f"--rdzv-id=flowc-{port}-{self._runs}")
        if not has_option(given, *_CONFIG):
            # On one host every node would take itself for the one that the endpoint names.
            options.append(f"--rdzv-conf=is_host={int(gang.rank == 0)},last_call_timeout={_LAST_CALL}")
        return options

    def _port(self) -> int:
        gang = self._site.gang
        asked = self._site.options.get("master_port")
        if asked is None:
            return environment.agreed_port(gang)
        problem = None
        if gang.rank == 0:
            problem = environment.taken(gang.members[0].address, int(asked))
        problem = gang.broadcast(problem)
        if problem is not None:
            raise FlowcError(f"@torchrun(master_port={asked}): {problem}; leave it out, and a free one is chosen")
        return int(asked)


class _Stragglers:
    """The processes that torchrun waits for when another one of their node has failed.

    Attributes
    ----------
    launcher : int
        The process id of torchrun, once it is known.
    """

    def __init__(self) -> None:
        self.launcher = 0
        self._asked_to_end = False
        self._pids: list[int] = []

    def notice(self, line: str) -> None:
        """Take a line that torchrun wrote. Where it was itself asked to end, its processes keep the time they have."""
        self._asked_to_end = self._asked_to_end or _ASKED_TO_END.search(line) is not None
        waited_for = _WAITED_FOR.search(line)
        if waited_for is None or self._asked_to_end:
            return
        self._pids.append(int(waited_for[1]))
        if len(self._pids) == 1:
            timer = threading.Timer(STRAGGLING, self._kill)
            timer.daemon = True
            timer.start()

    def _kill(self) -> None:
        for pid in self._pids:
            if _parent(pid) == self.launcher:
                signal_group(pid, signal.SIGKILL)


def _parent(pid: int) -> Optional[int]:
    try:
        return int(stat(pid)[1])
    except OSError:
        return None


def _check_nodes(text: str, size: int) -> None:
    low, _, high = text.partition(":")
    high = high or low
    if not (low.isdigit() and high.isdigit() and int(low) <= size <= int(high)):
        raise FlowcError(f"torchrun's nnodes={text} does not fit a gang of {size} nodes; leave it out, or give MIN:MAX")


def _failure(script: str, code: int, lines: list[str], restarts: bool) -> str:
    text = "\n".join(lines)
    summary = text[text.rfind("Root Cause") :] if "Root Cause" in text else ""
    rank = re.search(r"rank\s*: (\d+) \(local_rank: (\d+)\)", summary)
    ended = re.search(r"exitcode\s*: (-?\d+)", summary)
    error = first_error(lines, last_restart=restarts)
    if rank is None:
        how = how_it_ended(code) if code < 128 else how_it_ended(128 - code)
        said = f": {error}" if error else ""
        return f"torchrun {script} {how}{said}"
    how = how_it_ended(int(ended[1])) if ended else "failed"
    return f"{script} {how} in local rank {rank[2]} (rank {rank[1]})" + (f": {error}" if error else "")


class Torchrun:
    """``@torchrun``."""

    on_control_only = False

    def require(self, options: Mapping[str, Any], calls: Collection[str] = ()) -> None:
        """PyTorch."""
        if importlib.util.find_spec("torch") is None:
            raise FrameworkMissing(f"@torchrun needs PyTorch, which {sys.executable} does not have: pip install torch")

    @contextmanager
    def boot(self, site: Site) -> Iterator[Mapping[str, Any]]:
        """Nothing is started before the body asks for it; what it starts has ended when `Torch.run` is back."""
        yield {"torch": Torch(site)}

    def stand_by(self, site: Site) -> None:
        """Every rank runs the body."""


FRAMEWORK = Torchrun()
