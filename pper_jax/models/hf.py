"""Hugging Face folders: ``config.json`` to and from ``ModelConfig``, safetensors in and out, tokenizers."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from pper_jax.errors import UserError
from pper_jax.models.families import check_family
from pper_jax.models.layers import ACTIVATIONS, ModelConfig, RopeScaling
from pper_jax.models.weights import Source, pack, parameter_shapes, stored_tensors
from pper_jax.types import Params

# transformers says at import that there is no PyTorch; only its configs and tokenizers are used here.
os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")

ARCHITECTURES = {"gpt2": "GPT2LMHeadModel", "llama": "LlamaForCausalLM"}
PREFIXES = {"gpt2": "transformer.", "llama": "model."}
# buffers that older checkpoints carry and nobody reads
BUFFERS = (".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq")


def read_config(folder: Path) -> tuple[ModelConfig, Any]:
    """The model's configuration (compute type float32) and transformers' own config object.

    ``UserError`` for a missing or unreadable ``config.json`` and for variants that we would compute wrongly.
    """
    raw = _read_json(folder / "config.json")
    family = raw.get("model_type", "")
    check_family(family, str(folder / "config.json"))
    if raw.get("quantization_config"):
        raise UserError(
            f"{folder}: quantised safetensors are not read; use the model's unquantised weights or a GGUF file."
        )
    from transformers import AutoConfig

    try:
        hf = AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as error:  # transformers raises whatever its validation raises
        raise UserError(f"{folder / 'config.json'}: transformers refuses it: {_first_line(error)}") from error
    config = _gpt2_config(hf, folder) if family == "gpt2" else _llama_config(hf, folder)
    if config.activation not in ACTIVATIONS:
        known = ", ".join(ACTIVATIONS)
        raise UserError(f"{folder}: activation {config.activation!r} is not supported; known are {known}.")
    if config.num_heads * config.head_dim != config.hidden_size and family == "gpt2":
        raise UserError(f"{folder}: n_embd {config.hidden_size} is not a multiple of n_head {config.num_heads}.")
    if config.num_heads % config.num_kv_heads:
        raise UserError(
            f"{folder}: {config.num_heads} heads cannot share {config.num_kv_heads} key/value heads evenly."
        )
    return config, hf


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{path.parent}: no {path.name} there; give a Hugging Face model folder or a .gguf file."
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not readable as JSON: {_first_line(error)}") from error
    if not isinstance(data, dict):
        raise UserError(f"{path}: not a JSON object.")
    return data


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _refuse(folder: Path, hf: Any, **supported: Any) -> None:
    """Refuse a config whose named options are present with another value than the one that we compute."""
    for name, value in supported.items():
        if (found := getattr(hf, name, value)) != value:
            raise UserError(
                f"{folder}: {name}={found!r} is not supported (only {value!r}); the model would run wrongly."
            )


def _gpt2_config(hf: Any, folder: Path) -> ModelConfig:
    _refuse(folder, hf, scale_attn_weights=True, scale_attn_by_inverse_layer_idx=False, add_cross_attention=False)
    return ModelConfig(
        family="gpt2",
        vocab_size=hf.vocab_size,
        hidden_size=hf.n_embd,
        num_layers=hf.n_layer,
        num_heads=hf.n_head,
        num_kv_heads=hf.n_head,
        head_dim=hf.n_embd // hf.n_head,
        mlp_size=hf.n_inner or 4 * hf.n_embd,
        max_positions=hf.n_positions,
        norm_eps=hf.layer_norm_epsilon,
        activation=hf.activation_function,
        tie_embeddings=hf.tie_word_embeddings,
        attention_bias=True,
        mlp_bias=True,
    )


def _llama_config(hf: Any, folder: Path) -> ModelConfig:
    rope = dict(getattr(hf, "rope_parameters", None) or {})
    if rope.get("partial_rotary_factor", 1.0) != 1.0:
        raise UserError(f"{folder}: partial_rotary_factor {rope['partial_rotary_factor']} is not supported (only 1.0).")
    return ModelConfig(
        family="llama",
        vocab_size=hf.vocab_size,
        hidden_size=hf.hidden_size,
        num_layers=hf.num_hidden_layers,
        num_heads=hf.num_attention_heads,
        num_kv_heads=hf.num_key_value_heads,
        head_dim=hf.head_dim,
        mlp_size=hf.intermediate_size,
        max_positions=hf.max_position_embeddings,
        norm_eps=hf.rms_norm_eps,
        activation=hf.hidden_act,
        tie_embeddings=hf.tie_word_embeddings,
        attention_bias=hf.attention_bias,
        mlp_bias=hf.mlp_bias,
        rope_theta=float(rope.get("rope_theta") or 10_000.0),
        rope_scaling=_rope_scaling(rope, folder),
    )


def _rope_scaling(rope: Mapping[str, Any], folder: Path) -> RopeScaling | None:
    kind = rope.get("rope_type", "default")
    if kind == "default":
        return None
    if kind not in ("linear", "llama3"):
        raise UserError(f"{folder}: rope type {kind!r} is not supported; supported are default, linear and llama3.")
    try:
        if kind == "linear":
            return RopeScaling("linear", float(rope["factor"]))
        return RopeScaling(
            "llama3",
            factor=float(rope["factor"]),
            low_freq_factor=float(rope["low_freq_factor"]),
            high_freq_factor=float(rope["high_freq_factor"]),
            original_max_positions=int(rope["original_max_position_embeddings"]),
        )
    except KeyError as error:
        raise UserError(f"{folder}: rope type {kind!r} needs {error.args[0]!r} in rope_parameters.") from None


def config_dict(config: ModelConfig, dtype: str, special_ids: Mapping[str, int | list[int] | None]) -> dict[str, Any]:
    """What ``config.json`` holds for transformers: both its new (``rope_parameters``) and its old names for rope."""
    common = {
        "architectures": [ARCHITECTURES[config.family]],
        "model_type": config.family,
        "dtype": dtype,
        "vocab_size": config.vocab_size,
        "tie_word_embeddings": config.tie_embeddings,
        **special_ids,
    }
    if config.family == "gpt2":
        return common | {
            "n_embd": config.hidden_size,
            "n_layer": config.num_layers,
            "n_head": config.num_heads,
            "n_inner": config.mlp_size,
            "n_positions": config.max_positions,
            "layer_norm_epsilon": config.norm_eps,
            "activation_function": config.activation,
        }
    rope: dict[str, Any] = {"rope_type": "default"}
    if (scaling := config.rope_scaling) is not None:
        rope = {"rope_type": scaling.kind, "factor": scaling.factor}
        if scaling.kind == "llama3":
            rope |= {
                "low_freq_factor": scaling.low_freq_factor,
                "high_freq_factor": scaling.high_freq_factor,
                "original_max_position_embeddings": scaling.original_max_positions,
            }
    return common | {
        "hidden_size": config.hidden_size,
        "intermediate_size": config.mlp_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "max_position_embeddings": config.max_positions,
        "rms_norm_eps": config.norm_eps,
        "hidden_act": config.activation,
        "attention_bias": config.attention_bias,
        "mlp_bias": config.mlp_bias,
        "rope_theta": config.rope_theta,
        "rope_scaling": None if config.rope_scaling is None else rope,
        "rope_parameters": {"rope_theta": config.rope_theta, **rope},
    }


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a folder: ``model.safetensors``, or the shards that its index names."""
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.exists():
        return [single]
    if index.exists():
        files = [folder / name for name in sorted(set(_read_json(index).get("weight_map", {}).values()))]
        if lost := [file.name for file in files if not file.exists()]:
            raise UserError(f"{folder}: {index.name} names {lost[0]!r}, which is not there; copy every shard.")
        if files:
            return files
    if (folder / "pytorch_model.bin").exists():
        raise UserError(f"{folder}: only pytorch_model.bin is there, and pickles are not read; save it as safetensors.")
    raise UserError(f"{folder}: no weights there; model.safetensors, or its index and shards, is needed.")


