"""Hugging Face folders: ``config.json`` to and from ``ModelConfig``, safetensors in and out, tokenizers."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from safetensors.numpy import save_file

from pper_jax.errors import UserError
from pper_jax.models.config import ModelConfig
from pper_jax.models.families import family_named
from pper_jax.models.stated import MOST_LAYERS, Stated, cut, read_json, refuse_unread_config
from pper_jax.models.stored import stored
from pper_jax.models.weights import Source, pack, parameter_shapes, stored_tensors
from pper_jax.ranges import check_number
from pper_jax.types import Params

# transformers says at import that there is no PyTorch; only its configs and tokenizers are used here.
os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")

# buffers that older checkpoints carry and nobody reads
BUFFERS = (
    ".attn.bias",
    ".attn.causal_mask",
    ".attn.masked_bias",
    ".attention.bias",
    ".attention.masked_bias",
    ".rotary_emb.inv_freq",
)


def read_config(folder: Path) -> tuple[ModelConfig, Any]:
    """The model's configuration (compute type float32) and transformers' own config object.

    ``UserError`` for a missing or unreadable ``config.json`` and for variants that we would compute wrongly.
    """
    path = folder / "config.json"
    raw = read_json(path)
    family = family_named(raw.get("model_type", ""), str(path))
    if raw.get("quantization_config"):
        raise UserError(
            f"{folder}: quantised safetensors are not read; use the model's unquantised weights or a GGUF file."
        )
    hf = _completed(path, raw)
    stated = Stated(str(folder), hf.to_dict())
    config = family.read_hf(stated)
    refuse_unread_config(stated, positions=config.max_positions)
    return config, hf


def _completed(path: Path, raw: dict[str, Any]) -> Any:
    """transformers' config of what ``config.json`` says: its defaults, its old names under their new ones."""
    for key, value in raw.items():
        if key.endswith(("layers", "layer", "num_labels")) and isinstance(value, int):  # it makes a list that long
            check_number(f"{path}: {key}", int(value), most=MOST_LAYERS, whole=True)
    from transformers import CONFIG_MAPPING

    try:
        return CONFIG_MAPPING[raw["model_type"]].from_dict(raw)
    except Exception as error:  # transformers raises whatever its validation raises
        raise UserError(f"{path}: transformers refuses it: {cut(error, 160)}") from error


def config_dict(config: ModelConfig, dtype: str, special_ids: Mapping[str, int | list[int] | None]) -> dict[str, Any]:
    """What ``config.json`` holds for transformers."""
    family = family_named(config.family, "model config")
    common = {
        "architectures": [family.hf_class],
        "model_type": family.name,
        "dtype": dtype,
        "vocab_size": config.vocab_size,
        "tie_word_embeddings": config.tie_embeddings,
        **special_ids,
    }
    return common | family.write_hf(config)


def stored_types(folder: Path) -> set[str]:
    """The types of the stored weights as safetensors names them, e.g. ``{"BF16"}``."""
    return {tensor.kind for tensors in stored(folder) for tensor in tensors.values()}


def stored_names(folder: Path) -> list[str]:
    """The names of the stored weights."""
    return [name for tensors in stored(folder) for name in tensors]


def weight_source(folder: Path, config: ModelConfig) -> Source:
    """Stored name -> reader for every weight of the folder, under the names of the full causal LM."""
    family = family_named(config.family, str(folder))
    prefix = family.hf_prefix
    whole = tuple(f"{module}." for module, _, _ in family.modules if not module.startswith(prefix))
    tied = [f"{module}.weight" for module, _, ours in family.modules if config.tie_embeddings and ours == "lm_head"]
    source: dict[str, Callable[[], np.ndarray]] = {}
    for tensors in stored(folder):
        for name, tensor in tensors.items():
            if not name.endswith(BUFFERS) and name not in tied:
                source[name if name.startswith((prefix, *whole)) else prefix + name] = tensor.read
    return source


def load_tokenizer(folder: Path, eos_token_id: int | list[int] | None) -> Any:
    """The folder's tokenizer, with an EOS wherever the tokenizer or ``config.json`` names one."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as error:  # transformers raises whatever its many tokenizers raise
        raise UserError(f"{folder}: no tokenizer could be read there (tokenizer.json): {cut(error, 160)}") from error
    first = eos_token_id[0] if isinstance(eos_token_id, list) else eos_token_id
    if tokenizer.eos_token_id is None and first is not None:
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(first)
    return tokenizer


def write_folder(
    folder: Path, config: ModelConfig, params: Params, tokenizer: Any, eos_ids: Sequence[int] | None = None
) -> None:
    """Write config, weights and tokenizer into an existing empty folder; weights keep the type that they have."""
    flat = traverse_util.flatten_dict(params, sep="/")
    config = family_named(config.family, "model config").stored(config)
    shapes = parameter_shapes(config)
    flat |= {path: np.zeros(shape, np.float32) for path, shape in shapes.items() if path not in flat}
    tensors = {t.hf: pack(t, flat, "hf") for t in stored_tensors(config, shapes)}
    save_file(tensors, str(folder / "model.safetensors"), metadata={"format": "pt"})
    tokenizer.save_pretrained(str(folder))
    special = {name: getattr(tokenizer, name, None) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    if eos_ids:
        special["eos_token_id"] = list(eos_ids) if len(eos_ids) > 1 else eos_ids[0]
        generation = json.dumps({name: value for name, value in special.items() if value is not None}, indent=2)
        (folder / "generation_config.json").write_text(generation + "\n", encoding="utf-8")
    dtype = jnp.dtype(flat["token_embedding/embedding"].dtype).name
    text = json.dumps(config_dict(config, dtype, special), indent=2)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")
    (folder / "model.safetensors").chmod((folder / "config.json").stat().st_mode)  # safetensors writes it private
