"""Strict YAML and dotted overrides such as ``beam.width=5`` into frozen dataclasses; knows no option by name.

An unknown key, a value of the wrong type or a value out of range is a :class:`UserError` that names its path
(``train.learning_rate``) and, for unknown keys, the nearest known one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from pper_jax.errors import UserError, cut, shown
from pper_jax.ranges import check_file_name, check_number

T = TypeVar("T")
LONG = 80  # characters of a user's text that a sentence shows
DEEPEST, MOST_VALUES = 40, 10_000  # of a configuration


def to_dict(config: Any) -> dict[str, Any]:
    """The resolved configuration as plain data, ready for YAML."""
    return dataclasses.asdict(config)


def from_dict(cls: type[T], data: Any, path: str = "") -> T:
    """Build dataclass ``cls`` from plain data; strict about keys and types."""
    if not isinstance(data, Mapping):
        raise UserError(f"{path or 'the configuration'} must be a mapping of keys to values, not {shown(data)}")
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in data:
        if key not in fields:
            raise UserError(_unknown_key(str(key) if isinstance(key, str) else shown(key), list(fields), path))
    values = {key: _convert(hints[key], value, f"{path}{key}") for key, value in data.items()}
    for name, spec in fields.items():
        required = spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING
        if required and name not in values:
            raise UserError(f"the key {path}{name} is missing from the configuration")
    try:
        return cls(**values)
    except UserError as error:  # says the option's own name, below ``path`` or with it
        raise UserError(str(error) if str(error).startswith(path) else f"{path}{error}") from None


def _unknown_key(key: str, known: Sequence[str], path: str) -> str:
    near = difflib.get_close_matches(key[:LONG], known, n=1, cutoff=0.4)
    hint = f"did you mean {path}{near[0]}?" if near else f"known keys here: {', '.join(known)}"
    return f"unknown configuration key {cut(path + key, 2 * LONG)}; {hint}"


def _convert(hint: Any, value: Any, path: str) -> Any:
    origin = typing.get_origin(hint)
    if dataclasses.is_dataclass(hint):
        return from_dict(typing.cast(type, hint), value, f"{path}.")
    if origin is dict:
        return _named(typing.get_args(hint)[1], value, path)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise UserError(f"{path} is {shown(value)}; it must be a list")
        return tuple(_convert(typing.get_args(hint)[0], part, f"{path}, entry {i + 1}") for i, part in enumerate(value))
    if origin is Literal:
        choices = typing.get_args(hint)
        if value not in choices or isinstance(value, bool):
            raise UserError(f"{path} is {shown(value)}; choose one of {', '.join(map(str, choices))}")
        return value
    if origin in (types.UnionType, typing.Union):
        options = [arg for arg in typing.get_args(hint) if arg is not type(None)]
        return None if value is None else _convert(options[0], value, path)
    return _scalar(hint, value, path)


def _named(hint: Any, value: Any, path: str) -> dict[str, Any]:
    """A mapping whose keys are names of the user's own; each must do for a file's name."""
    if not isinstance(value, Mapping):
        raise UserError(f"{path} must be a mapping of names to values, not {shown(value)}")
    for key in value:
        if isinstance(key, bool) or not isinstance(key, (str, int)):
            raise UserError(f"{path} has the name {shown(key)}; write it in quotes if it is one")
        check_file_name(f"the name {path}.{key}" if len(str(key)) <= LONG else f"a name in {path}", str(key))
    named = {str(key): _convert(hint, part, f"{path}.{key}") for key, part in value.items()}
    if len(named) < len(value):
        raise UserError(f"{path} has two names that read the same as text; rename one of them")
    return named


def _scalar(hint: Any, value: Any, path: str) -> Any:
    if hint is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        with contextlib.suppress(ValueError, OverflowError):  # YAML 1.1 reads 1e-4 as a string
            check_number(path, float(value))
            return float(value)
    elif isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        if hint is int and abs(value) >= 2**63:
            raise UserError(f"{path} is {shown(value)}; it must be a whole number of at most 64 bits")
        if isinstance(value, str) and any(letter == "\0" or "\ud800" <= letter <= "\udfff" for letter in value):
            raise UserError(f"{path} is {shown(value)}; it must be text without NUL and half surrogate pairs")
        return value
    quotes = "; put it in quotes if it is text" if hint is str and not isinstance(value, (list, dict)) else ""
    raise UserError(f"{path} is {shown(value)}; it must be of type {hint.__name__}{quotes}")


def apply_overrides(data: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return ``data`` with each ``dotted.key=value`` set; values are read as YAML (``none`` modes stay strings)."""
    result = _deep_copy(data)
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not all(key.split(".")):
            raise UserError(f"cannot read the override {shown(override)}; write it as key=value, such as beam.width=5")
        node = result
        *parents, last = key.split(".")
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise UserError(
                    f"the override {shown(override)} goes below {shown(parent)}, which is a value and not a section"
                )
        node[last] = parse_yaml(text, f"the override {shown(override)}")
    return result


