"""GGUF files: metadata to ``ModelConfig``, quantised weights to float32, the tokenizer rebuilt from its tables.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Dequantisation is the ``gguf`` package's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pper_jax.errors import UserError
from pper_jax.models.families import check_family
from pper_jax.models.layers import ModelConfig, RopeScaling, rotary_frequencies
from pper_jax.models.weights import Source

CONTROL, USER_DEFINED = 3, 4  # of tokenizer.ggml.token_type
# The split before byte-level BPE, by tokenizer.ggml.pre: (digits one by one, a regular expression or GPT-2's).
LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PRE_TOKENIZERS = {"gpt-2": (False, None), "smollm": (True, None), "llama-bpe": (False, LLAMA3_SPLIT)}
ADDS_BOS = ("llama-bpe",)


@dataclass(frozen=True)
class GGUF:
    """An open file: ``meta`` key -> value (scalars, strings, lists), ``tensors`` name -> the reader's tensor."""

    path: Path
    meta: dict[str, Any]
    tensors: dict[str, Any]

    def get(self, key: str, default: Any = None) -> Any:
        """The value of ``key``; without a default, a missing key is a ``UserError``."""
        value = self.meta.get(key, default)
        if value is None:
            raise UserError(f"{self.path}: the GGUF metadata lacks {key!r}; convert the model again.")
        return value


def open_gguf(path: Path) -> GGUF:
    """Map a GGUF file into memory and read its metadata."""
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise UserError(f"{path}: no model there ({error.strerror}); give a model folder or a .gguf file.") from None
    if magic != b"GGUF":
        raise UserError(f"{path}: not a GGUF file; give a Hugging Face model folder or a .gguf file.")
    from gguf import GGUFReader

    try:
        reader = GGUFReader(path)
        meta = {key: field.contents() for key, field in reader.fields.items()}
    except Exception as error:  # a truncated file surfaces as whatever NumPy makes of it
        raise UserError(f"{path}: damaged or truncated GGUF file ({error}); download it again.") from error
    return GGUF(path, meta, {tensor.name: tensor for tensor in reader.tensors})


def stored_types(model: GGUF) -> set[str]:
    """The types of the stored weights, e.g. ``{"F32", "Q4_1", "Q8_0"}``."""
    return {tensor.tensor_type.name for tensor in model.tensors.values()}


