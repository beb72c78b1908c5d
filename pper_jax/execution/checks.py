"""What a task's tests ask, as small objects that run on the trusted side.

Where an expected value is, the program is not: literal ``assert f(1) == 2`` becomes a call whose result is compared
here; every other assert, and every check, is run here as code, in which the program's functions, classes and objects
are stand-ins (see ``standins``). So a test may build objects of the program's classes, hand over functions of its own,
read and set attributes. What passes here is confirmed (see ``trial``): the same code runs once more where the program
is, in its names, as the interpreter would run both in one file; what fails there failed.

The code of the tests is trusted: it comes with the task. One exception is the test's own doing: a check that compares
by a helper of the program (``is_same_list(candidate(x), list_node([1]))``) hands that helper both sides and believes
it; the loader of such a set should put the helpers into the tests.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import importlib
import marshal
import random
import re
import sys
from binascii import b2a_base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from dis import get_instructions
from inspect import CO_OPTIMIZED
from types import CodeType
from typing import Any

from pper_jax.execution.compare import answers_match, results_match
from pper_jax.execution.library import NotPlain
from pper_jax.execution.server import ChildLost, ZygoteLost
from pper_jax.execution.session import TESTS, HarnessFault, Session, packed_call

MODULES = {"array", "bisect", "cmath", "collections", "copy", "datetime", "decimal", "fractions", "functools", "heapq"}
MODULES |= {"itertools", "json", "math", "operator", "random", "re", "statistics", "string", "sys", "time", "typing"}
CLASSES = {"Counter": "collections", "OrderedDict": "collections", "defaultdict": "collections", "Decimal": "decimal"}
CLASSES |= {"Fraction": "fractions"}
WHOLE = re.compile(r"-?[0-9]{1,18}", re.ASCII)
Outcome = tuple[str, str | None]


class TrustedTimeout(BaseException):
    """The trusted side itself took too long over an answer."""


@dataclass(frozen=True)
class CallTest:
    """Call a function of the program and compare what it returns."""

    function: str
    arguments: Sequence[Any]
    named: Mapping[str, Any]
    expected: Any
    source: str | None = None  # of the assert that this is
    packed: str = field(init=False)  # the call as it is sent

    def __post_init__(self) -> None:
        object.__setattr__(self, "packed", packed_call(self.function, self.arguments, self.named))

    @property
    def native(self) -> str | None:
        """The assert's code, as the program's process takes it."""
        return None if self.source is None else packed_code(compile(self.source, "<assert>", "exec", dont_inherit=True))

    def run(self, session: Session, compare: str, ahead: Sequence[str] = ()) -> Outcome:
        """Return the status and the reason; ``ahead``: the calls of the tests that follow, to be sent with this one.

        ``compare`` is the rule for the kind ``call``; a literal assert compares as Python does.
        """
        try:
            result = session.call_plainly(self.packed, ahead)
            if results_match(result, self.expected, "strict" if self.source else compare):
                return "pass", None
        except BaseException as error:
            return explain(error, session)
        return "fail", f"returned {shorten(result)}, expected {shorten(self.expected)}"


@dataclass(frozen=True)
class CodeTest:
    """Run the code of a test here, with stand-ins for what it names of the program."""

    code: CodeType
    native: str  # the same, as the program's process takes it
    names: frozenset[str]  # that may be the program's
    setup: CodeType | None = None
    native_setup: str | None = None
    entry_point: str | None = None

    @property
    def candidate(self) -> str | None:
        """What ``candidate`` stands for in the program's own process, where the test names it."""
        return self.entry_point if "candidate" in self.names else None

    def run(self, session: Session, compare: str, ahead: Sequence[str] = ()) -> Outcome:
        """Return the status and the reason. One session's tests share their names, and ``setup`` runs once."""
        try:
            names = session.names
            if not isinstance(names, Names):
                names = session.names = Names(session, self.names, self.entry_point)
                if self.setup is not None:
                    names.prepare(self.setup)
                    exec(self.setup, names)
            names.prepare(self.code)
            random.seed(0)
            exec(self.code, names)
        except BaseException as error:
            return explain(error, session)
        return "pass", None


