"""Objects that live here, for stand-ins on the other side: how they are introduced, and what is done to them."""

from __future__ import annotations

import operator
from collections.abc import Callable
from math import ceil, floor, trunc
from typing import Any

from pper_jax.execution.library import data_base, mutable_tag, reference, resolve
from pper_jax.execution.values import as_base, encode

COMPARISONS = ("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__")
BINARY = ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor", "lshift", "rshift"]
REGISTERED = ("collections.abc", "numbers")


def _of_type(name: str) -> Callable[..., Any]:
    return lambda value, *arguments: getattr(type(value), name)(value, *arguments)


def _reflected(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda value, other: function(other, value)


# What each special method does, where the object lives.
OPERATIONS: dict[str, Callable[..., Any]] = {
    "__call__": lambda value, *arguments, **named: value(*arguments, **named),
    "__len__": len,
    "__bool__": bool,
    "__str__": str,
    "__repr__": repr,
    "__bytes__": bytes,
    "__format__": format,
    "__hash__": hash,
    "__int__": int,
    "__float__": float,
    "__complex__": complex,
    "__index__": operator.index,
    "__round__": round,
    "__trunc__": trunc,
    "__floor__": floor,
    "__ceil__": ceil,
    "__neg__": operator.neg,
    "__pos__": operator.pos,
    "__abs__": abs,
    "__invert__": operator.invert,
    "__divmod__": divmod,
    "__rdivmod__": _reflected(divmod),
    "__iter__": iter,
    "__next__": next,
    "__reversed__": reversed,
    "__contains__": operator.contains,
    "__getitem__": operator.getitem,
    "__setitem__": operator.setitem,
    "__delitem__": operator.delitem,
    "__dir__": dir,
    **{name: _of_type(name) for name in ("__enter__", "__exit__", "__get__", "__await__", "__fspath__", "__aiter__")},
    **{name: _of_type(name) for name in ("__anext__", "__aenter__", "__aexit__")},
    **{name: getattr(operator, name) for name in COMPARISONS},
}
for _name in BINARY:
    OPERATIONS[f"__{_name}__"] = getattr(operator, f"__{_name}__")
    OPERATIONS[f"__r{_name}__"] = _reflected(getattr(operator, f"__{_name}__"))
    OPERATIONS[f"__i{_name}__"] = getattr(operator, f"__i{_name}__")


def perform(operation: str, arguments: list[Any]) -> Any:
    """Do what a stand-in of the other side asks of objects here."""
    if operation == "op":
        name, *operands = arguments
        return OPERATIONS[name](*operands)
    value, *rest = arguments
    if operation == "call":
        return value(*rest[0], **dict(rest[1]))
    if operation == "get":
        return getattr(value, rest[0])
    if operation == "set":
        return setattr(value, rest[0], rest[1])
    if operation == "del":
        return delattr(value, rest[0])
    if operation == "next":
        return _take(value, rest[0])
    if operation == "copy":
        return _copy(value, rest[0])
    return _signature(value)


def _take(iterator: Any, count: int) -> tuple[list[Any], BaseException | None]:
    """Return up to ``count`` items, and the exception that came in the place of the next."""
    items: list[Any] = []
    try:
        while len(items) < count:
            items.append(next(iterator))
    except BaseException as error:
        return items, error
    return items, None


def _copy(value: Any, deep: bool) -> Any:
    import copy

    return copy.deepcopy(value) if deep else copy.copy(value)


def _signature(value: Any) -> list[Any]:
    import inspect

    parameters = inspect.signature(value).parameters.values()
    return [
        [p.name, int(p.kind), p.default is not p.empty, None if p.default is p.empty else p.default] for p in parameters
    ]


def lend(value: Any, kind: type, heap: Any) -> tuple[str, Any]:
    """Return tag and body of the entry that introduces an object to the other side (see ``heap``)."""
    if isinstance(value, type):
        return "class", describe(value, heap)
    number = heap.refer(kind, type(kind))["@"]
    base = data_base(kind)
    if base is not None:
        tag = mutable_tag(base)
        return "sub", [number, tag, None] if tag else [number, "data", encode(as_base(value, base), heap)]
    if isinstance(value, BaseException):
        attributes = [[name, encode(item, heap)] for name, item in vars(value).items() if isinstance(name, str)]
        return "sub", [number, "error", [[encode(item, heap) for item in value.args], attributes]]
    return "ref", [number, _hash(value, kind)]


def _hash(value: Any, kind: type) -> int | None:
    if kind.__hash__ in (None, object.__hash__):
        return None
    try:
        return hash(value)
    except Exception:
        return None


def describe(kind: type, heap: Any) -> dict[str, Any]:
    """Return what the other side has to know of a class to make its stand-in."""
    mro = type.__dict__["__mro__"].__get__(kind)
    own = [base for base in mro if reference(base) is None]  # not of the library
    native = data_base(kind) or next((b for b in mro if issubclass(b, BaseException) and reference(b)), None)
    asked = own if native is not None else [base for base in mro if base is not object]
    names = {name for base in asked for name in base.__dict__}
    if native is None:
        names |= {"__str__", "__repr__", "__dir__"}
    return {
        "name": kind.__name__,
        "module": kind.__module__ if isinstance(kind.__module__, str) else "",
        "std": reference(kind),
        "bases": [heap.refer(b, type(b))["@"] for b in kind.__bases__ if b in own] if kind in own else [],
        "native": None if native is None else reference(native),
        "special": sorted(names & OPERATIONS.keys() - {"__hash__"}),
        "shadow": sorted(name for name in names if name[:2] != "__" and native is not None and hasattr(native, name)),
        "abstract": [
            r for r in map(reference, mro) if r and r.startswith(REGISTERED) and "register" in dir(resolve(r))
        ],
        "hash": "none" if kind.__hash__ is None else "default" if kind.__hash__ is object.__hash__ else "own",
    }
