"""``flowc metaflow``: what ``from metaflow import ...`` gives to a plain Python of this environment."""

from __future__ import annotations

import os
import sysconfig

import click

from .options import with_parameters

_MODULE = '''\
"""Written by `flowc metaflow on`: where Metaflow is not installed, `import metaflow` gives flowc."""

import sys


class _Fallback:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] != "metaflow":
            return None
        try:
            from flowc.dsl.metaflow_names import fallback
        except ImportError:
            return None
        return fallback(name)


sys.meta_path.append(_Fallback)
'''
# Python runs a line of a .pth file that begins with an import at every start, so what it imports must be light.
_FILES = {"flowc_metaflow.py": _MODULE, "flowc_metaflow.pth": "import flowc_metaflow\n"}


@click.command("metaflow")
@with_parameters(click.Argument(["wanted"], type=click.Choice(["on", "off"]), required=False))
def command(wanted: str | None) -> int:
    """Let `python flow.py run` work for flows that say `from metaflow import ...`.

    Python executes that import before flowc is there. After `flowc metaflow on`, it gives flowc in this environment
    wherever Metaflow is not installed; an installed Metaflow always goes first. `off` takes that back. Without either,
    say how things stand. Commands like `flowc run flow.py` need none of this.
    """
    folder = sysconfig.get_path("purelib")
    try:
        if wanted == "on":
            for name, text in _FILES.items():
                _write(os.path.join(folder, name), text)
        elif wanted == "off":
            # The .pth first: without the module, every start of Python would complain about it.
            for name in reversed(_FILES):
                if os.path.exists(os.path.join(folder, name)):
                    os.unlink(os.path.join(folder, name))
    except OSError as error:
        raise click.ClickException(f"cannot change {error.filename or folder}: {error.strerror}") from None
    on = all(os.path.exists(os.path.join(folder, name)) for name in _FILES)
    print(f"metaflow is given by flowc where it is not installed: {'on' if on else 'off'} ({folder})")
    return 0


def _write(path: str, text: str) -> None:
    temporary = f"{path}.{os.getpid()}"
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(temporary, path)
