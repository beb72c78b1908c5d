"""Where files live that outlast a run."""

from __future__ import annotations

import os
from pathlib import Path

from pper_jax.errors import UserError


def cache_folder() -> Path:
    """``pper_jax`` in ``$PPER_CACHE``, ``$XDG_CACHE_HOME`` or ``~/.cache``: fetched models and compiled programs.

    Raises:
        UserError: none is set, and there is no home folder.
    """
    root = os.environ.get("PPER_CACHE") or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        return Path(root).expanduser() / "pper_jax"
    except RuntimeError:
        raise UserError(f"{root} is in no home folder that is known here; set PPER_CACHE to a folder") from None
