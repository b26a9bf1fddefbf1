"""DeepSpeed: the body runs on the control rank, and ``current.deepspeed.run`` starts a training over all nodes."""

from __future__ import annotations

import glob
import importlib.util
import os
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Optional, Union

from ..checkpoint_watch import saved_while_it_runs
from . import environment, programs
from .arguments import Arguments, argument_list, has_option, option_value
from .base import FrameworkMissing, Site
from .scripts import END_AT_ONCE, STRAGGLING, find_script
from .standby import Command, Nodes, nodes, seconds_to_end, serve
from .torch_extensions import extensions, is_compiled

_OF_CPUS = "deepspeed_shm_comm"
"""The operator without which DeepSpeed's processes do not meet on nodes that have no GPU."""

_THREADS = "OMP_NUM_THREADS"


class DeepSpeed:
    """``current.deepspeed``.

    Attributes
    ----------
    nodes : Nodes
        Runs programs on single nodes, without DeepSpeed.
    """

    def __init__(self, site: Site, found: Nodes, threads: Sequence[Optional[str]] = ()) -> None:
        self._site = site
        self.nodes = found
        self._threads = list(threads) or [None] * site.gang.size
        self._hostfile = os.path.join(site.folder, "hostfile")

    @saved_while_it_runs()
    def run(
        self,
        entrypoint: Union[str, os.PathLike[str]],
        entrypoint_args: Arguments = None,
        deepspeed_args: Arguments = None,
    ) -> None:
        """Run a training script under DeepSpeed's launcher on every node, to its end.

        A node starts a process for each GPU that it is to use, one if it has none; ``deepspeed_args={"num_gpus": 2}``
        goes before that, on nodes without a GPU, too. The output of a node goes to the log of its rank.

        Parameters
        ----------
        entrypoint : str
            The script.
        entrypoint_args : list or dict
            Its arguments.
        deepspeed_args : list or dict
            Arguments of the ``deepspeed`` command.

        Raises
        ------
        ProgramFailed
            With the node, the exit code and the last lines, if a node's launcher ends with another code than 0.
        """
        words = argument_list(deepspeed_args, "the arguments of deepspeed")
        script = [find_script(entrypoint, self._site.source)]
        script += argument_list(entrypoint_args, "the arguments of the script")
        size, main = self._site.gang.size, self._site.gang.members[0].address
        asked = option_value(words, "--num_gpus", "--num_accelerators", "--num_accs")
        slots = int(asked) if asked and asked.isdigit() else environment.device_count(self._site) or 1
        # Nobody looks the names up: every node starts its own part, and is told which line of the file it is.
        text = "".join(f"rank{rank} slots={slots}\n" for rank in range(size))
        fixed = ["--no_ssh"]
        if not has_option(words, "--master_addr"):
            fixed.append(f"--master_addr={main}")
        if not has_option(words, "--master_port"):
            with environment.free_ports(environment.bindable(self._site.gang)) as (port,):
                fixed.append(f"--master_port={port}")
        if size == 1:
            fixed.append("--force_multi")
        patience = f"{seconds_to_end():g},{STRAGGLING:g}"
        commands = {}
        for rank in range(size):
            start = [self.nodes.pythons[rank], "-c", _START, text, patience]
            argv = [*start, *fixed, f"--node_rank={rank}", *words, *script]
            commands[rank] = Command(argv, self._shared_threads(rank, slots), cwd=os.getcwd())
        self.nodes.run(commands, "deepspeed")

    def _shared_threads(self, rank: int, processes: int) -> dict[str, str]:
        """A rank's cores, divided among its processes; nothing where somebody has set how many threads each has."""
        whole = self._threads[rank]
        if whole is None or (rank == 0 and os.environ.get(_THREADS) != whole):
            return {}
        return {_THREADS: str(max(1, int(whole) // max(1, processes)))}


# DeepSpeed's runner reads its hostfile from the disk of its own node, and works out how the node's launcher is called.
# As a process of its own that would load all of DeepSpeed and PyTorch again, for 2.7 s; so the runner goes on as the
# launcher. What has been imported takes half a second to put away, which the report of a failure would be late by.
# The launcher numbers a node's devices from 0, as if each rank had a host with all of its devices to itself; so the
# numbers are those of the devices that this rank sees.
# It asks its processes to end one after the other, and waits 30 s for each, whatever has happened. Here all are asked
# at once; they have the gang's grace where the launcher was asked itself, and hardly any time where one of them failed.
_START = f"""{END_AT_ONCE}
import psutil, signal, subprocess, tempfile, time
from deepspeed.launcher import launch, runner

class OfRunner:
    def __getattr__(self, name):
        return getattr(subprocess, name)

    def Popen(self, words, env):
        if words[:4] != [sys.executable, "-u", "-m", launch.__name__]:
            return subprocess.Popen(words, env=env)
        os.environ.clear()
        os.environ.update(env)
        sys.argv = words[3:]
        accelerator = launch.get_accelerator()
        accelerator.set_visible_devices_envs = OfRank(accelerator.set_visible_devices_envs)
        launch.main()
        sys.exit(0)

class OfRank:
    def __init__(self, choose):
        self.choose = choose

    def __call__(self, env, numbers):
        seen = env.get("CUDA_VISIBLE_DEVICES")
        self.choose(env, numbers)
        if seen is not None:
            own = seen.split(",")
            env["CUDA_VISIBLE_DEVICES"] = ",".join(own[n].strip() for n in numbers if n < len(own)) or seen

class Ending:
    def __init__(self, grace, straggling):
        self.grace, self.straggling = grace, straggling
        self.asked, self.until = False, None

    def __call__(self, pid):
        if self.until is None:
            self.until = time.monotonic() + (self.grace if self.asked else self.straggling)
            self.all = psutil.Process().children(recursive=True)
            self.each(self.ask, self.all)
        self.each(psutil.Process.kill, psutil.wait_procs(self.all, max(0, self.until - time.monotonic()))[1])

    def ask(self, process):
        # Whoever asks the launcher asks its group, and a second signal would cut short what the first one began.
        if not self.asked or os.getpgid(process.pid) != os.getpgrp():
            process.terminate()

    def each(self, end, processes):
        for process in processes:
            try:
                end(process)
            except (psutil.NoSuchProcess, ProcessLookupError):
                pass

class Noting:
    def __getattr__(self, name):
        return getattr(signal, name)

    def signal(self, number, act):
        def note(*given):
            ending.asked = True
            act(*given)
        return signal.signal(number, note)

ending = launch.terminate_process_tree = Ending(*map(float, sys.argv.pop(2).split(",")))
launch.signal = Noting()
runner.subprocess = OfRunner()

def main():
    with tempfile.NamedTemporaryFile("w", prefix="hostfile-") as file:
        file.write(sys.argv.pop(1))
        file.flush()
        sys.argv[0] = "deepspeed"
        runner.main(["--hostfile", file.name, *sys.argv[1:]])

end_at_once(main)
"""


class _DeepSpeedFramework:
    on_control_only = True

    def require(self, options: Mapping[str, Any], calls: Collection[str] = ()) -> None:
        for module in ("torch", "deepspeed"):
            if importlib.util.find_spec(module) is None:
                raise FrameworkMissing(
                    f"@deepspeed: this Python has no {module}: install it on every node, as with "
                    f"`pip install torch` and then `pip install --no-build-isolation deepspeed`"
                )
        compiler = os.environ.get("CXX") or "c++"
        if not (
            environment.devices()
            or shutil.which(compiler, path=programs.search_path())
            or is_compiled(_OF_CPUS)
            or _comes_compiled(_OF_CPUS)
        ):
            raise FrameworkMissing(
                f"@deepspeed: there is no C++ compiler {compiler} on this machine, and without a GPU DeepSpeed "
                "compiles an operator when it first starts: install one on every node, as with "
                "`apt-get install g++`, or name yours in the variable CXX"
            )

    @contextmanager
    def boot(self, site: Site) -> Iterator[Mapping[str, Any]]:
        variables = {"PATH": programs.search_path(), **environment.defaults(site)}
        threads = site.gang.allgather(variables.get(_THREADS))
        with extensions(site) as where, programs.variables({**variables, **where}):
            if site.gang.rank:
                yield {}
                return
            with nodes(site) as found:
                yield {"deepspeed": DeepSpeed(site, found, threads)}

    def stand_by(self, site: Site) -> None:
        serve(site)


def _comes_compiled(name: str) -> bool:
    """Whether DeepSpeed was installed with an operator, as with ``DS_BUILD_OPS=1``."""
    spec = importlib.util.find_spec("deepspeed")
    folders = (spec and spec.submodule_search_locations) or []
    return any(glob.glob(os.path.join(glob.escape(each), "ops", "comm", f"{name}_op*.so")) for each in folders)


FRAMEWORK = _DeepSpeedFramework()
