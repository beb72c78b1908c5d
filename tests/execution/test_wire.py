from __future__ import annotations

from collections import Counter, namedtuple
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pper_jax.execution import wire

ATOMS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.complex_numbers(allow_nan=False)
    | st.text()
    | st.binary(max_size=20)
)
HASHABLE = st.recursive(ATOMS, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=8)
VALUES = st.recursive(
    HASHABLE | st.sets(HASHABLE, max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(HASHABLE, inner, max_size=3) | st.tuples(inner),
    max_leaves=15,
)


def same(a: Any, b: Any) -> bool:
    """Equality that also wants the same types, which == does not."""
    if type(a) is not type(b):
        return False
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


@settings(deadline=None, max_examples=80, derandomize=True)
@given(VALUES)
def test_values_survive_the_wire(value: Any) -> None:
    message = wire.pack({"v": wire.encode(value)})
    assert same(wire.decode(wire.unpack(message[4:])["v"]), value)


@settings(deadline=None, max_examples=100, derandomize=True)
@given(st.recursive(ATOMS, lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from([*"ifcbtszdTr"]), inner)))
def test_decoding_anything_gives_a_value_or_malformed(data: Any) -> None:
    with suppress(wire.Malformed):
        wire.decode(data, lambda number, name: None)


@pytest.mark.parametrize(
    ("value", "base"),
    [
        (Counter("aab"), {"a": 2, "b": 1}),
        (namedtuple("P", "x y")(1, [2]), (1, [2])),
        (float("inf"), float("inf")),
        ("\ud800", "\ud800"),
        (int, int),
    ],
)
def test_awkward_values(value: Any, base: Any) -> None:
    assert same(wire.decode(wire.unpack(wire.pack(wire.encode(value))[4:])), base)


def test_an_int_beyond_the_digits_that_python_prints() -> None:
    assert wire.decode(wire.unpack(wire.pack(wire.encode(-(10**5000)))[4:])) == -(10**5000)


def test_a_list_is_copied_not_shared() -> None:
    data = [1, 2]
    assert wire.decode(data) is not data


@pytest.mark.parametrize("value", [object(), lambda: 0, range(3), iter([1])])
def test_no_plain_data(value: Any) -> None:
    with pytest.raises(wire.NotPlain):
        wire.encode([value])


def test_depth_is_bounded() -> None:
    nest: list[Any] = []
    nest.append(nest)
    with pytest.raises(wire.NotPlain):
        wire.encode(nest)


@pytest.mark.parametrize("body", [b"", b"[", b"[" * 100_000, b"{}x", b'"\xff"', b"1 2", b"9" * 5000])
def test_no_message(body: bytes) -> None:
    with pytest.raises(wire.Malformed):
        wire.unpack(body)
