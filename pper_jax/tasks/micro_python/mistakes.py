"""Wrong programs of a spec: those that the pretraining text holds, and others that a model writes instead."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache
from itertools import product

from pper_jax.tasks.micro_python.operations import LIST_STEPS, STRING_STEPS
from pper_jax.tasks.micro_python.universe import VARIABLES, Spec, Step, body, lines_of

HABIT_SHARE = 0.8  # of the mistakes made in an operation, how many are its habit (its first bug)
STRUCTURE_SHARE = 0.1  # of bug_rate, how often a composition loses a step or has two swapped
Lines = tuple[str, ...]
SIMPLE = {  # what a program that has learned nothing of its task may return
    "list": (
        "[]",
        "0",
        "xs",
        "sorted(xs)",
        "len(xs)",
        "sum(xs)",
        "xs[:1]",
        "xs[-1:]",
        "(xs or [0])[0]",
        "(xs or [0])[-1]",
    ),
    "str": ('""', "0", "s", "len(s)", "s[:1]", "s[-1:]", "s[1:]", "s.title()", "sorted(s)"),
    "int": ("0", "n", "-n", "abs(n)", "n + 1", "n - 1", "n * 2", "str(n)", "n > 0", "n % 2 == 0"),
    "int2": ("0", "a", "b", "a + b", "a - b", "a * b", "max(a, b)", "min(a, b)", "abs(a - b)"),
    "dict": ("{}", "0", "[]", "d", "len(d)", "sorted(d)", "sum(d.values())", "max(d.values(), default=0)"),
    "words": ("[]", "0", '""', "words", "len(words)", '"".join(words)', '" ".join(words)', '(words or [""])[0]'),
}


def _mistaken_line(step: Step, variable: str, rng: random.Random) -> str:
    bugs = step.operation.bugs
    bug = bugs[0] if len(bugs) == 1 or rng.random() < HABIT_SHARE else rng.choice(bugs[1:])
    return step.fill(bug, variable)


def _droppable(spec: Spec) -> int:
    """How many steps of a composition could be forgotten; 0 for a single operation."""
    return len(spec.steps) - int(spec.steps[-1].operation.ends) if len(spec.steps) >= 2 else 0


def _lose_or_swap(lines: list[str], steps: int, rng: random.Random) -> None:
    """Drop one of the first ``steps`` lines or swap the first two, in place."""
    if steps >= 2 and rng.random() < 0.5:
        lines[0], lines[1] = lines[1], lines[0]
    else:
        del lines[rng.randrange(steps)]


def write_mistake(spec: Spec, rng: random.Random) -> str:
    """The right body with one mistake: in one operation, or in a composition a step lost or two swapped."""
    lines = list(lines_of(spec))
    if _droppable(spec) and rng.random() < STRUCTURE_SHARE:
        _lose_or_swap(lines, _droppable(spec), rng)
    else:
        i = rng.randrange(len(lines))
        lines[i] = _mistaken_line(spec.steps[i], spec.variable, rng)
    return body(lines, spec.variable)


def write_program(spec: Spec, rng: random.Random, bug_rate: float) -> str:
    """A body with each operation wrong with probability ``bug_rate * difficulty``, mostly by its habit."""
    lines = []
    for step in spec.steps:
        wrong = rng.random() < min(0.95, bug_rate * step.operation.difficulty)
        lines.append(
            _mistaken_line(step, spec.variable, rng) if wrong else step.fill(step.operation.code, spec.variable)
        )
    if _droppable(spec) and rng.random() < bug_rate * STRUCTURE_SHARE:
        _lose_or_swap(lines, _droppable(spec), rng)
    return body(lines, spec.variable)


def _rearranged(lines: Lines, steps: int) -> Iterator[Lines]:
    """All that ``_lose_or_swap`` may make of the lines."""
    for i in range(steps):
        yield lines[:i] + lines[i + 1 :]
    if steps >= 2:
        yield lines[1::-1] + lines[2:]


def single_mistakes(spec: Spec) -> list[Lines]:
    """The lines of every program that ``write_mistake`` may write, each once."""
    right = lines_of(spec)
    found = [
        (*right[:i], step.fill(bug, spec.variable), *right[i + 1 :])
        for i, step in enumerate(spec.steps)
        for bug in step.operation.bugs
    ]
    return list(dict.fromkeys([*found, *_rearranged(right, _droppable(spec))]))


def all_mistakes(spec: Spec) -> list[Lines]:
    """The lines of every program that ``write_program`` may write, each once: single, double and more mistakes."""
    choices = [
        [step.fill(text, spec.variable) for text in (step.operation.code, *step.operation.bugs)] for step in spec.steps
    ]
    found: dict[Lines, None] = {}
    for lines in product(*choices):
        found |= dict.fromkeys((lines, *_rearranged(lines, _droppable(spec))))
    return [lines for lines in found if lines != lines_of(spec)]


def other_constants(spec: Spec) -> list[Lines]:
    """The lines of the right program with one operation's constants replaced by others of that operation."""
    right = lines_of(spec)
    return [
        (*right[:i], Step(step.op, c, d).fill(step.operation.code, spec.variable), *right[i + 1 :])
        for i, step in enumerate(spec.steps)
        for c, d in step.operation.constants
        if (c, d) != (step.c, step.d)
    ]


@cache
def _step_lines(takes: str) -> list[str]:
    """The line of every step with every constant that may stand in a composition."""
    steps = {"list": LIST_STEPS, "str": STRING_STEPS}.get(takes, ())
    return [Step(op.name, c, d).fill(op.code, VARIABLES[takes]) for op in steps for c, d in op.constants]


def other_steps(spec: Spec) -> list[Lines]:
    """The lines of the right program with one step replaced by another, or one more put in."""
    right, ends = lines_of(spec), spec.steps[-1].operation.ends
    replaced = [
        (*right[:i], line, *right[i + 1 :])
        for line in _step_lines(spec.takes)
        for i in range(len(right) - ends)
        if line != right[i]
    ]
    places = range(len(right) + (not ends))
    return replaced + [(*right[:i], line, *right[i:]) for line in _step_lines(spec.takes) for i in places]


def rivals(spec: Spec) -> list[Lines]:
    """The lines of programs that the tests must tell from the right one: mistakes, other constants, simple programs."""
    simple = [(f"return {text}",) for text in SIMPLE[spec.takes]]
    return [*simple, *all_mistakes(spec), *other_constants(spec)]
