from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pper_jax.execution import wire

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)  # fmt: skip


@settings(deadline=None, max_examples=80, derandomize=True)
@given(JSON)
def test_a_message_survives(message: Any) -> None:
    packed = wire.pack(message)
    assert wire.HEADER.unpack(packed[:4]) == (len(packed) - 4,)
    assert wire.unpack(packed[4:]) == message


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.lists(JSON.filter(lambda message: message is not None), max_size=4), st.lists(st.integers(1, 9), max_size=20))
def test_frames_are_found_however_the_stream_is_cut(messages: list[Any], cuts: list[int]) -> None:
    stream = b"".join(map(wire.pack, messages))
    frames, taken = wire.Frames(1 << 20), []
    while stream:
        size = cuts.pop() if cuts else len(stream)
        frames.data += stream[:size]
        stream = stream[size:]
        while (message := frames.take()) is not None:
            taken.append(message)
    assert taken == messages
    assert frames.take() is None


@pytest.mark.parametrize("body", [b"", b"[", b"[" * 100_000, b"{}x", b'"\xff"', b"1 2", b"9" * 5000, b"1" * 641])
def test_no_message(body: bytes) -> None:
    with pytest.raises(wire.Malformed):
        wire.unpack(body)


def test_a_number_of_as_many_digits_as_are_allowed() -> None:
    assert wire.unpack(b"9" * wire.DIGITS) == 10**wire.DIGITS - 1


def test_an_empty_message_is_none() -> None:
    frames = wire.Frames(100)
    frames.data += wire.pack(None)
    with pytest.raises(wire.Malformed):
        frames.take()


def test_a_message_beyond_the_limit_is_refused_by_its_header() -> None:
    frames = wire.Frames(100)
    frames.data += wire.HEADER.pack(101)
    with pytest.raises(wire.TooLarge):
        frames.take()


def test_messages_through_a_descriptor() -> None:
    read, write = os.pipe()
    wire.write_message(write, {"v": "é\ud800"})
    wire.write_message(write, [1])
    os.close(write)
    frames = wire.Frames(1 << 20)
    assert [wire.read_message(read, frames) for _ in range(3)] == [{"v": "é\ud800"}, [1], None]
    os.close(read)
