"""Values cross the border with their type, their order and what they share, and nothing comes in that is no value."""

from __future__ import annotations

import enum
import re
import types
from array import array
from collections import ChainMap, Counter, OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from gc import get_referents
from http import HTTPStatus
from pathlib import PurePosixPath
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pper_jax.execution import library, mutable, standins, values, wire
from pper_jax.execution.heap import Heap
from pper_jax.execution.library import Malformed, NotPlain

Point = namedtuple("Point", "x y")
ZONES = st.sampled_from([None, UTC, timezone(timedelta(hours=-3, minutes=-30), "N"), ZoneInfo("Europe/Berlin")])
NUMBERS = (
    st.booleans() | st.integers() | st.floats() | st.complex_numbers() | st.fractions()
    | st.decimals().filter(lambda number: not number.is_snan())
    | st.integers(-128, 127).map(np.int8) | st.floats(width=32).map(np.float32)
)  # fmt: skip
TIMES = (
    st.dates() | st.times(timezones=st.just(UTC)) | st.timedeltas()
    | st.datetimes(timezones=ZONES).flatmap(lambda time: st.sampled_from([time, time.replace(fold=1)]))
)  # fmt: skip
ATOMS = (
    st.none() | st.text(st.characters(exclude_categories=())) | st.binary(max_size=20) | NUMBERS | TIMES | st.uuids()
    | st.builds(range, st.integers(-9, 9), st.integers(-99, 99), st.integers(1, 9))
    | st.sampled_from([..., NotImplemented, UTC, ZoneInfo("Asia/Tokyo"), re.compile("a|b", re.I), re.compile(b"x"),
                       PurePosixPath("/a b"), HTTPStatus.NOT_FOUND, re.X, int, KeyError, Mapping, types.NoneType])
)  # fmt: skip
HASHABLE = st.recursive(
    ATOMS,
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3) | st.builds(Point, inner, inner),
    max_leaves=5,
)
# What can be changed in place: how it is made, and how it is filled from atoms, from anything and from dicts.
MAKERS: list[Callable[[], Any]] = [
    list, list, dict, dict, set, bytearray, deque, lambda: deque(maxlen=3), Counter, OrderedDict,
    lambda: defaultdict(list), ChainMap, lambda: array("q"), lambda: np.zeros((2, 1), dtype="i2"),
]  # fmt: skip


class Node(int):
    """The number of an object of a graph, where it is to stand."""


@st.composite
def graphs(draw: Any) -> list[Any]:
    """Objects that can be changed in place and hold each other, themselves too, and data between."""
    nodes = [make() for make in draw(st.lists(st.sampled_from(MAKERS), min_size=1, max_size=7))]
    item = st.recursive(
        HASHABLE | st.integers(0, len(nodes) - 1).map(Node),
        lambda inner: st.tuples(inner, inner) | st.builds(Point, inner, inner),
        max_leaves=3,
    )
    for node in nodes:
        items = [placed(each, nodes) for each in draw(st.lists(item, max_size=4))]
        fill(node, items, draw(st.lists(HASHABLE, min_size=4, max_size=4)), nodes)
    return nodes


def placed(item: Any, nodes: list[Any]) -> Any:
    """Put objects into the place of their numbers."""
    if isinstance(item, Node):
        return nodes[item]
    if type(item) in (tuple, Point):
        parts = [placed(part, nodes) for part in item]
        return Point(*parts) if type(item) is Point else tuple(parts)
    return item


def fill(node: Any, items: list[Any], keys: list[Any], nodes: list[Any]) -> None:
    if isinstance(node, list | deque):
        node.extend(items)
    elif isinstance(node, dict):
        for key, value in zip(keys, items, strict=False):
            dict.__setitem__(node, key, value) if type(node) is not OrderedDict else node.__setitem__(key, value)
    elif isinstance(node, set):
        node.update(keys)
    elif isinstance(node, bytearray):
        node.extend(b"\x00\xff")
    elif isinstance(node, array):
        node.extend([len(items), -1])
    elif isinstance(node, ChainMap):
        node.maps = [each for each in nodes if isinstance(each, dict)] or [{}]
    else:
        node[0] = len(items)


