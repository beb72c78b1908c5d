"""Errors that are answered with one sentence instead of a traceback."""

from __future__ import annotations


class UserError(Exception):
    """Wrong use or bad input: the sentence says what was wrong, where, and what to do. The CLI exits with 2."""


class RunFailure(Exception):
    """Right use that could not be carried out (a disk is full, a pool keeps dying). The CLI exits with 1."""


def cut(text: str, most: int = 80) -> str:
    """``text`` for a sentence, of at most ``most`` characters."""
    return text if len(text) <= most else text[: most - 3] + "..."


def shown(value: object, most: int = 80) -> str:
    """``repr(value)`` for a sentence, of at most ``most`` characters."""
    try:
        return cut(repr(value[: 2 * most] if isinstance(value, (str, bytes)) else value), most)
    except (ValueError, RecursionError):  # an integer of too many digits, lists nested too deep
        return f"of type {type(value).__name__} and too long to show"
