"""Stochastic beam search: against the exact law of sampling without replacement, enumerated."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from decode_stand_ins import EOS, PROMPTS, SLOTS, table_lm, tiny_gpt2
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from staggered_rows import decode_staggered

from pper_jax.decode import (
    StochasticBeamConfig,
    StochasticPrograms,
    estimate,
    inclusion_log_probability,
    inclusion_weights,
    pack_prompts,
    score,
    stochastic,
    stochastic_beam_search,
    to_host,
)
from pper_jax.decode.segments import decode
from pper_jax.errors import UserError

DRAWS = 100_000
K, STEPS, VOCAB = 3, 3, 3  # token 0 ends a program: 1 + 2 + 4 * 3 = 15 programs
TABLE = np.random.default_rng(5).dirichlet(np.full(VOCAB, 1.2), (64, VOCAB))
CONFIG = StochasticBeamConfig(num_samples=K, max_new_tokens=STEPS, eos_ids=(0,))
VALUES = np.random.default_rng(6).normal(1.0, 2.0, 15)  # f(y), any function of the program


def enumerate_programs(temperature: float = 1.0) -> dict[tuple[int, ...], float]:
    """Every program after the prompt [1] and its probability, float64."""
    table = TABLE ** (1 / temperature)
    table = table / table.sum(-1, keepdims=True)
    found: dict[tuple[int, ...], float] = {}
    prefixes = {(): 1.0}
    for step in range(STEPS):
        longer = {
            (*tokens, token): p * table[step, tokens[-1] if tokens else 1, token]
            for tokens, p in prefixes.items()
            for token in range(VOCAB)
        }
        prefixes = {tokens: p for tokens, p in longer.items() if tokens[-1] != 0 and step + 1 < STEPS}
        found |= {tokens: p for tokens, p in longer.items() if tokens not in prefixes}
    assert len(found) == 15
    assert sum(found.values()) == pytest.approx(1)
    return found


def ordered_draws(p: np.ndarray, k: int) -> np.ndarray:
    """``[N] * k``: the probability of each ordered draw of k without replacement; 0 where one repeats."""
    law = np.zeros((len(p),) * k)
    for chosen in itertools.permutations(range(len(p)), k):
        left = 1 - np.concatenate([[0], np.cumsum(p[list(chosen)])[:-1]])
        law[chosen] = np.prod(p[list(chosen)] / left)
    assert law.sum() == pytest.approx(1)
    return law


def draw(config: StochasticBeamConfig = CONFIG, seed: int = 11) -> tuple[StochasticPrograms, np.ndarray]:
    """``DRAWS`` independent samples, traced anew each time, and the number ``[DRAWS, k]`` of each program drawn."""
    module, params = table_lm(TABLE)
    keys = jax.random.split(jax.random.key(seed), DRAWS)
    run = jax.jit(lambda params, prompts, keys: decode(module, params, prompts, keys, config))
    programs = run(params, pack_prompts([[1]] * DRAWS, 1), keys)
    number = {tokens: index for index, tokens in enumerate(enumerate_programs())}
    code = {sum(t * VOCAB**i for i, t in enumerate(tokens)) * 10 + len(tokens): n for tokens, n in number.items()}
    found = (np.asarray(programs.tokens) * VOCAB ** np.arange(STEPS)).sum(-1) * 10 + np.asarray(programs.length)
    table = np.full(10 * VOCAB**STEPS, -1)
    table[list(code)] = list(code.values())
    assert np.all(table[found] >= 0)
    return programs, table[found]


@cache
def plain_draw(temperature: float) -> tuple[StochasticPrograms, np.ndarray]:
    return draw(replace(CONFIG, temperature=temperature))


def inclusion_chi_square(drawn: np.ndarray, law: np.ndarray) -> tuple[float, int]:
    """How far inclusion counts are from exact ones, in their exact covariance; ``(chi-square, degrees of freedom)``.

    The inclusions of one draw depend on each other, so Pearson's sum over programs would follow another law.
    """
    size = law.shape[0]
    pair = np.zeros((size, size))
    for chosen in itertools.permutations(range(size), law.ndim):
        for i, j in itertools.product(chosen, repeat=2):
            pair[i, j] += law[chosen]
    inclusion = np.diag(pair)
    gap = np.bincount(drawn.ravel(), minlength=size) - len(drawn) * inclusion
    covariance = len(drawn) * (pair - np.outer(inclusion, inclusion))
    return float(gap @ np.linalg.pinv(covariance, rcond=1e-10, hermitian=True) @ gap), size - 1


def order_chi_square(drawn: np.ndarray, law: np.ndarray) -> tuple[float, int]:
    """Pearson's chi-square of whole ordered draws; those expected less than 5 times are counted together."""
    counts = np.zeros(law.shape)
    np.add.at(counts, tuple(drawn.T), 1)
    expected = law * len(drawn)
    rare = expected < 5
    counts, expected = (np.append(x[~rare], x[rare].sum()) for x in (counts, expected))
    assert expected[-1] > 5
    return float(((counts - expected) ** 2 / expected).sum()), len(expected) - 1


