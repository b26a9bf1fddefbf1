"""How a program's arguments are written in a step: a list is taken as it is, a mapping becomes options."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping, Sequence, Set
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
    option alone, False and None leave it out, and a list gives the option several words. numpy's booleans are as good.

    Parameters
    ----------
    given : mapping, sequence or None
        None stands for no arguments.
    what : str
        What it is called in an error.

    Raises
    ------
    BadArguments
        For a single text, which would have to be cut into words, and for what no command line can carry: bytes, a set,
        a mapping, an array. So for an option with an empty list, of which nobody knows what it is to mean.
    """
    if given is None:
        return []
    if isinstance(given, Mapping):
        words: list[str] = []
        for key, value in given.items():
            if value is None or (_is_bool(value) and not value):
                continue
            option = _word(key if str(key).startswith("-") else f"--{key}", what)
            words.append(option)
            if _is_bool(value):
                continue
            several = value if isinstance(value, (list, tuple)) else [value]
            if not several:
                raise BadArguments(
                    f"{what} have an empty list for {option}: write True for the option alone, None to leave it out"
                )
            words += [_word(each, what, option) for each in several]
        return words
    if isinstance(given, (str, bytes)):
        raise BadArguments(f"{what} are one text, {given!r}: give a list of words, or a dict of options")
    if not isinstance(given, Iterable) or isinstance(given, (bytearray, memoryview, Set)):
        raise BadArguments(f"{what} are of type {type(given).__name__}: give a list of words, or a dict of options")
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


def _is_bool(value: Any) -> bool:
    # numpy's is none of Python's, and is called bool_ before numpy 2.
    kind = type(value)
    return kind is bool or (kind.__module__ == "numpy" and kind.__name__ in ("bool", "bool_"))


def _word(value: Any, what: str, option: str = "") -> str:
    if not isinstance(value, (str, os.PathLike)) and isinstance(value, (Iterable, memoryview)):
        # Its text would be Python's way to write it, which no program reads.
        where = f" for {option}: write a text, a number or a list of them" if option else ": write texts and numbers"
        raise BadArguments(f"{what} have a value of type {type(value).__name__}{where}")
    word = os.fspath(value) if isinstance(value, os.PathLike) else str(value)
    if not isinstance(word, str) or "\0" in word:
        raise BadArguments(f"{what} have {value!r}, which no command line can carry")
    return word
