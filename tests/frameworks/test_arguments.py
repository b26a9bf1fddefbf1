"""Arguments, as a step writes them, become the words that a program gets."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flowc.runtime.frameworks.arguments import (
    BadArguments,
    argument_list,
    has_option,
    option_value,
    program_words,
)


def test_a_mapping_becomes_options_and_a_list_stays_as_it_is() -> None:
    given = {"lr": 0.1, "a": True, "b": False, "c": None, "-n": 2, "--name": "x y", "files": ["one", Path("two")]}
    expected = ["--lr", "0.1", "--a", "-n", "2", "--name", "x y", "--files", "one", "two"]
    assert argument_list(given) == expected
    assert argument_list(["--b", True, 1, Path("/tmp")]) == ["--b", "True", "1", "/tmp"]
    assert argument_list(None) == argument_list([]) == argument_list({}) == []


@pytest.mark.parametrize("word", ["it's", 'say "hi"', "$HOME `id` \\", "two\nlines", "", "--k=v", "ü"])
def test_every_character_reaches_the_program(word: str) -> None:
    words = argument_list({"word": word})
    done = subprocess.run(
        [sys.executable, "-c", "import sys; sys.stdout.write(sys.argv[2])", *words], capture_output=True, text=True
    )
    assert done.stdout == word


def test_what_no_command_line_can_carry_is_refused() -> None:
    with pytest.raises(BadArguments, match=r"the arguments are one text, '--lr 0.1': give a list of words"):
        argument_list("--lr 0.1")
    with pytest.raises(BadArguments, match="no command line can carry"):
        argument_list(["a\0b"])
    with pytest.raises(BadArguments, match="cannot be cut into words"):
        program_words("python 'x.py")
    with pytest.raises(BadArguments, match="the program is empty"):
        program_words("")


class OfNumpy:
    """As far as a command line goes; before version 2 it was called bool_."""

    def __init__(self, value: bool) -> None:
        self.value = value

    def __bool__(self) -> bool:
        return self.value


@pytest.mark.parametrize("name", ["bool", "bool_"])
def test_numpy_s_booleans_are_booleans(name: str) -> None:
    kind = type(name, (OfNumpy,), {"__module__": "numpy"})
    assert argument_list({"a": kind(True), "b": kind(False)}) == ["--a"]


class Array:
    """Not of a type that is known, but it has elements."""

    def __iter__(self) -> Iterator[int]:
        return iter([1])


@pytest.mark.parametrize(
    "value", [b"x", bytearray(b"x"), memoryview(b"x"), {"k": 1}, {1, 2}, frozenset("x"), range(2), Array()]
)
def test_what_would_reach_a_program_as_python_writes_it_is_refused(value: Any) -> None:
    kind = type(value).__name__
    with pytest.raises(BadArguments, match=rf"^mine have a value of type {kind} for --k: write a text, a number or a "):
        argument_list({"k": value}, "mine")
    with pytest.raises(BadArguments, match=rf"^mine have a value of type {kind} for --k: "):
        argument_list({"k": ["x", value]}, "mine")
    with pytest.raises(BadArguments, match=rf"^mine have a value of type {kind}: write texts and numbers$"):
        argument_list(["x", value], "mine")


def test_an_option_with_an_empty_list_is_refused() -> None:
    for empty in ([], ()):
        with pytest.raises(BadArguments, match=r"^mine have an empty list for -k: write True for the option alone,"):
            argument_list({"-k": empty}, "mine")


@pytest.mark.parametrize("given", [{"x", "y"}, bytearray(b"x"), 3])
def test_what_has_no_words_in_an_order_is_refused(given: Any) -> None:
    with pytest.raises(BadArguments, match=rf"^mine are of type {type(given).__name__}: give a list of words, or a"):
        argument_list(given, "mine")


def test_a_program_is_cut_into_words_as_a_shell_does() -> None:
    assert program_words("python -c 'print(1, \"a b\")'") == ["python", "-c", 'print(1, "a b")']
    assert program_words(["my program", 1]) == ["my program", "1"]


def test_options_are_found_in_either_form() -> None:
    words = ["--hostfile=a", "-n", "4", "--np", "2"]
    assert has_option(words, "--hostfile") and not has_option(words, "--host")
    assert option_value(words, "--hostfile") == "a"
    assert option_value(words, "-n", "--np") == "2"
    assert option_value(words, "--nothing") is None
    assert option_value(["-n"], "-n") is None
