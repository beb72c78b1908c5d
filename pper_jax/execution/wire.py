"""Length-prefixed JSON over a socket, and plain values as JSON.

Values cross the border of the sandbox in a restricted form, so that reading one can never run code. JSON's null,
booleans, strings, finite floats, integers below 2**53 and lists stand for themselves; everything else is an object
with one key::

    {"i": "0x1f.."} big int   {"f": "nan"} float   {"c": [re, im]} complex   {"b": "00ff"} bytes   {"t": [..]} tuple
    {"s": [..]} set   {"z": [..]} frozenset   {"d": [[key, value], ..]} dict   {"T": "int"} a builtin type
    {"r": [number, type name]} an object that stays in the sandbox, by its number

Instances of subclasses (Counter, namedtuple, IntEnum) travel as their builtin base; numpy scalars and arrays as what
``tolist`` makes of them. Neither pickle nor marshal is used anywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from json.decoder import JSONDecoder
from json.encoder import c_make_encoder, encode_basestring_ascii  # type: ignore[attr-defined]
from json.scanner import c_make_scanner  # type: ignore[attr-defined]
from posix import read, write
from struct import Struct
from typing import Any

# The C functions behind json.dumps and json.loads: the code around them uses builtins that programs may rebind.
_write_json: Any = c_make_encoder(None, None, encode_basestring_ascii, None, ":", ",", False, False, True)
_read_json: Any = c_make_scanner(JSONDecoder())
HEADER = Struct("!I")
HELLO = b"."  # a child's first byte on its channel
NEWS = Struct("!Iid")  # the number of the child just forked; wait status and CPU seconds of the one before it
END = Struct("!I")  # the number of the child to end
MAX_DEPTH = 100
SAFE_INT = 1 << 53
BUILTIN_TYPES: dict[str, type] = {
    kind.__name__: kind for kind in (bool, int, float, complex, str, bytes, list, tuple, set, frozenset, dict, object)
}


class NotPlain(TypeError):
    """A value that cannot be written as plain data."""


class Malformed(ValueError):
    """Bytes that are no message."""


class TooLarge(ValueError):
    """A message beyond the limit."""


def to_json(message: Any) -> str:
    """Return a message as ASCII JSON; strings may hold lone surrogates."""
    return "".join(_write_json(message, 0))


def pack(message: Any) -> bytes:
    """Return a message with its length in front."""
    return frame(to_json(message))


def frame(message: str) -> bytes:
    """Return JSON that is written already with its length in front."""
    return HEADER.pack(len(message)) + message.encode("ascii")


def unpack(body: bytes | bytearray) -> Any:
    """Return the message in ``body``; raise Malformed where it is none."""
    try:
        text = body.decode("ascii")
        message, end = _read_json(text, 0)
    except (ValueError, StopIteration, RecursionError, MemoryError) as error:
        raise Malformed(f"not a message: {type(error).__name__}") from None
    if end != len(text):
        raise Malformed("not a message: more follows")
    return message


class Frames:
    """Cuts a stream of bytes into messages; none may be longer than ``limit`` bytes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.data = bytearray()

    def take(self) -> Any:
        """Return the next whole message, or None if it is not there yet; raise TooLarge or Malformed."""
        data = self.data
        if len(data) < 4:
            return None
        (size,) = HEADER.unpack_from(data)
        if size > self.limit:
            raise TooLarge(f"{size} bytes")
        if len(data) < 4 + size:
            return None
        message = unpack(data[4 : 4 + size])
        del data[: 4 + size]
        if message is None:
            raise Malformed("an empty message")
        return message


def read_message(fd: int, frames: Frames) -> Any:
    """Block for one message from a descriptor; None at its end; raise TooLarge or Malformed."""
    while (message := frames.take()) is None:
        part = read(fd, 1 << 18)
        if not part:
            return None
        frames.data += part
    return message


def write_message(fd: int, message: Any) -> None:
    """Write one message to a descriptor, all of it."""
    data = memoryview(pack(message))
    while data:
        data = data[write(fd, data) :]


