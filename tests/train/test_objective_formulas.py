"""Each objective against its equation written out in numpy, for programs that stand alone and that are packed."""

from dataclasses import replace
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pper_jax.errors import UserError
from pper_jax.train import ObjectiveConfig, make_objective
from pper_jax.train.objectives import NEEDS, target_count
from pper_jax.train.objectives.options import Name
from pper_jax.types import TrainBatch

CLIP, TRUNCATE, BETA, COEFFICIENT, KL = 0.2, 1.5, 0.3, 0.7, 0.25
PROGRAMS, PROMPT, LENGTH = 8, 2, 5
CONFIGS = {
    "cross_entropy": ObjectiveConfig(),
    "pass_rate": ObjectiveConfig("pass_rate"),
    "raft": ObjectiveConfig("raft"),
    "unlikelihood": ObjectiveConfig("unlikelihood", coefficient=COEFFICIENT),
    "advantage": ObjectiveConfig("advantage"),
    "grpo": ObjectiveConfig("grpo", clip=CLIP),
    "importance": ObjectiveConfig("importance", truncate=TRUNCATE),
    "dpo": ObjectiveConfig("dpo", beta=BETA),
    "cross_entropy with kl": ObjectiveConfig(kl=KL),
    "raft with kl": ObjectiveConfig("raft", kl=KL),
}


class Numbers:
    """Eight programs of three targets each: what the model gives them, and what is stored beside them; float64."""

    def __init__(self):
        rng = np.random.default_rng(0)
        shape = (PROGRAMS, LENGTH - PROMPT)
        self.p, self.q, self.ref = (-rng.gamma(2.0, 0.4, shape) - 0.05 for _ in range(3))
        self.w = np.array([1.0, 0.5, 2.0, 0.0, 1.0, 1.0, 0.25, 1.0])
        self.r = np.array([1.0, 0.0, 1.0, 0.5, 1.0, 0.0, 1.0, 0.25])
        self.a = np.array([0.5, -0.5, 0.25, -0.25, 0.75, -0.25, 0.0, -0.5])


def written_out(name, p, n, frozen):
    """``(sum, count)`` of the objective, ``p [8, 3]`` being the log-probabilities; ``frozen``: those of the ratio."""
    w, total, count = n.w.copy(), 0.0, 0.0
    if name == "dpo":
        for i in range(0, PROGRAMS, 2):
            margin = BETA * ((p[i] - n.ref[i]).sum() - (p[i + 1] - n.ref[i + 1]).sum())
            weight = min(w[i], w[i + 1])
            total += weight * np.log(1 + np.exp(-margin))
            count += weight > 0
        return total, count
    if name.startswith("raft"):
        w[n.r < 1] = 0
    for i in range(PROGRAMS):
        count += p.shape[1] * (w[i] > 0)
        for t in range(p.shape[1]):
            ratio, kept = np.exp(p[i, t] - n.q[i, t]), min(np.exp(frozen[i, t] - n.q[i, t]), TRUNCATE)
            base = name.removesuffix(" with kl")
            if base in ("cross_entropy", "raft"):
                total -= w[i] * p[i, t]
            elif base == "pass_rate":
                total -= w[i] * n.r[i] * p[i, t]
            elif base == "unlikelihood":
                rest = np.log(1e-6 + 1 - np.exp(p[i, t]))
                total -= w[i] * (p[i, t] if n.r[i] > 0 else COEFFICIENT * rest)
            elif base == "advantage":
                total -= w[i] * n.a[i] * p[i, t]
            elif base == "importance":
                total -= w[i] * n.a[i] * kept * p[i, t]
            else:
                assert base == "grpo"
                clipped = min(max(ratio, 1 - CLIP), 1 + CLIP)
                total -= w[i] * min(ratio * n.a[i], clipped * n.a[i])
            if name.endswith("kl"):
                d = n.ref[i, t] - p[i, t]
                total += KL * w[i] * (np.exp(d) - d - 1)
    return total, count


