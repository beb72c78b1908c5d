"""Where files live that outlast a run."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """``pper_jax`` in ``$PPER_CACHE``, ``$XDG_CACHE_HOME`` or ``~/.cache``: fetched models and compiled programs."""
    root = os.environ.get("PPER_CACHE") or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(root).expanduser() / "pper_jax"
