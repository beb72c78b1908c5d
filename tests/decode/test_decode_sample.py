from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from decode_stand_ins import EOS, PROMPTS, SAMPLE, table_lm, tiny_gpt2
from staggered_rows import decode_staggered

from pper_jax.decode import BeamConfig, SampleConfig, beam_search, pack_prompts, sample, score
from pper_jax.decode.sample import _choose
from pper_jax.errors import UserError
from pper_jax.types import Programs

FIRST = np.asarray([0.1, 0.2, 0.3, 0.4])
NEXT = np.asarray([[0.7, 0.1, 0.1, 0.1], [0.25] * 4, [0.05, 0.05, 0.45, 0.45], [0.4, 0.3, 0.2, 0.1]])
DRAWS = 8000


def keys_of(*ids: int) -> jax.Array:
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(7), jnp.asarray(ids))


def draw_pairs(config: SampleConfig) -> np.ndarray:
    """Frequencies ``[4, 4]`` of the first two tokens of a model whose first follows FIRST and second NEXT[first]."""
    table = np.concatenate([np.broadcast_to(FIRST, (1, 4, 4)), np.broadcast_to(NEXT, (63, 4, 4))])
    module, params = table_lm(table)
    tokens = np.asarray(sample(module, params, pack_prompts([[0]], 1), jax.random.key(3), config=config).tokens[0])
    return np.histogram2d(tokens[:, 0], tokens[:, 1], bins=4, range=((0, 4), (0, 4)))[0]


def chi_square(counts: np.ndarray, first: np.ndarray, following: np.ndarray) -> float:
    expected = counts.sum() * first[:, None] * following
    assert np.all(counts[expected == 0] == 0), "a token was drawn that the filter excludes"
    real = expected > 0
    return float(((counts[real] - expected[real]) ** 2 / expected[real]).sum())


def filtered(p: np.ndarray, temperature: float, top_k: int, top_p: float) -> np.ndarray:
    """Row by row: temper, keep the ``top_k`` best, then the nucleus, and normalise."""
    out = np.zeros_like(p)
    for row, source in zip(np.atleast_2d(out), np.atleast_2d(p) ** (1 / temperature), strict=True):
        order = np.argsort(-source, kind="stable")[: top_k or None]
        kept = source[order] / source[order].sum()
        order = order[: 1 + int(np.sum(np.cumsum(kept)[:-1] < top_p - 1e-6))]
        row[order] = source[order] / source[order].sum()
    return out


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"), [(1.0, 0, 1.0), (0.5, 0, 1.0), (1.0, 2, 1.0), (1.5, 3, 0.65), (1.0, 0, 0.6)]
)
def test_frequencies_follow_the_model(temperature: float, top_k: int, top_p: float):
    config = SampleConfig(
        num_samples=DRAWS, max_new_tokens=2, temperature=temperature, top_k=top_k, top_p=top_p
    )  # fmt: skip
    first, following = (filtered(p, temperature, top_k, top_p) for p in (FIRST, NEXT))
    assert chi_square(draw_pairs(config), first, following) < 37.7  # 0.999 quantile of chi-square with 15 degrees


def test_logprobs_are_the_models_own():
    module, params = tiny_gpt2()
    prompts = pack_prompts(PROMPTS, 8)
    programs = sample(module, params, prompts, jax.random.key(0), config=SAMPLE)
    np.testing.assert_allclose(programs.token_logprobs, score(module, params, prompts, programs), atol=1e-4)
    np.testing.assert_allclose(programs.token_logprobs.sum(-1), programs.logprob, atol=1e-5)
    assert len({tuple(row) for row in np.asarray(programs.tokens[0]).tolist()}) > 1


def test_eos_ends_a_program():
    module, params = tiny_gpt2()
    prompts = pack_prompts(PROMPTS, 8)
    runs = [jax.device_get(sample(module, params, prompts, jax.random.key(i), config=SAMPLE)) for i in range(30)]
    programs = jax.tree.map(lambda *x: np.concatenate(x), *runs)
    assert 0 < programs.finished.sum() < programs.finished.size
    endings = set()
    for tokens, length, finished in zip(
        programs.tokens.reshape(-1, 6), programs.length.flat, programs.finished.flat, strict=True
    ):
        ended = [tokens[t] == EOS or (t > 0 and tuple(tokens[t - 1 : t + 1]) == (7, 6)) for t in range(length)]
        assert not any(ended[:-1])
        assert ended[-1] == finished
        assert finished or length == 6
        assert np.all(tokens[length:] == 77)
        endings.add((bool(finished), int(tokens[length - 1]) == EOS))
    assert endings >= {(True, True), (True, False)}


def test_greedy_is_beam_search_of_width_one():
    module, params = tiny_gpt2()
    prompts = pack_prompts(PROMPTS, 8)
    greedy = sample(
        module, params, prompts, jax.random.key(0), config=SampleConfig(temperature=0, max_new_tokens=6, eos_ids=(EOS,))
    )
    beam = beam_search(module, params, prompts, config=BeamConfig(width=1, max_new_tokens=6, eos_ids=(EOS,)))
    np.testing.assert_array_equal(greedy.tokens, beam.tokens)
    np.testing.assert_array_equal(greedy.finished, beam.finished)
    np.testing.assert_allclose(greedy.logprob, beam.logprob, atol=1e-5)


