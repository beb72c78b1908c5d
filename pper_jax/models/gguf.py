"""GGUF files: metadata to ``ModelConfig``, quantised weights to float32, the tokenizer rebuilt from its tables.

Dequantisation is the ``gguf`` package's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from pper_jax.errors import UserError
from pper_jax.models.config import LARGEST, ModelConfig
from pper_jax.models.families import GGUFFacts, family_named, gguf_family
from pper_jax.models.gguf_file import GGUF, open_gguf
from pper_jax.models.stated import Stated, cut, refuse_unread_metadata
from pper_jax.models.weights import Source
from pper_jax.ranges import check_number

__all__ = ["GGUF", "open_gguf", "read_config", "read_tokenizer", "stored_types", "unpermute", "weight_source"]

ROPE_DIVISORS = "rope_freqs.weight"
NONE = 2**32 - 1  # as a token id
CONTROL, USER_DEFINED = 3, 4  # of tokenizer.ggml.token_type
# The split before byte-level BPE, by tokenizer.ggml.pre: (digits one by one, a regular expression or GPT-2's).
LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2_SPLIT = LLAMA3_SPLIT.replace(r"\p{N}{1,3}", r"\p{N}")
PRE_TOKENIZERS = {
    "gpt-2": (False, None),
    "smollm": (True, None),
    "starcoder": (True, None),
    "refact": (True, None),
    "llama-bpe": (False, LLAMA3_SPLIT),
    "qwen2": (False, QWEN2_SPLIT),
}
ADDS_BOS = ("llama-bpe",)
SENTENCEPIECE = "llama"  # as a tokenizer's kind


def stored_types(model: GGUF) -> set[str]:
    """The types of the stored weights, e.g. ``{"F32", "Q4_1", "Q8_0"}``."""
    return {tensor.kind.name for tensor in model.tensors.values()}


def read_config(model: GGUF) -> ModelConfig:
    """The model's configuration (compute type float32) from metadata and tensor names."""
    family = gguf_family(architecture := model.stated().text("general.architecture"), str(model.path))
    if "token_embd.weight" not in model.tensors:
        raise UserError(f"{model.path}: no tensor 'token_embd.weight'; this is not a whole language model.")
    divisors = _read_tensor(model, ROPE_DIVISORS) if ROPE_DIVISORS in model.tensors else None
    vocabulary = model.tensors["token_embd.weight"].shape[0]
    check_number(f"{model.path}: the vocabulary of 'token_embd.weight'", vocabulary, least=1, most=LARGEST, whole=True)
    facts = GGUFFacts(
        vocab_size=vocabulary,
        tied="output.weight" not in model.tensors,
        attention_bias="blk.0.attn_output.bias" in model.tensors,
        mlp_bias="blk.0.ffn_up.bias" in model.tensors,
        rope_divisors=divisors,
    )
    stated = model.stated(f"{architecture}.")
    assert family.read_gguf is not None
    config = family.read_gguf(stated, facts)
    refuse_unread_metadata(stated, positions=config.max_positions, head_dim=config.head_dim)
    return config


def weight_source(model: GGUF, config: ModelConfig) -> Source:
    """Stored name -> reader for every weight, float32, rows of the rotary projections back in the half-split order."""
    family = family_named(config.family, str(model.path))
    interleaved = family.interleaved
    source: dict[str, Callable[[], np.ndarray]] = {}
    for name in model.tensors.keys() - {ROPE_DIVISORS}:
        heads = next((count(config) for part, count in interleaved.items() if f".{part}." in name), None)
        shift = family.gguf_shift if name.endswith("norm.weight") else 0.0
        source[name] = partial(_read_tensor, model, name, heads, shift)
    return source


def _read_tensor(model: GGUF, name: str, heads: int | None = None, shift: float = 0.0) -> np.ndarray:
    from gguf.quants import dequantize

    tensor = model.tensors[name]
    try:
        array = dequantize(tensor.data, tensor.kind)
    except NotImplementedError:
        kind = tensor.kind.name
        raise UserError(f"{model.path}: tensor {name!r} is stored as {kind}, which cannot be dequantised.") from None
    array = array - np.float32(shift) if shift else array
    return array if heads is None or len(array) % (2 * heads) else unpermute(array, heads)


def unpermute(rows: np.ndarray, heads: int) -> np.ndarray:
    """Undo GGUF's order of the rows of ``attn_q`` and ``attn_k``: ``i`` beside ``i + D/2`` within each head."""
    return rows.reshape(heads, -1, 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def read_tokenizer(model: GGUF) -> Any:
    """A transformers fast tokenizer from the file's tables: SentencePiece, or byte-level BPE split as we know it."""
    stated = model.stated("tokenizer.")
    kind, split = stated.text("ggml.model"), stated.text("ggml.pre", "gpt-2")
    if kind != SENTENCEPIECE and (kind != "gpt2" or split not in PRE_TOKENIZERS):
        raise UserError(
            f"{model.path}: tokenizer {cut(repr(kind))} with pre-tokenizer {cut(repr(split))} is not supported "
            f"(SentencePiece, and byte-level BPE split as {', '.join(PRE_TOKENIZERS)}, are); use the model's Hugging "
            "Face folder."
        )
    from transformers import PreTrainedTokenizerFast

    tokens = stated.texts("ggml.tokens")
    types = stated.wholes("ggml.token_type", [])
    names = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
    keys = {ours: f"ggml.{theirs}_token_id" for ours, theirs in names.items()}
    given = {ours: key for ours, key in keys.items() if stated.get(key, NONE) not in (-1, NONE)}
    ids = {ours: stated.whole(key, least=0, most=len(tokens) - 1) for ours, key in given.items()}
    special = {f"{name}_token": tokens[index] for name, index in ids.items()}
    try:
        if kind == SENTENCEPIECE:
            backend = _sentencepiece(model, stated, tokens)
        else:
            backend = _byte_level_bpe(tokens, stated.texts("ggml.merges"), *PRE_TOKENIZERS[split])
        _add_special(backend, tokens, types)
    except UserError:
        raise
    except Exception as error:  # tokenizers raises plain exceptions
        raise UserError(f"{model.path}: its tokenizer's tables do not fit together ({cut(error)}).") from error
    # where the file does not say it, llama.cpp adds a BOS for some pre-tokenizers
    if stated.flag("ggml.add_bos_token", split in ADDS_BOS or kind == SENTENCEPIECE) and "bos" in ids:
        _prepend(backend, special["bos_token"], ids["bos"])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, clean_up_tokenization_spaces=False, **special)
    tokenizer.chat_template = stated.text("chat_template") if "chat_template" in stated else None
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


def _sentencepiece(model: GGUF, stated: Stated, tokens: list[str]) -> Any:
    """What transformers makes of the vocabulary and its scores, by the architecture's habits."""
    try:
        from transformers.integrations.gguf import convert_gguf_tokenizer
    except ImportError:
        raise UserError(
            f"{model.path}: a SentencePiece tokenizer in a GGUF file takes transformers 5.24 or newer (pip install "
            "'transformers>=5.24'); or use the model's Hugging Face folder."
        ) from None
    tables: dict[str, Any] = {"tokenizer_type": SENTENCEPIECE, "tokens": tokens}
    if "ggml.merges" in stated:
        tables["merges"] = stated.texts("ggml.merges")
    else:
        tables["scores"] = stated.scores("ggml.scores")
    return convert_gguf_tokenizer(model.stated().text("general.architecture"), tables)[0]


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
