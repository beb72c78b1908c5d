"""What training on programs drawn by P2Value makes greater, on a model whose programs can all be listed.

Let ``pi`` be the model. Of programs that it wrote itself, ``E[grad log pi] = sum pi grad log pi = grad sum pi = 0``:
trained on evenly, they move nothing on average. Drawn in proportion to P2Value (joint possibility, omega 1), program
``x`` comes with probability ``pi(x) p2value(x) / Z``, ``Z = E[p2value]``, and the mean step is, times ``Z``,

    sum pi (alpha pi + (1 - alpha) r) grad log pi  =  grad of  (1 - alpha) E[r] + alpha / 2 sum pi^2

(``r`` the pass rate; ``pi grad log pi = grad pi``): the policy gradient of the expected pass rate and a sharpening.
"""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pper_jax import replay
from pper_jax.replay import p2value
from pper_jax.train.objectives import cross_entropy
from pper_jax.types import TrainBatch

LETTERS, LONGEST, END = 4, 3, 4  # a program: up to 3 of 4 letters, and the end where it is shorter than that
ALPHAS = (0.0, 0.2, 0.5, 0.8, 1.0)
TEXTS = [letters for size in range(LONGEST + 1) for letters in product(range(LETTERS), repeat=size)]
ROWS = [(END, *letters, *(END,) * (len(letters) < LONGEST)) for letters in TEXTS]  # the prompt is one token
LENGTH = np.array([len(row) for row in ROWS], np.int32)
TOKENS = np.array([[*row, *(0,) * (LONGEST + 1 - len(row))] for row in ROWS], np.int32)
POSITION = np.arange(LONGEST + 1)
STORED = DRAWN = 1 << 15
MOST = 4  # standard errors: of 50 numbers, chance exceeds them once in 300 times


def batch(which, weight):
    """The programs ``which [B]`` as the train step has them, the prompt's token no target."""
    inside = LENGTH[which][:, None] > POSITION
    return TrainBatch(jnp.array(TOKENS[which]), jnp.array(inside, jnp.int32), inside & (POSITION > 0), weight)


EVERY = batch(np.arange(len(ROWS)), jnp.ones(len(ROWS)))


def log_probs(weights, programs):
    """An autoregressive model, logits by position and the token before; of each target, ``[B, T]``, else 0."""
    logits = weights["position"] + weights["before"][programs.tokens[:, :-1]]
    scores = jnp.take_along_axis(jax.nn.log_softmax(logits), programs.tokens[:, 1:, None], axis=-1)[..., 0]
    return jnp.pad(jnp.where(programs.loss_mask[:, 1:], scores, 0.0), ((0, 0), (1, 0)))


@jax.jit
def log_pi(weights):
    return log_probs(weights, EVERY).sum(axis=1)


gradients = jax.jit(jax.jacrev(log_pi))  # of each program by itself


@jax.jit
def step(weights, programs):
    """The sum over programs of weight times ``grad log pi``: where the project's cross-entropy goes down."""
    return jax.grad(lambda given: -cross_entropy(log_probs(given, programs), programs)[0])(weights)


@jax.jit
def gradient(weights, rate, alpha):
    """Of ``(1 - alpha) E[pass rate] + alpha / 2 sum pi^2``."""

    def objective(given):
        pi = jnp.exp(log_pi(given))
        return (1 - alpha) * jnp.sum(pi * rate) + alpha / 2 * jnp.sum(pi**2)

    return jax.grad(objective)(weights)


def model(seed):
    position, before = jax.random.split(jax.random.key(seed))
    return {
        "position": jax.random.normal(position, (LONGEST, LETTERS + 1)),
        "before": jax.random.normal(before, (LETTERS + 1, LETTERS + 1)),
    }


def rates(seed):
    """Most programs pass nothing, and one passes all."""
    rate = np.random.default_rng(seed).choice([0.0, 0.25, 0.5, 1.0], len(ROWS), p=[0.7, 0.1, 0.1, 0.1])
    rate[seed % len(ROWS)] = 1.0
    return rate.astype(np.float32)


def valued(weights, rate, alpha):
    """Log of the P2Value of every program there is, by the joint possibility; ``[programs]``."""
    known = np.ones(len(ROWS), bool)
    possibility = p2value.log_possibility(log_pi(weights), LENGTH - 1, known, possibility="joint")
    return p2value.log_p2value(possibility, rate, alpha)


def expected_step(weights, value, scheme):
    """``sum pi(x) priority(x) grad log pi(x)`` over all programs."""
    known = np.ones(len(ROWS), bool)
    priority = p2value.priorities(value, jnp.ones(len(ROWS), jnp.int32), known, scheme=scheme, omega=1.0)
    return flat(step(weights, batch(np.arange(len(ROWS)), jnp.exp(log_pi(weights)) * priority)))


