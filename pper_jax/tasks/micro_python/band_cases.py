"""Graded test cases of the bands' chains: the more steps of a program are right, the more cases it passes.

A chain of n steps has 2^n programs in which some steps are right and the others are mistaken by habit. A case
*isolates* a step when a program fails it just where that step is mistaken. Each step gets the same number of the cases
that come nearest to that; then cases are added until no single mistake passes that some candidate shows.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pper_jax.tasks.micro_python.bands import habit_lines
from pper_jax.tasks.micro_python.cases import Case, against, as_cases, candidates
from pper_jax.tasks.micro_python.mistakes import SIMPLE, other_constants, single_mistakes
from pper_jax.tasks.micro_python.universe import Spec, draw_arguments, line_function, lines_of, run_lines

GRADED, MOST = 12, 18  # cases that isolate a step, and cases at most
DRAWS = 50  # of the candidates: each is made into three
SAME = 3  # at most so many of the graded cases expect the same value


def _variants(spec: Spec, rng: random.Random) -> list[list[Any]]:
    """An input of the task's own, near its constants, and two on which some steps have less to do."""
    near = [step.c for step in spec.steps if isinstance(step.c, int) and len(step.operation.constants) > 1]
    (value,) = draw_arguments(spec.takes, rng, near)
    return [[value], [sorted(value, reverse=True)], [value[: rng.randint(1, 3)] * rng.randint(1, 3)]]


def _outcomes(spec: Spec, args: list[Any], expected: Any) -> int:
    """The programs that pass, as bits: bit s is the program whose steps in the set s (bits again) are mistaken."""
    values: list[Any] = [args[0]]
    for right, habit in zip(lines_of(spec), habit_lines(spec), strict=True):
        values = [_applied(line_function(spec.takes, line), value) for line in (right, habit) for value in values]
    return sum(1 << s for s, value in enumerate(values) if value == expected)


class _Raised:
    """What a program gives that raises: equal to nothing."""


def _applied(function: Callable[..., Any], value: Any) -> Any:
    if isinstance(value, _Raised):
        return value
    try:
        return function(value)
    except Exception:
        return _Raised()


def _step_masks(steps: int) -> list[int]:
    """For each step, the programs in which it is mistaken, as bits."""
    return [sum(1 << s for s in range(1 << steps) if s >> i & 1) for i in range(steps)]


def _graded(spec: Spec, pool: Sequence[Case]) -> list[Case]:
    """``GRADED`` cases of the pool, as many for each step, that come nearest to isolating it."""
    outcomes = [_outcomes(spec, *case) for case in pool]
    simple = [line_function(spec.takes, f"return {text}") for text in SIMPLE[spec.takes]]
    luck = [sum(_applied(function, case[0][0]) == case[1] for function in simple) for case in pool]
    steps = len(spec.steps)
    chosen: dict[int, None] = {}
    expected: Counter[str] = Counter()
    for mask in _step_masks(steps):
        isolated = (1 << (1 << steps)) - 1 & ~mask
        cost = [(bits ^ isolated).bit_count() + lucky for bits, lucky in zip(outcomes, luck, strict=True)]
        taken = 0
        for i in sorted(range(len(pool)), key=cost.__getitem__):
            shows, value = outcomes[i] & mask != mask, repr(pool[i][1])
            if taken < GRADED // steps and shows and i not in chosen and expected[value] < SAME:
                chosen[i] = None
                expected[value] += 1
                taken += 1
    return [pool[i] for i in chosen]


def make_graded_cases(spec: Spec, rng: random.Random) -> list[dict[str, Any]]:
    """Distinct test cases: graded ones, and those that tell single mistakes, simple programs and other constants."""

    def made(inputs: Iterable[list[Any]]) -> dict[str, Case]:
        return {repr(args): (args, run_lines(spec.takes, lines_of(spec), args)) for args in inputs}

    own = made(args for _ in range(DRAWS) for args in _variants(spec, rng))
    pool = list((own | made(candidates(spec.takes))).values())
    chosen = _graded(spec, list(own.values()))
    simple = [(f"return {text}",) for text in SIMPLE[spec.takes]]
    chosen += against(spec, [*simple, *single_mistakes(spec)], chosen, pool, len(pool))
    chosen += against(spec, other_constants(spec), chosen, pool, MOST - len(chosen))
    return as_cases(chosen)