def pieces(value: Any) -> tuple[Any, list[Any]]:
    """Return what a value is in itself, and what it holds."""
    kind: Any = type(value)
    if kind in (list, tuple):
        return (kind, len(value)), list(value)
    if kind is deque:
        return (kind, value.maxlen, len(value)), list(value)
    if isinstance(value, dict):
        factory = value.default_factory if isinstance(value, defaultdict) else None
        return (kind, factory, [form(key) for key in value]), list(value.values())
    if kind in (set, frozenset):
        return (kind, sorted(map(form, value))), []
    if kind is ChainMap:
        return (kind, len(value.maps)), list(value.maps)
    if isinstance(value, tuple):
        return (kind.__name__, kind._fields), list(value)
    if kind is np.ndarray:
        data = b"" if value.dtype.kind == "O" else value.tobytes()
        return (kind, value.dtype, value.shape, data), [] if data else value.ravel().tolist()
    if kind is slice:
        return kind, [value.start, value.stop, value.step]
    if kind in (type({}.keys()), type({}.values()), type({}.items()), types.MappingProxyType):
        return kind, get_referents(value)
    if isinstance(value, BaseException):
        return (kind, sorted(vars(value))), [value.args, *(item for _, item in sorted(vars(value).items()))]
    return (kind, repr(value)), []


def form(value: Any) -> str:
    """Return what tells a hashable value from others: also where ``==`` does not."""
    own, held = pieces(value)
    return f"{own} {[form(item) for item in held]}"


def isomorphic(a: Any, b: Any, same: bool = False) -> bool:
    """Whether two values are alike in types, values, order and in which places hold one object.

    same: whether what can be changed in place has to be the very same objects.
    """
    there: dict[int, int] = {}
    back: dict[int, int] = {}
    todo = [(a, b)]
    while todo:
        a, b = todo.pop()
        if library.mutable_tag(type(a)) is not None:
            known = id(a) in there
            if (there.setdefault(id(a), id(b)), back.setdefault(id(b), id(a))) != (id(b), id(a)) or (
                same and a is not b
            ):
                return False
            if known:
                continue
        (own_a, held_a), (own_b, held_b) = pieces(a), pieces(b)
        if own_a != own_b or len(held_a) != len(held_b):
            return False
        todo += zip(held_a, held_b, strict=True)
    return True


ONE, OTHER = [1], [1]


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([1], [True]),
        (0.0, -0.0),
        ([ONE, ONE], [ONE, OTHER]),
        ([ONE, OTHER], [ONE, ONE]),
        ({1: 2, 3: 4}, {3: 4, 1: 2}),
        (Counter("a"), {"a": 1}),
        (deque([1], 2), deque([1])),
        ((1, [2]), (1, [3])),
        (Point(1, 2), (1, 2)),
        (frozenset({1}), frozenset({1.0})),
        (np.zeros(2), np.zeros((2, 1))),
        (ValueError(1), ValueError(1, 2)),
    ],
)
def test_isomorphic_tells_values_apart(a: Any, b: Any) -> None:
    assert isomorphic(a, a)
    assert isomorphic(b, b)
    assert not isomorphic(a, b)


def lend(value: Any, kind: type) -> None:
    """As both sides do where only data can pass: an instance of a subclass of a data type goes as that type."""
    if library.data_base(kind) is None:
        raise NotPlain("no data")


def refuse(*arguments: Any) -> Any:
    raise Malformed("no data")


def sides() -> tuple[Heap, Heap]:
    """The trusted side and the sandbox, between which only data can pass."""
    return Heap(0, lend, refuse), Heap(1, lend, refuse)


def send(value: Any, here: Heap, there: Heap) -> Any:
    """Return what a value is on the other side."""
    data = here.encode(value)
    message = f'{{"v":{wire.to_json(data)},"h":[{",".join(here.entries())}]}}'
    read = wire.unpack(message.encode("ascii"))
    there.apply(read["h"])
    return there.decode(read["v"])


# ---- there and back


