"""Values as JSON: what crosses the border of the sandbox as data, both ways, with its type, order and equality.

Reading a value never runs code of the other side: nothing is unpickled, and a name stands only for a class of
``LIBRARY``. JSON's null, booleans, strings, finite floats, integers below 2**53 and lists stand for themselves;
everything else is an object with one key, its tag::

    i big int   f nan, inf   c complex   b bytes   t tuple   z frozenset   range   slice   k Ellipsis, NotImplemented
    q Fraction   D Decimal   date time datetime timedelta timezone zone   U UUID   P path   re pattern   nt namedtuple
    en enum member of the library   E exception of the library   T class of the library   view of a dict   ns numpy
    scalar and what can be changed in place: d dict  s set  B bytearray  dq deque  C Counter  O OrderedDict  dd
    defaultdict a array  CM ChainMap  np numpy array  (l list, where it is named)
    @ number of an object that both sides know (see ``heap``)   r type name of one that stayed behind for good

Both sides load this module; what the sandbox has not imported itself is not imported here.
"""

from __future__ import annotations

from collections.abc import Callable
from gc import get_referents
from importlib import import_module
from typing import Any, Protocol

from pper_jax.execution.library import (
    DATA,
    MUTABLE,
    Malformed,
    NotPlain,
    full_name,
    reference,
    resolve,
)
from pper_jax.execution.mutable import EMPTY, SAFE_INT, contents, dtype, empty, fill, is_json
from pper_jax.execution.wire import unpack

MAX_DEPTH = 100
PATHS = ("PosixPath", "PurePosixPath", "PureWindowsPath")
ADDRESSES = ("IPv4Address", "IPv6Address", "IPv4Network", "IPv6Network", "IPv4Interface", "IPv6Interface")


class TooDeep(NotPlain):
    """Data nested so deeply that it has to be written flat (see ``heap``)."""


class Side(Protocol):
    """What an end of the border does with objects that are no plain data.

    ``shares``: whether what can be changed in place travels by reference, so that both sides go on meaning one object.
    """

    shares: bool

    def refer(self, value: Any, kind: type) -> Any:
        """Return what stands for an object: ``{"@": number}``, or other JSON; raise NotPlain."""

    def referred(self, number: Any) -> Any:
        """Return the object of a number."""


def encode(value: Any, side: Side | None = None, depth: int = 0) -> Any:
    """Return ``value`` as JSON (see the module); raise NotPlain where it is no data and ``side`` cannot help."""
    kind = type(value)
    if value is None or kind is bool or kind is str:
        return value
    if kind is int:
        return value if -SAFE_INT < value < SAFE_INT else {"i": hex(value)}
    if kind is float:
        return value if value - value == 0 else {"f": repr(value)}
    if depth > MAX_DEPTH:
        if side is None or not side.shares:
            raise TooDeep("data nested too deeply")
        return {"in": side.refer([value], list)}  # what is in a list of its own is written apart
    depth += 1
    if kind is tuple:
        return {"t": [encode(item, side, depth) for item in value]}
    if side is None or not side.shares:
        if kind is list:
            return value if is_json(value) else [encode(item, side, depth) for item in value]
        if kind is dict:
            return {"d": [[encode(key, side, depth), encode(item, side, depth)] for key, item in value.items()]}
        if kind is set:
            return {"s": [encode(item, side, depth) for item in value]}
    elif kind is list or kind is dict or kind is set:
        return side.refer(value, kind)
    if kind is frozenset:
        return {"z": [encode(item, side, depth) for item in value]}
    return _encode_rare(value, kind, side, depth)


def _encode_rare(value: Any, kind: type, side: Side | None, depth: int) -> Any:
    name = full_name(kind)
    if name in MUTABLE:
        if side is not None and side.shares:
            return side.refer(value, kind)
        return {MUTABLE[name]: contents(value, MUTABLE[name], lambda item: encode(item, side, depth))}
    write = WRITE.get(name) or _writer(value, kind, name)
    if write is not None:
        try:
            written = write(value, lambda item: encode(item, side, depth))
        except (AttributeError, ValueError, TypeError, KeyError):
            written = None  # a time zone of the program's own, say
        if written is not None:
            return written
    if side is not None and side.shares:
        return side.refer(value, kind)
    if any(base in DATA for base in kind.__mro__):
        return as_data(value, side, depth)
    if side is None:
        raise NotPlain(f"a value of type {kind.__name__} is no plain data")
    return side.refer(value, kind)