def laid_out(n, per_row):
    """The batch, ``per_row`` programs a row with two more columns of padding, and how to lay out ``[8, 3]`` values."""
    rows, width = PROGRAMS // per_row, per_row * LENGTH + 2

    def tokens(values, fill=0.0):
        whole = np.concatenate([np.full((PROGRAMS, PROMPT), fill), values], axis=1).reshape(rows, -1)
        return jnp.asarray(np.pad(whole, ((0, 0), (0, 2)), constant_values=fill), jnp.float32)

    segments = np.pad(np.repeat(np.arange(1, per_row + 1), LENGTH), (0, 2))[None].repeat(rows, 0)

    def programs(values):
        return jnp.asarray(values if per_row == 1 else values.reshape(rows, per_row), jnp.float32)

    batch = TrainBatch(
        tokens=jnp.ones((rows, width), jnp.int32),
        segment_ids=jnp.asarray(segments, jnp.int32),
        loss_mask=tokens(np.ones((PROGRAMS, LENGTH - PROMPT))) > 0,
        weight=programs(n.w),
        sampler_logprobs=tokens(n.q, fill=-7.0),  # what stands beside the targets must not matter
        reference_logprobs=tokens(n.ref, fill=-3.0),
        extras={"pass_rate": programs(n.r), "advantage": programs(n.a)},
    )
    return batch, tokens


def numeric_gradient(name, n, step=1e-6):
    found = np.zeros_like(n.p)
    for at in np.ndindex(*n.p.shape):
        moved = [n.p.copy(), n.p.copy()]
        moved[0][at] += step
        moved[1][at] -= step
        high, low = (written_out(name, p, n, n.p)[0] for p in moved)
        found[at] = (high - low) / (2 * step)
    return found


@pytest.mark.parametrize("per_row", [1, 4])
@pytest.mark.parametrize("name", CONFIGS)
def test_an_objective_is_its_equation_alone_packed_and_in_parts(name, per_row):
    n = Numbers()
    batch, tokens = laid_out(n, per_row)
    objective, p = make_objective(CONFIGS[name]), tokens(n.p)
    (total, (count, programs)), gradient = jax.value_and_grad(
        lambda p: (lambda s, *rest: (s, rest))(*objective(p, batch)), has_aux=True
    )(p)
    expected, expected_count = written_out(name, n.p, n, n.p)
    np.testing.assert_allclose(total, expected, rtol=1e-5)
    assert count == expected_count
    assert programs.shape == batch.weight.shape
    np.testing.assert_allclose(programs.reshape(-1), n.p.sum(axis=1), rtol=1e-5)
    gradient = jnp.where(batch.loss_mask, gradient, 0)  # what stands elsewhere is 0 whatever the parameters
    np.testing.assert_allclose(gradient, tokens(numeric_gradient(name, n)), rtol=1e-3, atol=1e-5)

    half = batch.tokens.shape[0] // 2
    parts = [
        objective(p[part], jax.tree.map(lambda x, part=part: x[part], batch))[:2]
        for part in (slice(half), slice(half, None))
    ]
    np.testing.assert_allclose(sum(part[0] for part in parts), total, rtol=1e-5)
    assert sum(part[1] for part in parts) == count


def test_every_name_is_tested():
    assert set(get_args(Name)) == set(NEEDS) == {config.name for config in CONFIGS.values()}


def test_a_certain_token_has_a_finite_unlikelihood():
    batch, tokens = laid_out(Numbers(), 1)
    objective = make_objective(CONFIGS["unlikelihood"])
    total, gradient = jax.value_and_grad(lambda p: objective(p, batch)[0])(tokens(np.zeros((PROGRAMS, 3))))
    assert np.isfinite(total)
    assert np.isfinite(gradient).all()
    assert (np.asarray(gradient)[1, PROMPT:LENGTH] > 0).all()


@pytest.mark.parametrize("name", [name for name, config in CONFIGS.items() if config.needs])
def test_what_the_batch_lacks_is_said(name):
    batch, tokens = laid_out(Numbers(), 1)
    bare = replace(batch, sampler_logprobs=None, reference_logprobs=None, extras={})
    lacking = "|".join(CONFIGS[name].needs)
    with pytest.raises(UserError, match=f"the objective needs ({lacking}), which the batch lacks"):
        make_objective(CONFIGS[name])(tokens(Numbers().p), bare)


