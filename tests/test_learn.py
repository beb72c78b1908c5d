from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pper_jax import replay
from pper_jax.decode import pack_prompts, score
from pper_jax.errors import UserError
from pper_jax.learn import _as_batch, make_learn_step
from pper_jax.loop.store import replay_items
from pper_jax.models import GPT2, ModelConfig
from pper_jax.sharding import make_mesh
from pper_jax.tasks import Sample, Task
from pper_jax.train import OptimizerConfig, init_train_state, make_optimizer
from pper_jax.types import Programs

EOS, TURN = 0, 4
MODULE = GPT2(ModelConfig("gpt2", 32, 16, 1, 2, 2, 8, 32, 24, attention_bias=True, mlp_bias=True))
TESTS = {"kind": "answer", "expected": "1"}
TASKS = [Task("a", "x", TESTS), Task("b", "y", TESTS)]
PROMPTS = [[5, 6], [7, 8, 9]]
CONFIG = replay.ReplayConfig(capacity=8, omega=1.0, alpha=0.0)


def sample(task_id, tokens, reason="eos"):
    return Sample(task_id, "", logprob=-2.0, num_tokens=len(tokens), stop_reason=reason, tokens=tuple(tokens))


def random_params():
    tokens = jnp.zeros((1, 4), jnp.int32)
    return MODULE.init(jax.random.key(0), tokens, tokens, jnp.ones((1, 4, 4), bool))["params"]


def of(params, prompt, tokens):
    """The model's log-prob of these tokens behind this prompt."""
    zeros, packed = jnp.zeros((1, 1)), pack_prompts([tokens], 10)
    written = Programs(packed.tokens[None], packed.length[None], zeros, jnp.zeros((1, 1, 10)), zeros > 0)
    return float(score(MODULE, params, pack_prompts([prompt], 4), written).sum())


def items(*pairs, **more):
    samples, rates = zip(*pairs, strict=True)
    verdicts = [{"pass_rate": r, "status": "pass" if r == 1 else "fail"} if r is not None else FAULT for r in rates]
    options = {"round_index": 2, "first_program": 10, "eos": (EOS, TURN), "max_length": 12, **more}
    return replay_items(TASKS, PROMPTS, samples, verdicts, **options)


FAULT = {"pass_rate": 0.0, "status": "infrastructure"}


def test_rows_hold_the_prompt_and_exactly_the_samples_tokens():
    got = items(
        (sample("a", [11, 12, EOS]), 1.0),
        (sample("b", [13], "stop"), 0.5),
        (sample("b", [14, 15], "length"), 0.0),
        (sample("a", [11, TURN]), 1.0),
    )
    assert got.tokens[:, :6].tolist() == [
        [5, 6, 11, 12, EOS, 0],
        [7, 8, 9, 13, 0, 0],  # it was cut at a stop: it never wrote an EOS, and its log-prob has none
        [7, 8, 9, 14, 15, 0],
        [5, 6, 11, TURN, 0, 0],
    ]
    assert got.length.tolist() == [5, 4, 5, 4]
    assert got.prompt_length.tolist() == [2, 3, 3, 2]
    assert got.task_index.tolist() == [0, 1, 1, 0]
    assert got.program_id.tolist() == [10, 11, 12, 13]
    assert got.round.tolist() == [2, 2, 2, 2]
    assert got.valid.all()


def test_the_stored_log_prob_is_what_the_first_look_with_the_same_parameters_finds():
    params = random_params()
    written = [([11, 12, EOS], "eos"), ([13, 14], "stop"), ([15], "length")]
    rows = [replace(sample("b", tokens, reason), logprob=of(params, PROMPTS[1], tokens)) for tokens, reason in written]
    got = items(*((row, 0.5) for row in rows))
    for row in range(len(written)):
        start, end = int(got.prompt_length[row]), int(got.length[row])
        whole = got.tokens[row].tolist()
        assert got.logprob[row] == pytest.approx(of(params, whole[:start], whole[start:end]), abs=1e-4)


def test_empty_programs_and_faults_of_the_harness_are_never_stored():
    got = items(
        (sample("a", [], "stop"), 0.0),
        (sample("a", [EOS]), 0.0),  # an end and nothing else
        (sample("a", [TURN]), 0.0),
        (sample("a", [3, EOS]), None),
        (sample("b", [3, EOS]), 0.0),
        (replace(sample("a", [11, 12], "stop"), raw=""), 0.0),  # the tokens of a stop, as its profile's programs end in
        (replace(sample("a", [3, 11, 12], "stop"), raw="x"), 0.0),
        (sample("b", [3] * 10), 0.0),  # longer than the row: what was left of it would be another program
    )
    assert got.valid.tolist() == [False, False, False, False, True, False, True, False]
    buffer = replay.add(replay.init(CONFIG, max_length=12), got, CONFIG)
    assert int(buffer.filled.sum()) == 2