def as_data(value: Any, side: Side | None, depth: int = 0) -> Any:
    """Write an instance of a subclass of a data type as that type; a namedtuple keeps its fields."""
    base = next(base for base in type(value).__mro__ if base in DATA)
    plain = as_base(value, base)
    fields = getattr(type(value), "_fields", None)
    if base is tuple and isinstance(fields, tuple) and len(fields) == len(plain) and set(map(type, fields)) <= {str}:
        return {"nt": [type(value).__name__, list(fields), [encode(item, side, depth) for item in plain]]}
    return encode(plain, side, depth)


def as_base(value: Any, base: Any) -> Any:
    """Return what an instance of a subclass of a builtin type is to that type, without a method of the subclass."""
    if base in (int, float, str):
        return {int: int.__int__, float: float.__float__, str: str.__str__}[base](value)
    if base is complex:
        return complex(complex.real.__get__(value), complex.imag.__get__(value))
    return dict(dict.items(value)) if base is dict else base(base.__iter__(value))


def _writer(value: Any, kind: type, name: str) -> Callable[[Any, Any], Any] | None:
    """Return how values are written that are known by their class rather than by its name."""
    if isinstance(value, type):
        return lambda v, e: {"T": reference(v)} if reference(v) else None
    if name.startswith("numpy.") and hasattr(value, "dtype"):
        return _write_scalar
    if reference(kind) is None:
        return None
    if isinstance(value, BaseException):
        return _write_exception
    if type(kind).__name__ in ("EnumType", "EnumMeta"):
        return lambda v, e: {"en": [reference(type(v)), v.name]}
    return None


def _write_exception(error: BaseException, enc: Callable[[Any], Any]) -> Any:
    attributes = dict(vars(error))
    for kind, names in MORE:
        if isinstance(error, kind):
            attributes |= {name: getattr(error, name) for name in names}
    return {
        "E": [reference(type(error)), [enc(item) for item in error.args], [[k, enc(v)] for k, v in attributes.items()]]
    }


MORE: tuple[tuple[type, tuple[str, ...]], ...] = (  # attributes that are neither arguments nor in an exception's dict
    (OSError, ("filename", "filename2")),
    (NameError, ("name",)),
    (AttributeError, ("name",)),
    (ImportError, ("name", "path")),
)


def _write_zone(zone: Any, enc: Callable[[Any], Any]) -> Any:
    offset, name = zone.__getinitargs__()[0], zone.__getinitargs__()[1:]
    return {"timezone": [enc(offset), *name]}


def _write_time(value: Any, enc: Callable[[Any], Any]) -> list[Any]:
    zone = value.tzinfo
    if zone is not None and full_name(type(zone)) not in ("datetime.timezone", "zoneinfo.ZoneInfo"):
        raise ValueError("a time zone of its own")
    return [value.hour, value.minute, value.second, value.microsecond, enc(zone), value.fold]


def _write_view(name: str) -> Callable[[Any, Any], Any]:
    return lambda view, enc: {"view": [name, enc(get_referents(view)[0])]}


def _write_scalar(value: Any, enc: Callable[[Any], Any]) -> Any:
    return {"ns": [value.dtype.str, value.tobytes().hex()]} if value.dtype.kind in "biufcmMSU" else None


