"""Sizes, counts and times with units, as people write them."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lark import Lark

_MIB = 1024 * 1024
_SIZES: dict[str, float] = {"": _MIB, "b": 1}
for _power, _letter in enumerate("kmgtp", start=1):
    _SIZES[_letter] = _SIZES[f"{_letter}b"] = 1000**_power
    _SIZES[f"{_letter}i"] = _SIZES[f"{_letter}ib"] = 1024**_power
_TIMES: dict[str, float] = {"": 1, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


class BadQuantity(ValueError):
    """A text that is no quantity; the message says what one looks like."""


@cache
def _grammar() -> Lark:
    # Only a flow that writes quantities as text pays for importing the parser.
    from importlib.resources import files

    from lark import Lark

    text = files(__package__).joinpath("grammars/quantity.lark").read_text(encoding="utf-8")
    return Lark(text, start="quantity", parser="lalr")


def _split(text: str, example: str) -> tuple[float, str]:
    plain = text.strip()
    if plain.isascii() and plain.isdigit():
        return int(plain), ""
    from lark.exceptions import LarkError

    try:
        tree = _grammar().parse(plain)
    except LarkError:
        raise BadQuantity(f"{text!r} is not a quantity; write it as {example}") from None
    words: list[Any] = list(tree.scan_values(lambda token: True))
    return float(words[0]), str(words[1]) if len(words) > 1 else ""


def mebibytes(value: float | str) -> int:
    """A size in MiB, rounded up: a number is MiB, text may carry a unit (``16Gi``, ``500M``; the rest as in
    Kubernetes).

    Raises
    ------
    BadQuantity
        If the text is no size, or the size is not finite.
    """
    if isinstance(value, str):
        number, unit = _split(value, "16Gi, 500M or 4096 (MiB)")
        factor = _SIZES.get(unit.lower())
        if factor is None:
            raise BadQuantity(f"{value!r} has the unknown unit {unit!r}; take Ki, Mi, Gi, Ti or K, M, G, T")
        amount = number * factor / _MIB
    else:
        amount = value
    if not math.isfinite(amount):
        raise BadQuantity(f"{value!r} is not a finite size")
    return math.ceil(amount - 1e-9)


def cores(value: float | str) -> float:
    """A number of cores; text may say thousandths of one (``500m``).

    Raises
    ------
    BadQuantity
        If the text is no number of cores.
    """
    if isinstance(value, str):
        number, unit = _split(value, "2, 0.5 or 500m")
        if unit not in ("", "m"):
            raise BadQuantity(f"{value!r} has the unknown unit {unit!r}; write cores as 2, 0.5 or 500m")
        amount = number / 1000 if unit else number
    else:
        amount = value
    if not math.isfinite(amount):
        raise BadQuantity(f"{value!r} is not a finite number of cores")
    return int(amount) if amount == int(amount) else amount


def count(value: float | str) -> int:
    """A whole number, of GPUs for instance; text is read as one.

    Raises
    ------
    BadQuantity
        If it is not whole.
    """
    if isinstance(value, str):
        number, unit = _split(value, "1 or 8")
        if unit:
            raise BadQuantity(f"{value!r} is not a whole number")
        value = number
    if not math.isfinite(value) or value != int(value):
        raise BadQuantity(f"{value!r} is not a whole number")
    return int(value)


def seconds(value: float | str) -> float:
    """A span of time in seconds: a number, or text with a unit (``90s``, ``5m``, ``2h``, ``1d``).

    Raises
    ------
    BadQuantity
        If the text is no span of time.
    """
    if not isinstance(value, str):
        return value
    number, unit = _split(value, "90s, 5m, 2h or 1d")
    factor = _TIMES.get(unit.lower())
    if factor is None:
        raise BadQuantity(f"{value!r} has the unknown unit {unit!r}; take s, m, h or d")
    return number * factor