def assert_rows_equal(a: Programs, b: Programs, rows: Any, other: Any) -> None:
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(np.asarray(x)[rows], np.asarray(y)[other]), a, b)


def test_draws_depend_on_the_prompts_key_alone():
    module, params = tiny_gpt2()
    run = lambda prompts, keys, config=SAMPLE: sample(  # noqa: E731
        module, params, pack_prompts(prompts, 8), keys, config=config
    )
    base = run(PROMPTS, keys_of(10, 11, 12))
    assert_rows_equal(base, run(PROMPTS, keys_of(10, 11, 12)), slice(None), slice(None))
    assert_rows_equal(base, run(PROMPTS[::-1], keys_of(12, 11, 10)), slice(None, None, -1), slice(None))
    assert_rows_equal(base, run([[2], PROMPTS[1], [9, 9]], keys_of(0, 11, 1)), 1, 1)
    more = replace(SAMPLE, num_samples=5)
    np.testing.assert_array_equal(run(PROMPTS, keys_of(10, 11, 12), more).tokens[:, :3], base.tokens)
    assert not np.array_equal(run(PROMPTS, keys_of(20, 21, 22)).tokens, base.tokens)


def test_rows_may_be_at_different_steps():
    table = np.random.default_rng(2).dirichlet(np.full(5, 0.8), (64, 5))
    module, params = table_lm(table)
    config = SampleConfig(3, max_new_tokens=5, temperature=0.8, top_k=4, top_p=0.95, eos_ids=(0,))
    prompts, keys = pack_prompts([[1], [2, 1], [4]], 2), keys_of(1, 2, 3)
    together = sample(module, params, prompts, keys, config=config)
    staggered = decode_staggered(module, params, prompts, keys, config, [0, 3, 1])
    assert len(np.unique(together.length)) > 1
    np.testing.assert_array_equal(together.tokens, staggered.tokens)
    np.testing.assert_allclose(together.token_logprobs, staggered.token_logprobs, rtol=1e-6)


def test_a_prompts_draws_differ_from_each_other_and_between_steps():
    module, params = table_lm(np.full(997, 1 / 997))
    config = SampleConfig(64, max_new_tokens=2)
    tokens = np.asarray(sample(module, params, pack_prompts([[1], [1]], 1), keys_of(4, 5), config=config).tokens)
    assert len(np.unique(tokens)) > 200  # of 256 draws from 997 about 226 differ
    for other in (tokens[::-1], tokens[..., ::-1], np.roll(tokens, 1, axis=1)):
        assert np.mean(tokens == other) < 0.05


def choose(logprob: Any, **options: Any) -> list[int]:
    """Every token that 300 draws from ``logprob [V]`` give."""
    keys = jax.random.split(jax.random.key(0), (1, 300))
    rows = jnp.broadcast_to(jnp.asarray(logprob, jnp.float32), (1, 300, len(logprob)))
    return np.unique(_choose(keys, rows, SampleConfig(**options))).tolist()


def test_equal_tokens_are_kept_from_the_lowest_on():
    uniform = np.log(np.full(8, 1 / 8))
    assert choose(uniform, temperature=0) == [0]
    assert choose(uniform, top_k=3) == [0, 1, 2]
    assert choose(uniform, top_p=0.5) == [0, 1, 2, 3]
    assert choose(uniform, top_p=1e-9) == [0]
    assert choose(uniform, top_k=99) == list(range(8))
    assert choose([-np.inf, -1.0, -1.0, -3.0], top_k=2) == [1, 2]


@pytest.mark.parametrize("temperature", [1e-3, 1e-30, 1e-45, 1e-300])
@pytest.mark.parametrize("top_p", [1.0, 0.9])
def test_a_low_temperature_is_greedy_however_low(temperature: float, top_p: float):
    assert choose(np.log([0.2, 0.3, 0.49, 0.01]), temperature=temperature, top_p=top_p) == [2]


def test_no_possible_token_ends_a_program():
    module, params = table_lm([0.5, 0.5])
    params = {"table": params["table"].at[:, 1].set(jnp.nan)}
    programs = sample(
        module, params, pack_prompts([[1], [0]], 1), jax.random.key(0), config=SampleConfig(2, max_new_tokens=3)
    )
    assert np.all(programs.length[0] == 0)
    assert np.all(programs.logprob[0] == -np.inf)
    assert np.all(programs.length[1] > 0)
    assert np.all(np.isfinite(programs.logprob[1]))
    assert not np.any(programs.finished)


@pytest.mark.parametrize(
    "options",
    [{"num_samples": 0}, {"max_new_tokens": 0}, {"temperature": -1.0}, {"temperature": float("nan")}, {"top_k": -1},
     {"top_p": 0.0}, {"top_p": 1.5}, {"stop_suffixes": ((),)}],
)  # fmt: skip
def test_wrong_options_are_named(options: dict[str, Any]):
    with pytest.raises(UserError, match=next(iter(options))):
        SampleConfig(**options)