def bias_in_standard_errors(programs: StochasticPrograms, drawn: np.ndarray, p: np.ndarray) -> float:
    found = np.asarray(estimate(jnp.asarray(VALUES)[drawn], programs), np.float64)
    return float((found.mean() - p @ VALUES) / (found.std(ddof=1) / len(found) ** 0.5))


def assert_law(chi_square: Callable[..., tuple[float, int]], drawn: np.ndarray, law: np.ndarray) -> None:
    value, degrees = chi_square(drawn, law)
    limit = stats.chi2.ppf(0.999, degrees)
    print(f"{chi_square.__name__}: {value:.1f} with {degrees} degrees of freedom (0.999 quantile {limit:.1f})")
    assert value < limit


@pytest.mark.parametrize("temperature", [1.0, 1.7])
def test_frequencies_are_those_of_sampling_without_replacement(temperature: float):
    programs, drawn = plain_draw(temperature)
    law = ordered_draws(np.asarray(list(enumerate_programs(temperature).values())), K)
    assert_law(inclusion_chi_square, drawn, law)
    assert_law(order_chi_square, drawn, law)
    best = np.asarray(programs.score[:, 0], np.float64)  # the largest of all is Gumbel(0), whatever the model
    fit = stats.kstest(best, stats.gumbel_r.cdf)
    print(f"largest score against Gumbel(0): Kolmogorov-Smirnov p = {fit.pvalue:.3f}")
    assert fit.pvalue > 0.001


@pytest.mark.parametrize("temperature", [1.0, 1.7])
def test_weighted_estimator_is_unbiased(temperature: float):
    programs, drawn = plain_draw(temperature)
    p = np.asarray(list(enumerate_programs().values()))
    z = bias_in_standard_errors(programs, drawn, p)
    mean = float(np.mean(estimate(jnp.asarray(VALUES)[drawn], programs)))
    print(f"estimate {mean:.4f}, exact {p @ VALUES:.4f}, z = {z:.2f}")
    assert abs(z) < 3.3
    constant = np.asarray(estimate(jnp.full(drawn.shape, 7.0), programs, normalise=True))
    np.testing.assert_allclose(constant, 7.0, rtol=1e-5)
    biased = np.asarray(estimate(jnp.asarray(VALUES)[drawn], programs, normalise=True))
    assert biased.var() < np.asarray(estimate(jnp.asarray(VALUES)[drawn], programs)).var() / 2
    assert biased.mean() == pytest.approx(p @ VALUES, abs=0.05)


def unconditioned(parent: Any, noisy: Any) -> Any:
    return jnp.where(parent[..., None] > -jnp.inf, noisy, -jnp.inf)


def test_children_without_the_condition_break_the_law(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stochastic, "_children", unconditioned)
    _, drawn = draw()
    law = ordered_draws(np.asarray(list(enumerate_programs().values())), K)
    for chi_square in (inclusion_chi_square, order_chi_square):
        value, degrees = chi_square(drawn, law)
        assert value > 2 * stats.chi2.ppf(0.999, degrees)


def test_a_root_without_chance_breaks_the_estimator(monkeypatch: pytest.MonkeyPatch):
    start = stochastic._start
    fixed = lambda *args: (s := start(*args)).replace(perturbed=jnp.where(s.open, 0.0, -jnp.inf))  # noqa: E731
    monkeypatch.setattr(stochastic, "_start", fixed)
    programs, drawn = draw()
    assert abs(bias_in_standard_errors(programs, drawn, np.asarray(list(enumerate_programs().values())))) > 10


def test_the_kth_score_as_threshold_breaks_the_estimator():
    programs, drawn = plain_draw(1.0)
    wrong = programs.replace(threshold=programs.score[:, -1])
    assert abs(bias_in_standard_errors(wrong, drawn, np.asarray(list(enumerate_programs().values())))) > 10


