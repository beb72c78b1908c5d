"""What a task's tests ask, as small objects that run on the trusted side.

Where an expected value is, the program is not: literal ``assert f(1) == 2`` becomes a call whose result is compared
here; every other assert, and every check, is run here as code, with a Remote (see ``session``) in the place of each
function or class of the program that it names. So a test may build objects of the program's classes, hand them back,
read and set their attributes. No assert runs inside the sandbox; what cannot be done this way (handing one of the
test's own functions or objects to the program) gets ``infrastructure``: a limit of ours, not the program's fault.

The code of the tests is trusted: it comes with the task. One exception is the test's own doing: a check that compares
by a helper of the program (``is_same_list(candidate(x), list_node([1]))``) hands that helper both sides and believes
it; the loader of such a set should put the helpers into the tests.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import CodeType
from typing import Any

from pper_jax.execution import wire
from pper_jax.execution.compare import answers_match, results_match
from pper_jax.execution.session import Session, packed_call

MODULES = {"array", "bisect", "cmath", "collections", "copy", "datetime", "decimal", "fractions", "functools", "heapq"}
MODULES |= {"itertools", "json", "math", "operator", "random", "re", "statistics", "string", "sys", "time", "typing"}
CLASSES = {"Counter": "collections", "OrderedDict": "collections", "defaultdict": "collections", "Decimal": "decimal"}
CLASSES |= {"Fraction": "fractions"}
Outcome = tuple[str, str | None]


@dataclass(frozen=True)
class CallTest:
    """Call a function of the program and compare what it returns."""

    function: str
    arguments: Sequence[Any]
    named: Mapping[str, Any]
    expected: Any
    packed: str | None = field(init=False)  # the call as it is sent; None where the arguments are no plain data

    def __post_init__(self) -> None:
        try:
            packed = packed_call(self.function, self.arguments, self.named)
        except wire.NotPlain:
            packed = None
        object.__setattr__(self, "packed", packed)

    def run(self, session: Session, compare: str, ahead: Sequence[str] = ()) -> Outcome:
        """Return the status and the reason; ``ahead``: the calls of the tests that follow, to be sent with this one."""
        try:
            if self.packed is None:
                result = session.call(self.function, self.arguments, self.named)
            else:
                result = session.ask(self.packed, ahead)
        except Exception as error:
            return explain(error, session)
        if results_match(result, self.expected, compare):
            return "pass", None
        return "fail", f"returned {shorten(result)}, expected {shorten(self.expected)}"


@dataclass(frozen=True)
class CodeTest:
    """Run the code of a test here, with proxies for what it names of the program."""

    code: CodeType
    names: tuple[str, ...]
    setup: CodeType | None = None
    entry_point: str | None = None

    def run(self, session: Session, compare: str, ahead: Sequence[str] = ()) -> Outcome:
        """Return the status and the reason. One session's tests share their names, and ``setup`` runs once."""
        try:
            if not session.names:
                session.names = self.environment(session)
                if self.setup is not None:
                    exec(self.setup, session.names)
            random.seed(0)
            exec(self.code, session.names)
        except Exception as error:
            return explain(error, session)
        return "pass", None

    def environment(self, session: Session) -> dict[str, Any]:
        """Return the names that the code starts with: modules, then those of the program, then ``candidate``."""
        names: dict[str, Any] = {"__name__": "tests", "__builtins__": builtins}
        wanted = [name for name in self.names if name == self.entry_point or not trusted(name)]
        names |= {name: trusted_value(name) for name in self.names if name not in wanted}
        own = [name for name in wanted if name != self.entry_point or not name.isidentifier()]
        found = session.request("names", own) if own else {}
        names |= {name: found[name] for name in wanted if name in found} if isinstance(found, dict) else {}
        if self.entry_point is not None:
            names["candidate"] = Function(session, self.entry_point)
            if self.entry_point.isidentifier():
                names[self.entry_point] = names["candidate"]
        return names


