"""Log-probabilities of given tokens after the output projection: one name, two implementations."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from pper_kernels.linear_log_probs.blocks import Blocks, blocked
from pper_kernels.linear_log_probs.reference import linear_log_probs_reference

MANY_ROWS = 512  # from here on a block of rows is as large as that, so that the table's gradient is passed over rarely
FEW_ROWS = 128
COLUMNS = 512  # of a block of logits, where the vocabulary is larger than WHOLE
WHOLE = 8192
KEPT_BYTES = 1 << 28  # logits are kept for the backward pass up to this size


def linear_log_probs(
    hidden: jax.Array,
    table: jax.Array,
    tokens: jax.Array,
    live: jax.Array | int | None = None,
    *,
    transposed: bool,
    lean: bool = False,
    cap: float | None = None,
    implementation: str | None = None,
) -> jax.Array:
    """The log-probability of ``tokens[n]`` among the logits ``hidden[n] @ table``, differentiable in both.

    ``"blocks"`` holds few of the ``[N, V]`` logits at a time where all would be large or ``lean`` is asked, and does no
    work for rows from ``live`` on. Logits, sums and gradients of the table are float32.

    Args:
        hidden: ``[N, M]``, float32 or bfloat16.
        table: ``[V, M]`` if ``transposed`` (an embedding), else ``[M, V]``; cast to the type of ``hidden``.
        tokens: ``[N]`` int32.
        live: ``[]`` int32, how many rows count; None: all.
        transposed: which of the two.
        lean: never keep logits for the backward pass, which then makes them again.
        cap: logits ``z`` become ``cap * tanh(z / cap)`` where it is given.
        implementation: ``"blocks"``, or ``"reference"``, which holds all logits; None takes the one for the case: the
            reference where all rows count and their logits are small enough to be kept.

    Returns:
        ``[N]`` float32, nats; 0 for rows that do not count.

    Raises:
        ValueError: for an implementation that does not exist.
    """
    rows, vocabulary = hidden.shape[0], table.shape[0 if transposed else 1]
    keep = not lean and 4 * rows * vocabulary <= KEPT_BYTES
    if implementation is None:
        implementation = "reference" if keep and live is None else "blocks"
    live = jnp.asarray(rows if live is None else live, jnp.int32)
    if implementation == "reference":
        return linear_log_probs_reference(hidden, table, tokens, live, transposed=transposed, cap=cap)
    if implementation != "blocks":
        raise ValueError(f"implementation {implementation!r} does not exist; there are blocks and reference")
    block = min(MANY_ROWS if rows >= 2 * MANY_ROWS else FEW_ROWS, rows)
    blocks = Blocks(block, vocabulary if vocabulary <= WHOLE else COLUMNS, vocabulary, transposed, keep, cap)
    more = -rows % block
    found = blocked(blocks, jnp.pad(hidden, ((0, more), (0, 0))), table, jnp.pad(tokens, (0, more)), live)
    return found[:rows]
