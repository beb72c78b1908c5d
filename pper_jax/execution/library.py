"""What may be named across the border: classes of the standard library, by module and name, and their kinds."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

DATA = (int, float, complex, str, bytes, list, tuple, dict, set, frozenset, bytearray)  # bases whose value crosses
# Modules whose classes may be named: value types, abstract classes and exceptions. No class among them does anything
# to files or processes when it is called.
LIBRARY = frozenset(
    "builtins collections collections.abc types typing numbers datetime decimal fractions enum uuid pathlib array re "
    "json.decoder queue _queue statistics struct zlib binascii errno asyncio.exceptions asyncio.queues "
    "concurrent.futures._base copy configparser csv _csv dataclasses contextlib ipaddress zoneinfo._common "
    "unicodedata abc itertools functools operator string heapq math graphlib urllib.error http".split()
)
UNNAMED = {  # classes of the interpreter that say they are builtins and are not
    "function": "FunctionType",
    "generator": "GeneratorType",
    "coroutine": "CoroutineType",
    "async_generator": "AsyncGeneratorType",
    "method": "MethodType",
    "builtin_function_or_method": "BuiltinFunctionType",
    "module": "ModuleType",
    "mappingproxy": "MappingProxyType",
    "code": "CodeType",
    "NoneType": "NoneType",
}
MUTABLE = {
    "builtins.list": "l",
    "builtins.dict": "d",
    "builtins.set": "s",
    "builtins.bytearray": "B",
    "collections.deque": "dq",
    "collections.Counter": "C",
    "collections.OrderedDict": "O",
    "collections.defaultdict": "dd",
    "array.array": "a",
    "collections.ChainMap": "CM",
    "collections.UserDict": "UD",
    "collections.UserList": "UL",
    "types.SimpleNamespace": "SN",
    "numpy.ndarray": "np",
}
# Modules of which only exceptions may be named.
RAISING = frozenset(
    "subprocess socket shutil pickle _pickle sqlite3 tarfile zipfile argparse getopt xml.etree.ElementTree lzma bz2 "
    "ssl http.client select signal unittest.case urllib.error email.errors tomllib tempfile inspect".split()
)


class NotPlain(Exception):
    """A value that cannot be written as data."""


class Malformed(ValueError):
    """JSON that is no value."""


def full_name(kind: type) -> str:
    """Return a class's module and name; nothing that a program's metaclass could make of them."""
    return ".".join(_names(kind))


def _names(kind: type) -> tuple[str, str]:
    module, name = type.__dict__["__module__"].__get__(kind), type.__dict__["__qualname__"].__get__(kind)
    return (module if type(module) is str else ""), name


def mutable_tag(kind: type) -> str | None:
    """Return the tag of a class of the library whose instances can be changed in place."""
    return MUTABLE.get(full_name(kind))


def data_base(kind: type) -> type | None:
    """Return the first class among a class and its bases whose instances are data; None where there is none."""
    for base in type.__dict__["__mro__"].__get__(kind):
        if base in DATA or (mutable_tag(base) is not None and reference(base) is not None):
            return base
    return None


def reference(kind: Any) -> str | None:
    """Return ``module:name`` of a class of the library, None for any other object."""
    if not isinstance(kind, type):
        return None
    module, name = _names(kind)
    if module == "builtins" and name in UNNAMED:
        module, name = "types", UNNAMED[name]
    if "." in name or not (module in LIBRARY or (module in RAISING and issubclass(kind, BaseException))):
        return None
    found = sys.modules.get(module)
    return f"{module}:{name}" if found is not None and vars(found).get(name) is kind else None


def resolve(text: str) -> Any:
    """Return the class that ``reference`` named; raise Malformed for anything else."""
    module, _, name = text.partition(":")
    if module not in LIBRARY and module not in RAISING:
        raise Malformed(f"no library of values: {module[:40]!r}")
    found = vars(import_module(module)).get(name)
    if not isinstance(found, type) or (module in RAISING and not issubclass(found, BaseException)):
        raise Malformed(f"no class: {text[:40]!r}")
    return found


def base_class(tag: str) -> Any:
    """Return the class whose instances a tag of MUTABLE is for."""
    module, _, name = next(name for name, own in MUTABLE.items() if own == tag).rpartition(".")
    return getattr(import_module(module), name)
