"""Warnings of the pool, each once a process."""

from __future__ import annotations

import logging

log = logging.getLogger("pper_jax.execution")  # warnings go to standard error where nothing else is set up
_said: set[str] = set()


def say_once(sentence: str) -> None:
    """Log a warning, unless it was logged before."""
    if sentence not in _said:
        _said.add(sentence)
        log.warning("testing programs: %s", sentence)
