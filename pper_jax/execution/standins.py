"""Stand-ins: objects of this side for objects that live on the other.

An object that is no data stays where it is. The other side sees it through an instance of a class made for the
purpose: of the same name, with stand-ins of the same bases, the same special methods, and under it the builtin type or
exception class that it derives from. So ``callable``, ``hasattr``, ``isinstance``, ``except Empty:`` and the abstract
classes answer as they would for the object itself, and whatever is done with a stand-in is done to the object, where it
lives.

The one rule of comparisons: between two stand-ins they are the objects' own; between a stand-in and plain data they are
the plain type's, or false. So no ``__eq__`` of a program has a say in what a test wrote.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from pper_jax.execution.lending import COMPARISONS, OPERATIONS, REGISTERED
from pper_jax.execution.library import Malformed, data_base, resolve
from pper_jax.execution.values import make_exception

READ_AHEAD, MOST_AHEAD = 64, 4096  # items of an iterator: read one at a time at first, then ever more


class Peer(Protocol):
    """What a stand-in asks its object through."""

    heap: Any

    def ask(self, operation: str, *arguments: Any) -> Any:
        """Have something done on the other side; return what it gave, or raise what it raised."""


class Forwarded:
    """An attribute that is the object's own, whatever the stand-in would inherit."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, value: Any, kind: Any = None) -> Any:
        """Read it."""
        peer, number = _origin(kind if value is None else value)
        return peer.ask("get", peer.heap.objects[number], self.name)

    def __set__(self, value: Any, new: Any) -> None:
        """Set it."""
        peer, number = _origin(value)
        peer.ask("set", peer.heap.objects[number], self.name, new)


def _origin(value: Any) -> tuple[Any, int]:
    """Return the peer and the number of a stand-in, an instance or a class."""
    if isinstance(value, StandInType):
        return type.__getattribute__(value, "_class_origin")
    return object.__getattribute__(value, "_origin")


class StandInType(type):
    """The class of stand-ins' classes. What is done with such a class is done with the class that it stands for."""

    def __call__(cls, *arguments: Any, **named: Any) -> Any:
        """Make an instance, where the class lives."""
        return _origin(cls)[0].ask("call", cls, arguments, tuple(named.items()))

    def __getattr__(cls, name: str) -> Any:
        if name == "_class_origin":
            raise AttributeError(name)
        return _read(cls, name)

    def __setattr__(cls, name: str, value: Any) -> None:
        if name.startswith("_abc") or name == "__abstractmethods__":
            type.__setattr__(cls, name, value)
        else:
            _origin(cls)[0].ask("set", cls, name, value)

    def __delattr__(cls, name: str) -> None:
        _origin(cls)[0].ask("del", cls, name)

    def __dir__(cls) -> Any:
        return _origin(cls)[0].ask("op", "__dir__", cls)

    def __iter__(cls) -> Any:
        return _origin(cls)[0].ask("op", "__iter__", cls)

    def __len__(cls) -> Any:
        return _origin(cls)[0].ask("op", "__len__", cls)

    def __bool__(cls) -> bool:
        return True

    def __getitem__(cls, key: Any) -> Any:
        return _origin(cls)[0].ask("op", "__getitem__", cls, key)

    def __contains__(cls, item: Any) -> Any:
        return _origin(cls)[0].ask("op", "__contains__", cls, item)


def _read(value: Any, name: str) -> Any:
    peer = _origin(value)[0]
    if name == "__signature__":
        return _make_signature(peer.ask("signature", value))
    return peer.ask("get", value, name)


def _make_signature(rows: Any) -> Any:
    import inspect

    empty = inspect.Parameter.empty
    return inspect.Signature(
        [
            inspect.Parameter(name, inspect._ParameterKind(kind), default=default if given else empty)
            for name, kind, given, default in rows
        ]
    )


