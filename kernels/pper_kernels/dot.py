"""The matrix product of the kernels."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax


def dot(a: jax.Array, b: jax.Array) -> jax.Array:
    """``a @ b`` summed in float32; float32 operands are not rounded to TF32 or bfloat16 first."""
    precision = lax.Precision.HIGHEST if a.dtype == jnp.float32 else None
    return jnp.dot(a, b, precision=precision, preferred_element_type=jnp.float32)
