"""Beam decode attention: one name, several backends."""

from __future__ import annotations

import jax

from pper_kernels import implementations
from pper_kernels.beam_attention import reference

PREFERRED: dict[str, str] = {}  # platform to the kernel that was measured faster there: {"cuda": "pallas_gpu"}


def beam_attention(
    query: jax.Array,
    prompt_key: jax.Array,
    prompt_value: jax.Array,
    key: jax.Array,
    value: jax.Array,
    prompt_mask: jax.Array,
    mask: jax.Array,
    *,
    cap: float | None = None,
    implementation: str | None = None,
    interpret: bool = False,
) -> jax.Array:
    """One query a beam over its prompt's keys, held once for all beams, and the generated keys of its ancestors.

    Args:
        query: ``[B, K, H, D]``; ``H`` is a multiple of the cache's ``N`` heads (grouped queries).
        prompt_key: ``[B, N, D, P]``.
        prompt_value: ``[B, N, P, D]``.
        key: ``[B, N, D, S]``, the generated slots of all beams; ``S`` may be 0.
        value: ``[B, N, S, D]``.
        prompt_mask: ``[B, P]`` bool; at least one slot of each row is visible.
        mask: ``[B, K, S]`` bool, the slots of a beam's ancestors.
        cap: scores ``s`` become ``cap * tanh(s / cap)`` where it is given; the reference alone does that.
        implementation: ``"reference"``, ``"pallas_gpu"``, ``"pallas_tpu"``; None takes the best known for the platform.
        interpret: run a kernel in Pallas's interpreter, on any platform (slow; for tests).

    Returns:
        ``[B, K, H, D]`` in the type of ``query``; the softmax and the sums are float32. A masked key may be anything;
        values must be finite, also where they are masked.

    Raises:
        ValueError: for an implementation that does not exist or cannot run here.
    """
    operands = (query, prompt_key, prompt_value, key, value, prompt_mask, mask)
    if cap is not None:
        if implementation not in (None, "reference"):
            raise ValueError(f"implementation {implementation!r} has no soft cap; choose 'reference' or None")
        return reference.beam_attention(*operands, cap=cap)
    kernel = "pper_kernels.beam_attention:beam_attention"
    return implementations.run(reference.beam_attention, kernel, PREFERRED, operands, implementation, interpret)