@pytest.mark.parametrize("lacking", ["tokens", "logprob"])
def test_a_program_without_tokens_or_log_prob_is_refused(lacking):
    with pytest.raises(UserError, match="task a has no tokens or logprob; `pper score`"):
        items((replace(sample("a", [3]), **{lacking: None}), 0.0))


@pytest.fixture(scope="module")
def learned():
    rows = items((sample("a", [11, 12, EOS]), 1.0), (sample("b", [13, 14, EOS]), 0.5))
    buffer = replay.add(replay.init(CONFIG, max_length=12), rows, CONFIG)
    params = random_params()
    mesh = make_mesh(devices=jax.devices()[:1])
    optimizer = make_optimizer(OptimizerConfig(learning_rate=1e-3, warmup_steps=0), 10)
    state = init_train_state(jax.tree.map(jnp.array, params), optimizer, jax.random.key(3), mesh)
    step = make_learn_step(MODULE, optimizer, state, mesh, CONFIG, batch_size=16)

    def run(params=params):
        fresh = init_train_state(jax.tree.map(jnp.array, params), optimizer, jax.random.key(3), mesh)
        return step(fresh, jax.tree.map(jnp.array, buffer))

    return params, run


def test_a_learn_step_trains_on_what_it_drew_and_writes_the_log_probs_back(learned):
    params, run = learned
    state, buffer, metrics, _, programs = run()
    assert state.step == 1
    assert np.isfinite(float(metrics.loss))
    assert set(programs.tolist()) == {10, 11}
    assert buffer.times_drawn.sum() == 16
    np.testing.assert_allclose(buffer.items.logprob[0], of(params, PROMPTS[0], [11, 12, EOS]), rtol=1e-4)
    assert buffer.scored_at.tolist()[:2] == [0, 0]  # the parameters that measured them had made no step


def test_priorities_may_stay_as_the_programs_were_stored(learned):
    params, _ = learned
    config = replace(CONFIG, refresh=False)
    rows = items((sample("a", [11, 12, EOS]), 1.0), (sample("b", [13, 14, EOS]), 0.5))
    buffer = replay.add(replay.init(config, max_length=12), rows, config)
    before = jax.tree.map(np.asarray, (buffer.items.logprob, buffer.log_worth, buffer.tree.nodes))
    mesh, optimizer = make_mesh(devices=jax.devices()[:1]), make_optimizer(OptimizerConfig(), 10)
    state = init_train_state(jax.tree.map(jnp.array, params), optimizer, jax.random.key(3), mesh)
    step = make_learn_step(MODULE, optimizer, state, mesh, config, batch_size=16)
    _, buffer, metrics, _, _ = step(state, buffer)
    assert np.isfinite(float(metrics.loss))
    after = (buffer.items.logprob, buffer.log_worth, buffer.tree.nodes)
    jax.tree.map(np.testing.assert_array_equal, after, before)


def test_a_log_prob_that_is_not_finite_is_not_written_back(learned):
    params, run = learned
    broken = jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), params)
    state, buffer, metrics, _, _ = run(broken)
    assert metrics.skipped
    assert state.step == 1
    assert buffer.items.logprob.tolist()[:2] == [-2.0, -2.0]
    assert buffer.scored_at.tolist()[:2] == [-1, -1]
    assert np.isfinite(replay.probabilities(buffer)).all()
    assert buffer.times_drawn.sum() == 16


def test_what_the_buffer_keeps_beside_a_program_reaches_the_objective():
    rows = items((sample("a", [11, 12, EOS]), 1.0))
    kept = {"sampler_logprobs": jnp.full((1, 12), -0.5), "advantage": jnp.array([2.0])}
    named = ("tokens", "prompt_length", "length")
    batch = _as_batch(SimpleNamespace(**{name: getattr(rows, name) for name in named}, extras=kept), jnp.ones(1))
    assert batch.sampler_logprobs is kept["sampler_logprobs"]
    assert batch.reference_logprobs is None
    assert batch.extras == {"advantage": kept["advantage"]}
    assert _as_batch(rows, jnp.ones(1)).sampler_logprobs is None


def test_equal_states_draw_and_learn_the_same_bytes(learned):
    _, run = learned
    first, second = run(), run()
    same = jax.tree.map(
        lambda a, b: (
            np.array_equal(jax.random.key_data(a), jax.random.key_data(b))
            if jnp.issubdtype(a.dtype, jax.dtypes.prng_key)
            else np.array_equal(a, b)
        ),
        first,
        second,
    )
    assert all(jax.tree.leaves(same))