WRITE: dict[str, Callable[[Any, Callable[[Any], Any]], Any]] = {
    "builtins.bytes": lambda v, e: {"b": v.hex()},
    "builtins.complex": lambda v, e: {"c": [e(v.real), e(v.imag)]},
    "builtins.range": lambda v, e: {"range": [e(v.start), e(v.stop), e(v.step)]},
    "builtins.slice": lambda v, e: {"slice": [e(v.start), e(v.stop), e(v.step)]},
    "builtins.ellipsis": lambda v, e: {"k": "Ellipsis"},
    "builtins.NotImplementedType": lambda v, e: {"k": "NotImplemented"},
    "builtins.dict_keys": _write_view("keys"),
    "builtins.dict_values": _write_view("values"),
    "builtins.dict_items": _write_view("items"),
    "builtins.mappingproxy": _write_view("proxy"),
    "fractions.Fraction": lambda v, e: {"q": [e(v.numerator), e(v.denominator)]},
    "decimal.Decimal": lambda v, e: {"D": str(v)},
    "datetime.date": lambda v, e: {"date": [v.year, v.month, v.day]},
    "datetime.time": lambda v, e: {"time": _write_time(v, e)},
    "datetime.datetime": lambda v, e: {"datetime": [v.year, v.month, v.day, *_write_time(v, e)]},
    "datetime.timedelta": lambda v, e: {"timedelta": [v.days, v.seconds, v.microseconds]},
    "datetime.timezone": _write_zone,
    "zoneinfo.ZoneInfo": lambda v, e: {"zone": v.key} if v.key else None,
    "uuid.UUID": lambda v, e: {"U": v.hex},
    "pathlib.PosixPath": lambda v, e: {"P": ["PosixPath", str(v)]},
    "pathlib.PurePosixPath": lambda v, e: {"P": ["PurePosixPath", str(v)]},
    "pathlib.PureWindowsPath": lambda v, e: {"P": ["PureWindowsPath", str(v)]},
    "builtins.memoryview": lambda v, e: {"mv": bytes(v).hex()} if v.format == "B" and v.ndim == 1 else None,
    "collections.UserString": lambda v, e: {"us": v.data},
    **{f"ipaddress.{name}": lambda v, e: {"ip": [type(v).__name__, str(v)]} for name in ADDRESSES},
    "re.Pattern": lambda v, e: {"re": [e(v.pattern), v.flags]},
}


def parse(text: str) -> Any:
    """Return JSON that this side wrote itself."""
    return unpack(text.encode("ascii"))


def decode(data: Any, side: Side | None = None, depth: int = 0) -> Any:
    """Return the value that ``encode`` wrote; raise Malformed for anything that it does not write."""
    kind = type(data)
    if kind is not list and kind is not dict:
        return data
    if depth > MAX_DEPTH + 2:
        raise Malformed("data nested too deeply")
    depth += 1
    if kind is list:
        kinds = set(map(type, data))
        return [decode(item, side, depth) for item in data] if list in kinds or dict in kinds else data[:]
    if len(data) != 1:
        raise Malformed("an object of more than one key")
    ((tag, body),) = data.items()
    try:
        if tag == "@" and side is not None:
            return side.referred(body)
        if tag in EMPTY:
            value = empty(tag, body)
            fill(value, tag, body, lambda item: decode(item, side, depth))
            return value
        return READ[tag](body, lambda item: decode(item, side, depth))
    except Malformed:
        raise
    except (RecursionError, MemoryError):
        raise
    except Exception as error:
        raise Malformed(f"not a value: {type(error).__name__}") from None


class Opaque:
    """Stands for an object that stayed in the sandbox and is of no further use: it equals nothing but itself."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return f"<{self._name} in the sandbox>"


def _library(name: str) -> Callable[[], Any]:
    """Return what imports a module when it is first needed."""
    return lambda: import_module(name)


_datetime, _numpy = _library("datetime"), _library("numpy")


def _read_time(body: list[Any], dec: Callable[[Any], Any]) -> Any:
    *numbers, zone, fold = body
    kind = _datetime().time if len(numbers) == 4 else _datetime().datetime
    return kind(*numbers, tzinfo=dec(zone), fold=fold)


def _read_exception(body: list[Any], dec: Callable[[Any], Any]) -> BaseException:
    name, args, attributes = body
    kind = resolve(name)
    if not issubclass(kind, BaseException):
        raise Malformed("no exception")
    return make_exception(kind, [dec(item) for item in args], {key: dec(item) for key, item in attributes})


def make_exception(kind: Any, args: list[Any], attributes: dict[str, Any]) -> Any:
    """Return an exception with these arguments and attributes, without a call of its class's ``__init__``."""
    places = [attributes.pop(name, None) for name in ("filename", "filename2")] if issubclass(kind, OSError) else []
    given = list(args)
    if len(given) == 2 and any(place is not None for place in places):
        given += [places[0]] if places[1] is None else [places[0], None, places[1]]
    try:
        error = kind.__new__(kind, *given)
        if kind.__module__ == "builtins":
            error.__init__(*given)
    except TypeError:
        error = kind.__new__(kind)
    BaseException.args.__set__(error, tuple(args))  # type: ignore[attr-defined]
    for name, value in attributes.items():
        if name[:2] != "__" or name == "__notes__":
            object.__setattr__(error, name, value)
    return error


