"""All logits, log-softmax, and the given tokens of it: the specification."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def linear_log_probs_reference(
    hidden: jax.Array,
    table: jax.Array,
    tokens: jax.Array,
    live: jax.Array | int,
    *,
    transposed: bool,
    cap: float | None = None,
) -> jax.Array:
    """See :func:`pper_kernels.linear_log_probs.linear_log_probs`."""
    equation = "nm,vm->nv" if transposed else "nm,mv->nv"
    logits = jnp.einsum(equation, hidden, table.astype(hidden.dtype), preferred_element_type=jnp.float32)
    logits = logits if cap is None else cap * jnp.tanh(logits / cap)
    chosen = jnp.take_along_axis(logits, tokens[:, None], axis=1)[:, 0]
    found = chosen - jax.nn.logsumexp(logits, axis=1)
    return jnp.where(jnp.arange(hidden.shape[0]) < live, found, 0.0)
