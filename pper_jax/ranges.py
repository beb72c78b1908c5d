"""Judging a number where its option is declared."""

from __future__ import annotations

import math

from pper_jax.errors import UserError


def check_number(
    name: str,
    value: object,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    whole: bool = False,
) -> None:
    """Raise a UserError unless ``value`` is a finite number (an integer where ``whole``) within these bounds.

    ``name`` is what the user calls the option, such as ``replay.alpha`` or ``--timeout``.
    """
    kind = "a whole number" if whole else "a finite number"
    bounds = [
        f"{word} {bound:g}"
        for word, bound in (("at least", least), ("above", above), ("at most", most), ("below", below))
        if bound is not None
    ]
    right = (
        isinstance(value, int if whole else (int, float))
        and not isinstance(value, bool)
        and (isinstance(value, int) or math.isfinite(value))
        and (least is None or value >= least)
        and (above is None or value > above)
        and (most is None or value <= most)
        and (below is None or value < below)
    )
    if not right:
        shown = repr(value) if len(repr(value)) <= 60 else repr(value)[:57] + "..."
        raise UserError(
            f"{name} is {shown}; it must be {' '.join([kind, *bounds[:1]] + ['and ' + b for b in bounds[1:]])}"
        )
