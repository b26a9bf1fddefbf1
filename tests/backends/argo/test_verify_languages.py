"""The little languages: what is read, what is not, and that the short way reads as the grammar does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flowc.backends.argo import verify_languages as languages
from flowc.backends.argo.verify_languages import (
    NotRead,
    Requirement,
    check_when,
    read_condition,
    read_condition_by_grammar,
    read_depends,
    read_depends_by_grammar,
    read_expression,
    read_expression_by_grammar,
    read_text,
    read_text_by_grammar,
)
from hypothesis import given
from hypothesis import strategies as st

GOOD_EXPRESSIONS = [
    ("asInt(inputs.parameters.round) + 1", [("inputs", "parameters", "round")], [("asInt", 1)]),
    ("tasks['a-b'].outputs.parameters.width", [("tasks", "a-b", "outputs", "parameters", "width")], []),
    ("a.b == nil ? 'x' : toJson({'k': c, d: 2})", [("a", "b"), ("c",)], [("toJson", 1)]),
    ("filter(items, {# > 1 and not (# in [2, 3])})", [("items",)], [("filter", 2)]),
    ("a[b.c].d", [("b", "c"), ("a",)], []),
    ("a | sprig.b64enc()", [("a",)], [("sprig.b64enc", 0)]),
    ("-1 ** 2 < 3.5e-1 || a matches \"^x\" && !b", [("a",), ("b",)], []),
    ("x ?? y[1:2] not in z", [("x",), ("y",), ("z",)], []),
]  # fmt: skip
BAD = [
    (read_text, "{{a"),
    (read_text, "{{a} b"),
    (read_text, "{{a b}}"),
    (read_text, "{{a..b}}"),
    (read_text, "{{.a}}"),
    (read_text, "{{}}"),
    (read_text, "{{=}}"),
    (read_text, "{{={}"),
    (read_text, "ok {{a}} {{"),
    (read_text, "{{{{a}}}}"),
    (read_expression, "1 +"),
    (read_expression, "a b"),
    (read_expression, "f(a"),
    (read_expression, "'a"),
    (read_expression, "a ? b"),
    (read_expression, "a = b"),
    (read_depends, "a &&"),
    (read_depends, "a & b"),
    (read_depends, "(a"),
    (read_depends, "a.b.c"),
    (read_depends, "&& a"),
    (check_when, "1 =="),
    (check_when, "'a' = 'b'"),
    (check_when, "'a' == 'b"),
    (check_when, "(1 == 1"),
    (read_condition, "a =="),
    (read_condition, "a === b"),
    (read_condition, "a == b c"),
    (read_condition, "a == b,"),
    (read_condition, "a in b"),
]


@pytest.mark.parametrize(("text", "paths", "calls"), GOOD_EXPRESSIONS)
def test_expressions(text: str, paths: list[tuple[str, ...]], calls: list[tuple[str, int]]) -> None:
    found = read_expression(text)
    assert sorted(found.paths) == sorted(paths) and found.calls == calls


@pytest.mark.parametrize(("read", "text"), BAD)
def test_what_cannot_be_read(read: Callable[[str], Any], text: str) -> None:
    with pytest.raises(NotRead):
        read(text)


def test_depends_and_conditions() -> None:
    assert read_depends("(a.Succeeded || !b-2.Failed) && c") == [("a", "Succeeded"), ("b-2", "Failed"), ("c", None)]
    assert read_condition("a.b == c, d in (e, f),!g,h > 2") == [
        Requirement("a.b", "==", ("c",)),
        Requirement("d", "in", ("e", "f")),
        Requirement("g", "there"),
        Requirement("h", ">", ("2",)),
    ]


@pytest.mark.parametrize("text", ["'1' == 'a' && heads != \"x\"", "1 < 2 || !(a in ('b', 'c'))", "1 + 2 * -3 >= 0"])
def test_conditions_of_tasks(text: str) -> None:
    check_when(text)


def made_of(*words: str) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(words), max_size=6).map("".join)


NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,5}", fullmatch=True)
TAGS = st.lists(NAMES, min_size=1, max_size=3).map(".".join)
WORDS = st.text(alphabet="ab {}=.\n", max_size=6)
TEXTS = st.lists(st.one_of(WORDS, TAGS.map("{{%s}}".__mod__), TAGS.map("{{ %s }}".__mod__)), max_size=4).map("".join)


def outcome(read: Callable[[str], Any], text: str) -> Any:
    try:
        return read(text)
    except NotRead:
        return None


@given(TEXTS)
def test_texts_are_read_as_the_grammar_reads_them(text: str) -> None:
    short, long = outcome(read_text, text), outcome(read_text_by_grammar, text)
    assert short == long


@given(
    st.lists(st.sampled_from(["a", "b.Succeeded", "c-d", " && ", " || ", "(", ")", "!", " "]), max_size=6).map("".join)
)
def test_depends_are_read_as_the_grammar_reads_them(text: str) -> None:
    assert outcome(read_depends, text) == outcome(read_depends_by_grammar, text)


def test_nobody_pays_for_the_parser_where_flowc_wrote_what_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    # It imports tempfile, too, which would take a random.py beside the flow for Python's.
    monkeypatch.setattr(languages, "_parse", lambda language, text: pytest.fail(f"{language}: {text}"))
    assert read_depends("record-end.Failed || record-end.Errored") == [
        ("record-end", "Failed"),
        ("record-end", "Errored"),
    ]


@given(
    st.lists(
        st.sampled_from(["asInt", "a.b", "(", ")", " + 1", "c", "nil", "not", " - 2", ".", "(9, "]), max_size=6
    ).map("".join)
)
def test_expressions_are_read_as_the_grammar_reads_them(text: str) -> None:
    assert outcome(read_expression, text) == outcome(read_expression_by_grammar, text)


@given(made_of("status.a", " == ", "Done", ",", " ", "b", "!="))
def test_conditions_are_read_as_the_grammar_reads_them(text: str) -> None:
    assert outcome(read_condition, text) == outcome(read_condition_by_grammar, text)


@given(made_of("'a'", " == ", " != ", "'b c'", " && ", "1", " || ", "x"))
def test_whens_are_read_as_the_grammar_reads_them(text: str) -> None:
    def whole(text: str) -> bool:
        languages._parse("when", text)
        return True

    assert outcome(lambda text: check_when(text) is None, text) == outcome(whole, text)
