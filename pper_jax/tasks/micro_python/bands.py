"""Bands of difficulty of micro_python: longer chains of harder operations, the fourth beyond what the demo model solves.

A band is a number of steps and how many of them are of ``HARD`` operations, whose habitual mistake the pretraining text
prefers. Its chains are no behaviours of ``universe``, and each of their steps matters: its habit shows on the probes. No pair
of neighbouring operations is one that ``heldout_composition`` holds out. A chain is held out where two hashes say so, that of
its behaviour and that of its operations in any order, and of training where neither does: so no seed and no band can put a
behaviour on both sides, nor the same operations with other constants.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from typing import Any

from pper_jax.tasks.micro_python.operation import HARD
from pper_jax.tasks.micro_python.operations import LIST_ENDS, LIST_STEPS, STRING_ENDS, STRING_STEPS
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

BANDS = {1: (3, 0), 2: (3, 1), 3: (4, 2), 4: (4, 3)}  # steps, and how many of them are hard
SIDES = ("train", "heldout")
BAND_SPLITS = tuple(f"{side}_band{band}" for side in SIDES for band in BANDS)
SIZE = 544  # behaviours of a split
STRINGS, ENDS = 0.25, 0.3  # shares of chains on strings, and of chains that end in a number
SHOWS = 4  # on how many of the 40 probes a step's habit, and the chain without the step, give another result
VALUES = 12  # different results on the probes, at least
ALIKE = {"keep_at_least": "keep_above", "sort": "order", "sort_down": "order", "reverse": "order"}


def _draw(steps: int, hard: int, rng: random.Random) -> Spec | None:
    """A chain of so many different operations, so many of them hard; None where the draw asks for more than there are."""
    strings, ends = rng.random() < STRINGS, rng.random() < ENDS
    middle, last = (STRING_STEPS, STRING_ENDS) if strings else (LIST_STEPS, LIST_ENDS)
    end = [rng.choice([op for op in last if op.gives != "bool"])] if ends else []  # a constant passes half of a bool's
    need = hard - sum(op.difficulty == HARD for op in end)
    hards = [op for op in middle if op.difficulty == HARD]
    others = [op for op in middle if op.difficulty != HARD]
    if not 0 <= need <= min(len(hards), steps - ends):
        return None
    chain = rng.sample(hards, need) + rng.sample(others, steps - ends - need)
    rng.shuffle(chain)
    return Spec(tuple(Step(op.name, *rng.choice(op.constants)) for op in chain + end))


def _side(spec: Spec) -> str | None:
    """``train`` or ``heldout`` by the operations; None for a pair that ``heldout_composition`` holds out."""
    if any(stable_hash(pair) % HELD_OUT_PAIR == 0 for pair in spec.pairs):
        return None
    names = sorted(ALIKE.get(step.op, step.op) for step in spec.steps)
    return SIDES[stable_hash(f"band {names}") % 2]


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


@cache
def band_universe(split: str) -> dict[str, Spec]:
    """Behaviour -> its spec, of a band's split. Made once a process, in a second or two."""
    side, band = split.split("_band")
    rng = random.Random(split)
    known = {behaviour for specs in assigned().values() for behaviour in specs}
    found: dict[str, Spec] = {}
    while len(found) < SIZE:
        spec = _draw(*BANDS[int(band)], rng)
        if spec is None or _side(spec) != side:
            continue
        behaviour = fingerprint(spec)
        if behaviour is None or behaviour in known or SIDES[int(behaviour, 16) % 2] != side:
            continue
        if _every_step_matters(spec):
            found.setdefault(behaviour, spec)
    return found
