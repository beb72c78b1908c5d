"""Prioritized replay of tested programs by P2Value (arXiv 2410.12236) and others. Pure: state in, state out."""

from pper_jax.replay.buffer import add, refresh, update
from pper_jax.replay.diagnostics import as_text, describe, table
from pper_jax.replay.draws import Draw, sample
from pper_jax.replay.groups import group_advantage, has_pairs, sample_pairs
from pper_jax.replay.items import Items, example_row, pad_items
from pper_jax.replay.options import PRESETS, ReplayConfig, Tests
from pper_jax.replay.priorities import Priority, Stored, task_mean
from pper_jax.replay.reasons import draw_reason, draw_rows
from pper_jax.replay.state import ReplayState, from_checkpoint, gather, init, probabilities, to_checkpoint

__all__ = [
    "PRESETS",
    "Draw",
    "Items",
    "Priority",
    "ReplayConfig",
    "ReplayState",
    "Stored",
    "Tests",
    "add",
    "as_text",
    "describe",
    "draw_reason",
    "draw_rows",
    "example_row",
    "from_checkpoint",
    "gather",
    "group_advantage",
    "has_pairs",
    "init",
    "pad_items",
    "probabilities",
    "refresh",
    "sample",
    "sample_pairs",
    "table",
    "task_mean",
    "to_checkpoint",
    "update",
]