def stored_types(folder: Path) -> set[str]:
    """The types of the stored weights as safetensors names them, e.g. ``{"BF16"}``, from the headers alone."""
    return {handle.get_slice(name).get_dtype() for file in weight_files(folder) for handle, name in _tensors(file)}


def _tensors(file: Path) -> list[tuple[Any, str]]:
    try:
        handle = safe_open(str(file), framework="np")
    except (SafetensorError, OSError) as error:
        raise UserError(f"{file}: not a readable safetensors file: {_first_line(error)}") from error
    return [(handle, name) for name in handle.keys()]  # noqa: SIM118 (not a dict)


def weight_source(folder: Path, config: ModelConfig) -> Source:
    """Stored name -> reader for every weight of the folder, under the names of the full causal LM."""
    prefix = PREFIXES[config.family]
    source: dict[str, Callable[[], np.ndarray]] = {}
    for file in weight_files(folder):
        for handle, name in _tensors(file):
            if name.endswith(BUFFERS) or (config.tie_embeddings and name == "lm_head.weight"):
                continue
            full = name if name.startswith((prefix, "lm_head.")) else prefix + name
            source[full] = partial(_read_tensor, handle, name, file)
    return source


def _read_tensor(handle: Any, name: str, file: Path) -> np.ndarray:
    stored = handle.get_slice(name).get_dtype()
    if stored not in ("F64", "F32", "F16", "BF16"):
        raise UserError(f"{file}: tensor {name!r} is stored as {stored}; only F32, F16 and BF16 weights are read.")
    return handle.get_tensor(name)


def load_tokenizer(folder: Path, eos_token_id: int | list[int] | None) -> Any:
    """The folder's tokenizer, with an EOS wherever the tokenizer or ``config.json`` names one."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as error:  # transformers raises whatever its many tokenizers raise
        raise UserError(f"{folder}: no tokenizer could be read there (tokenizer.json): {_first_line(error)}") from error
    first = eos_token_id[0] if isinstance(eos_token_id, list) else eos_token_id
    if tokenizer.eos_token_id is None and first is not None:
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(first)
    return tokenizer


def write_folder(
    folder: Path, config: ModelConfig, params: Params, tokenizer: Any, eos_ids: Sequence[int] | None = None
) -> None:
    """Write config, weights and tokenizer into an existing empty folder; weights keep the type that they have."""
    flat = traverse_util.flatten_dict(params, sep="/")
    if config.family == "gpt2" and not config.attention_bias:  # GPT-2 on disk always has these biases
        config = replace(config, attention_bias=True)
        shapes = parameter_shapes(config)
        flat |= {path: np.zeros(shape, np.float32) for path, shape in shapes.items() if path not in flat}
    tensors = {t.hf: pack(t, flat, "hf") for t in stored_tensors(config, parameter_shapes(config))}
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
