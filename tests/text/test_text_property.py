"""Text, tokens, counts and log-probs of random programs against transformers' whole decodes and against rescoring."""

from __future__ import annotations

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from text_stand_ins import EOS, STOPS, TOKENIZERS, TURN, random_text

from pper_jax.decode import HostProgram, pack_prompts, score
from pper_jax.models import ModelConfig, build_model
from pper_jax.programs import LanguageModel, encode_prompts
from pper_jax.programs.rows import sample_rows
from pper_jax.programs.score import score_samples
from pper_jax.tasks import Sample, Task
from pper_jax.text import completion_text, completion_tokens
from pper_jax.types import Programs

TESTS = {"kind": "answer", "expected": "1"}
PROMPT, PROGRAM = 64, 48  # tokens at most
KINDS = sorted(TOKENIZERS)


@cache
def model(kind: str) -> LanguageModel:
    """A random model of one layer with a tokenizer of this kind, and two ends where the tokenizer has them."""
    tokenizer = TOKENIZERS[kind]()
    config = ModelConfig(
        "gpt2", len(tokenizer), 16, 1, 2, 2, 8, 32, PROMPT + PROGRAM, attention_bias=True, mlp_bias=True
    )
    tokens = jnp.zeros((1, 4), jnp.int32)
    module = build_model(config)
    params = module.init(jax.random.key(0), tokens, tokens, jnp.ones((1, 4, 4), bool))["params"]
    params = jax.tree.map(
        lambda leaf: 20 * leaf if leaf.ndim > 1 else leaf, params
    )  # so that tokens differ in log-prob
    return LanguageModel(module, params, tokenizer, "random", (0,) if kind == "demo" else (EOS, TURN))


def case(rng: np.random.Generator, model: LanguageModel) -> tuple[Task, list[int]]:
    """A task with stops, and a program: a text's tokens, any tokens, or both, with an end or without."""
    tokenizer, ordinary = model.tokenizer, np.arange(4, len(model.tokenizer))
    prompt, text = "x" + random_text(rng, rng.integers(0, 8)), random_text(rng, rng.integers(0, 10))
    body = completion_tokens(tokenizer, prompt, text)
    for _ in range(rng.integers(0, 3)):
        at = rng.integers(0, len(body) + 1)
        body[at:at] = rng.choice(ordinary, rng.integers(1, 6)).tolist()
    ends = [int(rng.choice(model.eos_ids))] if rng.random() < 0.4 else []
    stops = tuple(map(str, rng.choice(STOPS, rng.integers(0, 3), replace=False)))
    if len(text) > 2 and rng.random() < 0.3:
        stops += (text[(at := int(rng.integers(0, len(text)))) : at + 3],)
    return Task("t", prompt, TESTS, stop=stops), [*body[: PROGRAM - 1], *ends]


def token_logprobs(model: LanguageModel, prompts: list[list[int]], programs: list[list[int]]) -> np.ndarray:
    """What the model gives each token, ``[cases, PROGRAM]``, a hundred at a time."""
    found = []
    for first in range(0, len(programs), 100):
        chosen = [min(first + i, len(programs) - 1) for i in range(100)]
        packed = pack_prompts([programs[i] for i in chosen], PROGRAM)
        zeros = jnp.zeros((100, 1))
        rows = Programs(packed.tokens[:, None], packed.length[:, None], zeros, jnp.zeros((100, 1, PROGRAM)), zeros > 0)
        found.append(score(model.module, model.params, pack_prompts([prompts[i] for i in chosen], PROMPT), rows)[:, 0])
    return np.concatenate(found)[: len(programs)]


def whole_decodes(tokenizer: Any, prompt: list[int], body: list[int]) -> list[str | None]:
    """What transformers says of the first 0, 1, ... tokens: whole text less the prompt's, None where that changed."""
    before = tokenizer.decode(prompt)
    texts = [tokenizer.decode([*prompt, *body[:n]]) for n in range(len(body) + 1)]
    return [text[len(before) :] if text.startswith(before) else None for text in texts]


def agrees(model: LanguageModel, task: Task, prompt: list[int], tokens: list[int], row: Sample) -> bool:
    """Text, tokens and reason by brute force; False where the program spoils the prompt's last character."""
    closed = bool(tokens) and tokens[-1] in model.eos_ids
    body = tokens[: len(tokens) - closed]
    texts = whole_decodes(model.tokenizer, prompt, body)
    if (text := texts[-1]) is None:
        return False
    cuts = [text.find(stop) for stop in task.stop if stop in text]
    if cuts:
        kept, reason = text[: min(cuts)], "stop"
        count = max(n for n, said in enumerate(texts) if said is not None and kept.startswith(said))
    else:
        kept, count, reason = text, len(tokens), "eos" if closed else "length"
    assert (row.completion, row.stop_reason, row.num_tokens) == (kept, reason, count)
    assert row.tokens == tuple(tokens[:count])
    return True


def check(kind: str, count: int, seed: int) -> None:
    lm, rng = model(kind), np.random.default_rng(seed)
    tasks, programs = zip(*(case(rng, lm) for _ in range(count)), strict=True)
    tasks = [Task(str(i), task.prompt, TESTS, stop=task.stop) for i, task in enumerate(tasks)]
    prompts = encode_prompts(lm, tasks)
    given = token_logprobs(lm, prompts, programs)
    rows, compared = [], 0
    for task, prompt, tokens, logprobs in zip(tasks, prompts, programs, given, strict=True):
        own = tuple(map(float, logprobs[: len(tokens)]))
        rows += sample_rows(lm, task, [HostProgram(tuple(tokens), sum(own), own, True, 0.0)])
        compared += agrees(lm, task, prompt, tokens, rows[-1])
        assert rows[-1].logprob == pytest.approx(sum(own[: rows[-1].num_tokens]), abs=1e-9)
    assert compared > 0.9 * count
    assert {row.stop_reason for row in rows} == {"eos", "stop", "length"}
    assert sum(row.stop_reason == "stop" and row.num_tokens > 3 for row in rows) > count / 20
    again = score_samples(lm, tasks, rows, batch_size=100)
    for row, rescored in zip(rows, again, strict=True):
        assert (rescored.tokens, rescored.num_tokens) == (row.tokens, row.num_tokens)
        assert rescored.logprob == pytest.approx(row.logprob, abs=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_agree_with_whole_decodes_and_with_rescoring(kind):
    check(kind, 300, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_rows_agree_with_whole_decodes_and_with_rescoring_in_3000_cases(kind):
    check(kind, 3000, seed=1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_comes_back_from_its_tokens(kind):
    tokenizer, rng = TOKENIZERS[kind](), np.random.default_rng(2)
    ends = (tokenizer.eos_token_id,)
    at_once = 0
    for _ in range(300):
        prompt, text = "x" + random_text(rng, rng.integers(0, 8)), random_text(rng, rng.integers(0, 10))
        alone, whole = (tokenizer(part)["input_ids"] for part in (prompt, prompt + text))
        tokens = completion_tokens(tokenizer, prompt, text, ends)
        assert completion_text(tokenizer, alone, tokens) == text
        at_once += [*alone, *tokens] == whole
    assert at_once > 100  # most borders are no token's inside