class StandIn(metaclass=StandInType):
    """The base of all stand-ins."""

    __dict__ = Forwarded("__dict__")

    def __getattr__(self, name: str) -> Any:
        return _read(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        _origin(self)[0].ask("set", self, name, value)

    def __delattr__(self, name: str) -> None:
        _origin(self)[0].ask("del", self, name)

    def __copy__(self) -> Any:
        return _origin(self)[0].ask("copy", self, False)

    def __deepcopy__(self, memory: Any) -> Any:
        return _origin(self)[0].ask("copy", self, True)

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError(f"cannot pickle a {type(self).__name__} of the other side")


def _forward(name: str) -> Callable[..., Any]:
    def method(self: Any, *arguments: Any, **named: Any) -> Any:
        peer = _origin(self)[0]
        if name in ("__exit__", "__aexit__"):
            arguments = *arguments[:2], None  # a traceback is of this side alone
        if name == "__call__":
            return peer.ask("call", self, arguments, tuple(named.items()))
        return peer.ask("op", name, self, *arguments)

    return method


def _compare(name: str, native: Any) -> Callable[[Any, Any], Any]:
    """Return a comparison by the module's rule."""
    plain = getattr(native, name) if native is not None and data_base(native) else None

    def method(self: Any, other: Any) -> Any:
        peer = _origin(self)[0]
        if isinstance(other, StandIn) and not peer.heap.applying:
            return peer.ask("op", name, self, other)
        if plain is not None:
            return plain(self, other)
        return self is other if name == "__eq__" else self is not other if name == "__ne__" else NotImplemented

    return method


def _next(self: Any) -> Any:
    """Read the next item: one at a time, after a while more ahead."""
    peer = _origin(self)[0]
    try:
        buffer = object.__getattribute__(self, "_ahead")
    except AttributeError:
        buffer = [0, [], None]  # how many were read, what is there of them (backwards), the exception behind them
        object.__setattr__(self, "_ahead", buffer)
    if not buffer[1]:
        if buffer[2] is not None:
            error, buffer[2] = buffer[2], None
            raise error
        count = 1 if buffer[0] < READ_AHEAD else min(buffer[0], MOST_AHEAD)
        items, buffer[2] = peer.ask("next", self, count)
        buffer[0] += len(items)
        buffer[1] = items[::-1]
        if not items:
            return _next(self) if buffer[2] is not None else None
    return buffer[1].pop()


def _hashing(how: str, native: Any) -> Any:
    if how == "none":
        return None
    if how == "default" or native is not None:
        return object.__hash__ if native is None or not data_base(native) else native.__hash__

    def method(self: Any) -> int:
        known = object.__getattribute__(self, "_hash")
        return known if known is not None else _origin(self)[0].ask("op", "__hash__", self)

    return method


def borrow(number: int, tag: str, body: Any, peer: Peer) -> Any:
    """Return the stand-in of an object that an entry introduces; raise Malformed where it cannot be."""
    if tag == "class":
        return _make_class(number, body, peer)
    kind = peer.heap.objects[body[0]]
    if not isinstance(kind, StandInType):
        raise Malformed("no class of a stand-in")
    native = type.__getattribute__(kind, "_native")
    if tag == "ref":
        if native is not None:
            raise Malformed("an instance without its value")
        value: Any = object.__new__(kind)  # type: ignore[arg-type]
        object.__setattr__(value, "_hash", body[1] if type(body[1]) is int else None)
    elif body[1] == "error" and native is not None and issubclass(native, BaseException):
        args, attributes = body[2]
        found = {
            str(name): peer.heap.decode(item) for name, item in attributes if str(name) not in ("_origin", "_ahead")
        }
        value = make_exception(kind, [peer.heap.decode(item) for item in args], found)
    elif native is not None and data_base(native):
        value = native.__new__(kind, *([peer.heap.decode(body[2])] if body[1] == "data" else []))
    else:
        raise Malformed("no value")
    object.__setattr__(value, "_origin", (peer, number))
    return value


def _make_class(number: int, body: Any, peer: Peer) -> Any:
    native = None if body["native"] is None else resolve(body["native"])
    if native is not None and not (data_base(native) is native or issubclass(native, BaseException)):
        raise Malformed("no type of data or exceptions")
    bases = [peer.heap.objects[base] for base in body["bases"]]
    if not all(isinstance(base, StandInType) for base in bases):
        raise Malformed("no classes")
    special = [str(name) for name in body["special"] if name in OPERATIONS]
    namespace: dict[str, Any] = {name: _forward(name) for name in special}
    namespace |= {name: _compare(name, native) for name in special if name in COMPARISONS}
    namespace |= {str(name): Forwarded(str(name)) for name in body["shadow"]}
    if "__next__" in special:
        namespace["__next__"] = _next
    namespace |= {
        "__module__": str(body["module"]),
        "__hash__": _hashing(body["hash"], native),
        "_class_origin": (peer, number),
        "_native": native,
    }
    if body["std"] is not None:
        namespace["__class__"] = _always(resolve(body["std"]))
    if native is None:
        namespace["__doc__"] = Forwarded("__doc__")
    kind = _derive(str(body["name"]), bases, native, namespace)
    for name in body["abstract"]:
        if str(name).startswith(REGISTERED):
            resolve(name).register(kind)
    return kind


def _always(value: Any) -> property:
    return property(lambda self: value)


def _derive(name: str, bases: list[Any], native: Any, namespace: dict[str, Any]) -> Any:
    """Make the class; where bases do not go together, one that has none of them."""
    more = [] if native is None or any(issubclass(base, native) for base in bases) else [native]
    for these in ([*(bases or [StandIn]), *more], [StandIn, *([] if native is None else [native])]):
        try:
            return type.__new__(StandInType, name, tuple(these), namespace)
        except TypeError as error:
            failure = error
    raise Malformed(f"no class: {failure}")