@settings(deadline=None, max_examples=150, derandomize=True)
@given(graphs())
def test_values_survive_with_what_they_share_and_come_back_as_themselves(nodes: list[Any]) -> None:
    trusted, sandbox = sides()
    given_in = send(nodes, trusted, sandbox)
    assert isomorphic(nodes, given_in)
    assert isomorphic(send(given_in, sandbox, trusted), nodes, same=True)


@settings(deadline=None, max_examples=80, derandomize=True)
@given(graphs(), graphs(), st.booleans(), st.integers(0, 6), st.lists(HASHABLE, min_size=4, max_size=4))
def test_a_change_on_either_side_is_seen_by_the_other(
    nodes: list[Any], new: list[Any], from_sandbox: bool, place: int, keys: list[Any]
) -> None:
    trusted, sandbox = sides()
    theirs = send(nodes, trusted, sandbox)
    mine, other, here, there = (theirs, nodes, sandbox, trusted) if from_sandbox else (nodes, theirs, trusted, sandbox)
    before = list(other)
    fill(mine[place % len(mine)], [new[0], mine, (mine[0],)], keys, mine)
    send(None, here, there)
    assert isomorphic(mine, other)
    assert all(a is b for a, b in zip(before, other, strict=False))
    assert isomorphic(send(other, there, here), mine, same=True)


@settings(deadline=None, max_examples=150, derandomize=True)
@given(HASHABLE)
def test_values_survive_without_sharing(value: Any) -> None:
    for whole in (value, [value], {"k": (value, {1})}, [[1], [value], "a"], deque([value], 2)):
        assert isomorphic(values.decode(wire.unpack(wire.pack(values.encode(whole))[4:])), whole)


LIVING = {"a": 1}


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        -0.0,
        "\ud800",
        -(10**400),
        2**53,
        Decimal("-NaN123"),
        Fraction(-1, 3),
        slice(1, None, Fraction(1, 2)),
        LIVING.keys(),
        LIVING.values(),
        LIVING.items(),
        types.MappingProxyType(LIVING),
        datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")),
        Counter("aab"),
        deque([1, 2], maxlen=2),
        OrderedDict(b=1, a=2),
        defaultdict(int, a=1),
        ChainMap({1: 2}, {3: 4}),
        bytearray(b"\x00"),
        array("d", [1.5]),
        np.array([[1.5, 2]]),
        np.array(["ab", "c"]),
        np.array([None, [1]], dtype=object),
        np.float32(0.1),
        np.datetime64("2024-01-01"),
        Point(1, [2]),
        ValueError("a", [1]),
        KeyError("k"),
        FileNotFoundError(2, "no", "file"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
        StopIteration([1]),
        SystemExit(3),
        Mapping,
        types.FunctionType,
    ],
    ids=repr,
)
def test_awkward_values(value: Any) -> None:
    trusted, sandbox = sides()
    there = send([value, value], trusted, sandbox)
    assert isomorphic(there, [value, value])
    assert isomorphic(send(there, sandbox, trusted), [value, value])
    assert isomorphic(values.decode(wire.unpack(wire.pack(values.encode(value))[4:])), value)


def test_an_exception_keeps_its_attributes() -> None:
    error = send(OSError(13, "no", "a", None, "b"), *sides())
    assert (type(error), error.errno, error.strerror, error.filename, error.filename2) == (
        PermissionError,
        13,
        "no",
        "a",
        "b",
    )
    assert send(SystemExit(3), *sides()).code == 3
    assert send(StopIteration(5), *sides()).value == 5


def test_depth_matters_only_where_nothing_is_shared() -> None:
    nest: list[Any] = []
    for _ in range(5000):
        nest = [nest]
    there = send(nest, *sides())
    assert sum(1 for _ in walk(there)) == sum(1 for _ in walk(nest)) == 5001
    with pytest.raises(NotPlain):
        values.encode(nest)


def walk(nest: list[Any] | None) -> Any:
    while nest is not None:
        yield nest
        nest = nest[0] if nest else None


