"""Sliding windows as transformers writes them in ``config.json``, and back."""

from __future__ import annotations

from typing import Any

from pper_jax.errors import UserError
from pper_jax.models.config import ModelConfig
from pper_jax.models.stated import Stated, cut

KINDS = {"full_attention": False, "sliding_attention": True}


def read_windows(stated: Stated, layers: int) -> tuple[int, ...]:
    """``ModelConfig.windows`` from ``sliding_window`` (null: none) and, where there are such, ``layer_types``."""
    stated.read.update(("use_sliding_window", "sliding_window_pattern", "_sliding_window_pattern"))  # obeyed by the two
    size = stated.whole("sliding_window", 0, least=0)
    types = stated.texts("layer_types", ["sliding_attention"] * layers)
    if unknown := [kind for kind in types if kind not in KINDS]:
        raise UserError(
            f"{stated.where}: layer_types holds {cut(repr(unknown[0]))}, which is not supported; it must hold "
            f"{' or '.join(KINDS)}."
        )
    if len(types) != layers:
        raise UserError(f"{stated.where}: layer_types names {len(types)} layers where there are {layers}.")
    found = tuple(size if KINDS[kind] else 0 for kind in types)
    return found if any(found) else ()


def write_windows(config: ModelConfig) -> dict[str, Any]:
    """``sliding_window`` and ``layer_types``."""
    windows = config.windows or (0,) * config.num_layers
    return {
        "sliding_window": max(windows) or None,
        "layer_types": ["sliding_attention" if window else "full_attention" for window in windows],
    }
