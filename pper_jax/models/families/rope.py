"""Rotary positions as transformers writes them in ``config.json``, and back."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from pper_jax.errors import UserError
from pper_jax.models.config import ModelConfig, RopeScaling
from pper_jax.models.families.family import GGUFFacts
from pper_jax.models.layers import rotary_frequencies
from pper_jax.models.stated import Stated, cut

KINDS = ("default", "linear", "dynamic", "llama3", "yarn", "longrope")


def read_rope(stated: Stated) -> tuple[float, RopeScaling | None]:
    """``(theta, scaling)`` from transformers' ``rope_parameters``, where whole heads are rotated."""
    rope = stated.inner("rope_parameters")
    rope.only("partial_rotary_factor", 1.0)
    return read_one(stated, rope)


def read_partial(stated: Stated, head_dim: int) -> tuple[int, tuple[float, RopeScaling | None]]:
    """``(rotary_dim, (theta, scaling))`` where a share of each head's dimensions is rotated; 0 of them means all."""
    rope = stated.inner("rope_parameters")
    stated.read.add("partial_rotary_factor")  # transformers puts it into the mapping
    width = int(head_dim * rope.number("partial_rotary_factor", 1.0))
    if not 2 <= width <= head_dim or width % 2:
        raise rope.unsupported("partial_rotary_factor", f"of {head_dim} dimensions an even number above 0 must turn")
    return 0 if width == head_dim else width, read_one(stated, rope)


def read_one(stated: Stated, rope: Stated) -> tuple[float, RopeScaling | None]:
    """``(theta, scaling)`` of one mapping of rotary positions; a key of it that is not understood is a ``UserError``.

    ``partial_rotary_factor`` is the caller's to read.
    """
    theta, kind = rope.number("rope_theta", 10_000.0), rope.text("rope_type", rope.text("type", "default"))
    if kind not in KINDS:
        raise UserError(
            f"{stated.where}: rope type {cut(repr(kind))} is not supported; supported are {', '.join(KINDS)}."
        )
    scaling = None if kind == "default" else _scaling(kind, stated, rope)
    rope.read.update(("type", "original_max_position_embeddings", "partial_rotary_factor"))
    if unread := [key for key, value in rope.values.items() if key not in rope.read and value]:
        raise rope.unsupported(unread[0], f"in the rotary positions of type {kind}")
    return theta, scaling


def _scaling(kind: str, stated: Stated, rope: Stated) -> RopeScaling:
    if kind in ("linear", "dynamic"):
        return RopeScaling(kind, rope.number("factor"))
    longest = rope.whole("original_max_position_embeddings")
    if kind == "llama3":
        low = rope.number("low_freq_factor")
        high = rope.number("high_freq_factor", above=low)
        return RopeScaling(kind, rope.number("factor"), low, high, longest)
    factor = rope.number("factor", stated.whole("max_position_embeddings") / longest)
    if kind == "longrope":
        return RopeScaling(
            kind,
            factor,
            original_max_positions=longest,
            attention_factor=rope.number("attention_factor", _longrope_factor(factor, longest)),
            divisors=tuple(rope.numbers("short_factor")),
            long_divisors=tuple(rope.numbers("long_factor")),
        )
    slow = rope.number("beta_slow", 1.0)
    return RopeScaling(
        kind,
        factor,
        low_freq_factor=slow,
        high_freq_factor=rope.number("beta_fast", 32.0, above=slow),
        original_max_positions=longest,
        attention_factor=_yarn_factor(rope, factor),
        truncate=rope.flag("truncate", True),
    )


def _longrope_factor(factor: float, longest: int) -> float:
    """What rotated queries and keys are multiplied by (LongRoPE, 2402.13753, as Phi-3 has it)."""
    return math.sqrt(1 + math.log(factor) / math.log(longest)) if factor > 1 else 1.0


def _yarn_factor(rope: Stated, factor: float) -> float:
    """What rotated queries and keys are multiplied by (YaRN, 2309.00071, eq. 22, and DeepSeek's two scales of it)."""

    def scale(of: float) -> float:
        return 0.1 * of * math.log(factor) + 1 if factor > 1 else 1.0

    both = "mscale" in rope and "mscale_all_dim" in rope
    usual = scale(rope.number("mscale")) / scale(rope.number("mscale_all_dim")) if both else scale(1.0)
    return rope.number("attention_factor", usual)


def read_gguf(stated: Stated, facts: GGUFFacts, config: ModelConfig) -> RopeScaling | None:
    """Linear scaling from metadata; Llama 3.1's from the divisors stored as a tensor."""
    kind = stated.text("rope.scaling.type", "linear")  # a factor alone means linear scaling
    if kind not in ("none", "linear"):
        raise UserError(
            f"{stated.where}: rope scaling {cut(repr(kind))} is not supported; use the model's Hugging Face folder."
        )
    factor = stated.number("rope.scaling.factor", 1.0) if stated.get("rope.scaling.factor", 1.0) != 0 else 1.0
    linear = RopeScaling("linear", factor) if kind == "linear" and factor != 1 else None
    divisors = facts.rope_divisors
    if divisors is None or np.all(divisors == 1):
        return linear
    scaling = RopeScaling("llama3", factor=float(divisors.max()))
    wanted = rotary_frequencies(config) / rotary_frequencies(replace(config, rope_scaling=scaling))
    if linear or divisors.shape != wanted.shape or not np.allclose(divisors, wanted, rtol=1e-4):
        raise UserError(
            f"{stated.where}: the divisors in 'rope_freqs.weight' are not those of Llama 3.1; not supported."
        )
    return scaling


def context(stated: Stated, scaling: RopeScaling | None) -> int:
    """Positions that a model reads: those of its ``config.json``, for longrope those of its short divisors."""
    positions = stated.whole("max_position_embeddings")
    return min(positions, scaling.original_max_positions) if scaling and scaling.kind == "longrope" else positions


def write_rope(config: ModelConfig) -> dict[str, Any]:
    """The keys of rope for transformers: both its new (``rope_parameters``) and its old names."""
    scaling, rope = config.rope_scaling, written_rope(config.rope_scaling)
    return {
        "rope_theta": config.rope_theta,
        "rope_scaling": None if scaling is None else rope,
        "rope_parameters": {"rope_theta": config.rope_theta, **rope},
    }


def written_rope(scaling: RopeScaling | None) -> dict[str, Any]:
    """One mapping of rotary positions, without its theta."""
    if scaling is None:
        return {"rope_type": "default"}
    rope: dict[str, Any] = {"rope_type": scaling.kind, "factor": scaling.factor}
    if scaling.kind in ("linear", "dynamic"):
        return rope
    rope["original_max_position_embeddings"] = scaling.original_max_positions
    if scaling.kind == "llama3":
        return rope | {"low_freq_factor": scaling.low_freq_factor, "high_freq_factor": scaling.high_freq_factor}
    rope["attention_factor"] = scaling.attention_factor
    if scaling.kind == "longrope":
        return rope | {"short_factor": list(scaling.divisors), "long_factor": list(scaling.long_divisors)}
    return rope | {
        "beta_slow": scaling.low_freq_factor,
        "beta_fast": scaling.high_freq_factor,
        "truncate": scaling.truncate,
    }
