"""The leaves that targets fall on in a K-ary sum tree: one name, several backends."""

from __future__ import annotations

import jax

from pper_kernels import implementations
from pper_kernels.sum_tree.reference import descend as reference

PREFERRED: dict[str, str] = {}  # platform to the kernel that was measured faster there: {"tpu": "pallas_tpu"}


def descend(
    rows: jax.Array,
    high: jax.Array,
    low: jax.Array,
    *,
    depth: int,
    implementation: str | None = None,
    interpret: bool = False,
) -> jax.Array:
    """Nodes ``[n]`` int32 of the last level, in whose part of the total the targets lie.

    Node 0 is the root and the children of node ``i`` are ``K*i + 1 .. K*i + K``. A node without weight is never
    entered. Each backend adds the weights of a row in an order of its own, so a target within rounding (2**-23 of a
    node's weight) of an edge may fall on either side of it.

    Args:
        rows: ``[R, K]`` float32, the children of node ``i`` in row ``i + 1``; not negative.
        high: ``[n]`` float32 targets, from 0 on to below the total.
        low: ``[n]`` float32, what is to be added to ``high``.
        depth: levels below the root.
        implementation: ``"reference"``, ``"pallas_tpu"`` (K = 128 alone, whole tree in fast memory); None takes the
            best known for the platform.
        interpret: run a kernel in Pallas's interpreter, on any platform (slow; for tests).

    Raises:
        ValueError: for an implementation that does not exist, cannot run here, or cannot hold such a tree.
    """
    if implementation == "pallas_gpu":
        raise ValueError("implementation 'pallas_gpu' does not exist for the sum tree; choose 'reference' or None")
    return implementations.run(
        _nodes, "pper_kernels.sum_tree:descend", PREFERRED, (rows, high, low), implementation, interpret, depth=depth
    )


def _nodes(rows: jax.Array, high: jax.Array, low: jax.Array, *, depth: int) -> jax.Array:
    start = (jax.numpy.zeros(high.shape, jax.numpy.int32), high, low)
    return reference(rows, start, depth)[0]