@dataclass(frozen=True)
class Function:
    """A function of the program, called by name, so that a missing one is an error of the call."""

    session: Session
    name: str

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Call it in the sandbox; arguments are left as the call left them."""
        return self.session.call(self.name, arguments, named, changes=True)


@dataclass(frozen=True)
class StdioTest:
    """Feed a script and compare what it prints; run by the worker, in a process of its own."""

    stdin: str
    stdout: str


@dataclass(frozen=True)
class AnswerTest:
    """Compare the text of an answer; no process is needed."""

    expected: Any

    def judge(self, text: str) -> Outcome:
        """Return the status and the reason."""
        return ("pass", None) if answers_match(text, self.expected) else ("fail", f"expected {shorten(self.expected)}")


Test = CallTest | CodeTest | StdioTest | AnswerTest


def explain(error: Exception, session: Session) -> Outcome:
    """Return the status of a test that ended by an exception, and the reason."""
    if session.raised is error:
        return ("memory" if isinstance(error, MemoryError) else "error"), str(error)
    if isinstance(error, AssertionError):
        return "fail", shorten(error) if error.args else None
    if isinstance(error, wire.NotPlain):
        return "infrastructure", str(error)
    return "error", f"{type(error).__name__}: {error}"[:300]


def shorten(value: Any) -> str:
    """Return a value's repr, cut to 120 characters."""
    try:
        text = str(value) if isinstance(value, Exception) else repr(value)
    except (ValueError, RecursionError):  # an int beyond the digits that Python prints
        text = f"a {type(value).__name__}"
    return text if len(text) <= 120 else text[:117] + "..."


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
        return [CallTest(function, case["args"], {}, case["expected"]) for case in tests["cases"]]
    if kind == "stdio":
        return [StdioTest(as_text(case["stdin"]), as_text(case["stdout"])) for case in tests["cases"]]
    if kind == "answer":
        return [AnswerTest(tests["expected"])]
    if kind == "check":
        code = compile(tests["code"] + "\n\ncheck(candidate)\n", "<check>", "exec", dont_inherit=True)
        names = free_names([ast.parse(tests["code"])])
        return [CodeTest(code, tuple(sorted(names)), None, entry_point)]
    return _plan_asserts(tests, entry_point)


def as_text(lines: str | Sequence[str]) -> str:
    """Return a text that may come as a list of lines."""
    return lines if isinstance(lines, str) else "\n".join(lines)


def _plan_asserts(tests: Mapping[str, Any], entry_point: str | None) -> list[Test]:
    setup = (tests.get("setup") or "").replace("\r\n", "\n")
    texts = [text.replace("\r\n", "\n").strip() for text in tests["asserts"]]
    trees = [ast.parse(text) for text in texts]
    setup_tree = ast.parse(setup)
    names = free_names([setup_tree, *trees])
    if entry_point is None and not any(name for name in names if not trusted(name)):
        names |= {call.func.id for tree in trees if (call := tested_call(tree)) and isinstance(call.func, ast.Name)}
    elif entry_point is not None and entry_point.isidentifier():
        names |= {entry_point}
    setup_code = compile(setup_tree, "<setup>", "exec", dont_inherit=True) if setup.strip() else None
    planned: list[Test] = []
    for text, tree in zip(texts, trees, strict=True):
        literal = as_call(tree, names | {"candidate"}, entry_point)
        if literal is not None and setup_code is None:
            planned.append(literal)
        else:
            code = compile(text, "<assert>", "exec", dont_inherit=True)
            planned.append(CodeTest(code, tuple(sorted(names)), setup_code, entry_point))
    return planned


def tested_call(tree: ast.Module) -> ast.Call | None:
    """Return the call on the left of ``assert call == value``, or in ``assert call``."""
    test = tree.body[0].test if len(tree.body) == 1 and isinstance(tree.body[0], ast.Assert) else None
    left = test.left if isinstance(test, ast.Compare) else test
    return left if isinstance(left, ast.Call) else None


def as_call(tree: ast.Module, names: set[str], entry_point: str | None) -> CallTest | None:
    """Return ``assert f(literals) == literal`` as a call, None for any other assert."""
    call = tested_call(tree)
    if call is None or not isinstance(call.func, ast.Name) or call.func.id not in names:
        return None
    test = tree.body[0].test  # type: ignore[attr-defined]
    if not isinstance(test, ast.Compare) or len(test.ops) != 1 or not isinstance(test.ops[0], ast.Eq):
        return None
    function = entry_point if entry_point and call.func.id == "candidate" else call.func.id
    try:
        arguments = [ast.literal_eval(argument) for argument in call.args]
        named = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords if keyword.arg}
        expected = ast.literal_eval(test.comparators[0])
    except (ValueError, TypeError):
        return None
    if len(named) != len(call.keywords):
        return None
    return CallTest(function, arguments, named, expected)


def free_names(trees: Sequence[ast.Module]) -> set[str]:
    """Return the names that code reads but neither binds nor finds among the builtins."""
    read: set[str] = set()
    bound: set[str] = {"candidate"}
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.Name):
            (read if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound.add(node.name)
        elif isinstance(node, ast.alias):
            bound.add((node.asname or node.name).split(".")[0])
        elif isinstance(node, ast.ExceptHandler) and node.name:
            bound.add(node.name)
    return {name for name in read - bound if not hasattr(builtins, name)}