def test_programs_differ_and_logprobs_are_the_models_own():
    module, params = tiny_gpt2()
    prompts = pack_prompts(PROMPTS, SLOTS)
    config = StochasticBeamConfig(6, max_new_tokens=6, temperature=2.0, eos_ids=(EOS,), pad_id=77)
    programs = stochastic_beam_search(module, params, prompts, jax.random.key(1), config=config)
    np.testing.assert_allclose(programs.token_logprobs, score(module, params, prompts, programs), atol=1e-4)
    np.testing.assert_allclose(programs.token_logprobs.sum(-1), programs.logprob, atol=1e-5)
    assert np.all(np.abs(programs.drawn_logprob - programs.logprob) > 1e-3)
    assert np.all(np.diff(programs.score, axis=1) < 0)
    assert np.all(np.asarray(programs.threshold) < np.asarray(programs.score[:, -1]))
    endings = set()
    for row in to_host(programs):
        assert len({program.tokens for program in row}) == 6
        for program in row:
            assert EOS not in program.tokens[:-1]
            assert program.finished == (program.tokens[-1] == EOS)
            assert program.finished or len(program.tokens) == 6
            endings.add(program.finished)
    assert endings == {True, False}
    after = np.arange(6) >= np.asarray(programs.length)[..., None]
    assert np.all(np.asarray(programs.tokens)[after] == 77)


def test_at_temperature_one_programs_are_drawn_from_the_model():
    programs, drawn = plain_draw(1.0)
    p = np.asarray(list(enumerate_programs().values()))
    np.testing.assert_allclose(np.exp(programs.logprob), p[drawn], rtol=1e-5)
    np.testing.assert_allclose(programs.drawn_logprob, programs.logprob, atol=1e-5)
    tempered, drawn = plain_draw(1.7)
    np.testing.assert_allclose(np.exp(tempered.logprob), p[drawn], rtol=1e-5)
    p = np.asarray(list(enumerate_programs(1.7).values()))
    np.testing.assert_allclose(np.exp(tempered.drawn_logprob), p[drawn], rtol=1e-5)


def run_uniform(table: Any = None) -> tuple[StochasticPrograms, list[list[Any]]]:
    """All programs of up to four tokens of four equally probable ones, or of the logits ``table [64, 4, 4]``."""
    module, params = table_lm(np.full((4, 4), 0.25))
    config = StochasticBeamConfig(140, max_new_tokens=4, eos_ids=(0,), stop_suffixes=((1, 2), (3, 3, 3)))
    prompts, params = pack_prompts([[1], [2]], 1), params if table is None else {"table": table}
    out = stochastic_beam_search(module, params, prompts, jax.random.key(4), config=config)
    assert not any(np.any(np.isnan(x)) for x in jax.tree.leaves(out))
    return out, to_host(out)


def test_endings_are_eos_suffixes_and_the_length_limit():
    def ends(tokens: tuple[int, ...]) -> bool:
        return tokens[-1] == 0 or tokens[-2:] == (1, 2) or tokens[-3:] == (3, 3, 3)

    every = {
        tokens
        for size in range(1, 5)
        for tokens in itertools.product(range(4), repeat=size)
        if not any(ends(tokens[:i]) for i in range(1, size)) and (size == 4 or ends(tokens))
    }
    for row in run_uniform()[1]:
        assert {program.tokens: program.finished for program in row} == {tokens: ends(tokens) for tokens in every}


def test_nan_and_infinite_logits_are_never_drawn():
    table = jnp.full((64, 4, 4), np.log(0.25))
    _, found = run_uniform(table.at[:, :, 3].set(jnp.nan).at[:, :, 2].set(-jnp.inf))  # 0 and 1 are left, 1/2 each
    for row in found:
        logprob = {program.tokens: program.logprob for program in row}
        assert set(logprob) == {(0,), (1, 0), (1, 1, 0), (1, 1, 1, 0), (1, 1, 1, 1)}
        np.testing.assert_allclose(list(logprob.values()), [-len(t) * np.log(2) for t in logprob], rtol=1e-6)
    out, found = run_uniform(table.at[:, 1].set(jnp.nan))  # nothing can follow token 1, the first prompt's last
    assert found[0] == []
    assert np.all(np.isneginf(out.score[0]))
    assert np.all(inclusion_weights(out)[0] == 0)
    assert float(estimate(jnp.ones(out.length.shape), out)[0]) == 0
    assert found[1]
    assert all(1 not in program.tokens[: max(len(program.tokens) - 1, 3)] for program in found[1])
    assert run_uniform(jnp.full_like(table, -jnp.inf))[1] == [[], []]


ROWS = [[1], [2, 1], [0], [1, 2]]


def run_rows(rows: list[list[int]], keys: jax.Array, config: StochasticBeamConfig = CONFIG) -> StochasticPrograms:
    module, params = table_lm(TABLE)
    return stochastic_beam_search(module, params, pack_prompts(rows, 2), keys, config=config)


def test_fewer_samples_are_the_first_of_more():
    keys = jax.random.split(jax.random.key(3), 4)
    few, more = run_rows(ROWS, keys, replace(CONFIG, num_samples=2)), run_rows(ROWS, keys)
    for name in ("tokens", "length", "logprob", "token_logprobs", "finished", "score", "drawn_logprob"):
        np.testing.assert_array_equal(getattr(few, name), getattr(more, name)[:, :2])
    np.testing.assert_array_equal(few.threshold, more.score[:, 2])


