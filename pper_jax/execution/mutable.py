"""What can be changed in place: its contents as JSON, and back into the object that it is."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from math import prod
from typing import Any

from pper_jax.execution.library import Malformed, NotPlain, base_class

SAFE_INT = 1 << 53


def is_json(items: list[Any]) -> bool:
    """Whether a list stands for itself: only small integers, or only strings. Long lists are worth the look."""
    kinds = set(map(type, items))
    if kinds == {int}:
        return min(items) > -SAFE_INT and max(items) < SAFE_INT
    return kinds == {str}


def dtype(text: str) -> Any:
    """Return the type of an array's items; raise Malformed where it may not be one."""
    if not isinstance(text, str) or len(text) > 24 or text[1:2] not in "biufcmMSUO":
        raise Malformed("no dtype")
    return import_module("numpy").dtype(text)


def contents(value: Any, tag: str, enc: Callable[[Any], Any]) -> Any:
    """Return what is in an object that can be changed in place, as JSON; ``fill`` is its counterpart.

    No method of a subclass is asked.
    """

    if tag == "l":
        value = list.__getitem__(value, slice(None))
        return value if is_json(value) else [enc(item) for item in value]
    if tag in ("d", "C"):
        return [[enc(key), enc(item)] for key, item in dict.items(value)]
    if tag == "s":
        return [enc(item) for item in set.__iter__(value)]
    if tag == "B":
        return bytearray.hex(value)
    kind = base_class(tag)
    if tag == "O":
        return [[enc(key), enc(item)] for key, item in kind.items(value)]
    if tag == "dq":
        return [kind.maxlen.__get__(value), [enc(item) for item in kind.__iter__(value)]]
    if tag == "dd":
        factory = kind.default_factory.__get__(value)
        return [enc(factory), [[enc(key), enc(item)] for key, item in dict.items(value)]]
    if tag == "a":
        return [kind.typecode.__get__(value), [enc(item) for item in kind.tolist(value)]]
    if tag == "CM":
        return [enc(item) for item in value.maps]
    if tag == "SN":
        return [[name, enc(item)] for name, item in vars(value).items()]
    if tag in ("UD", "UL"):
        return enc(value.data)
    if value.dtype.kind == "O":
        return ["|O", list(value.shape), [enc(item) for item in value.ravel().tolist()]]
    if value.dtype.kind not in "biufcmMSU":
        raise NotPlain(f"an array of {value.dtype} is no plain data")
    return [value.dtype.str, list(value.shape), value.tobytes().hex()]


def _empty_array(body: list[Any]) -> Any:
    if not all(type(size) is int and size >= 0 for size in body[1]):
        raise Malformed("no shape")
    if body[0] != "|O" and len(body[2]) != 2 * dtype(body[0]).itemsize * prod(body[1]):
        raise Malformed("no array of this size")
    return import_module("numpy").empty(body[1], dtype=dtype(body[0]))


EMPTY: dict[str, Callable[[Any], Any]] = {
    "l": lambda b: [],
    "d": lambda b: {},
    "s": lambda b: set(),
    "B": lambda b: bytearray(),
    "dq": lambda b: import_module("collections").deque((), b[0]),
    "C": lambda b: import_module("collections").Counter(),
    "O": lambda b: import_module("collections").OrderedDict(),
    "dd": lambda b: import_module("collections").defaultdict(),
    "a": lambda b: import_module("array").array(b[0]),
    "CM": lambda b: import_module("collections").ChainMap(),
    "UD": lambda b: import_module("collections").UserDict(),
    "UL": lambda b: import_module("collections").UserList(),
    "SN": lambda b: import_module("types").SimpleNamespace(),
    "np": _empty_array,
}


def empty(tag: str, body: Any) -> Any:
    """Return an object that ``fill`` gives its contents."""
    return EMPTY[tag](body)


def fill(value: Any, tag: str, body: Any, dec: Callable[[Any], Any]) -> None:
    """Give an object these contents in the place of its own, keeping its identity; no method of a subclass is asked."""
    kind = base_class(tag)
    if tag == "l":
        list.__setitem__(value, slice(None), [dec(item) for item in body])
    elif tag in ("d", "O", "C", "dd"):
        if tag == "dd":
            value.default_factory, body = dec(body[0]), body[1]
        pairs = [(dec(key), dec(item)) for key, item in body]
        kind.clear(value)
        for key, item in pairs:
            kind.__setitem__(value, key, item)
    elif tag == "s":
        items = [dec(item) for item in body]
        set.clear(value)
        set.update(value, items)
    elif tag == "B":
        bytearray.__setitem__(value, slice(None), bytes.fromhex(body))
    elif tag == "dq":
        items = [dec(item) for item in body[1]]
        kind.clear(value)
        kind.extend(value, items)
    elif tag == "a":
        kind.__setitem__(value, slice(None), kind(body[0], [dec(item) for item in body[1]]))
    elif tag == "CM":
        value.maps = [dec(item) for item in body]
    elif tag == "SN":
        attributes = {"" + name: dec(item) for name, item in body}
        vars(value).clear()
        vars(value).update(attributes)
    elif tag in ("UD", "UL"):
        value.data = dec(body)
    else:
        _fill_array(value, body, dec)


def _fill_array(value: Any, body: list[Any], dec: Callable[[Any], Any]) -> None:
    if value.dtype.kind == "O":
        value.reshape(-1)[:] = [dec(item) for item in body[2]]
        return
    given = import_module("numpy").frombuffer(bytes.fromhex(body[2]), dtype=value.dtype)
    value[...] = given.reshape(value.shape)
