"""Length-prefixed JSON over a socket. What values look like in it is said in ``values``."""

from __future__ import annotations

from json.decoder import JSONDecoder
from json.encoder import c_make_encoder, encode_basestring_ascii  # type: ignore[attr-defined]
from json.scanner import c_make_scanner  # type: ignore[attr-defined]
from posix import read, write
from struct import Struct
from sys import get_int_max_str_digits, set_int_max_str_digits
from typing import Any

# The C functions behind json.dumps and json.loads: the code around them uses builtins that programs may rebind.
_write_json: Any = c_make_encoder(None, None, encode_basestring_ascii, None, ":", ",", False, False, True)
_read_json: Any = c_make_scanner(JSONDecoder())
HEADER = Struct("!I")
HELLO = b"."  # a child's first byte on its channel
NEWS = Struct("!IidI")  # number of the child just forked; wait status, CPU seconds, MiB at most of the one before it
END = Struct("!I")  # the number of the child to end
OUT_OF_MEMORY = 71  # the exit status of a child that has no memory left to say so
DIGITS = 640  # the longest number that a message may hold: reading takes time by the square of it


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
    before = get_int_max_str_digits()
    set_int_max_str_digits(DIGITS)
    try:
        text = body.decode("ascii")
        message, end = _read_json(text, 0)
    except (ValueError, StopIteration, RecursionError, MemoryError) as error:
        raise Malformed(f"not a message: {type(error).__name__}") from None
    finally:
        set_int_max_str_digits(before)
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
    write_all(fd, pack(message))


def write_all(fd: int, data: bytes) -> None:
    """Write all of some bytes to a descriptor."""
    view = memoryview(data)
    while view:
        view = view[write(fd, view) :]
