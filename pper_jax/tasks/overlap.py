"""Contamination: problems of one set of tasks that stand in another too, by words, by code or by behaviour.

Three marks, each blind where another sees: the words of a problem, without case and punctuation; the syntax tree of a
reference, without docstrings, comments and the names that it gives; and what its reference does on the other's tests.
"""

from __future__ import annotations

import ast
import copy
import hashlib
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, islice
from typing import Any

from pper_jax.execution import Job
from pper_jax.tasks.check import Pool, job_of
from pper_jax.tasks.left_out import SHOWN
from pper_jax.tasks.task import Task, program_text

HOW = ("task_id", "text", "tests", "code", "behaviour")
LEAST_WORDS = 5  # of a problem that its words can tell from others
LEAST_NODES = 12  # of a tree: smaller ones are one line that many problems share

Calls = Sequence[Mapping[str, Any]]  # of one task: args and what is expected


@dataclass(frozen=True)
class Overlap:
    """A problem of set A that is a problem of set B, and how that was seen (one of ``HOW``)."""

    a: str
    b: str
    how: str


@dataclass(frozen=True)
class OverlapReport:
    """What two sets share.

    Attributes:
        pairs: each pair of tasks once, by the first of ``HOW`` that sees it, in the order of A.
        sizes: how many tasks A and B have.
        tried: how many pairs were run on each other's tests, and how many could have been; None where none was to.
    """

    pairs: tuple[Overlap, ...]
    sizes: tuple[int, int]
    tried: tuple[int, int] | None = None

    def __str__(self) -> str:
        a, b = (len({getattr(pair, side) for pair in self.pairs}) for side in "ab")
        counts = ", ".join(
            f"{sum(pair.how == how for pair in self.pairs)} by {how}" for how in HOW if self.tried or how != "behaviour"
        )
        lines = [f"{a} of {self.sizes[0]} tasks are among the {self.sizes[1]} others, as {b} of them ({counts})"]
        if self.tried is not None:
            lines.append(f"{self.tried[0]} of {self.tried[1]} pairs with like arguments ran on each other's tests")
        lines += [f"  {pair.a} = {pair.b} ({pair.how})" for pair in self.pairs[:SHOWN]]
        if len(self.pairs) > SHOWN:
            lines.append(f"  and {len(self.pairs) - SHOWN} more")
        return "\n".join(lines)


def find_overlaps(a: Sequence[Task], b: Sequence[Task]) -> list[Overlap]:
    """The pairs of tasks of A and B that share an id, their words, their tests or their code; nothing is run."""
    known: dict[tuple[str, str], list[str]] = {}
    for task in b:
        for key in marks(task):
            known.setdefault(key, []).append(task.task_id)
    found: dict[tuple[str, str], Overlap] = {}
    for task in a:
        for how, mark in marks(task):
            for other in known.get((how, mark), ()):
                found.setdefault((task.task_id, other), Overlap(task.task_id, other, how))
    return list(found.values())


def splits_of(tasks: Sequence[Task]) -> list[tuple[str, list[Task], str, list[Task]]]:
    """Each two splits of a set: the name of one, its tasks, and the same of the other."""
    splits: dict[str, list[Task]] = {}
    for task in tasks:
        splits.setdefault(task.split or "none", []).append(task)
    return [(a, splits[a], b, splits[b]) for a, b in combinations(splits, 2)]


def marks(task: Task) -> Iterator[tuple[str, str]]:
    """What a task is known by: pairs of one of ``HOW`` and a digest."""
    yield "task_id", task.task_id
    words = text_of(task)
    if len(words.split()) >= LEAST_WORDS:
        yield "text", _digest(words)
    if task.tests["kind"] == "answer":
        return  # many questions have one answer
    for tests in filter(None, (task.tests, task.hidden)):
        yield "tests", _digest(_tests_text(tests, task.entry_point))
    tree = normalised(program_text(task, task.reference)) if task.reference is not None else None
    if tree is not None:
        calls = _all_calls(task)  # the same code on arguments of other types is another problem: len(text), len(items)
        yield "code", _digest(f"{_shape(calls)[:-1] if calls else ''} {tree}")


def text_of(task: Task) -> str:
    """The words of a problem: lower case, without punctuation; without its docstring's code where that is Python."""
    text = task.statement if task.statement is not None else task.prompt
    return " ".join(re.findall(r"\w+", text.lower()))


def _tests_text(tests: Mapping[str, Any], entry_point: str | None) -> str:
    """Tests as text, whatever the function under test is called."""
    text = repr(sorted((key, value) for key, value in tests.items() if key != "fn_name"))
    name = (tests.get("fn_name") or entry_point or "").rpartition(".")[2]
    return re.sub(rf"\b{re.escape(name)}\b", "candidate", text) if name else text


