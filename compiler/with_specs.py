"""``--with retry:times=2,minutes_between_retries=0``: a decorator for every step, from the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from ..dsl.declarations import Declared, Specification
from ..dsl.decorators import BY_LABEL, FRAMEWORKS
from .diagnostics import Diagnostic, did_you_mean
from .flow_source import DecoratorUse
from .options import annotation, fits

if TYPE_CHECKING:
    from lark import Lark


@dataclass(frozen=True)
class Word:
    """A value that was written without quotes: what it means depends on what the option takes."""

    text: str


@cache
def _grammar() -> Lark:
    from importlib.resources import files

    from lark import Lark

    text = files(__package__).joinpath("grammars/with_spec.lark").read_text(encoding="utf-8")
    return Lark(text, parser="lalr", maybe_placeholders=False)


def parse(text: str) -> tuple[str, dict[str, Any]]:
    """The decorator's name and its options; an unquoted value is a `Word`.

    Raises
    ------
    ValueError
        If the text does not follow the grammar, with the column of the first wrong character in its message.
    """
    if text.isidentifier():
        return text, {}
    import ast

    from lark import Transformer
    from lark.exceptions import LarkError, UnexpectedInput

    class Build(Transformer[Any, Any]):
        def word(self, items: Sequence[Any]) -> Any:
            return Word(str(items[0]).strip())

        def string(self, items: Sequence[Any]) -> Any:
            return ast.literal_eval(str(items[0]))

        def option(self, items: Sequence[Any]) -> Any:
            return str(items[0]), items[1]

        def item_key(self, items: Sequence[Any]) -> Any:
            return items[0]

        def pair(self, items: Sequence[Any]) -> Any:
            return (items[0].text if isinstance(items[0], Word) else items[0]), items[1]

        def array(self, items: Sequence[Any]) -> Any:
            return [*items]

        def object(self, items: Sequence[Any]) -> Any:
            return dict(items)

        def start(self, items: Sequence[Any]) -> Any:
            return str(items[0]), items[1:]

    try:
        name, options = Build().transform(_grammar().parse(text))
    except UnexpectedInput as error:
        column = error.column if isinstance(error.column, int) and error.column > 0 else len(text) + 1
        raise ValueError(f"it goes wrong at character {column}") from None
    except LarkError as error:
        raise ValueError(str(error).splitlines()[0]) from None
    names = [option for option, _ in options]
    for option in names:
        if names.count(option) > 1:
            raise ValueError(f"it says {option} twice")
    return name, dict(options)


def settle(spec: type[Specification], option: str, value: Any) -> Any:
    """What the words of a value mean, given what the option takes."""
    if isinstance(value, list):
        return [_literal(item) for item in value]
    if isinstance(value, dict):
        kind = annotation(spec, option) if option in spec.defaults() else "Any"
        text = "Mapping[str, str]" in kind
        return {key: item.text if text and isinstance(item, Word) else _literal(item) for key, item in value.items()}
    if not isinstance(value, Word) or option not in spec.defaults():
        return _literal(value)
    kind, literal = annotation(spec, option), _literal(value)
    if "Sequence[str]" in kind and not fits(kind, value.text):
        return [value.text]
    if kind in ("str", "Optional[str]") or not fits(kind, literal):
        return literal if literal is None and kind.startswith("Optional") else value.text
    return literal


_LITERALS = {"true": True, "false": False, "null": None, "none": None}


def _literal(value: Any) -> Any:
    if isinstance(value, list):
        return [_literal(item) for item in value]
    if isinstance(value, dict):
        return {key: _literal(item) for key, item in value.items()}
    if not isinstance(value, Word):
        return value
    if value.text.lower() in _LITERALS:
        return _LITERALS[value.text.lower()]
    for convert in (int, float):
        try:
            return convert(value.text)
        except ValueError:
            pass
    return value.text


def read_with_specs(texts: Sequence[str], found: list[Diagnostic]) -> list[DecoratorUse]:
    """The decorators that ``--with`` asks for; what is wrong is added to ``found``."""
    gangs = {name for spec in FRAMEWORKS for name in (spec.label, *spec.aliases)}
    uses = []
    for text in texts:
        try:
            name, options = parse(text)
        except ValueError as error:
            help = "write NAME or NAME:option=value,option=value, as in retry:times=2"
            found.append(Diagnostic("FC010", f"--with {text} cannot be read: {error}", help=help))
            continue
        spec = BY_LABEL.get(name)
        if spec is None:
            tip = did_you_mean(name, [label for label, item in BY_LABEL.items() if item.on == "step"])
            found.append(Diagnostic("FC011", f"--with {text}: there is no decorator @{name}", help=tip))
        elif spec.on == "flow" or name in gangs:
            why = (
                "belongs on the flow class" if spec.on == "flow" else "makes a step a gang, which not every step can be"
            )
            found.append(Diagnostic("FC011", f"--with {text}: @{name} {why}", help=f"write @{name} in the flow's file"))
        else:
            given = {option: settle(spec, option, value) for option, value in options.items()}
            uses.append(DecoratorUse(Declared(spec, given), None))
    return uses
