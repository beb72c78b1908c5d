from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pper_jax.decode import BeamConfig, beam_search, pack_prompts, score, to_host
from pper_jax.decode.ends import closing_tokens, ends, tail_length
from pper_jax.errors import UserError
from pper_jax.models import load_model
from pper_jax.tasks.humaneval import STOPS
from pper_jax.text import stop_token_suffixes, trim_program

MICRO = Path(__file__).resolve().parents[2] / "pper_jax" / "assets" / "micro"
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


def test_an_empty_stop_is_named():
    for use in (
        lambda: stop_token_suffixes(TOKENIZER, ("\nclass", "")),
        lambda: trim_program(TOKENIZER, [1], [-1.0], ("",), None),
    ):
        with pytest.raises(UserError, match="empty"):
            use()


@cache
def micro() -> tuple[Any, Any, Any, tuple[tuple[int, ...], ...]]:
    """The small model that comes with the package, its byte-level BPE tokenizer and its suffixes for ``STOPS``."""
    module, params, tokenizer = load_model(MICRO)
    return module, params, tokenizer, stop_token_suffixes(tokenizer, STOPS)


def stopped_at(tokens: list[int]) -> int | None:
    """How many tokens a program has when the device ends it."""
    suffixes = micro()[3]
    behind = [-1] * tail_length(suffixes) + tokens
    windows = np.lib.stride_tricks.sliding_window_view(np.asarray(behind), tail_length(suffixes) + 1)
    ended = np.flatnonzero(ends(jnp.asarray(windows[:, -1]), jnp.asarray(windows[:, :-1]), (), suffixes))
    return int(ended[0]) + 1 if ended.size else None


@pytest.mark.parametrize("stop", STOPS)
def test_the_device_stops_at_the_last_token_of_a_stop(stop: str):
    tokenizer = micro()[2]
    for body in ("    return x", "    return [1]", "    return f(x)\n", "    return 'a'\n\n", "    pass  # é", "\n"):
        tokens = tokenizer.encode(body + stop, add_special_tokens=False)
        assert stopped_at([*tokens, *tokenizer.encode(" (x):\n    1", add_special_tokens=False)]) == len(tokens)


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_the_device_ends_nothing_that_the_host_would_not_cut_there(data: st.DataObject):
    tokenizer = micro()[2]
    # tokens that make up stops, in any order, with some others between them
    parts = sorted({token for stop in STOPS for token in tokenizer.encode(stop, add_special_tokens=False)})
    token = st.one_of(st.sampled_from(parts), st.integers(1, len(tokenizer) - 1))
    tokens = data.draw(st.lists(token | st.sampled_from(micro()[3]).map(list), min_size=1, max_size=12))
    tokens = [t for part in tokens for t in (part if isinstance(part, list) else [part])]
    logprobs = [-(2.0**-i) for i in range(len(tokens))]
    size = stopped_at(tokens)
    if size is not None:
        assert any(stop in tokenizer.decode(tokens[:size]) for stop in STOPS)
        cut = trim_program(tokenizer, tokens[:size], logprobs[:size], STOPS, 0)
        assert cut == trim_program(tokenizer, tokens, logprobs, STOPS, 0)
        assert cut[3] == "stop"


def test_the_kept_logprob_is_the_models_own_of_the_kept_tokens():
    module, params, tokenizer, _ = micro()
    stops = ("sum(", " n <")  # what the model does write
    texts = ["def add(a, b):\n    return a + b\n", "def g(n):\n", 'def total(xs):\n    """Sum of xs."""\n']
    prompts = pack_prompts([tokenizer(text)["input_ids"] for text in texts], 32)
    config = BeamConfig(width=4, max_new_tokens=16, eos_ids=(0,), stop_suffixes=stop_token_suffixes(tokenizer, stops))
    programs = beam_search(module, params, prompts, config=config)
    own = np.asarray(score(module, params, prompts, programs))
    reasons = []
    for row, found in enumerate(to_host(programs)):
        for beam, program in enumerate(found):
            text, kept, logprob, reason = trim_program(tokenizer, program.tokens, program.token_logprobs, stops, 0)
            assert not any(stop in text for stop in stops)
            assert program.finished == (reason != "length")
            assert logprob == pytest.approx(own[row, beam, :kept].sum(), abs=1e-4)
            assert (reason == "stop") == (kept < len(program.tokens))
            whole = tokenizer.decode(program.tokens[: kept - (reason == "eos")])
            assert text.startswith(whole)
            if reason == "stop":  # the next token is the stop's or lies across the cut
                assert not text.startswith(tokenizer.decode(program.tokens[: kept + 1]))
            else:
                assert text == whole
            reasons.append(reason)
    assert {"stop", "eos"} <= set(reasons)