def flat(tree):
    return np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(tree)])


def cosine(one, other):
    return one @ other / np.linalg.norm(one) / np.linalg.norm(other)


def test_the_programs_are_all_that_the_model_can_write():
    assert len(ROWS) == 85
    np.testing.assert_allclose(np.exp(np.asarray(log_pi(model(0)), np.float64)).sum(), 1, rtol=1e-5)


# ---------------------------------------------------------------- all programs, each with its probability


@pytest.mark.parametrize("alpha", ALPHAS)
@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None, derandomize=True)
def test_draws_by_p2value_ascend_the_pass_rate_and_a_sharpening(alpha, seed):
    weights, rate = model(seed), rates(seed)
    value = valued(weights, rate, alpha)
    found, expected = expected_step(weights, value, "proportional"), flat(gradient(weights, rate, alpha))
    greatest = np.exp(float(value.max()))  # by which priorities are scaled
    np.testing.assert_allclose(found * greatest, expected, rtol=1e-4, atol=1e-6)
    assert np.abs(expected).max() > 1e-3


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None, derandomize=True)
def test_even_draws_move_nothing_on_average(seed):
    weights = model(seed)
    found = expected_step(weights, valued(weights, rates(seed), 0.5), "uniform")
    np.testing.assert_allclose(found, 0, atol=1e-6)


def test_what_passes_alike_everywhere_leaves_the_sharpening_alone():
    weights, alike = model(3), np.full(len(ROWS), 0.5, np.float32)
    found = expected_step(weights, valued(weights, alike, 0.5), "proportional")
    assert cosine(found, flat(gradient(weights, alike, 1.0))) == pytest.approx(1, abs=1e-6)


# ---------------------------------------------------------------- programs that the model writes, in a real buffer


def config_of(alpha, **options):
    return replay.ReplayConfig(
        capacity=STORED, scheme="proportional", omega=1.0, possibility="joint", alpha=alpha, stratified=False, **options
    )


def mean_step(weights, rate, config, seed):
    """The mean of ``grad log pi`` over programs drawn from a buffer of programs that the model wrote."""
    written, drawn = jax.random.split(jax.random.key(seed))
    logs = log_pi(weights)
    which = np.asarray(jax.random.categorical(written, logs, shape=(STORED,)))
    programs = replay.Items(
        tokens=TOKENS[which],
        prompt_length=np.ones(STORED, np.int32),
        length=LENGTH[which],
        logprob=np.asarray(logs)[which],
        pass_rate=rate[which],
        task_index=np.zeros(STORED, np.int32),
        round=np.ones(STORED, np.int32),
        program_id=np.arange(STORED, dtype=np.int32),
        valid=np.ones(STORED, bool),
    )
    state = replay.add(replay.init(config, max_length=LONGEST + 1), programs, config)
    state, draw = replay.sample(state, drawn, DRAWN, config)
    rows = replay.gather(state, draw.indices)
    inside = rows.length[:, None] > POSITION
    targets = inside & (rows.prompt_length[:, None] <= POSITION)
    return flat(step(weights, TrainBatch(rows.tokens, inside.astype(jnp.int32), targets, draw.weight))) / DRAWN


def deviates(found, weights, value):
    """How many standard errors ``found`` lies, entry by entry, from what draws in proportion to ``value`` would give.

    The variance is that of the stored programs (of a ratio of means) and that of the draws from them.
    """
    pi = np.exp(np.asarray(log_pi(weights), np.float64))
    each = gradients(weights)
    each = np.stack([flat(jax.tree.map(lambda leaf, row=row: leaf[row], each)) for row in range(len(ROWS))])
    share = value / (pi @ value)
    expected = (pi * share) @ each
    spread = (each - expected) ** 2
    error = np.sqrt((pi * share**2) @ spread / STORED + (pi * share) @ spread / DRAWN)
    return np.abs(found - expected) / error


@pytest.mark.parametrize("alpha", [0.2, 0.8])
def test_the_mean_step_on_drawn_programs_is_the_gradient_for_its_alpha_and_for_no_other(alpha):
    weights, rate = model(0), rates(0)
    found = mean_step(weights, rate, config_of(alpha), seed=0)
    assert cosine(found, flat(gradient(weights, rate, alpha))) > 0.998
    for other in ALPHAS:
        value = np.exp(np.asarray(valued(weights, rate, other), np.float64))
        assert (deviates(found, weights, value).max() < MOST) == (other == alpha), other
    assert deviates(found, weights, np.ones(len(ROWS))).max() > MOST


def test_the_mean_step_on_programs_drawn_evenly_is_nothing_but_noise():
    weights, rate = model(0), rates(0)
    found = mean_step(weights, rate, config_of(0.5, mode="uniform"), seed=0)
    assert deviates(found, weights, np.ones(len(ROWS))).max() < MOST
