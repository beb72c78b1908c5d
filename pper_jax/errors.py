"""Errors that are answered with one sentence instead of a traceback."""

from __future__ import annotations


class UserError(Exception):
    """Wrong use or bad input: the sentence says what was wrong, where, and what to do. The CLI exits with 2."""


class RunFailure(Exception):
    """Right use that could not be carried out (a disk is full, a pool keeps dying). The CLI exits with 1."""
