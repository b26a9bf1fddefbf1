"""Arguments, as a step writes them, become the words that a program gets."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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
