"""Which programs may share a process: those that cannot change what the next one would find.

Judged by a program's code alone, before it runs. A tame program imports only modules that have no state of their own
(and random, which is seeded anew), and neither names nor sets anything through which interpreter, modules or process
could be changed. Whatever is not surely tame is wild, and gets a process of its own: that costs time and nothing else.
"""

from __future__ import annotations

from types import CodeType
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
    "setattr delattr exec eval compile open __import__ globals locals vars input breakpoint exit quit help memoryview "
    "register __builtins__ __dict__ __globals__ __class__ __subclasses__ __bases__ __mro__ __code__ __closure__ "
    "__getattribute__ __loader__ __spec__ gi_frame cr_frame f_back tb_frame __traceback__ __reduce__ __func__ "
    "__self__ __wrapped__ cache_clear __annotations__ __set_name__ __init_subclass__ __class_getitem__ __prepare__ "
    "__abstractmethods__ __defaults__ __kwdefaults__ __del__ builtins getattr".split()
)
BINDING = ("STORE_NAME", "STORE_GLOBAL", "STORE_FAST", "STORE_DEREF")
PASSED = ("CACHE", "EXTENDED_ARG", "RESUME", "NOP", "PRECALL", "PUSH_NULL")
LOADING = ("LOAD_NAME", "LOAD_GLOBAL", "LOAD_FAST", "LOAD_DEREF", "LOAD_CLASSDEREF")


def why_not(code: CodeType) -> str | None:
    """Return why a program may not share its process, None if it is tame."""
    look = _Look()
    codes = [code]
    for one in codes:
        codes += [constant for constant in one.co_consts if isinstance(constant, CodeType)]
        found = WILD_NAMES.intersection(one.co_names)
        reason = f"it names {min(found)}" if found else look.at(one)
        if reason is not None:
            return reason
    if None in look.stores or look.stores & (look.imported | set(look.modules)):
        return "it sets an attribute of what it imports"
    return None


class _Look:
    """What has been seen of a program so far: what it imports, and of which names it sets attributes."""

    def __init__(self) -> None:
        self.modules: dict[str, str] = {}  # name in the program -> module
        self.imported: set[str] = set()  # names of what is not a module
        self.stores: set[str | None] = set()  # None: of an expression

    def at(self, code: CodeType) -> str | None:
        """Take in one function or module; return what is wild about it."""
        from dis import get_instructions  # not before it is needed: what the zygote imports makes every fork slower

        before: list[Any] = []
        module = ""
        for instruction in get_instructions(code):
            name, argument = instruction.opname, instruction.argval
            if name in PASSED:
                continue
            last = before[-1] if before else instruction
            if name == "IMPORT_NAME":
                module = argument
                if module not in MODULES:
                    return f"it imports {module}"
            elif name in ("IMPORT_FROM", "IMPORT_STAR"):
                part = argument if name == "IMPORT_FROM" else "*"
                if module in PARTS and part not in PARTS[module] or part in WILD_NAMES or part[:1] == "_":
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
        if argument[:1] == "_" or module in PARTS and argument not in PARTS[module]:
            return f"it uses {module}.{argument}"
        return None


def _root(before: list[Any]) -> str | None:
    """Return the name that a chain of attributes and items begins with (``self.left.next``), None for anything else."""
    for instruction in reversed(before):
        if instruction.opname in LOADING:
            return str(instruction.argval)
        if instruction.opname not in ("LOAD_ATTR", "LOAD_CONST", "BINARY_SUBSCR"):
            return None
    return None