def test_batch_mates_and_steps_of_others_change_nothing():
    module, params = table_lm(TABLE)
    keys = jax.random.split(jax.random.key(9), 4)
    together = run_rows(ROWS, keys)
    swapped = run_rows([[0, 0], ROWS[1], [2], [2]], keys.at[0].set(keys[3]))
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[1], b[1]), together, swapped)
    back = run_rows(ROWS[::-1], keys[::-1])
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b[::-1]), together, back)
    staggered = decode_staggered(module, params, pack_prompts(ROWS, 2), keys, CONFIG, [0, 2, 1, 5])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), together, staggered)
    assert not np.array_equal(run_rows(ROWS, keys[::-1]).score, together.score)


def test_more_samples_than_programs_enumerate_the_model():
    module, params = table_lm(TABLE)
    config = replace(CONFIG, num_samples=20)
    programs = stochastic_beam_search(module, params, pack_prompts([[1]], 1), jax.random.key(0), config=config)
    [found] = to_host(programs)
    exact = enumerate_programs()
    assert {program.tokens for program in found} == set(exact)
    for program in found:
        assert np.exp(program.logprob) == pytest.approx(exact[program.tokens], rel=1e-5)
    assert programs.threshold[0] == -np.inf
    assert np.all(programs.score[0, 15:] == -np.inf)
    np.testing.assert_allclose(inclusion_weights(programs)[0, :15], np.exp(programs.logprob[0, :15]), rtol=1e-6)
    assert np.all(inclusion_weights(programs)[0, 15:] == 0)
    values = jnp.where(programs.length > 0, 3.0, jnp.nan)
    np.testing.assert_allclose(estimate(values, programs), 3.0, rtol=1e-5)
    np.testing.assert_allclose(estimate(values, programs, normalise=True), 3.0, rtol=1e-5)


@settings(deadline=None, max_examples=200)
@given(
    st.floats(-40, 40, width=32, allow_subnormal=False),  # XLA takes subnormal numbers for 0
    st.lists(
        st.one_of(st.floats(-60, 60, width=32, allow_subnormal=False), st.just(float("-inf"))), min_size=5, max_size=5
    ),
)
def test_children_keep_their_order_and_the_parents_score(parent: float, noisy: list[float]):
    found = np.asarray(stochastic._children(jnp.float32(parent), jnp.asarray(noisy, jnp.float32)))
    noisy = np.asarray(noisy)
    assert not np.any(np.isnan(found))
    assert np.all(np.isneginf(found[np.isneginf(noisy)]))
    if np.all(np.isneginf(noisy)):
        return
    assert found.max() == np.float32(parent)  # exactly: no rounding may let a child pass its parent
    order = np.argsort(-noisy, kind="stable")
    assert np.all(np.diff(found[order][: np.sum(noisy > -np.inf)]) <= 0)
    gap = np.where(noisy == noisy.max(), 0, np.exp(-noisy) - np.exp(-noisy.max()))  # the formula itself, in float64
    np.testing.assert_allclose(found, -np.log(np.exp(-parent) + gap), atol=2e-4, rtol=1e-5)


def test_a_dead_parent_has_no_children():
    found = stochastic._children(jnp.asarray([-jnp.inf, 1.0]), jnp.asarray([[0.5, 2.0], [0.5, 2.0]]))
    assert np.all(np.isneginf(found[0]))
    assert found[1, 1] == 1.0


@settings(deadline=None, max_examples=100)
@given(st.floats(-200, 60, width=32))
def test_inclusion_probability_keeps_its_precision(above: float):
    one = jnp.ones((1, 1))
    programs = StochasticPrograms(
        tokens=one[..., None], length=one, logprob=one, token_logprobs=one[..., None], finished=one,
        drawn_logprob=one * above, threshold=jnp.zeros(1),
    )  # fmt: skip
    exact = above if above < -30 else np.log(-np.expm1(-np.exp(np.float64(above))))
    assert float(inclusion_log_probability(programs)[0, 0]) == pytest.approx(exact, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(
    "options",
    [{"num_samples": 0}, {"max_new_tokens": 0}, {"temperature": 0.0}, {"temperature": -1.0},
     {"temperature": float("nan")}, {"temperature": float("inf")}, {"stop_suffixes": ((),)}],
)  # fmt: skip
def test_wrong_options_are_named(options: dict[str, Any]):
    with pytest.raises(UserError, match=next(iter(options))):
        StochasticBeamConfig(**options)


def test_a_key_is_needed():
    with pytest.raises(UserError, match="key"):
        CONFIG.start(pack_prompts([[1]], 1), None)