def normalised(program: str) -> str | None:
    """The syntax tree of a program as text, without docstrings and with names it gives numbered as they come.

    None where it is no Python, or so small that many problems share it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(program)
        if sum(1 for _ in ast.walk(tree)) < LEAST_NODES:
            return None
        given = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                given.add(node.name)
            elif isinstance(node, ast.arg):
                given.add(node.arg)
        return ast.dump(_Renamed(given).visit(tree))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


class _Renamed(ast.NodeTransformer):
    """Names that a program gives, numbered as they come; docstrings, annotations and imports that stand alone go."""

    def __init__(self, given: set[str]) -> None:
        self.given, self.numbers = given, dict[str, str]()

    def _name(self, name: str) -> str:
        return self.numbers.setdefault(name, f"n{len(self.numbers)}") if name in self.given else name

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Name(self._name(node.id), node.ctx)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return ast.arg(self._name(node.arg))

    def visit_keyword(self, node: ast.keyword) -> ast.AST:
        self.generic_visit(node)
        return ast.keyword(self._name(node.arg) if node.arg else None, node.value)

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return None
        return self.generic_visit(node)

    def generic_visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            node.name = self._name(node.name)
            if not isinstance(node, ast.ClassDef):
                node.returns = None
        return super().generic_visit(node)


@dataclass(frozen=True)
class Pair:
    """Two tasks whose references take like arguments, and the calls that are the tests of each."""

    a: Task
    b: Task
    calls: tuple[Calls, Calls]


def like_pairs(a: Sequence[Task], b: Sequence[Task]) -> list[Pair]:
    """Pairs of tasks of A and B whose tests are calls with arguments of like number and types in the first test.

    Scripts are left out, for each try would be a process, and answers and tests that expect but one value, for these
    would say nothing.
    """
    by_shape: dict[tuple[str, ...], list[tuple[Task, Calls]]] = {}
    for task in b:
        if calls := _calls(task):
            by_shape.setdefault(_shape(calls), []).append((task, calls))
    return [
        Pair(task, other, (calls, other_calls))
        for task in a
        if (calls := _calls(task))
        for other, other_calls in by_shape.get(_shape(calls), ())
    ]


def find_alike(pairs: Sequence[Pair], pool: Pool, progress: Callable[[int], None]) -> list[Overlap]:
    """Those pairs of which each task's reference passes the other's tests.

    A reference is run once, on the tests of all that it is paired with.

    Args:
        pairs: of :func:`like_pairs`.
        pool: an open pool, which runs all tests of a program.
        progress: called with 1 for every reference that was run; there are :func:`count_runs` of them.
    """
    runs = list(_runs(pairs).values())
    passed: Counter[int] = Counter()
    for index, verdict in pool.as_completed([_on_tests(run.task, run.calls) for run in runs]):
        results = iter(verdict.tests)
        for place, count in runs[index].places:
            passed[place] += [test.status for test in islice(results, count)].count("pass") == count
        progress(1)
    alike = [pair for place, pair in enumerate(pairs) if passed[place] == 2]
    return [Overlap(pair.a.task_id, pair.b.task_id, "behaviour") for pair in alike]


def count_runs(pairs: Sequence[Pair]) -> int:
    """How many references :func:`find_alike` runs."""
    return len(_runs(pairs))


@dataclass
class _Run:
    """A reference, the calls that it is run on, and of which pairs how many of them are, in order."""

    task: Task
    calls: list[Mapping[str, Any]] = field(default_factory=list)
    places: list[tuple[int, int]] = field(default_factory=list)


def _runs(pairs: Sequence[Pair]) -> dict[tuple[str, str], _Run]:
    runs: dict[tuple[str, str], _Run] = {}
    for place, pair in enumerate(pairs):
        for side, task, calls in (("a", pair.a, pair.calls[1]), ("b", pair.b, pair.calls[0])):
            run = runs.setdefault((side, task.task_id), _Run(task))
            run.calls += calls
            run.places.append((place, len(calls)))
    return runs


def _calls(task: Task) -> Calls:
    """Those of a task's tests that are literal calls with what they give, where not all give the same; else none."""
    calls = _all_calls(task)
    return calls if any(call["expected"] != calls[0]["expected"] for call in calls) else ()


def _all_calls(task: Task) -> Calls:
    tests, name = task.tests, task.entry_point
    if task.reference is None or name is None or "." in name or tests.get("setup"):
        return ()
    if tests["kind"] == "call":
        return () if tests.get("whole_keys") else tests["cases"]
    if tests["kind"] == "asserts":
        found = [_call(text, name) for text in tests["asserts"]]
    elif tests["kind"] == "check":
        found = [_call(line.strip(), "candidate") for line in tests["code"].split("\n") if "assert" in line]
    else:
        found = []
    return [call for call in found if call is not None]


def _call(text: str, name: str) -> dict[str, Any] | None:
    try:
        (statement,) = ast.parse(text).body
        assert isinstance(statement, ast.Assert)
        test: Any = statement.test
        if not isinstance(test.ops[0], ast.Eq) or len(test.ops) > 1 or test.left.func.id != name or test.left.keywords:
            return None
        return {
            "args": [ast.literal_eval(argument) for argument in test.left.args],
            "expected": ast.literal_eval(test.comparators[0]),
        }
    except (SyntaxError, ValueError, TypeError, AttributeError, AssertionError, RecursionError):
        return None


def _shape(calls: Calls) -> tuple[str, ...]:
    return (*(type(value).__name__ for value in calls[0]["args"]), type(calls[0]["expected"]).__name__)


def _on_tests(task: Task, calls: Calls) -> Job:
    assert task.reference is not None
    tests = {"kind": "call", "fn_name": task.entry_point, "cases": copy.deepcopy(list(calls))}
    return job_of(task, program_text(task, task.reference), tests)


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).hexdigest()
