"""``flowc`` for tests that call it very often: a process that has its command line imported, and a copy of it for each.

What a command does is what the real one does; what is saved is the start of an interpreter and the imports, which take
longer than compiling a small flow.
"""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from flow_target import Finished, clean_environment

_SERVER = """
import json, os, sys
import flowc.backends.argo.backend, flowc.cli.compile, flowc.compiler
from flowc.cli import main

def command(words, env, cwd, files):
    for number, file in enumerate([os.devnull, *files]):
        os.dup2(os.open(file, os.O_RDWR | os.O_CREAT | os.O_TRUNC), number)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.argv, sys.path[0] = ["flowc", *words], cwd  # as python -m flowc has it
    return main(words)

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        code = 70
        try:
            code = command(*json.loads(line))
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@functools.cache
def _server() -> subprocess.Popen[str]:
    """It ends with this process, which holds its input."""
    command = [sys.executable, "-c", _SERVER]
    return subprocess.Popen(
        command, env=clean_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/"
    )


def flowc_ended(words: list[str], cwd: Path, env: Mapping[str, str] | None = None) -> Finished:
    """Run one command of ``flowc`` to its end."""
    server = _server()
    assert server.stdin is not None and server.stdout is not None
    files = [cwd / f"flowc.{stream}" for stream in ("stdout", "stderr")]
    request = [words, {**clean_environment(), **(env or {})}, str(cwd), [str(file) for file in files]]
    server.stdin.write(json.dumps(request) + "\n")
    server.stdin.flush()
    code = int(server.stdout.readline())
    return Finished(code, *(file.read_text() for file in files))
