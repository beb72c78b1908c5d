"""Named key streams of a run: no two uses share a key, and adding one moves no other."""

from __future__ import annotations

import zlib

import jax


def stream(seed: int, name: str) -> jax.Array:
    """The typed key [] of the use called ``name``, such as ``"replay"`` or ``"sample"``; fold rounds or steps in."""
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))
