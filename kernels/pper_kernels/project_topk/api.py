"""Output projection, log-softmax and the best tokens of each row: one name, several backends."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from pper_kernels import implementations
from pper_kernels.project_topk.reference import top_log_probs

PREFERRED: dict[str, str] = {}  # platform to the kernel that was measured faster there: {"cuda": "pallas_gpu"}
MOST = 256  # tokens a row that the kernels can keep


def project_top_log_probs(
    hidden: jax.Array,
    table: jax.Array,
    count: int,
    *,
    transposed: bool,
    implementation: str | None = None,
    interpret: bool = False,
) -> tuple[jax.Array, jax.Array]:
    """The ``count`` most probable tokens of each row of hidden states, best first.

    The kernels never write the logits ``[N, V]`` to memory. The logits are rounded where float32 rounds, in an order
    of its own for each backend; a tie is one of equal rounded logits.

    Args:
        hidden: ``[N, M]`` final hidden states, float32 or bfloat16.
        table: ``[V, M]`` if ``transposed`` (an embedding), else ``[M, V]``; cast to the type of ``hidden``.
        count: cut to ``V``.
        transposed: which of the two.
        implementation: ``"reference"``, ``"pallas_gpu"``, ``"pallas_tpu"``; None takes the best known for the platform.
        interpret: run a kernel in Pallas's interpreter, on any platform (slow; for tests).

    Returns:
        ``(log-probability [N, count] float32, token [N, count] int32)``, the lowest token first among equals. NaN
        logits count as ``-inf``; a row without a finite maximum has no token above ``-inf``.

    Raises:
        ValueError: for an implementation that does not exist, cannot run here, or cannot keep so many tokens.
    """
    if min(count, table.shape[0 if transposed else 1]) > MOST and implementation != "reference":
        if implementation is not None:
            raise ValueError(f"implementation {implementation!r} keeps at most {MOST} tokens a row, not {count}")
        implementation = "reference"
    kernel = "pper_kernels.project_topk:project_top_log_probs"
    options = {"count": count, "transposed": transposed}
    return implementations.run(
        _project_then_choose, kernel, PREFERRED, (hidden, table), implementation, interpret, **options
    )


def _project_then_choose(
    hidden: jax.Array, table: jax.Array, *, count: int, transposed: bool
) -> tuple[jax.Array, jax.Array]:
    """The reference: all logits, summed in float32, then ``top_log_probs``."""
    equation = "nm,vm->nv" if transposed else "nm,mv->nv"
    logits = jnp.einsum(equation, hidden, table.astype(hidden.dtype), preferred_element_type=jnp.float32)
    return top_log_probs(logits, count)