class Names(dict[str, Any]):
    """The names that the code of tests finds: its own, then those of the program, as they are at the moment.

    What neither has may be a module or class of the standard library that tests are used to find (see MODULES).
    """

    def __init__(self, session: Session, asked: frozenset[str], entry_point: str | None) -> None:
        super().__init__(__name__=TESTS, __builtins__=builtins)
        self.session, self.asked, self.entry_point = session, asked, entry_point

    def prepare(self, code: CodeType) -> None:
        """Fetch what class bodies read, for they do not ask ``__missing__``."""
        for name in class_names(code):
            if name not in self and not hasattr(builtins, name):
                with contextlib.suppress(KeyError):
                    self[name] = self[name]

    def __missing__(self, name: str) -> Any:
        if name == "candidate" and self.entry_point is not None:
            self[name] = self.session.ask("name", self.entry_point)
            return self[name]
        if name in self.asked:
            try:
                return self.session.ask("name", name)
            except NameError:
                self.session.raised = None
        if not trusted(name):
            raise KeyError(name)
        self[name] = trusted_value(name)
        return self[name]


@dataclass(frozen=True)
class StdioTest:
    """Feed a script and compare what it prints; run by the worker, in a process of its own."""

    stdin: str
    stdout: str


@dataclass(frozen=True)
class AnswerTest:
    """Compare the text of an answer; no process is needed."""

    expected: Any

    def judge(self, text: str, rule: str) -> Outcome:
        """Return the status and the reason."""
        right = answers_match(text, self.expected, rule)
        return ("pass", None) if right else ("fail", f"expected {shorten(self.expected)}")


Test = CallTest | CodeTest | StdioTest | AnswerTest


def explain(error: BaseException, session: Session) -> Outcome:
    """Return the status of a test that ended by an exception, and the reason; raise what only the worker may handle."""
    if isinstance(error, ChildLost | ZygoteLost | TrustedTimeout | HarnessFault):
        raise error
    if session.raised is error:
        return ("memory" if isinstance(error, MemoryError) else "error"), session.told
    if isinstance(error, AssertionError):
        return "fail", shorten(error) if error.args else None
    if isinstance(error, RecursionError | MemoryError):
        return "error", f"{type(error).__name__} while the answer was checked"
    return "error", f"{type(error).__name__}: {shorten(error, 300)}"


def shorten(value: Any, length: int = 120) -> str:
    """Return a value's repr, or an exception's text, cut to a length."""
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(sys.int_info.default_max_str_digits)
    try:
        text = str(value) if isinstance(value, BaseException) else repr(value)
    except (Exception, ChildLost, HarnessFault):  # an int of too many digits, an object whose process is gone
        text = f"a {type(value).__name__}"
    finally:
        sys.set_int_max_str_digits(before)
    return text if len(text) <= length else text[: length - 3] + "..."


def trusted(name: str) -> bool:
    """Whether a test's name means a module or class of the standard library rather than the program's."""
    return name in MODULES or name in CLASSES


def trusted_value(name: str) -> Any:
    """Return that module or class."""
    return getattr(importlib.import_module(CLASSES[name]), name) if name in CLASSES else importlib.import_module(name)


def plan(tests: Mapping[str, Any], entry_point: str | None) -> list[Test]:
    """Return the tests of a task's ``tests`` object, in order. Raises SyntaxError where their code is no Python."""
    kind = tests["kind"]
    if kind == "call":
        function = entry_point if entry_point and "." in entry_point else tests["fn_name"]
        read = with_whole_keys if tests.get("whole_keys") else _as_it_is
        return [CallTest(function, read(case["args"]), {}, read(case["expected"])) for case in tests["cases"]]
    if kind == "stdio":
        return [StdioTest(as_text(case["stdin"]), as_text(case["stdout"])) for case in tests["cases"]]
    if kind == "answer":
        return [AnswerTest(tests["expected"])]
    if kind == "check":
        code = compile(tests["code"] + "\n\ncheck(candidate)\n", "<check>", "exec", dont_inherit=True)
        names = frozenset(name for name in free_names([code]) if not trusted(name))
        own = compile(f"{tests['code']}\n\ncheck({entry_point})\n", "<check>", "exec", dont_inherit=True)
        return [CodeTest(code, packed_code(own), names - {"candidate"} | {entry_point or ""}, None, None, entry_point)]
    return _plan_asserts(tests, entry_point)


def packed_code(code: CodeType) -> str:
    """Return code as the program's process takes it."""
    return b2a_base64(marshal.dumps(code), newline=False).decode("ascii")


def _as_it_is(value: Any) -> Any:
    return value


def with_whole_keys(value: Any) -> Any:
    """Return plain data in which objects have whole numbers as keys, where all their keys read so: JSON has none."""
    if isinstance(value, list):
        return [with_whole_keys(item) for item in value]
    if not isinstance(value, dict):
        return value
    whole = all(isinstance(key, str) and WHOLE.fullmatch(key) for key in value)
    return {int(key) if whole else key: with_whole_keys(item) for key, item in value.items()}