def encode(value: Any, keep: Callable[[Any], list[Any]] | None = None, depth: int = 0) -> Any:
    """Return ``value`` as JSON (see the module).

    ``keep`` is called for an object that is no plain data and returns its ``[number, type name]``; without it such an
    object raises NotPlain, as does data nested deeper than MAX_DEPTH.
    """
    kind = type(value)
    if value is None or kind is bool or kind is str:
        return value
    if kind is int:
        return value if -SAFE_INT < value < SAFE_INT else {"i": hex(value)}
    if kind is float:
        return value if value - value == 0 else {"f": repr(value)}
    if depth > MAX_DEPTH:
        raise NotPlain("data nested too deeply")
    depth += 1
    if kind is list:
        return value if _is_json(value) else [encode(item, keep, depth) for item in value]
    if kind is tuple:
        return {"t": [encode(item, keep, depth) for item in value]}
    if kind is dict:
        return {"d": [[encode(key, keep, depth), encode(item, keep, depth)] for key, item in value.items()]}
    if kind is set or kind is frozenset:
        return {"s" if kind is set else "z": [encode(item, keep, depth) for item in value]}
    return _encode_rare(value, kind, keep, depth)


def _is_json(items: list[Any]) -> bool:
    """Whether a list stands for itself: only small integers, or only strings. Long lists are worth the look."""
    kinds = set(map(type, items))
    if kinds == {int}:
        return min(items) > -SAFE_INT and max(items) < SAFE_INT
    return kinds == {str}


def _encode_rare(value: Any, kind: type, keep: Callable[[Any], list[Any]] | None, depth: int) -> Any:
    if kind is bytes or kind is bytearray:
        return {"b": value.hex()}
    if kind is complex:
        return {"c": [encode(value.real), encode(value.imag)]}
    if kind is type and value in BUILTIN_TYPES.values():
        return {"T": value.__name__}
    if kind.__module__ == "numpy" and hasattr(value, "tolist"):
        return encode(value.tolist(), keep, depth)
    for base in (int, float, str, list, tuple, dict, set, frozenset):
        if isinstance(value, base):
            return encode(_as_base(value, base), keep, depth)
    if keep is None:
        raise NotPlain(f"a value of type {kind.__name__} is no plain data")
    return {"r": keep(value)}


def _as_base(value: Any, base: Any) -> Any:
    if base in (int, float, str):
        return {int: int.__int__, float: float.__float__, str: str.__str__}[base](value)
    return dict(dict.items(value)) if base is dict else base(base.__iter__(value))


def decode(data: Any, refer: Callable[[int, str], Any] | None = None, depth: int = 0) -> Any:
    """Return the value that ``encode`` wrote; ``refer(number, type name)`` stands in for what stayed behind.

    Raises Malformed for anything that ``encode`` does not write.
    """
    kind = type(data)
    if kind is not list and kind is not dict:
        return data
    if depth > MAX_DEPTH + 1:
        raise Malformed("data nested too deeply")
    depth += 1
    if kind is list:
        kinds = set(map(type, data))
        return [decode(item, refer, depth) for item in data] if list in kinds or dict in kinds else data[:]
    if len(data) != 1:
        raise Malformed("an object of more than one key")
    ((tag, body),) = data.items()
    try:
        return _decode_tagged(tag, body, refer, depth)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise Malformed(f"not a value: {type(error).__name__}") from None


def _decode_tagged(tag: str, body: Any, refer: Callable[[int, str], Any] | None, depth: int) -> Any:
    if tag == "d":
        return {decode(key, refer, depth): decode(item, refer, depth) for key, item in body}
    if tag in ("t", "s", "z"):
        items = decode([*body], refer, depth)
        return tuple(items) if tag == "t" else set(items) if tag == "s" else frozenset(items)
    if tag == "i":
        return int(body, 16)
    if tag == "f":
        return float({"nan": "nan", "inf": "inf", "-inf": "-inf"}[body])
    if tag == "c":
        real, imag = decode([*body], refer, depth)
        return complex(float(real), float(imag))
    if tag == "b":
        return bytes.fromhex(body)
    if tag == "T":
        return BUILTIN_TYPES[body]
    if tag == "r" and refer is not None:
        number, name = body
        return refer(number + 0, ("" + name)[:80])
    raise Malformed(f"unknown tag {tag[:10]!r}")
