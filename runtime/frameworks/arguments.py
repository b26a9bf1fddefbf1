"""How a program's arguments are written in a step: a list is taken as it is, a mapping becomes options."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Optional, Union

from ...dsl import FlowcError

Arguments = Union[Mapping[str, Any], Sequence[Any], None]
"""``["--lr", "0.1"]``, handed over word by word, or ``{"lr": 0.1}``."""


class BadArguments(FlowcError):
    """What a step gave as arguments cannot be handed to a program."""


def argument_list(given: Arguments, what: str = "the arguments") -> list[str]:
    """The words of a command line.

    A list is handed over exactly, one word an element, whatever characters it has: no shell sees it. In a mapping each
    key becomes an option, ``--key`` unless it begins with a dash itself, and its value the next word; True leaves the
    option alone, False and None leave it out, and a list gives the option several words.

    Parameters
    ----------
    given : mapping, sequence or None
        None stands for no arguments.
    what : str
        What it is called in an error.

    Raises
    ------
    BadArguments
        For a single text, which would have to be cut into words, and for what no command line can carry.
    """
    if given is None:
        return []
    if isinstance(given, Mapping):
        words: list[str] = []
        for key, value in given.items():
            if value is None or value is False:
                continue
            words.append(_word(key if str(key).startswith("-") else f"--{key}", what))
            if value is True:
                continue
            words += [_word(each, what) for each in (value if isinstance(value, (list, tuple)) else [value])]
        return words
    if isinstance(given, (str, bytes)):
        raise BadArguments(f"{what} are one text, {given!r}: give a list of words, or a dict of options")
    return [_word(each, what) for each in given]


def program_words(program: Union[str, Sequence[Any]], what: str = "the program") -> list[str]:
    """A program with its first arguments: a text is cut into words as a shell does, a list is taken as it is.

    Raises
    ------
    BadArguments
        If it is empty, or a quote in it is not closed.
    """
    if isinstance(program, (str, os.PathLike)):
        try:
            words = shlex.split(os.fspath(program))
        except ValueError as error:
            raise BadArguments(f"{what} {program!r} cannot be cut into words: {error}") from None
    else:
        words = argument_list(program, what)
    if not words:
        raise BadArguments(f"{what} is empty: give the program to run")
    return words


def has_option(words: Sequence[str], *names: str) -> bool:
    """Whether one of the options is among the words, as ``--name``, ``--name value`` or ``--name=value``."""
    return any(word.split("=", 1)[0] in names for word in words)


def option_value(words: Sequence[str], *names: str) -> Optional[str]:
    """The value of the last of these options, None where there is none."""
    found = None
    for at, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in names:
            if equals:
                found = value
            elif at + 1 < len(words):
                found = words[at + 1]
    return found


def _word(value: Any, what: str) -> str:
    word = os.fspath(value) if isinstance(value, os.PathLike) else str(value)
    if not isinstance(word, str) or "\0" in word:
        raise BadArguments(f"{what} have {value!r}, which no command line can carry")
    return word
