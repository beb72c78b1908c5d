"""Weights held in fewer bytes for decoding, where a step on an accelerator takes as long as reading them does.

``int8`` is weight-only and symmetric: every output column ``n`` of a kernel has one scale ``s_n = max_m |w_mn| / 127``,
``w`` is held as ``q = round(w / s)``, so that ``|w - q s| <= s / 2``, and activations keep the compute type. The scheme
is the vector-wise one of LLM.int8() (Dettmers et al. 2022, 2208.07339, section 3.1), applied to the weights alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pper_jax.errors import UserError
from pper_jax.models.causal_lm import CausalLM
from pper_jax.types import Params

KINDS = ("float32", "bfloat16", "int8")


def with_weights(module: CausalLM, params: Params, kind: str) -> tuple[CausalLM, Params]:
    """The model with its weights held as ``kind``, for decoding and scoring; not for training or saving.

    ``"float32"`` and ``"bfloat16"`` are the compute type too; ``"int8"`` keeps the model's, and embeddings, which a
    step reads few rows of, in that type.

    Raises:
        UserError: another ``kind``, or what ``quantize`` refuses.
    """
    if kind not in KINDS:
        raise UserError(f"weights cannot be held as {kind!r}; use one of {', '.join(KINDS)}.")
    if kind == "int8":
        module, params = quantize(module, params)
        return cast_weights(module, params, module.compute.dtype)
    return cast_weights(module, params, getattr(jnp, kind))


def cast_weights(module: CausalLM, params: Params, dtype: Any) -> tuple[CausalLM, Params]:
    """The model computing in ``dtype`` with kernels, their biases and embeddings held in it; norms stay as they are.

    Results are those of the same compute type with float32 parameters, to the last bit: that model casts them at
    every step.
    """

    def cast(name: str, leaves: dict[str, Any]) -> dict[str, Any]:
        return {leaf: x if leaf in ("kernel_int8", "scale") else x.astype(dtype) for leaf, x in leaves.items()}

    return module.clone(compute=replace(module.compute, dtype=dtype)), _map_weights(params, cast)


def quantize(module: CausalLM, params: Params) -> tuple[CausalLM, Params]:
    """The same model with the kernels of its layers and of its output projection in int8, one scale a column.

    Embeddings, norms and biases stay as they are; tied embeddings get an int8 projection of their own. Worked out on
    the host, one kernel after the other.

    Args:
        module: a model as ``load_model`` gives it.
        params: its parameters, of any float type.

    Returns:
        ``(module, params)``: each ``kernel`` has become ``kernel_int8 [M, N]`` int8 and ``scale [N]`` float32, axes of
        heads merged.

    Raises:
        UserError: the model is quantised or in ``decode_layout`` already, or a weight is not finite.
    """
    if module.compute.quantized:
        raise UserError("the model's weights are int8 already; quantise the float weights that they came from.")
    if module.compute.column_blocks > 1:
        raise UserError("the model is laid out in column blocks; quantise it before decode_layout.")
    if module.config.tie_embeddings:
        head = {"kernel": np.asarray(params["token_embedding"]["embedding"]).T}
        params = {**params, "lm_head": head}

    def rounded(name: str, leaves: dict[str, Any]) -> dict[str, Any]:
        if "kernel" not in leaves:
            return leaves
        kernel = np.asarray(leaves["kernel"], np.float32)
        inputs = kernel.ndim - 1 if name.endswith("out") else 1  # "out" reads [heads, head_dim]
        kernel = kernel.reshape(int(np.prod(kernel.shape[:inputs])), -1)
        if not np.isfinite(kernel).all():
            raise UserError(f"{name}: a weight is not finite, and int8 has no such number; repair the checkpoint.")
        whole, scale = quantize_columns(kernel)
        biases = {leaf: x for leaf, x in leaves.items() if leaf != "kernel"}
        return biases | {"kernel_int8": jax.device_put(whole), "scale": jax.device_put(scale)}

    compute = replace(module.compute, quantized=True)
    return module.clone(compute=compute), _map_weights(params, rounded)


def quantize_columns(kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``q [M, N]`` int8 in -127..127 and ``scale [N]`` float32 (never 0) of finite float32 weights ``[M, N]``."""
    scale = np.maximum(np.abs(kernel).max(axis=0) / np.float32(127), np.finfo(np.float32).tiny)
    return np.clip(np.rint(kernel / scale), -127, 127).astype(np.int8), scale


def _map_weights(
    tree: dict[str, Any], change: Callable[[str, dict[str, Any]], dict[str, Any]], path: str = ""
) -> dict[str, Any]:
    """``tree`` with ``change(path, leaves)`` in place of every module that holds a kernel or an embedding."""
    if tree.keys() & {"kernel", "kernel_int8", "embedding"}:
        return change(path, tree)
    return {
        name: _map_weights(value, change, f"{path}/{name}".lstrip("/")) if isinstance(value, dict) else value
        for name, value in tree.items()
    }