def test_what_is_no_data_of_itself() -> None:
    class Own:
        pass

    class Color(enum.Enum):
        RED = 1

    for value in (Own(), lambda: 0, iter([1]), Color.RED, Own, len):
        with pytest.raises(NotPlain):
            values.encode([value, "a"])


def test_subclasses_go_as_their_base_without_a_method_of_theirs() -> None:
    class Lying(list[int]):
        def __iter__(self) -> Any:
            raise AssertionError

        __len__ = __getitem__ = __iter__  # type: ignore[assignment]

    class Number(int):
        def __int__(self) -> int:
            raise AssertionError

        __index__ = __repr__ = __str__ = __int__  # type: ignore[assignment]

    for value, plain in ((Lying([1]), [1]), (Number(5), 5)):
        assert isomorphic(values.decode(values.encode(value)), plain)


def test_an_int_beyond_the_digits_that_python_prints() -> None:
    assert values.decode(wire.unpack(wire.pack(values.encode(-(10**5000)))[4:])) == -(10**5000)


def test_a_list_is_copied_not_shared() -> None:
    data = [1, 2]
    assert values.decode(data) is not data


def test_only_what_has_changed_is_sent_again() -> None:
    trusted, sandbox = sides()
    shared: list[Any] = [[1], {"a": [2]}, [3]]
    theirs = send(shared, trusted, sandbox)
    assert trusted.entries() == sandbox.entries() == []
    shared[1]["a"].append(4)
    assert len(trusted.entries()) == 1
    assert theirs[1]["a"] == [2]


# ---- what nobody holds


@settings(deadline=None, max_examples=150, derandomize=True)
@given(st.lists(st.lists(st.integers(0, 7), max_size=3), min_size=8, max_size=8), st.sets(st.integers(0, 7)))
def test_unheld_are_those_that_nobody_can_reach(links: list[list[int]], kept: set[int]) -> None:
    heap, _ = sides()
    held = shared_lists(heap, links, kept)
    reached, todo = set(kept), list(kept)
    while todo:
        more = set(links[todo.pop()]) - reached
        reached |= more
        todo += more
    numbers = [2 * place for place in range(8)]
    assert heap.unheld(numbers) == [number for number in numbers if number // 2 not in reached]
    heap.forget(heap.unheld(numbers))
    assert sorted(heap.objects) == sorted(2 * place for place in reached)
    assert len(held) == len(kept)


def shared_lists(heap: Heap, links: list[list[int]], kept: set[int]) -> list[Any]:
    """Enter lists that hold each other into a heap; return those that are to stay."""
    nodes: list[list[Any]] = [[] for _ in links]
    for node, others in zip(nodes, links, strict=True):
        node.extend(nodes[other] for other in others)
        assert heap.encode(node) == {"@": 2 * (len(heap.objects) - 1)}
    heap.entries()
    return [nodes[place] for place in kept]


@pytest.mark.parametrize(
    "kind", [list, tuple, deque, lambda items: dict(enumerate(items)), lambda items: ChainMap({1: items})]
)
def test_what_lies_within_a_held_object_is_held(kind: Any) -> None:
    heap, _ = sides()
    outer = kind([[1]])
    heap.encode([outer])
    heap.entries()
    free = heap.unheld(heap.objects)
    assert [heap.objects[number] for number in free] == [[outer]]


def test_the_caller_s_own_references_do_not_hold() -> None:
    heap, _ = sides()
    arguments = ([1],)
    heap.encode(arguments)
    assert heap.unheld([0]) == []
    assert heap.unheld([0], arguments) == [0]


# ---- what no value is

TAGS = [*values.READ, *mutable.EMPTY, "@"]
NAMES = [
    "builtins:int",
    "builtins:eval",
    "os:system",
    "types:CodeType",
    "re:RegexFlag",
    "builtins:ValueError",
    "|O",
    "<i2",
]
DATA = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=4) | st.sampled_from(NAMES),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.sampled_from(TAGS), inner, min_size=1, max_size=1),
    max_leaves=15,
)  # fmt: skip


