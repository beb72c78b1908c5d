"""Scoring: whose tokens are scored, and whether an end is among them."""

from __future__ import annotations

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pper_jax.errors import UserError
from pper_jax.models import ModelConfig, build_model
from pper_jax.programs import LanguageModel
from pper_jax.programs.score import score_file, score_samples
from pper_jax.tasks import Sample, Task
from tests.text.text_stand_ins import EOS, TURN, appending, byte_fallback, byte_level

PROMPT = "def f(x):\n"
TASK = Task("t", PROMPT, {"kind": "answer", "expected": "1"})
BODY = "    return x"


def model(tokenizer, positions=64) -> LanguageModel:
    config = ModelConfig("gpt2", len(tokenizer), 16, 1, 2, 2, 8, 32, positions, attention_bias=True, mlp_bias=True)
    module, tokens = build_model(config), jnp.zeros((1, 4), jnp.int32)
    params = module.init(jax.random.key(0), tokens, tokens, jnp.ones((1, 4, 4), bool))["params"]
    return LanguageModel(module, jax.tree.map(lambda leaf: 9 * leaf, params), tokenizer, "m", (EOS, TURN))


@pytest.fixture(scope="module")
def llama() -> LanguageModel:
    return model(byte_fallback())


def logprob(model: LanguageModel, prompt: list[int], tokens: list[int]) -> float:
    """By one plain forward pass over the whole."""
    whole = jnp.array([[*prompt, *tokens]])
    size = whole.shape[1]
    positions, mask = jnp.arange(size)[None], jnp.tril(jnp.ones((1, size, size), bool))
    logits = model.module.apply({"params": model.params}, whole, positions, mask)[0][0]
    each = jax.nn.log_softmax(logits)[np.arange(size - 1), whole[0, 1:]]
    return float(each[len(prompt) - 1 :].sum())


def parted(model: LanguageModel, text: str = BODY) -> tuple[list[int], list[int]]:
    prompt, whole = (model.tokenizer(part)["input_ids"] for part in (PROMPT, PROMPT + text))
    assert whole[: len(prompt)] == prompt
    return prompt, whole[len(prompt) :]


def scored(model: LanguageModel, **fields) -> Sample:
    (row,) = score_samples(model, [TASK], [Sample("t", **{"completion": BODY, **fields})], batch_size=1)
    return row


def test_prompt_and_completion_are_tokenised_as_one(llama):
    prompt, tokens = parted(llama)
    row = scored(llama, stop_reason="length")
    assert (row.tokens, row.num_tokens) == (tuple(tokens), len(tokens))
    assert row.logprob == pytest.approx(logprob(llama, prompt, tokens), abs=1e-4)
    solution = scored(llama, completion=None, solution=PROMPT + BODY, stop_reason="length")
    assert (solution.logprob, solution.tokens) == (row.logprob, row.tokens)


@pytest.mark.parametrize(
    ("said", "ends"),
    [
        ({"stop_reason": "length"}, False),
        ({"stop_reason": "stop"}, False),
        ({"stop_reason": "eos"}, True),
        ({"finished": False}, False),
        ({"finished": True}, True),
        ({"finished": True, "stop_reason": "stop"}, False),
        ({}, True),  # nothing is said: a whole program
    ],
)
def test_an_eos_is_scored_where_the_program_had_one(llama, said, ends):
    prompt, tokens = parted(llama)
    row = scored(llama, **said)
    assert row.tokens == (*tokens, *[EOS] * ends)
    assert row.logprob == pytest.approx(logprob(llama, prompt, list(row.tokens)), abs=1e-4)


def test_a_rows_own_tokens_are_scored_where_they_say_its_completion(llama):
    spelled = llama.tokenizer.convert_tokens_to_ids(["▁", "▁", "▁", "▁", "r", "e", "t", "u", "r", "n", "▁", "x"])
    assert spelled != parted(llama)[1]
    for end in ([], [EOS], [TURN]):
        row = scored(llama, tokens=(*spelled, *end))
        assert row.tokens == (*spelled, *end)
        assert row.logprob == pytest.approx(logprob(llama, parted(llama)[0], [*spelled, *end]), abs=1e-4)
    assert scored(llama, tokens=tuple(spelled), stop_reason="eos").tokens == (*spelled, EOS)
    # a token across the cut of a stop is none of the program's
    assert scored(llama, completion=BODY + "\n", tokens=tuple(spelled), stop_reason="stop").tokens == tuple(spelled)


@pytest.mark.parametrize("tokens", [(5, 6, 7), (10**9,), (-1,), ("x",), (None,), (True,), ()])
def test_tokens_that_say_something_else_are_not_taken(llama, tokens):
    assert scored(llama, tokens=tokens, stop_reason="length").tokens == tuple(parted(llama)[1])
    assert scored(llama, tokens=(*tokens, TURN), stop_reason="length").tokens == (*parted(llama)[1], EOS)


def test_an_end_that_the_tokenizer_appends_is_scored_once_and_only_where_there_was_one():
    lm = model(appending(byte_level()))
    body = lm.tokenizer(BODY, add_special_tokens=False)["input_ids"]
    for reason, end in (("length", ()), ("eos", (EOS,))):
        tokens = scored(lm, stop_reason=reason).tokens
        assert lm.tokenizer.decode(tokens[: len(tokens) - len(end)]) == BODY
        assert tokens[len(tokens) - len(end) :] == end
        assert abs(len(tokens) - len(end) - len(body)) <= 1  # one token of the whole lay across the border


def test_an_empty_program_has_no_tokens_and_log_prob_zero(llama):
    row = scored(llama, completion="", stop_reason="stop", tokens=())
    assert (row.logprob, row.num_tokens, row.tokens) == (0.0, 0, ())


def test_a_program_beyond_the_context_is_named_and_one_that_fills_it_is_scored(tmp_path):
    lm = model(byte_fallback(), positions=24)
    prompt, tokens = parted(lm)
    fits = BODY + "+1" * ((24 - len(prompt) - len(tokens)) // 2)
    rows = score_samples(lm, [TASK], [Sample("t", fits, stop_reason="length"), Sample("t", "", stop_reason="length")])
    assert rows[0].logprob == pytest.approx(logprob(lm, *parted(lm, fits)), abs=1e-4)
    samples = tmp_path / "s.jsonl"
    rows = [Sample("t", fits), Sample("t", fits + " + 1000")]
    samples.write_text("".join(json.dumps(replace(row).to_json()) + "\n" for row in rows))
    with pytest.raises(UserError, match=r"program 2, for task t: .* beyond the model's context of 24"):
        score_file(lm, [TASK], samples, tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


def test_a_prompt_without_tokens_is_named():
    lm = model(byte_level())
    with pytest.raises(UserError, match="program 1, for task t: the prompt has no tokens"):
        score_samples(lm, [replace(TASK, prompt="")], [Sample("t", "x")])
