"""Bands of difficulty of micro_python: compositions by how often the pretraining text gets their operations wrong.

A chain is two steps on a list and an ending that gives a number: a form that the demo model writes. In band 1 all of
its operations are ``EASY``, or all but one ``MEDIUM``; in band 2 more are ``MEDIUM``; in band 3 one is ``HARD``, and in
band 4 two or three are. There habitual mistakes outweigh the right lines, so that a beam holds programs with one right
step or two, and hardly a right program (BUILD_NOTES.md, "Bands of micro_python"). Each step matters: its habit shows on
the probes, and so does its absence.

No chain is a behaviour of ``universe`` and none has a pair of operations that ``heldout_composition`` holds out. A
behaviour is held out by its name, whatever the band and the seed. A held-out one that agrees with a training one of its
band on 35 of the 40 probes is left out.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from itertools import permutations, product
from operator import itemgetter
from typing import Any

import numpy as np

from pper_jax.tasks.micro_python.operation import EASY, HARD, MEDIUM, Operation
from pper_jax.tasks.micro_python.operations import LIST_ENDS, LIST_STEPS
from pper_jax.tasks.micro_python.universe import (
    HELD_OUT_PAIR,
    Spec,
    Step,
    assigned,
    fingerprint,
    line_function,
    lines_of,
    probes,
    stable_hash,
)

BANDS = (1, 2, 3, 4)
SIDES = ("train", "heldout")
BAND_SPLITS = tuple(f"{side}_band{band}" for side in SIDES for band in BANDS)
LADDERS = {f"{side}_bands": tuple(f"{side}_band{band}" for band in BANDS) for side in SIDES}  # easy to hard
SIZE = 576  # behaviours of a split
SHOWS = 2  # on how many of the 40 probes a step's habit, and the chain without the step, give another result
RARER = 4  # of a band's chains, those with one easy operation more are so many times less frequent
VALUES = 6  # different results on the probes, at least
CLOSE = 35  # a held-out behaviour agrees with no training one of its band on so many probes


def band_of(chain: Sequence[Operation]) -> int:
    """The band of a chain of operations."""
    hard = sum(op.difficulty == HARD for op in chain)
    if hard:
        return min(2 + hard, 4)
    return 1 if sum(op.difficulty == MEDIUM for op in chain) < 2 else 2


def _held_out_pair(first: Operation, second: Operation) -> bool:
    return stable_hash(f"{first.name}>{second.name}") % HELD_OUT_PAIR == 0


def _chains(band: int) -> list[tuple[Operation, ...]]:
    """The operations of the band's chains; none ends in a truth value, for a constant passes half of those."""
    ends = [op for op in LIST_ENDS if op.gives == "int"]
    steps = [(a, b) for a, b in permutations(LIST_STEPS, 2) if not _held_out_pair(a, b)]
    return [
        (a, b, end) for a, b in steps for end in ends if band_of((a, b, end)) == band and not _held_out_pair(b, end)
    ]


def habit_lines(spec: Spec) -> tuple[str, ...]:
    """The habitual mistake in each step, one line a step."""
    return tuple(step.fill(step.operation.bugs[0], spec.variable) for step in spec.steps)


def _after(takes: str, lines: Sequence[str], results: list[Any]) -> list[Any]:
    for line in lines:
        results = list(map(line_function(takes, line), results))
    return results


def _every_step_matters(spec: Spec) -> bool:
    """Whether each step's habit shows on the probes, and so does each step's absence."""
    takes, right = spec.takes, lines_of(spec)
    before = [[args[0] for args in probes(takes)]]
    for line in right:
        before.append(_after(takes, [line], before[-1]))
    expected = before[-1]
    if len(set(map(repr, expected))) < VALUES:
        return False
    for i, habit in enumerate(habit_lines(spec)):
        for lines in ((habit, *right[i + 1 :]), right[i + 1 :]):
            found = _after(takes, lines, before[i])
            if sum(a != b for a, b in zip(found, expected, strict=True)) < SHOWS:
                return False
    return True


def _results(spec: Spec) -> list[int]:
    """Results of the right program on the probes."""
    return _after(spec.takes, lines_of(spec), [args[0] for args in probes(spec.takes)])


def _close(spec: Spec, training: np.ndarray) -> bool:
    """Whether the results of a training behaviour (a row) are those of the spec on ``CLOSE`` probes or more."""
    return bool(((training == np.array(_results(spec))).sum(1) >= CLOSE).any())


def _in_random_order(band: int, rng: random.Random) -> list[Spec]:
    """All specs of a band; a chain's share of the first ones grows with the square root of the number of its specs.

    Each easy operation makes it ``RARER``.
    """
    keyed: list[tuple[float, Spec]] = []
    for chain in _chains(band):
        chosen = list(product(*(op.constants for op in chain)))
        delay = len(chosen) ** 0.5 * RARER ** sum(op.difficulty == EASY for op in chain)
        for values in chosen:
            steps = tuple(Step(op.name, c, d) for op, (c, d) in zip(chain, values, strict=True))
            keyed.append((rng.expovariate(1.0) * delay, Spec(steps)))
    return [spec for _, spec in sorted(keyed, key=itemgetter(0))]


@cache
def band_universe(split: str) -> dict[str, Spec]:
    """Behaviour -> its spec, of a band's split: ``SIZE`` of them. Made once a process, in a second or two."""
    side, band = split.split("_band")
    known = {behaviour for specs in assigned().values() for behaviour in specs}
    others = band_universe(f"train_band{band}").values() if side == "heldout" else ()
    training = np.array([_results(spec) for spec in others]).reshape(-1, len(probes("list")))
    found: dict[str, Spec] = {}
    for spec in _in_random_order(int(band), random.Random(f"band {band}")):
        behaviour = fingerprint(spec)
        if behaviour is None or behaviour in known or SIDES[int(behaviour, 16) % 2] != side or behaviour in found:
            continue
        if _every_step_matters(spec) and not _close(spec, training):
            found[behaviour] = spec
        if len(found) == SIZE:
            break
    return found
