"""Checkpoints in and out: Hugging Face folders and GGUF files in, Hugging Face folders out."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding

from pper_jax.errors import UserError
from pper_jax.files import fresh_folder, write_atomic
from pper_jax.models import gguf, hf
from pper_jax.models.causal_lm import CausalLM
from pper_jax.models.config import Compute, ModelConfig
from pper_jax.models.families import build_model, rules_of
from pper_jax.models.stated import same_layers
from pper_jax.models.weights import assemble, parameter_shapes
from pper_jax.sharding import place, spec_for
from pper_jax.types import Params


def load_model(path: str | Path, *, dtype: Any = None, mesh: Any = None) -> tuple[CausalLM, Params, Any]:
    """Read a Hugging Face folder or a GGUF file.

    Args:
        path: folder with ``config.json``, safetensors and a tokenizer, or a ``.gguf`` file.
        dtype: compute type (``"bfloat16"``, ``jnp.float32``, ...), ``compute.dtype`` of the module; float32 by default.
        mesh: where given, parameters are placed on it by the rules of ``pper_jax.sharding``.

    Returns:
        ``(module, params, tokenizer)``: ``params`` a plain nested dict of float32 arrays whatever the stored type
        (dequantised where it was quantised), ``tokenizer`` a transformers tokenizer.

    Raises:
        UserError: nothing readable there, a family or variant that is not supported, or weights that do not fit.
    """
    path = Path(path)
    if os.path.isdir(path):  # Path.is_dir raises for names that the system cannot bear
        config, hf_config = hf.read_config(path)
        source = hf.weight_source(path, config)
        tokenizer = hf.load_tokenizer(path, hf_config.eos_token_id)
    else:
        model = gguf.open_gguf(path)
        config = gguf.read_config(model)
        source = gguf.weight_source(model, config)
        tokenizer = gguf.read_tokenizer(model)
    if not 0 < len(tokenizer) <= config.vocab_size:  # a token without an embedding would give NaN
        raise UserError(f"{path}: its tokenizer has {len(tokenizer)} tokens, its model embeds {config.vocab_size}.")
    module = build_model(config, Compute() if dtype is None else Compute(dtype=dtype))
    layout = "hf" if os.path.isdir(path) else "gguf"
    return module, assemble(config, source, layout, path, _put(module, mesh)), tokenizer


def _put(module: CausalLM, mesh: Any) -> Callable[[str, np.ndarray], jax.Array]:
    """What takes each parameter to its devices as soon as it is read, so that the host holds one tensor at a time."""
    if mesh is None:
        return lambda path, array: jnp.array(array)
    rules = rules_of(module)
    return lambda path, array: place(array, NamedSharding(mesh, spec_for(path, array.shape, mesh, rules)))


def save_model(
    path: str | Path,
    module: CausalLM,
    params: Params,
    tokenizer: Any,
    *,
    eos_ids: Sequence[int] | None = None,
    texts: Mapping[str, str] | None = None,
) -> Path:
    """Write a Hugging Face folder that transformers loads; returns its path.

    ``eos_ids`` are all tokens that end a program (``models.ends.read_ends``), so that transformers' ``generate`` stops
    at each; by default the tokenizer's EOS alone.

    The folder appears whole or not at all: it is written beside ``path`` and renamed. A model folder that stands
    at ``path`` is replaced, unless it holds files that would be lost; anything else there is refused. Weights keep the
    type that they have. ``texts`` are further files by name.
    """
    with fresh_folder(path) as fresh:
        hf.write_folder(fresh, module.config, params, tokenizer, eos_ids)
        for name, text in (texts or {}).items():
            write_atomic(fresh / name, text)
    return Path(path)


def model_config(path: str | Path) -> ModelConfig:
    """What the model of a Hugging Face folder or a GGUF file is, from its header alone.

    Raises:
        UserError: nothing readable there, or a family or variant that is not supported.
    """
    path = Path(path)
    return hf.read_config(path)[0] if os.path.isdir(path) else gguf.read_config(gguf.open_gguf(path))


def describe(path: str | Path) -> dict[str, Any]:
    """What ``pper models info`` prints, from headers alone: no weights are read.

    Keys: ``path, family, parameters, layers, hidden_size, heads, kv_heads, head_dim, mlp_size, vocabulary, context,
    tied_embeddings, window, stored_as, bytes_on_disk``, and in bytes ``weights_float32, weights_bfloat16,
    cache_per_token`` (float32, of one beam) and ``training_state`` (float32 parameters, gradients, AdamW's moments).
    """
    path = Path(path)
    if os.path.isdir(path):  # Path.is_dir raises for names that the system cannot bear
        config, _ = hf.read_config(path)
        names, types = hf.stored_names(path), hf.stored_types(path)
        size = sum(file.stat().st_size for file in path.iterdir() if file.is_file())
    else:
        model = gguf.open_gguf(path)
        config, names, types = gguf.read_config(model), list(model.tensors), gguf.stored_types(model)
        size = path.stat().st_size
    same_layers(config.num_layers, names, path)
    stored = {"stored_as": "+".join(sorted(types)), "bytes_on_disk": size}
    widths = _widths(config)
    count = widths["parameters"]
    needs = {
        "weights_float32": 4 * count,
        "weights_bfloat16": 2 * count,
        "cache_per_token": 8 * config.num_layers * config.num_kv_heads * config.head_dim,
        "training_state": 16 * count,
    }
    return {"path": str(path), **widths, **stored, **needs}


def _widths(config: ModelConfig) -> dict[str, Any]:
    return {
        "family": config.family,
        "parameters": sum(math.prod(shape) for shape in parameter_shapes(config).values()),
        "layers": config.num_layers,
        "hidden_size": config.hidden_size,
        "heads": config.num_heads,
        "kv_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "mlp_size": config.mlp_size,
        "vocabulary": config.vocab_size,
        "context": config.max_positions,
        "tied_embeddings": config.tie_embeddings,
        "window": max(config.windows, default=0) or None,
    }
