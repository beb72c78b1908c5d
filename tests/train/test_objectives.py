"""An objective of one's own is one pure function: a clipped policy gradient, and cross-entropy near a reference."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pper_jax.models import GPT2, ModelConfig
from pper_jax.sharding import make_mesh
from pper_jax.train import (
    OptimizerConfig,
    cross_entropy,
    init_train_state,
    loss_sum,
    make_optimizer,
    make_train_step,
    pack_examples,
    program_sums,
    targets,
    token_weights,
)

MODULE = GPT2(ModelConfig("gpt2", 31, 16, 1, 2, 2, 8, 32, 32, attention_bias=True, mlp_bias=True))
EXAMPLES = [([1, 2], [3, 4, 0]), ([5], [6, 0]), ([7, 8, 9], [10, 0]), ([], [11, 0])]


def clipped_policy_gradient(logprobs, batch):
    """GRPO's (2402.03300): ``weight`` is the advantage of each program, which may be negative."""
    ratio = jnp.exp(logprobs - batch.sampler_logprobs)
    advantage = token_weights(batch)
    gain = jnp.minimum(ratio * advantage, jnp.clip(ratio, 0.8, 1.2) * advantage)
    mask = targets(batch)
    return -jnp.sum(jnp.where(mask, gain, 0)), jnp.sum(mask, dtype=jnp.float32), program_sums(logprobs, batch)


def near_a_reference(logprobs, batch):
    total, count, programs = cross_entropy(logprobs, batch)
    distance = batch.reference_logprobs - logprobs
    penalty = jnp.where(targets(batch), jnp.exp(distance) - distance - 1, 0)
    return total + batch.extras["beta"][0] * jnp.sum(penalty), count, programs


@pytest.fixture(scope="module")
def params():
    tokens = jnp.zeros((1, 4), jnp.int32)
    return MODULE.init(jax.random.key(0), tokens, tokens, jnp.ones((1, 4, 4), bool))["params"]


@pytest.fixture(scope="module")
def sampled(params):
    """Four programs, one a row, and the log-probability of each of their targets under ``params``."""
    batch = jax.tree.map(jnp.asarray, pack_examples(EXAMPLES, 5))
    kept = {}

    def keep(logprobs, batch):
        kept["logprobs"] = logprobs
        return cross_entropy(logprobs, batch)

    loss_sum(MODULE, params, batch, keep)
    return batch, kept["logprobs"]


def train(params, batch, objective, accumulate=1):
    state, step = trainer(params, objective, accumulate)
    state, metrics = step(state, batch)
    return state.params, metrics


def trainer(params, objective, accumulate=1):
    mesh = make_mesh(devices=jax.devices()[:1])
    optimizer = make_optimizer(OptimizerConfig(learning_rate=1e-2, warmup_steps=0, weight_decay=0.0), 10)
    state = init_train_state(jax.tree.map(jnp.array, params), optimizer, jax.random.key(1), mesh)
    return state, make_train_step(MODULE, optimizer, state, mesh, accumulate=accumulate, objective=objective)


def program_logprobs(params, batch):
    return np.asarray(loss_sum(MODULE, params, batch)[1][1])


def test_every_entry_belongs_to_the_token_that_stands_there(sampled):
    batch, logprobs = sampled
    assert (np.asarray(logprobs) != 0).tolist() == np.asarray(targets(batch)).tolist()
    assert np.asarray(targets(batch)).tolist()[0] == [False, False, True, True, True]


def test_a_token_with_nothing_before_it_is_no_target_and_is_not_counted(params, sampled):
    batch, _ = sampled
    assert batch.loss_mask.sum() == 9
    _, (count, _) = loss_sum(MODULE, params, batch)
    assert count == np.asarray(targets(batch)).sum() == 8


def test_a_clipped_policy_gradient_lifts_what_was_better_and_lowers_what_was_worse(params, sampled):
    batch, logprobs = sampled
    batch = replace(batch, weight=jnp.array([1.0, -1.0, 1.0, -1.0]), sampler_logprobs=logprobs)
    before = program_logprobs(params, batch)
    trained, metrics = train(params, batch, clipped_policy_gradient)
    np.testing.assert_allclose(metrics.loss, -jnp.sum(targets(batch) * token_weights(batch)) / 8, rtol=1e-5)
    np.testing.assert_allclose(metrics.row_logprob, before, rtol=1e-5)
    moved = program_logprobs(trained, batch) - before
    assert (np.sign(moved) == [1, -1, 1, -1]).all()
    parted, _ = train(params, batch, clipped_policy_gradient, accumulate=2)
    same = jax.tree.map(lambda a, b: np.allclose(a, b, atol=1e-3), trained, parted)
    assert all(jax.tree.leaves(same))


def test_a_reference_holds_the_model_near_it(params, sampled):
    batch, logprobs = sampled
    before = program_logprobs(params, batch)
    _, step = trainer(params, near_a_reference)
    gains = []
    for beta in (0.0, 100.0):
        held = replace(batch, reference_logprobs=logprobs, extras={"beta": jnp.full(4, beta)})
        state, _ = trainer(params, near_a_reference)
        for _ in range(4):
            state, _ = step(state, held)
        gains.append(np.abs(program_logprobs(state.params, batch) - before).max())
    assert gains[1] < gains[0] / 3


def test_programs_packed_in_a_row_have_a_weight_and_a_log_prob_each(params, sampled):
    apart, _ = sampled
    packed = jax.tree.map(jnp.asarray, pack_examples(EXAMPLES, 15))
    assert packed.tokens.shape[0] == 1
    weights = jnp.array([0.5, 0.0, 2.0, 1.0])
    total, (count, programs) = loss_sum(
        MODULE, params, replace(packed, weight=jnp.pad(weights[None], ((0, 0), (0, 1))))
    )
    total_apart, (count_apart, programs_apart) = loss_sum(MODULE, params, replace(apart, weight=weights))
    assert programs.shape == (1, 5)
    np.testing.assert_allclose(programs[0, :4], programs_apart, rtol=1e-5)
    assert programs[0, 4] == 0
    np.testing.assert_allclose(total, total_apart, rtol=1e-5)
    assert count == count_apart == 6
    assert token_weights(replace(packed, weight=weights[None])).tolist()[0] == [0.5] * 5 + [0] * 3 + [2] * 5 + [1] * 2


def test_packed_log_probs_come_back_in_order_from_micro_batches(params):
    rows = jax.tree.map(jnp.asarray, pack_examples(EXAMPLES * 4, 15))
    rows = replace(rows, weight=jnp.ones((4, 4)))
    _, whole = train(params, rows, cross_entropy)
    _, parted = train(params, rows, cross_entropy, accumulate=2)
    assert parted.row_logprob.shape == rows.weight.shape
    np.testing.assert_allclose(parted.row_logprob, whole.row_logprob, rtol=1e-5)
