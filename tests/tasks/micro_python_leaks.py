"""Which held-out behaviours are too close to a training one to be called held out: how ``left_out.py`` is made.

``python -m tests.tasks.micro_python_leaks`` prints its names.
"""

import random
from functools import cache

import numpy as np

from pper_jax.tasks.micro_python.cases import constants
from pper_jax.tasks.micro_python.universe import SPLITS, assigned, draw_arguments, lines_of, run_lines, values

CLOSE = 0.135  # a pair that differs on this share of inputs agrees on 60 fresh ones in 2 of 10,000 draws
INPUTS = 2000


@cache
def wide_inputs(takes):
    """Inputs of no task in particular, half of them near any constant there is."""
    rng = random.Random(f"leaks {takes}")
    return tuple(draw_arguments(takes, rng, near) for near in ((), range(-5, 15)) for _ in range(INPUTS))


def numbered(specs, takes, ids):
    """Results of the specs on the wide inputs, as integers that are equal for equal results."""
    rows = [[ids.setdefault(repr(value), len(ids)) for value in values(spec, wide_inputs)] for spec in specs]
    return np.array(rows, np.int32).reshape(len(specs), 2, INPUTS)


def differs(spec, others, behaviour):
    """Share of inputs drawn for the spec on which each of the others differs from it."""
    rng = random.Random(f"leaks {behaviour}")
    inputs = [draw_arguments(spec.takes, rng, constants(spec)) for _ in range(INPUTS // 2)]
    expected = [run_lines(spec.takes, lines_of(spec), args) for args in inputs]
    for other in others:
        lines = lines_of(other)
        yield np.mean([run_lines(spec.takes, lines, a) != e for a, e in zip(inputs, expected, strict=True)])


def leaks():
    """Held-out behaviours that a training one agrees with on most inputs, or whose kind training has not."""
    kinds = {spec.kind for spec in assigned()["train"].values()}
    for takes in ("list", "str", "int", "int2", "dict", "words"):
        ids = {}
        training = [spec for spec in assigned()["train"].values() if spec.takes == takes]
        table = numbered(training, takes, ids)
        for split in SPLITS[1:]:
            for behaviour, spec in assigned()[split].items():
                if spec.takes != takes:
                    continue
                shares = (table != numbered([spec], takes, ids)).mean(2).min(1)
                near = [training[i] for i in np.nonzero(shares < 3 * CLOSE)[0]]
                if (
                    spec.kind not in kinds
                    or shares.min() < CLOSE
                    or any(share < CLOSE for share in differs(spec, near, behaviour))
                ):
                    yield behaviour


if __name__ == "__main__":
    print("\n".join(sorted(leaks())))
