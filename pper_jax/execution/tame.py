"""What a program cannot do, judged by its code alone, before it runs.

**Tame** programs cannot change what another program in the same process would find: they import only modules that have
no state of their own (and random, which is seeded anew), and neither name nor set anything through which interpreter,
modules or process could be changed. They may share a process; all others, *wild* ones, get a process of their own.

**Guileless** programs cannot make a test pass that they run beside: beyond the tame they have no comparison of their
own, name nothing that they do not define, take no builtin's name, and reach no attribute by a text. So what passes
within their process has passed.

Whatever is not surely so counts as not so; that costs time, or leaves a verdict to the trusted side alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from importlib import import_module
from types import CodeType, ModuleType
from typing import Any

MODULES = frozenset(
    "math cmath itertools functools operator collections collections.abc typing string re heapq bisect copy random "
    "datetime fractions statistics dataclasses enum abc __future__ sys time numbers".split()
)
# Of these modules only what is named here may be used.
PARTS = {
    "sys": {"maxsize", "setrecursionlimit", "getrecursionlimit", "float_info", "version_info", "getsizeof"},
    "time": {"time", "perf_counter", "monotonic", "process_time", "time_ns", "perf_counter_ns"},
    "random": {"randint", "random", "choice", "choices", "shuffle", "sample", "uniform", "randrange", "seed", "gauss"},
}
WILD_NAMES = frozenset(
    "setattr delattr exec eval compile open __import__ globals locals vars breakpoint exit quit help memoryview "
    "register __builtins__ __dict__ __globals__ __class__ __subclasses__ __bases__ __mro__ __code__ __closure__ "
    "__getattribute__ __loader__ __spec__ gi_frame cr_frame f_back tb_frame __traceback__ __reduce__ __func__ "
    "__self__ __wrapped__ cache_clear __set_name__ __init_subclass__ __class_getitem__ __prepare__ "
    "__abstractmethods__ __defaults__ __kwdefaults__ __del__ builtins getattr f_locals f_globals ag_frame "
    "f_builtins".split()
)
SAFE = MODULES | frozenset(  # what state these have is the program's own affair, if it is alone
    "decimal json array struct textwrap unicodedata calendar base64 hashlib uuid asyncio threading weakref ipaddress "
    "contextlib queue zoneinfo".split()
)
SLY_NAMES = frozenset(
    "__eq__ __ne__ __lt__ __le__ __gt__ __ge__ __instancecheck__ __subclasscheck__ __subclasshook__ type attrgetter "
    "methodcaller Formatter make_dataclass new_class get_type_hints ForwardRef resolve_name __import__".split()
)
GIVEN = frozenset("__name__ __file__ __doc__ __qualname__ __module__ __annotations__ __class__ __classcell__".split())
BINDING = ("STORE_NAME", "STORE_GLOBAL", "STORE_FAST", "STORE_DEREF")
PASSED = ("CACHE", "EXTENDED_ARG", "RESUME", "NOP", "PRECALL", "PUSH_NULL")
LOADING = ("LOAD_NAME", "LOAD_GLOBAL", "LOAD_FAST", "LOAD_DEREF", "LOAD_CLASSDEREF")


def why_wild(code: CodeType, modules: frozenset[str] = MODULES) -> str | None:
    """Return why a program may not share its process, None if it is tame."""
    from opcode import opmap  # not before it is needed: what the zygote imports makes every fork slower

    look = _Look(modules)
    codes = _all_code(code)
    for one in codes:
        found = WILD_NAMES.intersection(one.co_names)
        if found:
            return f"it names {min(found)}"
    if not any(opmap["IMPORT_NAME"] in one.co_code[::2] for one in codes):
        return None  # all that it can set attributes of is its own
    for one in codes:
        reason = look.at(one)
        if reason is not None:
            return reason
    if None in look.stores or look.stores & (look.imported | set(look.modules)):
        return "it sets an attribute of what it imports"
    return None


def why_sly(code: CodeType, builtin_names: Collection[str]) -> str | None:
    """Return why a program's process may not be asked whether it passes, None if it is guileless."""
    reason = why_wild(code, SAFE)
    if reason is not None:
        return reason
    bound: set[str] = set()
    read: set[str] = set()
    for one in _all_code(code):
        found = SLY_NAMES.intersection(one.co_names)
        if found:
            return f"it names {min(found)}"
        texts = [text for constant in one.co_consts for text in _texts(constant)]
        if any("__" in text and text != "__main__" for text in texts):
            return "it holds the name of something special as text"
        for instruction in _instructions(one):
            if instruction.opname in ("STORE_NAME", "STORE_GLOBAL"):
                bound.add(instruction.argval)
            elif instruction.opname == "IMPORT_STAR":
                return "it imports everything of a module"
            elif instruction.opname in ("LOAD_NAME", "LOAD_GLOBAL"):
                read.add(instruction.argval)
    strange = read - bound - GIVEN - set(builtin_names)
    taken = bound & set(builtin_names)
    if strange or taken:
        return f"it {'reads' if strange else 'takes'} the name {min(strange or taken)}"
    return None