def _deep_copy(data: Any) -> Any:
    return {k: _deep_copy(v) for k, v in data.items()} if isinstance(data, dict) else data


class _Loader(yaml.SafeLoader):
    """YAML without dates (a name such as 2020-01-01 is text) that refuses a key given twice."""

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if (key.tag, key.value) in seen:
                    problem = f"the key {shown(key.value)} stands twice in one section"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                seen.add((key.tag, key.value))
        return node

    def flatten_mapping(self, node: Any) -> None:
        super().flatten_mapping(node)
        if len(node.value) > MOST_VALUES:
            raise yaml.constructor.ConstructorError(None, None, "too many merged keys", node.start_mark)


_DATE = "tag:yaml.org,2002:timestamp"
_Loader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in resolvers if tag != _DATE]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.yaml_constructors = {k: v for k, v in yaml.SafeLoader.yaml_constructors.items() if k != _DATE}


def parse_yaml(text: str, where: str) -> Any:
    """The plain data of a YAML text; ``where`` begins the sentence of a UserError when it has none."""
    try:
        data = yaml.load(text, Loader=_Loader)
        _refuse_endless(data, where)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or str(error).partition("\n")[0]
        raise UserError(f"{where}{line} is not valid YAML: {cut(reason)}") from None
    except RecursionError:
        raise UserError(f"{where} is nested too deep") from None
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:  # PyYAML on !!int x, 0x_, ...
        raise UserError(f"{where} holds a value that cannot be read: {cut(str(error))}") from None
    return data


def _refuse_endless(data: Any, where: str) -> None:
    """Refuse aliases that refer to what they stand in, or that multiply beyond any configuration."""
    left, todo = MOST_VALUES, [(data, 0)]
    while todo:
        node, depth = todo.pop()
        left -= 1
        if left < 0 or depth > DEEPEST:
            raise UserError(f"{where} is nested too deep, refers to itself or holds more than {MOST_VALUES} values")
        if isinstance(node, (Mapping, list, tuple, set)):
            todo += [(part, depth + 1) for part in (node.values() if isinstance(node, Mapping) else node)]


def load_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML file whose top level is a mapping; one-sentence errors otherwise."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UserError(f"cannot read the configuration {path}: {reason}") from None
    data = parse_yaml(text, str(path))
    if not isinstance(data, dict):
        raise UserError(f"{path} holds no configuration: its top level must be keys and values")
    return data


def dump_yaml(config: Any) -> str:
    """The resolved configuration as YAML text, keys in declared order."""
    return yaml.safe_dump(to_dict(config), sort_keys=False)


def load_config(cls: type[T], path: str | Path, overrides: Sequence[str] = ()) -> T:
    """Read YAML at ``path`` into dataclass ``cls``, with dotted ``overrides`` applied.

    Raises:
        UserError: unreadable file, bad YAML (with its line), unknown key (with its path), wrong type, out of range.
    """
    return from_dict(cls, apply_overrides(load_yaml(path), overrides))
