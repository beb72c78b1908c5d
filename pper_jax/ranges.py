"""Judging a number or a name where its option is declared."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence

from pper_jax.errors import UserError, shown

SEEDS = 2**32  # jax draws by 32 bits of a seed, so greater ones would repeat the draws of smaller ones
COUNTS = 2**31
NAME_BYTES = 200  # of a file's name, so that what we put before and behind it still fits


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

    ``name`` is what the user calls the option, such as ``replay.alpha`` or ``--timeout``. Whole numbers without an
    upper bound of their own must lie below COUNTS, for they count what arrays of ours have to hold.
    """
    if whole and most is None and below is None and isinstance(value, int) and value >= COUNTS:
        below = COUNTS
    kind = "a whole number" if whole else "a finite number"
    right = (
        isinstance(value, int if whole else (int, float))
        and not isinstance(value, bool)
        and _is_finite(value)
        and (least is None or value >= least)
        and (above is None or value > above)
        and (most is None or value <= most)
        and (below is None or value < below)
    )
    if not right:
        wanted = _in_words((("at least", least), ("above", above), ("at most", most), ("below", below)))
        if not whole and least is not None and most is not None:
            wanted = f" between {least:g} and {most:g}"
        raise UserError(f"{name} is {shown(value, 60)}; it must be {kind}{wanted}")


def _in_words(bounds: Sequence[tuple[str, float | None]]) -> str:
    said = [
        (word, f"{bound:g}" if isinstance(bound, float) else f"{bound}") for word, bound in bounds if bound is not None
    ]
    return " " * bool(said) + " and ".join(f"{word} {bound}" for word, bound in said)


def _is_finite(value: int | float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer that no float holds
        return False


def check_seed(name: str, value: object) -> None:
    """Raise a UserError unless ``value`` is a seed."""
    check_number(name, value, least=0, below=SEEDS, whole=True)


def check_file_name(name: str, value: object) -> None:
    """Raise a UserError unless ``value`` can name a file or folder of ours, with what we put before and behind it.

    ``name`` is what the user calls the option, such as ``name`` or ``tasks.eval``.
    """
    if not isinstance(value, str) or not value.strip() or value in (".", ".."):
        wrong = "it must name a file: give it letters"
    elif "/" in value or any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in value):
        wrong = "it names a file, so it must have no slash and no control characters"
    elif len(value.encode(errors="replace")) > NAME_BYTES:
        wrong = f"it names a file, so it must have at most {NAME_BYTES} bytes"
    else:
        return
    raise UserError(f"{name} is {shown(value)}; {wrong}")
