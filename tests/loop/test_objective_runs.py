"""Runs for another objective than the paper's, of adapters, and with guards."""

import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_runs import results, rows, small

from pper_jax.errors import RunFailure, UserError
from pper_jax.loop import rounds, run
from pper_jax.loop.state import init_loop_state
from pper_jax.models import load_model
from pper_jax.tasks import load_tasks
from pper_jax.types import TrainState


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """GRPO near its reference on adapters, from a right and a wrong program for each task of a small run."""
    file = tmp_path_factory.mktemp("answers") / "answers.jsonl"
    tasks = load_tasks("micro_python", split="train", count=4, seed=0)
    written = [(task.task_id, text) for task in tasks for text in (task.reference, "    return None\n")]
    file.write_text("".join(json.dumps({"task_id": name, "completion": text}) + "\n" for name, text in written))
    return {
        "samples": str(file),
        "train__objective": {"name": "grpo", "kl": 0.05, "normalize": True},
        "train__roll_back": 1.0,
        "lora": {"rank": 2, "targets": "query|down"},
        "replay__fresh": 0.5,
        "rounds": 2,
    }


@pytest.fixture(scope="module")
def whole(asked, tmp_path_factory):
    return run(small(tmp_path_factory.mktemp("whole"), **asked))


def train_rows(folder):
    return [row for row in rows(folder.metrics) if row["event"] == "train"]


def leaves(folder):
    return {
        "/".join(key.key for key in path): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(load_model(folder)[1])
    }


def test_a_run_of_grpo_on_adapters_moves_their_targets_alone(whole, tmp_path):
    before, after = (leaves(path) for path in (small(tmp_path).model, whole.model))
    moved = {path for path in before if not np.array_equal(before[path], after[path])}
    assert moved == {"layer_0/attention/query/kernel", "layer_0/down/kernel"}
    first = train_rows(whole)[0]
    drawn = [row["pass_rate"] == 1 for row in rows(whole.draws(1)) if row["step"] == 1]
    assert 0 < sum(drawn) < 8
    assert first["grad_norm"] > 1e-3
    assert not first["skipped"]


def test_another_objective_and_other_adapters_are_another_asking(asked, whole):
    changed = {"lora": {"rank": 3, "targets": "query|down"}, "train__objective": {"name": "grpo", "normalize": True}}
    with pytest.raises(UserError, match=r"it differs in lora\.rank, train\.objective\.kl"):
        run(small(whole.path.parent, **{**asked, **changed}))


@pytest.mark.slow
def test_a_run_on_adapters_goes_on_as_if_it_had_never_stopped(asked, whole, tmp_path):
    run(small(tmp_path, **{**asked, "rounds": 1}))
    longer = run(small(tmp_path, **asked))
    assert results(longer.path) == results(whole.path)


def test_a_step_that_changes_nothing_ends_the_run(tmp_path):
    with pytest.raises(RunFailure, match="round 1, training step 1 changed nothing") as failure:
        run(small(tmp_path, train__objective={"name": "advantage"}))  # no program of the tiny model passes a test
    assert "train.stop_after_unchanged" in str(failure.value)
    assert train_rows(SimpleNamespace(metrics=tmp_path / "run" / "metrics.jsonl"))[-1]["unchanged"] is True


def test_pairs_that_no_task_has_are_said_and_a_fall_is_rolled_back(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(rounds, "evaluate", lambda parts, state, pool, journal, index: [0.5, 0.2][index])
    monkeypatch.setattr(rounds, "write_report", lambda *rest: None)
    monkeypatch.setattr("pper_jax.loop.ending.gain", lambda folder, split, tasks, last, seed: {"last": last})
    config = small(tmp_path, train__objective={"name": "dpo"}, train__roll_back=0.1, train__batch_size=16)
    folder = run(config)
    said = capsys.readouterr().out
    assert "no task has both a solved and a failed program in the replay buffer, so nothing is trained" in said
    assert "fell to 20.0 %, so that the parameters of round 0 (50.0 %) are taken again" in said
    summary = json.loads(folder.summary.read_text())
    assert summary["rolled_back_to"] == 0
    assert summary["splits"]["held"] == {"last": 0}
    assert [row["to"] for row in rows(folder.metrics) if row["event"] == "roll_back"] == [0]


def test_a_state_is_rolled_back_where_the_pass_rate_fell_too_far():
    def state_of(value, index, like):
        train = like.train.replace(params={"w": jnp.full(2, value)}, opt_state={"m": jnp.full(2, 10 * value)})
        return like.replace(train=train).at(index, 4)

    train = TrainState(jnp.int32(0), {"w": jnp.zeros(2)}, {"m": jnp.zeros(2)}, jax.random.key(0))
    state, seen = state_of(0.0, 0, init_loop_state(train, None, keep_best=True)), []
    for index, rate in enumerate([0.3, 0.5, 0.45, 0.35, 0.6]):
        state, best = state_of(float(index), index, state).guarded(state.best, rate, 0.1)
        seen.append((float(state.train.params["w"][0]), float(state.train.opt_state["m"][0]), int(best.stands)))
    assert seen == [(0, 0, 0), (1, 10, 1), (2, 20, 2), (1, 10, 1), (4, 40, 4)]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"train__objective": {"name": "dpo"}, "replay__store": "solved"},
            "train.objective is dpo, which needs failed",
        ),
        ({"train__objective": {"name": "dpo"}, "replay__store": "failed"}, "which needs solved programs"),
        ({"train__objective": {"name": "dpo"}, "train__batch_size": 7}, "must have an even number of programs"),
        ({"train__objective": {"name": "dpo"}, "train__accumulate": 8}, "must have an even number of programs"),
        ({"train__objective": {"name": "dpo"}, "replay__fresh": 0.5}, "leave replay.fresh and replay.replacement out"),
        ({"train__objective": {"name": "raft"}, "replay__store": "failed"}, "the buffer holds none with replay.store"),
        ({"train__objective": {"name": "unlikelihood"}, "replay__min_pass_rate": 0.1}, "needs failed programs"),
        ({"train__objective": {"name": "ppo"}}, "train.objective.name is 'ppo'; choose one of"),
        (
            {"train__objective": {"clip": 0.3}},
            "train.objective.clip is 0.3, which the objective cross_entropy does not",
        ),
        ({"replay__fresh": 0.01}, "replay.fresh is 0.01, which of a batch of 8 is no program"),
        ({"train__roll_back": 0.1, "tasks__eval": {}}, "train.roll_back goes by held-out tasks, and there are none"),
        ({"train__roll_back": 1.5}, "train.roll_back is 1.5"),
        ({"train__stop_after_unchanged": 0}, "train.stop_after_unchanged is 0"),
        ({"lora": {"alpha": 3.0}}, "lora.rank is 0, so that no adapters are trained"),
        ({"lora": {"rank": 2, "targets": "("}}, "lora.targets is '(', which is no regular expression"),
    ],
)
def test_what_cannot_be_or_does_nothing_is_one_sentence(changes, said, tmp_path):
    with pytest.raises(UserError) as error:
        small(tmp_path, **changes)
    assert said in str(error.value)


def test_targets_that_match_nothing_are_said_before_anything_is_written(tmp_path):
    with pytest.raises(UserError, match=r"lora\.targets is 'no_such', which matches no weight of the model"):
        run(small(tmp_path, lora={"rank": 2, "targets": "no_such"}))
    assert not (tmp_path / "run").exists()