def _read_member(body: list[Any], dec: Callable[[Any], Any]) -> Any:
    return resolve(body[0]).__members__[body[1]]


_records: dict[tuple[str, tuple[str, ...]], Any] = {}


def _read_record(body: list[Any], dec: Callable[[Any], Any]) -> Any:
    from collections import namedtuple

    name, fields, items = body
    key = str(name), tuple(map(str, fields))
    if key not in _records:
        if len(_records) > 1000:
            _records.clear()
        _records[key] = namedtuple(*key)
    return _records[key]._make([dec(item) for item in items])


def _read_scalar(body: list[Any], dec: Callable[[Any], Any]) -> Any:
    return _numpy().frombuffer(bytes.fromhex(body[1]), dtype=dtype(body[0]))[0]


def _read_view(body: list[Any], dec: Callable[[Any], Any]) -> Any:
    name, mapping = body[0], dec(body[1])
    if name == "proxy":
        return import_module("types").MappingProxyType(mapping)
    if not isinstance(mapping, dict):
        raise Malformed("no dict")
    return {"keys": dict.keys, "values": dict.values, "items": dict.items}[name](mapping)


READ: dict[str, Callable[[Any, Callable[[Any], Any]], Any]] = {
    "t": lambda b, d: tuple([d(item) for item in b]),
    "z": lambda b, d: frozenset([d(item) for item in b]),
    "i": lambda b, d: int(b, 16),
    "f": lambda b, d: float({"nan": "nan", "inf": "inf", "-inf": "-inf"}[b]),
    "c": lambda b, d: complex(float(d(b[0])), float(d(b[1]))),
    "b": lambda b, d: bytes.fromhex(b),
    "range": lambda b, d: range(d(b[0]), d(b[1]), d(b[2])),
    "slice": lambda b, d: slice(d(b[0]), d(b[1]), d(b[2])),
    "k": lambda b, d: {"Ellipsis": Ellipsis, "NotImplemented": NotImplemented}[b],
    "q": lambda b, d: import_module("fractions").Fraction(d(b[0]), d(b[1])),
    "D": lambda b, d: import_module("decimal").Decimal(b),
    "date": lambda b, d: _datetime().date(*b),
    "time": _read_time,
    "datetime": _read_time,
    "timedelta": lambda b, d: _datetime().timedelta(*b),
    "timezone": lambda b, d: _datetime().timezone(*[d(item) for item in b]),
    "zone": lambda b, d: import_module("zoneinfo").ZoneInfo(b),
    "U": lambda b, d: import_module("uuid").UUID(hex=b),
    "P": lambda b, d: getattr(import_module("pathlib"), b[0] if b[0] in PATHS else "")(b[1]),
    "mv": lambda b, d: memoryview(bytes.fromhex(b)),
    "us": lambda b, d: import_module("collections").UserString(b + ""),
    "ip": lambda b, d: getattr(import_module("ipaddress"), b[0] if b[0] in ADDRESSES else "")(b[1]),
    "re": lambda b, d: import_module("re").compile(d(b[0]), b[1]),
    "nt": _read_record,
    "en": _read_member,
    "E": _read_exception,
    "T": lambda b, d: resolve(b),
    "view": _read_view,
    "ns": _read_scalar,
    "in": lambda b, d: d(b)[0],
    "r": lambda b, d: Opaque(("" + b)[:80]),
}