def _texts(constant: Any) -> list[str]:
    if isinstance(constant, tuple | frozenset):
        return [text for item in constant for text in _texts(item)]
    return [constant] if isinstance(constant, str) else []


def _all_code(code: CodeType) -> list[CodeType]:
    codes = [code]
    for one in codes:
        codes += [constant for constant in one.co_consts if isinstance(constant, CodeType)]
    return codes


def _instructions(code: CodeType) -> Iterator[Any]:
    from dis import get_instructions  # not before it is needed: what the zygote imports makes every fork slower

    return (one for one in get_instructions(code) if one.opname not in PASSED)


class _Nothing:
    """What stands before the first instruction."""

    opname = argval = ""


NOTHING = _Nothing()


class _Look:
    """What has been seen of a program so far: what it imports, and of which names it sets attributes."""

    def __init__(self, allowed: frozenset[str]) -> None:
        self.allowed = allowed
        self.modules: dict[str, str] = {}  # name in the program -> module
        self.imported: set[str] = set()  # names of what is not a module
        self.stores: set[str | None] = set()  # None: of an expression

    def at(self, code: CodeType) -> str | None:
        """Take in one function or module; return what is wild about it."""
        before: list[Any] = []
        module = ""
        for instruction in _instructions(code):
            name, argument = instruction.opname, instruction.argval
            last = before[-1] if before else NOTHING
            if name == "IMPORT_NAME":
                module = argument
                if module not in self.allowed:
                    return f"it imports {module}"
            elif name in ("IMPORT_FROM", "IMPORT_STAR"):
                part = argument if name == "IMPORT_FROM" else "*"
                if self._forbidden(module, part) or part in WILD_NAMES:
                    return f"it uses {module}.{part}"
            elif name in BINDING and last.opname == "IMPORT_NAME":
                self.modules[argument] = module
            elif name in BINDING and last.opname == "IMPORT_FROM":
                self.imported.add(argument)
            elif name in ("STORE_ATTR", "DELETE_ATTR"):
                self.stores.add(_root(before))
            if last.opname in LOADING and last.argval in self.modules:
                reason = self._use(self.modules[last.argval], name, argument)
                if reason is not None:
                    return reason
            before.append(instruction)
        return None

    def _use(self, module: str, name: str, argument: Any) -> str | None:
        """Return what is wild about using a module by this instruction."""
        if name not in ("LOAD_ATTR", "LOAD_METHOD"):
            return f"it hands {module} on"
        if self._forbidden(module, argument):
            return f"it uses {module}.{argument}"
        return None

    def _forbidden(self, module: str, name: str) -> bool:
        """Whether this name of a module is private, or another module, or none of those that may be used."""
        if module in PARTS and name not in PARTS[module]:
            return True
        found = getattr(import_module(module), name, None)
        return name[:1] == "_" or (isinstance(found, ModuleType) and f"{module}.{name}" not in self.allowed)


def _root(before: list[Any]) -> str | None:
    """Return the name that a chain of attributes and items begins with (``self.left.next``), None for anything else."""
    for instruction in reversed(before):
        if instruction.opname in LOADING:
            return str(instruction.argval)
        if instruction.opname not in ("LOAD_ATTR", "LOAD_CONST", "BINARY_SUBSCR"):
            return None
    return None
