"""The command line: one module a command, loaded when it is asked for. It parses and prints; others think."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import click

DEBUG = "FLOWC_DEBUG"
"""Set to anything: an unexpected error of flowc itself shows its traceback."""

COMPLETE = "_FLOWC_COMPLETE"
"""Set by the shell's completion: ``eval "$(_FLOWC_COMPLETE=bash_source flowc)"``."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one ``flowc`` command.

    Parameters
    ----------
    argv : sequence of str, optional
        The words after ``flowc``; those of this process where it is not given.

    Returns
    -------
    int
        0 good, 1 the flow or the check failed, 2 wrong usage or bad input, 130 interrupted.
    """
    from .invocation import Invocation

    return _guarded(Invocation(), sys.argv[1:] if argv is None else argv)


def main_for_flow(file: str, class_name: str, argv: Sequence[str] | None = None) -> int:
    """What ``python flow.py ...`` does: the same commands with the flow already chosen.

    Parameters
    ----------
    file : str
        Path of the flow's file.
    class_name : str
        Name of the flow class in it.
    argv : sequence of str, optional
        The words after the file's name; those of this process where it is not given.
    """
    from .invocation import Invocation

    invocation = Invocation(program=f"python {os.path.relpath(file)}", file=f"{file}:{class_name}", flow=class_name)
    return _guarded(invocation, sys.argv[1:] if argv is None else argv)


def _open_standard_streams() -> None:
    # A standard descriptor that was closed (``<&-``) would be given to the next file opened, here or in a task.
    number = os.open(os.devnull, os.O_RDWR)
    while number < 3:
        number = os.open(os.devnull, os.O_RDWR)
    os.close(number)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 (open for good)


def _guarded(invocation: object, argv: Sequence[str]) -> int:
    """Run the command; whatever goes wrong becomes one message and an exit code."""
    import click

    from .group import flow_commands
    from .invocation import Invocation

    assert isinstance(invocation, Invocation)
    _open_standard_streams()
    for stream in (sys.stdout, sys.stderr):
        # A character that the terminal's encoding does not have must not end anything. The stream may be another's.
        getattr(stream, "reconfigure", lambda **_: None)(errors="backslashreplace")
    try:
        commands = flow_commands(invocation)
        if os.environ.get(COMPLETE):
            from click.shell_completion import shell_complete

            return shell_complete(commands, {}, invocation.program, COMPLETE, os.environ[COMPLETE])
        # Not commands.main(): it makes an exit code of its own out of a broken pipe.
        with commands.make_context(invocation.program, list(argv), obj=invocation) as ctx:
            result = commands.invoke(ctx)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.UsageError as error:
        _show_usage_error(error)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        print("flowc: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader (head, less) has seen enough. Nothing may be written at exit either.
        from .screen import silence

        silence(sys.stdout)
        return 0
    except Exception as error:
        if os.environ.get(DEBUG):
            raise
        return _explain(error)


def _show_usage_error(error: click.UsageError) -> None:
    import click

    message = error.format_message()
    if isinstance(error, click.NoSuchOption):
        from ..compiler.diagnostics import nearest

        near = nearest(error.option_name, error.possibilities or ())
        message = f"there is no option {error.option_name}" + (f"; did you mean {near}?" if near else "")
    print(f"flowc: error: {message[:1].lower()}{message[1:]}", file=sys.stderr)
    if error.ctx is not None:
        print(f"Try '{error.ctx.command_path} --help' for help.", file=sys.stderr)


def _explain(error: Exception) -> int:
    from ..dsl.errors import FlowcError

    if isinstance(error, FlowcError):
        print(f"flowc: error: {error}", file=sys.stderr)
        return int(getattr(error, "exit_code", 2))
    if isinstance(error, OSError) and error.filename is not None:
        print(f"flowc: error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    print(
        f"flowc: internal error: {type(error).__name__}: {error}\n"
        f"This is a defect of flowc, not of your flow. Set {DEBUG}=1 to see the traceback and report it.",
        file=sys.stderr,
    )
    return 1