def as_text(lines: str | Sequence[str]) -> str:
    """Return a text that may come as a list of lines."""
    return lines if isinstance(lines, str) else "\n".join(lines)


def _plan_asserts(tests: Mapping[str, Any], entry_point: str | None) -> list[Test]:
    setup = (tests.get("setup") or "").replace("\r\n", "\n")
    texts = [text.replace("\r\n", "\n").strip() for text in tests["asserts"]]
    trees = [ast.parse(text) for text in texts]
    setup_tree = ast.parse(setup)
    tested = set() if entry_point else {name for tree in trees if (name := tested_name(tree)) is not None}
    setup_code = compile(setup_tree, "<setup>", "exec", dont_inherit=True) if setup.strip() else None
    planned: list[Test | None] = [None] * len(texts)
    if setup_code is None:
        own = tested | {entry_point or "", "candidate"}
        planned = [as_call(text, tree, own, entry_point) for text, tree in zip(texts, trees, strict=True)]
    codes = {place: compile(texts[place], "<assert>", "exec", dont_inherit=True) for place in _missing(planned)}
    read = free_names([*([] if setup_code is None else [setup_code]), *codes.values()])
    names = frozenset({name for name in read if not trusted(name)} | tested | {entry_point or ""})
    native_setup = None if setup_code is None else packed_code(setup_code)
    for place, code in codes.items():
        planned[place] = CodeTest(code, packed_code(code), names, setup_code, native_setup, entry_point)
    return [test for test in planned if test is not None]


def _missing(planned: Sequence[Test | None]) -> list[int]:
    return [place for place, test in enumerate(planned) if test is None]


def tested_name(tree: ast.Module) -> str | None:
    """Return the function that an assert tests, which may be named like a builtin or a module.

    That is one that it calls with literals, on the left of a comparison. Where a test means the builtin itself, it
    gives it what the program gave.
    """
    call = tested_call(tree)
    if call is None or not isinstance(call.func, ast.Name):
        return None
    try:
        for argument in [*call.args, *(keyword.value for keyword in call.keywords)]:
            ast.literal_eval(argument)
    except (ValueError, TypeError):
        return None
    return call.func.id


def tested_call(tree: ast.Module) -> ast.Call | None:
    """Return the call on the left of ``assert call == value``, or in ``assert call``."""
    test = tree.body[0].test if len(tree.body) == 1 and isinstance(tree.body[0], ast.Assert) else None
    left = test.left if isinstance(test, ast.Compare) else test
    return left if isinstance(left, ast.Call) else None


def as_call(text: str, tree: ast.Module, own: set[str], entry_point: str | None) -> CallTest | None:
    """Return ``assert f(literals) == literal`` as a call, None for any other assert.

    ``own``: names that are surely the program's, even where builtins and modules have the same.
    """
    call = tested_call(tree)
    if call is None or not isinstance(call.func, ast.Name):
        return None
    if call.func.id not in own and (trusted(call.func.id) or hasattr(builtins, call.func.id)):
        return None
    test = tree.body[0].test  # type: ignore[attr-defined]
    if not isinstance(test, ast.Compare) or len(test.ops) != 1 or not isinstance(test.ops[0], ast.Eq):
        return None
    if any(isinstance(node, ast.Set) for argument in call.args for node in ast.walk(argument)):
        return None  # the order of a set is not its own: only in its own process is it what the interpreter makes of it
    function = entry_point if entry_point and call.func.id == "candidate" else call.func.id
    try:
        arguments = [ast.literal_eval(argument) for argument in call.args]
        named = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords if keyword.arg}
        expected = ast.literal_eval(test.comparators[0])
        if len(named) == len(call.keywords):
            return CallTest(function, arguments, named, expected, text)
    except (ValueError, TypeError, NotPlain):
        pass
    return None


def free_names(codes: Sequence[CodeType]) -> set[str]:
    """Return the names that code may read beside locals and builtins; attributes are among them."""
    return {name for code in _all_code(codes) for name in code.co_names if not hasattr(builtins, name)}


def class_names(code: CodeType) -> list[str]:
    """Return the names that class bodies within code read."""
    bodies = [one for one in _all_code([code]) if one is not code and not one.co_flags & CO_OPTIMIZED]
    return [one.argval for body in bodies for one in get_instructions(body) if one.opname == "LOAD_NAME"]


def _all_code(codes: Sequence[CodeType]) -> list[CodeType]:
    found = list(codes)
    for code in found:
        found += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return found