def read_config(model: GGUF) -> ModelConfig:
    """The model's configuration (compute type float32) from metadata and tensor names."""
    family = model.get("general.architecture")
    check_family(family, str(model.path))
    get = lambda key, default=None: model.get(f"{family}.{key}", default)  # noqa: E731
    heads, hidden, llama = get("attention.head_count"), get("embedding_length"), family == "llama"
    if "token_embd.weight" not in model.tensors:
        raise UserError(f"{model.path}: no tensor 'token_embd.weight'; this is not a whole language model.")
    eps = get("attention.layer_norm_rms_epsilon" if llama else "attention.layer_norm_epsilon")
    config = ModelConfig(
        family=family,
        vocab_size=int(model.tensors["token_embd.weight"].shape[1]),  # GGUF lists the fastest axis first
        hidden_size=hidden,
        num_layers=get("block_count"),
        num_heads=heads,
        num_kv_heads=get("attention.head_count_kv", heads),
        head_dim=get("attention.key_length", hidden // heads),
        mlp_size=get("feed_forward_length"),
        max_positions=get("context_length"),
        norm_eps=float(str(np.float32(eps))),  # stored in float32: 9.99999974e-06 was 1e-5
        activation="silu" if llama else "gelu_new",
        tie_embeddings="output.weight" not in model.tensors,
        attention_bias="blk.0.attn_output.bias" in model.tensors,
        mlp_bias="blk.0.ffn_up.bias" in model.tensors,
        rope_theta=float(get("rope.freq_base", 10_000.0)),
    )
    if llama and get("rope.dimension_count", config.head_dim) != config.head_dim:
        raise UserError(f"{model.path}: rotary positions over a part of each head are not supported.")
    return replace(config, rope_scaling=_rope_scaling(model, config)) if llama else config


def _rope_scaling(model: GGUF, config: ModelConfig) -> RopeScaling | None:
    """Linear scaling from metadata; Llama 3.1's from the divisors stored as the tensor ``rope_freqs.weight``."""
    kind = model.get("llama.rope.scaling.type", "none")
    if kind not in ("none", "linear"):
        raise UserError(f"{model.path}: rope scaling {kind!r} is not supported; use the model's Hugging Face folder.")
    if "rope_freqs.weight" in model.tensors:
        divisors = _read_tensor(model, "rope_freqs.weight")
        if np.all(divisors == 1):
            return None
        scaling = RopeScaling("llama3", factor=float(divisors.max()))
        wanted = rotary_frequencies(config) / rotary_frequencies(replace(config, rope_scaling=scaling))
        if not np.allclose(divisors, wanted, rtol=1e-4):
            raise UserError(
                f"{model.path}: the divisors in 'rope_freqs.weight' are not those of Llama 3.1; not supported."
            )
        return scaling
    return RopeScaling("linear", float(model.get("llama.rope.scaling.factor"))) if kind == "linear" else None


def weight_source(model: GGUF, config: ModelConfig) -> Source:
    """Stored name -> reader for every weight, float32, rows of the rotary projections back in the half-split order."""
    rotary = {"attn_q": config.num_heads, "attn_k": config.num_kv_heads} if config.family == "llama" else {}
    source: dict[str, Callable[[], np.ndarray]] = {}
    for name in model.tensors.keys() - {"rope_freqs.weight"}:
        heads = next((count for part, count in rotary.items() if f".{part}." in name), None)
        source[name] = partial(_read_tensor, model, name, heads)
    return source


def _read_tensor(model: GGUF, name: str, heads: int | None = None) -> np.ndarray:
    from gguf.quants import dequantize

    tensor = model.tensors[name]
    try:
        array = dequantize(tensor.data, tensor.tensor_type)
    except NotImplementedError:
        kind = tensor.tensor_type.name
        raise UserError(f"{model.path}: tensor {name!r} is stored as {kind}, which cannot be dequantised.") from None
    return array if heads is None else unpermute(array, heads)


def unpermute(rows: np.ndarray, heads: int) -> np.ndarray:
    """Undo GGUF's order of the rows of ``attn_q`` and ``attn_k``: ``i`` beside ``i + D/2`` within each head."""
    return rows.reshape(heads, -1, 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def read_tokenizer(model: GGUF) -> Any:
    """A transformers fast tokenizer from the file's tables: byte-level BPE with the pre-tokenizers that we know."""
    kind, split = model.get("tokenizer.ggml.model"), model.get("tokenizer.ggml.pre", "gpt-2")
    if kind != "gpt2" or split not in PRE_TOKENIZERS:
        raise UserError(
            f"{model.path}: tokenizer {kind!r} with pre-tokenizer {split!r} is not supported (byte-level BPE split as "
            f"{', '.join(PRE_TOKENIZERS)} is); use the model's Hugging Face folder."
        )
    from transformers import PreTrainedTokenizerFast

    tokens = model.get("tokenizer.ggml.tokens")
    backend = _byte_level_bpe(tokens, model.get("tokenizer.ggml.merges"), *PRE_TOKENIZERS[split])
    names = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
    ids = {ours: model.meta.get(f"tokenizer.ggml.{theirs}_token_id") for ours, theirs in names.items()}
    special = {f"{name}_token": tokens[index] for name, index in ids.items() if index is not None}
    _add_special(backend, tokens, model.meta.get("tokenizer.ggml.token_type", []))
    # where the file does not say it, llama.cpp adds a BOS for some pre-tokenizers
    if model.meta.get("tokenizer.ggml.add_bos_token", split in ADDS_BOS) and ids["bos"] is not None:
        _prepend(backend, special["bos_token"], ids["bos"])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, clean_up_tokenization_spaces=False, **special)
    tokenizer.chat_template = model.meta.get("tokenizer.chat_template")
    return tokenizer


def _byte_level_bpe(tokens: list[str], merges: list[str], digits: bool, pattern: str | None) -> Any:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    pairs = [(left, right) for left, _, right in (merge.partition(" ") for merge in merges)]
    backend = Tokenizer(
        models.BPE({token: i for i, token in enumerate(tokens)}, pairs, ignore_merges=pattern is not None)
    )
    steps: list[Any] = [pre_tokenizers.Digits(individual_digits=True)] if digits else []
    if pattern is not None:
        steps.append(pre_tokenizers.Split(Regex(pattern), behavior="isolated"))
    steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern is None))
    backend.pre_tokenizer = pre_tokenizers.Sequence(steps) if len(steps) > 1 else steps[0]
    backend.decoder = decoders.ByteLevel()
    return backend


def _add_special(backend: Any, tokens: list[str], types: list[int]) -> None:
    from tokenizers import AddedToken

    added = [(token, kind) for token, kind in zip(tokens, types, strict=False) if kind in (CONTROL, USER_DEFINED)]
    backend.add_special_tokens([AddedToken(token, normalized=False) for token, kind in added if kind == CONTROL])
    backend.add_tokens([AddedToken(token, normalized=False) for token, kind in added if kind == USER_DEFINED])


def _prepend(backend: Any, bos: str, index: int) -> None:
    from tokenizers import processors

    single = f"{bos}:0 $A:0"
    backend.post_processor = processors.TemplateProcessing(
        single=single, pair=f"{single} {bos}:1 $B:1", special_tokens=[(bos, index)]
    )
