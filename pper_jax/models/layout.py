"""Where a model's values lie: its weights for decoding on CPU, where a step multiplies few rows by every weight matrix,
and what it computes on a mesh.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from pper_jax.models.causal_lm import CausalLM
from pper_jax.models.layers import block_widths
from pper_jax.sharding import Placement
from pper_jax.types import Params


def on_mesh(module: Any, mesh: Mesh | None, rows: tuple[str, ...] = ("data", "fsdp")) -> Any:
    """The same model, with its intermediate values placed on a mesh of several devices; others are left as they are.

    Args:
        module: any; what is no ``CausalLM`` stays as it is.
        mesh: the devices, or None.
        rows: the mesh axes that rows are split over.
    """
    if mesh is None or mesh.size == 1 or not isinstance(module, CausalLM):
        return module
    return module.clone(compute=replace(module.compute, placement=Placement(mesh, rows)))


def decode_layout(module: CausalLM, params: Params, *, blocks: int = 2) -> tuple[CausalLM, Params]:
    """The same model with its weights laid out for products of few rows on CPU.

    Each kernel of a layer becomes ``blocks`` arrays of columns, one a core, whose products XLA runs side by side
    (BUILD_NOTES.md has the rates); the output projection, for tied embeddings their transpose, gets columns of zeros up
    to a multiple of 128. Costs one more copy of the weights in memory. Outputs agree up to rounding.

    Args:
        module: a model with ``compute.column_blocks`` 1.
        params: its parameters.
        blocks: at least 2.

    Returns:
        ``(module, params)`` of the new layout.
    """
    compute, tokens = replace(module.compute, column_blocks=blocks), module.config.vocab_size
    out = {name: _split(tree, blocks) if name.startswith("layer_") else tree for name, tree in params.items()}
    if not compute.quantized:
        head = {"kernel": params["token_embedding"]["embedding"].T} if module.tied else params["lm_head"]
        more = (0, compute.head_columns(tokens) - tokens)
        out["lm_head"] = {name: np.pad(leaf, [(0, 0)] * (leaf.ndim - 1) + [more]) for name, leaf in head.items()}
    return module.clone(compute=compute), out


def _split(tree: dict[str, Any], blocks: int) -> dict[str, Any]:
    """A layer's parameters with every ``kernel`` in column blocks."""
    out: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict) and "kernel" in value:
            kernel = value["kernel"]
            inputs = kernel.shape[:-1] if name == "out" else kernel.shape[:1]  # "out" reads [heads, head_dim]
            out[name] = {k: v for k, v in value.items() if k != "kernel"} | _columns(kernel, len(inputs), blocks)
        else:
            out[name] = _split(value, blocks) if isinstance(value, dict) else value
    return out


def _columns(kernel: jax.Array, input_axes: int, blocks: int) -> dict[str, jax.Array]:
    rows = 1
    for size in kernel.shape[:input_axes]:
        rows *= size
    flat = kernel.reshape(rows, -1)
    out, start = {}, 0
    for i, width in enumerate(block_widths(flat.shape[1], blocks)):
        out[f"kernel_{i}"] = flat[:, start : start + width]
        start += width
    return out
