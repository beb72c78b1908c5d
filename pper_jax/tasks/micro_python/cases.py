"""Test cases that tell a micro_python task's behaviour from every other, and from the mistakes that are made in it.

All behaviours of an argument type are run once a process on the same candidate inputs. A task's cases are a cover:
candidates are added, each the one on which fewest of the programs left agree with the reference, until no program that
differs on some candidate passes.
"""

from __future__ import annotations

import random
from collections.abc import Hashable, Iterable, Sequence
from functools import cache
from typing import Any

from pper_jax.tasks.micro_python.mistakes import Lines, other_steps, rivals
from pper_jax.tasks.micro_python.universe import (
    Spec,
    assigned,
    copied,
    draw_arguments,
    lines_of,
    probes,
    run_lines,
    values,
)

Case = tuple[list[Any], Any]  # arguments, expected value
CASES, MOST = 12, 16  # at least, and where only other steps are left to tell, at most
DRAWS = 60  # random inputs among the candidates, and as many of a task's own
OWN, SPARE = 4, 16  # of a task's own, how many are cases whatever they tell, and from how many the last are chosen
LETTERS = "aeostrnbdg"
EMPTY: dict[str, list[Any]] = {"list": [[]], "str": [""], "int": [0], "int2": [0, 0], "dict": [{}], "words": [[]]}


def constants(spec: Spec) -> list[int]:
    """The integers of a spec but zero, whose neighbours its inputs favour."""
    return [value for step in spec.steps for value in (step.c, step.d) if isinstance(value, int) and value]


def _small_inputs(takes: str) -> list[list[Any]]:
    """Inputs of one part: on them a program cannot hide behind what it does to the rest."""
    numbers = range(-6, 16)
    if takes == "list":
        return [[[x]] for x in numbers]
    if takes == "str":
        return [[letter * times] for letter in LETTERS + LETTERS.upper() for times in (1, 2)]
    if takes == "int":
        return [[x] for x in numbers]
    if takes == "int2":
        return [[a, b] for a in range(-2, 3) for b in range(-2, 3)]
    if takes == "dict":
        return [[{key: x}] for x in numbers for key in ("abcd" if x in (-1, 0, 1) else "a")]
    return [[["stone"[:n] + "bread"[: n - 5 if n > 5 else 0]]] for n in range(1, 9)]


def _long_input(takes: str, rng: random.Random) -> list[Any]:
    """An input with every value once in it, where the type has room: what a step does to any of them shows."""
    if takes == "list":
        return [rng.sample(range(-6, 16), 22)]
    if takes == "str":
        return ["".join(rng.sample(LETTERS + LETTERS.upper(), 2 * len(LETTERS)))]
    return draw_arguments(takes, rng, ())


@cache
def candidates(takes: str) -> tuple[list[Any], ...]:
    """Inputs of a type from which cases are chosen, the empty one first; the probes are among them."""
    rng = random.Random(f"candidates {takes}")
    drawn = [draw_arguments(takes, rng, ()) for _ in range(DRAWS)]
    every = [EMPTY[takes], *_small_inputs(takes), *probes(takes), *drawn]
    return tuple({repr(args): args for args in every}.values())


def _key(value: Any) -> Hashable:
    """Equal for equal values, as ``==`` has it."""
    if isinstance(value, list):
        return tuple(value)
    return frozenset(value.items()) if isinstance(value, dict) else value


@cache
def _agreeing(takes: str) -> list[dict[Hashable, int]]:
    """For each candidate: result -> the behaviours of that type that give it, as bits."""
    table: list[dict[Hashable, int]] = [{} for _ in candidates(takes)]
    specs = [spec for split in assigned().values() for spec in split.values() if spec.takes == takes]
    for i, spec in enumerate(specs):
        for row, value in zip(table, values(spec, candidates), strict=True):
            key = _key(value)
            row[key] = row.get(key, 0) | 1 << i
    return table


def _cover(agree: Sequence[int], alive: int, most: int) -> list[int]:
    """At most so many places, greedily the best first, that leave of ``alive`` only those who agree everywhere."""
    chosen: list[int] = []
    while alive and len(chosen) < most:
        best = min(range(len(agree)), key=lambda i: (alive & agree[i]).bit_count())
        if alive & agree[best] == alive:
            break
        chosen.append(best)
        alive &= agree[best]
    return chosen


def _passes(spec: Spec, lines: Sequence[str], case: Case) -> bool:
    try:
        return bool(run_lines(spec.takes, lines, case[0]) == case[1])
    except Exception:
        return False


def _against_behaviours(spec: Spec, order: Sequence[int], pool: Sequence[Case]) -> list[Case]:
    """Cases of the pool (the candidates in that order) of which, with the empty one, no other behaviour passes all."""
    table = _agreeing(spec.takes)
    agree = [table[place].get(_key(case[1]), 0) for place, case in zip(order, pool, strict=True)]
    nothing = run_lines(spec.takes, lines_of(spec), EMPTY[spec.takes])
    return [pool[i] for i in _cover(agree, table[0].get(_key(nothing), 0), len(pool))]


def against(
    spec: Spec, programs: Sequence[Lines], given: Sequence[Case], pool: Sequence[Case], most: int
) -> list[Case]:
    """At most so many cases of the pool, for those of the programs that pass all the ``given`` ones."""
    left = [lines for lines in programs if all(_passes(spec, lines, case) for case in given)]
    agree = [sum(1 << i for i, lines in enumerate(left) if _passes(spec, lines, case)) for case in pool]
    return [pool[i] for i in _cover(agree, (1 << len(left)) - 1, most)]


def as_cases(chosen: Iterable[Case]) -> list[dict[str, Any]]:
    """Cases in a task's form, their values shared with nothing."""
    return [{"args": copied(args), "expected": copied([expected])[0]} for args, expected in chosen]


def make_cases(spec: Spec, rng: random.Random) -> list[dict[str, Any]]:
    """Distinct test cases that nothing passes but what agrees with the reference on all candidates.

    The first is the empty input. No constant passes, no other behaviour, and none of the spec's rivals, single mistakes
    among them; of programs with another step, or one more, as few as ``MOST`` cases allow. Inputs that are the task's
    own are wide-spread, with boundaries of the spec's constants among them.
    """

    def case(args: list[Any]) -> Case:
        return args, run_lines(spec.takes, lines_of(spec), args)

    own = [case(_long_input(spec.takes, rng))]
    own += [case(draw_arguments(spec.takes, rng, constants(spec))) for _ in range(DRAWS)]
    order = rng.sample(range(1, len(candidates(spec.takes))), len(candidates(spec.takes)) - 1)
    pool = [case(candidates(spec.takes)[place]) for place in order]
    empty = case(EMPTY[spec.takes])
    chosen = [*_against_behaviours(spec, order, pool), *own[:OWN], empty]
    chosen += against(spec, rivals(spec), chosen, [*pool, *own], len(pool))
    chosen += [other for other in pool if other[1] != empty[1]][: all(expected == empty[1] for _, expected in chosen)]
    chosen += against(spec, other_steps(spec), chosen, own[OWN : OWN + SPARE], MOST - len(chosen))
    distinct = {repr(args): (args, expected) for args, expected in [empty, *chosen]}
    for args, expected in own:
        if len(distinct) < CASES:
            distinct.setdefault(repr(args), (args, expected))
    return as_cases(distinct.values())