@settings(deadline=None, max_examples=300, derandomize=True)
@given(st.sampled_from(TAGS), DATA)
def test_decoding_anything_gives_a_value_or_malformed(tag: str, data: Any) -> None:
    for side in (None, sides()[0]):
        with suppress(Malformed):
            values.decode({tag: data}, side)


@settings(deadline=None, max_examples=200, derandomize=True)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from([*mutable.EMPTY, "ref", "sub", "class"]), DATA), max_size=4)
)
def test_any_entries_are_taken_in_or_malformed(entries: list[Any]) -> None:
    peer = types.SimpleNamespace()
    peer.heap = Heap(0, lend, lambda number, tag, body: standins.borrow(number, tag, body, peer))
    with suppress(Malformed):
        peer.heap.apply(entries)


@pytest.mark.parametrize(
    "data",
    [
        {"re": ["(", 0]},
        {"zone": "Europe"},
        {"zone": "../../etc/passwd"},
        {"zone": "Nowhere/At_All"},
        {"D": "x"},
        {"q": [1, 0]},
        {"nt": ["class", ["def"], [1]]},
        {"nt": ["P", ["a"], [1, 2]]},
        {"P": ["Path", "a"]},
        {"P": ["os", "a"]},
        {"np": ["<f8", [1 << 40, 1 << 10], ""]},
        {"np": ["<f8", [-1], ""]},
        {"np": ["<f8", [2], "00"]},
        {"ns": ["|O", "0000000000000000"]},
        {"a": ["z", []]},
        {"z": [[1]]},
        {"d": [[[1], 2]]},
        {"view": ["keys", [1]]},
        {"view": ["__class__", {"d": []}]},
        {"i": "0x"},
        {"@": 0},
        {"t": 5},
        {"t": [1], "z": [2]},
        {"unknown": 1},
        {},
    ],
    ids=str,
)
def test_malformed(data: Any) -> None:
    for side in (None, sides()[0]):
        with pytest.raises(Malformed):
            values.decode(data, side)


def test_data_nested_too_deeply_are_malformed() -> None:
    data: Any = 1
    for _ in range(300):
        data = [data]
    with pytest.raises(Malformed):
        values.decode(data)


@pytest.mark.parametrize(
    "name",
    [
        "builtins:eval", "builtins:__import__", "builtins:open", "os:system", "posix:system", "os:_wrap_close",
        "subprocess:Popen", "ctypes:CDLL", "socket:socket", "importlib:import_module", "_io:FileIO", "types:sys",
        "re:compile", "re:_compiler", "pathlib:os", "uuid:os", "functools:reduce", "int", "", "builtins:", ":int",
        "builtins:int.from_bytes", "builtins.int:real", "types:CodeType.replace",
    ],
)  # fmt: skip
def test_a_message_names_no_function_and_no_class_outside_the_library(name: str) -> None:
    peer = types.SimpleNamespace(heap=None)
    for data in ({"T": name}, {"E": [name, [], []]}, {"en": [name, "x"]}, {"dd": [{"T": name}, []]}):
        with pytest.raises(Malformed):
            values.decode(data)
    for part in ("std", "native"):
        with pytest.raises(Malformed):
            standins.borrow(1, "class", described(**{part: name}), peer)


@pytest.mark.parametrize("name", ["types:CodeType", "builtins:type", "pathlib:Path", "types:FunctionType"])
def test_a_class_of_the_library_is_named_and_never_called(name: str) -> None:
    kind = values.decode({"T": name})
    assert isinstance(kind, type)
    for data in ({"E": [name, [1, 2], []]}, {"en": [name, "__call__"]}):
        with pytest.raises(Malformed):
            values.decode(data)
    with pytest.raises(Malformed):
        standins.borrow(1, "class", described(native=name), types.SimpleNamespace(heap=None))
    assert values.decode({"dd": [{"T": name}, []]}).default_factory is kind


def described(**more: Any) -> dict[str, Any]:
    """What a side says of a class of its own."""
    own = {"name": "A", "module": "m", "std": None, "bases": [], "native": None, "special": [], "shadow": []}
    return own | {"abstract": [], "hash": "default"} | more