def test_programs_that_do_not_stand_in_pairs_are_refused():
    batch, tokens = laid_out(Numbers(), 1)
    odd = jax.tree.map(lambda x: x[:7], batch)
    with pytest.raises(ValueError, match="7 programs do not stand in pairs"):
        make_objective(CONFIGS["dpo"])(tokens(Numbers().p)[:7], odd)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"name": "ppo"}, "name is 'ppo'; choose one of cross_entropy, "),
        ({"kl": -1.0}, "kl is -1.0"),
        ({"name": "grpo", "clip": 1.0}, "clip is 1.0"),
        ({"name": "dpo", "beta": 0.0}, "beta is 0.0"),
        ({"clip": 0.1}, "clip is 0.1, which the objective cross_entropy does not read; leave it out, or take one of g"),
        ({"name": "dpo", "kl": 0.1}, "kl is 0.1, which the objective dpo does not read"),
        ({"name": "raft", "normalize": True}, "normalize is True, which the objective raft does not read"),
        ({"name": "grpo", "normalize": 1}, "normalize is 1; it must be true or false"),
    ],
)
def test_options_that_do_nothing_are_refused(wrong, said):
    with pytest.raises(UserError) as error:
        ObjectiveConfig(**wrong)
    assert said in str(error.value)


def bigram(table, batch):
    """Log-probabilities ``[B, T]`` of a model that looks one token back; 0 where there is no target."""
    before = jnp.roll(batch.tokens, 1, axis=1)
    found = jax.nn.log_softmax(table)[before, batch.tokens]
    return jnp.where(batch.loss_mask, found, 0.0)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_model_learns_what_the_objective_wants(name):
    n = Numbers()
    n.w = np.ones(PROGRAMS)
    batch, _ = laid_out(n, 4)
    tokens = np.random.default_rng(1).integers(0, 40, batch.tokens.shape)
    batch, table = replace(batch, tokens=jnp.asarray(tokens)), jnp.zeros((40, 40))
    batch = replace(batch, sampler_logprobs=bigram(table, batch), reference_logprobs=bigram(table, batch))
    objective = make_objective(CONFIGS[name])

    @jax.jit
    def step(table):
        def loss(table):
            total, count, programs = objective(bigram(table, batch), batch)
            return total / count, programs

        (value, programs), gradient = jax.value_and_grad(loss, has_aux=True)(table)
        return table - 2.0 * gradient, value, programs.reshape(-1)

    values, moves = [], []
    for _ in range(20):
        table, value, programs = step(table)
        values.append(float(value))
        moves.append(np.asarray(programs))
    moved = moves[-1] - moves[0]
    if name != "importance":  # whose gradient is that of no value: none flows through the ratio
        assert values[-1] < values[0]
    solved, hopeless = n.r >= 1, n.r == 0
    wants = {
        "cross_entropy": moved > 0,
        "pass_rate": moved[solved] > 0,
        "raft": moved[solved] > 0,
        "unlikelihood": np.concatenate([moved[~hopeless] > 0, moved[hopeless] < 0]),
        "dpo": moved[0::2] > moved[1::2],
    }.get(CONFIGS[name].name, np.concatenate([moved[n.a > 0] > 0, moved[n.a < 0] < 0]))
    assert wants.all()


def test_a_reference_holds_the_model_near_it():
    n = Numbers()
    batch, _ = laid_out(n, 1)
    assert target_count(batch) == 3 * 7
    weak, strong = (make_objective(ObjectiveConfig(kl=kl)) for kl in (0.1, 10.0))
    p = batch.reference_logprobs + 0.5
    for objective, falls in ((weak, True), (strong, False)):
        gradient = jax.grad(lambda p, objective=objective: objective(p, batch)[0])(p)
        assert (np.asarray(gradient)[0, PROMPT:LENGTH] < 0).all() == falls
