"""Tokenizers of the kinds that models have, and random texts and tokens for them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

MICRO = Path(__file__).resolve().parents[2] / "pper_jax" / "assets" / "micro"
SPECIAL = ("<unk>", "<s>", "</s>", "<turn>")
EOS, TURN = 2, 3
WORDS = (
    "return",
    "def",
    "class",
    "print",
    "if",
    "x",
    "y",
    "é",
    "日本",
    "😀",
    "xs",
    "12",
    "1 + 1",
    "'a'",
    "# c",
    ":",
    "(n)",
)
SPACES = (" ", "\n", "\n    ", "    ", "\n\n", "\n\n\n", "\t", "  ", "")
STOPS = ("\nclass", "\ndef", "\n\n", "print", " y", "é", "😀", "    ", "1", "\n")


def byte_level() -> Any:
    """Byte-level BPE with merges over spaces, newlines and half of a character; two ends."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pairs = [("Ċ", "Ċ"), ("Ġ", "Ġ"), ("ĠĠ", "ĠĠ"), ("Ċ", "ĠĠĠĠ"), ("r", "e"), ("Ġ", "x"), ("ð", "Ł"), (")", ":")]
    vocabulary = [*SPECIAL, *alphabet, *(left + right for left, right in pairs)]
    backend = Tokenizer(models.BPE({token: i for i, token in enumerate(vocabulary)}, pairs))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    return _wrapped(backend)


def byte_fallback() -> Any:
    """SentencePiece's BPE as Llama has it: a space before the text, bytes for other characters, a BOS; two ends."""
    characters = ["▁", *map(chr, range(33, 127)), "é"]
    pairs = [
        ("▁", "▁"),
        ("▁▁", "▁▁"),
        ("▁", "r"),
        ("▁r", "e"),
        ("r", "e"),
        ("▁", "x"),
        ("▁", "y"),
        ("1", "2"),
        ("x", "s"),
    ]
    vocabulary = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), *characters]
    vocabulary += [left + right for left, right in pairs]
    ids = {token: i for i, token in enumerate(vocabulary)}
    backend = Tokenizer(models.BPE(ids, pairs, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    backend.post_processor = processors.TemplateProcessing("<s> $A", "<s> $A $B", [("<s>", 1)])
    return _wrapped(backend)


@cache
def demo() -> Any:
    """The tokenizer of the model that comes with the package."""
    return transformers.AutoTokenizer.from_pretrained(str(MICRO), local_files_only=True)


def _wrapped(backend: Tokenizer) -> Any:
    backend.add_special_tokens([AddedToken(token, normalized=False) for token in SPECIAL])
    named = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=backend, clean_up_tokenization_spaces=False, **named)


def appending(tokenizer: Any) -> Any:
    """The tokenizer, made to append its EOS to every text, as some are."""
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.post_processor = processors.TemplateProcessing("$A </s>", "$A $B </s>", [("</s>", EOS)])
    return _wrapped(backend)


TOKENIZERS = {"byte-level": byte_level, "byte-fallback": byte_fallback, "demo": demo}


def random_text(rng: np.random.Generator, parts: int) -> str:
    """``parts`` words with white space around them, in any order."""
    return "".join(rng.choice((*WORDS, *SPACES, *SPACES), parts))
