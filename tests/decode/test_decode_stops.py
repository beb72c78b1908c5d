from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from pper_jax.decode.stops import closing_tokens, ends, stop_token_suffixes, tail_length, trim_program

DATA = Path(os.environ.get("PPER_SHARED_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
EOS = 0


class ByteTokenizer:
    """Longest-match tokenizer over byte strings; token 0 is the EOS."""

    def __init__(self, *merges: str | bytes) -> None:
        pieces = [m.encode() if isinstance(m, str) else m for m in merges]
        self.pieces = [b"<eos>", *pieces, *(bytes([b]) for b in range(256))]

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        assert not add_special_tokens
        data, out = text.encode(), []
        while data:
            best = max((p for p in self.pieces[1:] if data.startswith(p)), key=len)
            out.append(self.pieces.index(best))
            data = data[len(best) :]
        return out

    def decode(self, tokens: list[int], **options: Any) -> str:
        assert options == {"skip_special_tokens": False, "clean_up_tokenization_spaces": False}
        return b"".join(self.pieces[t] for t in tokens).decode(errors="replace")


TOKENIZER = ByteTokenizer("return 1", "\n\n", "class", "\n\nc", "é")


def trimmed(text: str, stops: tuple[str, ...], eos: bool = False, eos_id: Any = EOS) -> tuple[str, int, float, str]:
    tokens = TOKENIZER.encode(text, add_special_tokens=False) + [EOS] * eos
    return trim_program(TOKENIZER, tokens, [-(2.0**-i) for i in range(len(tokens))], stops, eos_id)


def total(count: int) -> float:
    return -sum(2.0**-i for i in range(count))


def test_without_a_stop_all_is_kept():
    assert trimmed("return 1\n", ("\nclass",)) == ("return 1\n", 2, total(2), "length")
    assert trimmed("return 1\n", ("\nclass",), eos=True) == ("return 1\n", 3, total(3), "eos")
    assert trimmed("return 1", (), eos=True, eos_id=(5000, EOS)) == ("return 1", 2, total(2), "eos")
    assert trimmed("", (), eos=True) == ("", 1, total(1), "eos")
    assert trim_program(TOKENIZER, [], [], ("\n",), None) == ("", 0, 0.0, "length")


def test_a_stop_cuts_text_tokens_and_logprob():
    assert trimmed("return 1\nclass A:", ("\nclass",)) == ("return 1", 1, total(1), "stop")
    assert trimmed("return 1\nclass A:", ("\nclass",), eos=True) == ("return 1", 1, total(1), "stop")
    assert trimmed("x\nif y\nclass", ("\nclass", "\nif")) == ("x", 1, total(1), "stop")  # the earliest one
    assert trimmed("\nclass A:", ("\nclass",)) == ("", 0, 0.0, "stop")


def test_a_token_across_the_cut_is_left_out():
    # "\n\n" is one token, its first half is text that is kept
    assert trimmed("return 1\n\nclass", ("\nclass",)) == ("return 1\n", 1, total(1), "stop")


def test_characters_of_several_tokens_are_counted_whole():
    tokenizer = ByteTokenizer()
    tokens = tokenizer.encode("aé\u20acb#c", add_special_tokens=False)
    text, count, _, reason = trim_program(tokenizer, tokens, [-1.0] * len(tokens), ("#",), EOS)
    assert (text, count, reason) == ("aé\u20acb", 7, "stop")
    text, count, _, _ = trim_program(tokenizer, tokens, [-1.0] * len(tokens), ("\u20ac",), EOS)
    assert (text, count) == ("aé", 3)


def test_suffixes_contain_their_stop_and_cover_merged_newlines():
    suffixes = stop_token_suffixes(TOKENIZER, ("\nclass", "\ndef"))
    assert all(any(s in TOKENIZER.decode(list(suffix), skip_special_tokens=False, clean_up_tokenization_spaces=False)
                   for s in ("\nclass", "\ndef")) for suffix in suffixes)  # fmt: skip
    for text in ("return 1\nclass", "return 1\n\nclass", "x\ndef", "x\n\ndef"):
        tokens = tuple(TOKENIZER.encode(text, add_special_tokens=False))
        assert any(tokens[-len(s) :] == s for s in suffixes), text
    assert stop_token_suffixes(TOKENIZER, ()) == ()


def test_ends_compares_the_last_tokens():
    eos_ids, suffixes = (9, 8), ((1, 2, 3), (4,), (5, 3))
    assert tail_length(suffixes) == 2
    assert closing_tokens(eos_ids, suffixes) == 4
    recent = np.asarray([[1, 2], [1, 2], [-1, 5], [2, 2], [7, 7], [-1, -1], [-1, -1]])
    tokens = np.asarray([3, 2, 3, 3, 4, 9, 1])
    np.testing.assert_array_equal(
        ends(jnp.asarray(tokens), jnp.asarray(recent), eos_ids, suffixes), [True, False, True, False, True, True, False]
    )
    assert not np.any(ends(jnp.asarray(tokens), jnp.zeros((7, 0), jnp.int32), (), ()))


@pytest.mark.skipif(not (DATA / "tokenizers" / "gpt2").is_dir(), reason="needs the shared GPT-2 tokenizer")
def test_suffixes_of_the_gpt2_tokenizer():
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(DATA / "tokenizers" / "gpt2")
    stops = ("\nclass", "\ndef", "\nif", "\nprint", "\n#", '\n"""', "\n\n\n")
    suffixes = stop_token_suffixes(tokenizer, stops)
    assert len(suffixes) < 25
    for stop in stops:
        for before in (
            "    return x",
            "    return x\n",
            "    return [1]",
            "    return f(x)\n\n",
            "    return 'a'\n    ",
        ):
            tokens = tokenizer.encode(before + stop, add_special_tokens=False)
            if tokenizer.decode(tokens[-1:]).strip():  # a run of newlines may still grow
                assert any(tuple(tokens[-len(s) :]) == s for s in suffixes), (before, stop)
    tokens = tokenizer.encode("    return x\n\nclass A", add_special_tokens=False)
    text, count, logprob, reason = trim_program(tokenizer, tokens, [-1.0] * len(tokens), stops, 50256)
    assert (text, reason) == ("    return x\n", "stop")
    assert logprob == -count
