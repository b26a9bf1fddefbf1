"""Inputs of a flow: `Parameter`, `IncludeFile` and `Config`.

They are class attributes of the flow. On the class they stand for themselves; on an instance inside a step they give
the run's value, which cannot be assigned to.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Generic, Optional, TypeVar

T = TypeVar("T")


class _JSONType:
    """``Parameter(type=JSONType)``: the value is given as JSON text and used as what it says."""

    name = "JSON"

    def __repr__(self) -> str:
        return "JSONType"


JSONType = _JSONType()


class Parameter:
    """An input that whoever starts the flow may set: ``--name value``.

    Parameters
    ----------
    name : str
        Name on the command line; letters, digits, ``_`` and ``-``.
    default : value or callable, optional
        A callable is called when a run starts, with one argument that has ``flow_name``, ``user_name`` and
        ``parameter_name``.
    type : {str, int, float, bool, JSONType}, optional
        Taken from the default where it is not given, else ``str``.
    required : bool
        Whether a run cannot start without it.
    help : str
        One line for ``--help``.
    separator : str, optional
        The text is split here and the value is a list of str.
    """

    def __init__(
        self,
        name: str,
        default: Any = None,
        type: Any = None,
        required: bool = False,
        help: Optional[str] = None,
        separator: Optional[str] = None,
        show_default: bool = True,
        **unknown: Any,
    ) -> None:
        self.name = name
        self.default = default
        self.type = type
        self.required = required
        self.help = help
        self.separator = separator
        self.show_default = show_default
        self.unknown = unknown
        self.attribute = name

    def __set_name__(self, owner: type, attribute: str) -> None:
        self.attribute = attribute

    def __get__(self, instance: Any, owner: Optional[type] = None) -> Any:
        if instance is None:
            return self
        return instance._flowc_input(self)

    def __set__(self, instance: Any, value: Any) -> None:
        raise AttributeError(
            f"{self.attribute!r} is a parameter of the flow and cannot be assigned to; use another name"
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"


class IncludeFile(Parameter):
    """A file whose content becomes part of the run: text, or bytes with ``is_text=False``.

    The default is a path relative to the folder of the flow's file; on the command line it is relative to the current
    folder.
    """

    def __init__(
        self,
        name: str,
        default: Any = None,
        is_text: bool = True,
        encoding: str = "utf-8",
        required: bool = False,
        help: Optional[str] = None,
        **unknown: Any,
    ) -> None:
        super().__init__(name, default=default, required=required, help=help, **unknown)
        self.is_text = is_text
        self.encoding = encoding


class ConfigValue(dict[str, Any]):
    """A config's value: a dictionary whose values can be read as attributes, too, and that cannot be changed."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        super().__init__((key, _wrap(value)) for key, value in data.items())

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the config has no {name!r}; it has {', '.join(self) or 'nothing'}") from None

    def _refuse(self, *arguments: Any, **more: Any) -> Any:
        raise TypeError("a config cannot be changed")

    __setattr__ = __delattr__ = __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __repr__(self) -> str:
        return f"ConfigValue({dict(self)!r})"

    def __reduce__(self) -> Any:
        return ConfigValue, (dict(self),)

    def copy(self) -> dict[str, Any]:
        """A plain dictionary of the same values, which can be changed."""
        return dict(self)

    def to_dict(self) -> dict[str, Any]:
        """The plain dictionary, and nothing but plain ones in it."""
        copy: dict[str, Any] = json.loads(json.dumps(self))
        return copy


def _wrap(value: Any) -> Any:
    if isinstance(value, Mapping):
        return ConfigValue(value)
    return [_wrap(item) for item in value] if isinstance(value, (list, tuple)) else value


class ConfigExpr:
    """Something about configs that is worked out once their values are known: ``config.a.b``, ``config_expr(...)``."""

    def __init__(self, evaluate: Callable[[Mapping[str, Any]], Any], text: str) -> None:
        self._evaluate = evaluate
        self._text = text

    def __getattr__(self, name: str) -> ConfigExpr:
        if name.startswith("_"):
            raise AttributeError(name)
        return ConfigExpr(lambda configs: getattr(self._evaluate(configs), name), f"{self._text}.{name}")

    def __getitem__(self, key: Any) -> ConfigExpr:
        return ConfigExpr(lambda configs: self._evaluate(configs)[key], f"{self._text}[{key!r}]")

    def __call__(self, *args: Any, **kwargs: Any) -> ConfigExpr:
        return ConfigExpr(lambda configs: self._evaluate(configs)(*args, **kwargs), f"{self._text}(...)")

    def __repr__(self) -> str:
        return f"<config expression {self._text}>"


def config_expr(text: str) -> ConfigExpr:
    """A Python expression over the configs by name, for decorators and defaults: ``config_expr("config.cpu * 2")``."""

    def evaluate(configs: Mapping[str, Any]) -> Any:
        return eval(text, {"__builtins__": __builtins__}, dict(configs))  # the author's own expression, as in the file

    return ConfigExpr(evaluate, text)


class Config(Generic[T]):
    """Settings fixed when the flow is compiled or started, usable in decorators: ``@resources(cpu=config.cpu)``.

    Parameters
    ----------
    name : str
        Name for ``--config NAME FILE`` and ``--config-value NAME JSON``.
    default : str, optional
        A JSON file, relative to the folder of the flow's file.
    default_value : mapping or str, optional
        The value itself.
    required : bool
        Whether a value must be given.
    parser : callable, optional
        Turns the file's text into a mapping; JSON otherwise.
    """

    def __init__(
        self,
        name: str,
        default: Any = None,
        default_value: Any = None,
        help: Optional[str] = None,
        required: bool = False,
        parser: Any = None,
        plain: bool = False,
        **unknown: Any,
    ) -> None:
        self.name = name
        self.default = default
        self.default_value = default_value
        self.help = help
        self.required = required
        self.parser = parser
        self.plain = plain
        self.unknown = unknown
        self.attribute = name

    def __set_name__(self, owner: type, attribute: str) -> None:
        self.attribute = attribute

    def _expr(self) -> ConfigExpr:
        return ConfigExpr(lambda configs: configs[self.name], self.name)

    def __getattr__(self, name: str) -> ConfigExpr:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._expr(), name)  # type: ignore[no-any-return]

    def __getitem__(self, key: Any) -> ConfigExpr:
        return self._expr()[key]

    def __get__(self, instance: Any, owner: Optional[type] = None) -> Any:
        if instance is None:
            return self
        return instance._flowc_config(self)

    def __set__(self, instance: Any, value: Any) -> None:
        raise AttributeError(f"{self.attribute!r} is a config of the flow and cannot be assigned to; use another name")

    def parse(self, text: str) -> Any:
        """The value that a config file's or option's text stands for."""
        parser = self.parser
        if isinstance(parser, str):
            import importlib

            module, _, function = parser.rpartition(".")
            parser = getattr(importlib.import_module(module), function)
        return json.loads(text) if parser is None else parser(text)


def resolve(value: Any, configs: Mapping[str, Any]) -> Any:
    """Replace every config expression inside ``value`` by what it stands for, given the configs by name."""
    if isinstance(value, ConfigExpr):
        return plain(value._evaluate({name: _wrap(config) for name, config in configs.items()}))
    if isinstance(value, Config):
        return plain(configs[value.name])
    if isinstance(value, dict):
        return {key: resolve(item, configs) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(resolve(item, configs) for item in value)
    return value


def plain(value: Any) -> Any:
    """A config's value without its read-only wrapping."""
    return value.to_dict() if isinstance(value, ConfigValue) else value
