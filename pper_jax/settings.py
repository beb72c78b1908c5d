"""Strict YAML and dotted overrides such as ``beam.width=5`` into frozen dataclasses; knows no option by name.

An unknown key, a value of the wrong type or a value out of range is a :class:`UserError` that names its path
(``train.learning_rate``) and, for unknown keys, the nearest known one.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from pper_jax.errors import UserError

T = TypeVar("T")


def to_dict(config: Any) -> dict[str, Any]:
    """The resolved configuration as plain data, ready for YAML."""
    return dataclasses.asdict(config)


def from_dict(cls: type[T], data: Any, path: str = "") -> T:
    """Build dataclass ``cls`` from plain data; strict about keys and types."""
    if not isinstance(data, Mapping):
        raise UserError(f"{path or 'the configuration'} must be a mapping of keys to values, not {data!r}")
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in data:
        if key not in fields:
            raise UserError(_unknown_key(f"{path}{key}", str(key), list(fields), path))
    values = {key: _convert(hints[key], value, f"{path}{key}") for key, value in data.items()}
    for name, spec in fields.items():
        required = spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING
        if required and name not in values:
            raise UserError(f"the key {path}{name} is missing from the configuration")
    try:
        return cls(**values)
    except UserError as error:  # says the option's own name, which stands below ``path``
        raise UserError(f"{path}{error}") from None


def _unknown_key(full: str, key: str, known: Sequence[str], path: str) -> str:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.4)
    hint = f"did you mean {path}{near[0]}?" if near else f"known keys here: {', '.join(known)}"
    return f"unknown configuration key {full}; {hint}"


def _convert(hint: Any, value: Any, path: str) -> Any:
    origin = typing.get_origin(hint)
    if dataclasses.is_dataclass(hint):
        return from_dict(typing.cast(type, hint), value, f"{path}.")
    if origin is dict:
        if not isinstance(value, Mapping):
            raise UserError(f"{path} must be a mapping of names to values, not {value!r}")
        return {str(k): _convert(typing.get_args(hint)[1], v, f"{path}.{k}") for k, v in value.items()}
    if origin is Literal:
        choices = typing.get_args(hint)
        if value not in choices:
            raise UserError(f"{path} is {value!r}; choose one of {', '.join(map(str, choices))}")
        return value
    if origin in (types.UnionType, typing.Union):
        options = [arg for arg in typing.get_args(hint) if arg is not type(None)]
        return None if value is None else _convert(options[0], value, path)
    return _scalar(hint, value, path)


def _scalar(hint: Any, value: Any, path: str) -> Any:
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if hint is float and isinstance(value, str):  # YAML 1.1 reads 1e-4 as a string
        try:
            return float(value)
        except ValueError:
            pass
    if isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    raise UserError(f"{path} is {value!r}; it must be of type {hint.__name__}")


def apply_overrides(data: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return ``data`` with each ``dotted.key=value`` set; values are read as YAML (``none`` modes stay strings)."""
    result = _deep_copy(data)
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise UserError(f"cannot read the override {override!r}; write it as key=value, such as beam.width=5")
        node = result
        *parents, last = key.split(".")
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise UserError(f"the override {override!r} goes below {parent}, which is a value and not a section")
        node[last] = _parse_yaml(text, f"the override {override!r}")
    return result


def _deep_copy(data: Any) -> Any:
    return {k: _deep_copy(v) for k, v in data.items()} if isinstance(data, dict) else data


def _parse_yaml(text: str, where: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"{where}{line} is not valid YAML: {getattr(error, 'problem', error)}") from None


def load_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML file whose top level is a mapping; one-sentence errors otherwise."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UserError(f"cannot read the configuration {path}: {reason}") from None
    data = _parse_yaml(text, str(path))
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
