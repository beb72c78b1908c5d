"""Prioritized replay of tested programs by P2Value (arXiv 2410.12236). Pure: state in, state out."""

from pper_jax.replay.buffer import (
    Draw,
    Items,
    ReplayConfig,
    ReplayState,
    add,
    from_checkpoint,
    gather,
    init,
    probabilities,
    refresh,
    sample,
    stalest,
    to_checkpoint,
    update,
)
from pper_jax.replay.diagnostics import as_text, describe, draw_reason, table

__all__ = [
    "Draw",
    "Items",
    "ReplayConfig",
    "ReplayState",
    "add",
    "as_text",
    "describe",
    "draw_reason",
    "from_checkpoint",
    "gather",
    "init",
    "probabilities",
    "refresh",
    "sample",
    "stalest",
    "table",
    "to_checkpoint",
    "update",
]
