"""What a study may compare, what its runs share and what it says of them. The runs are made up here."""

import json

import pytest
import yaml
from fabricated import Fabricator

from pper_jax.errors import RunFailure, UserError
from pper_jax.study import conduct, load_study
from pper_jax.study.held_out import half, part_of
from pper_jax.study.ledger import apart
from pper_jax.study.table import markdown
from pper_jax.tasks import load_tasks, read_tasks

BASE = {
    "name": "base",
    "model": "micro",
    "rounds": 2,
    "tasks": {
        "train": {"source": "micro_python", "split": "train", "count": 8},
        "eval": {"kind": {"source": "micro_python", "split": "heldout_kind", "count": 40}},
    },
    "beam": {"width": 5, "max_new_tokens": 64},
    "train": {"steps": 4, "batch_size": 8, "max_length": 192, "target_tokens": 500},
}


def study_file(tmp_path, base=None, **changes):
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(BASE if base is None else base))
    study = {
        "name": "try",
        "hypothesis": "More is more.",
        "base": "base.yaml",
        "arms": {"uniform": ["replay.mode=uniform"], "raft": ["replay.store=solved"], "again": ["replay.mode=uniform"]},
        "reference": "uniform",
        "seeds": [3, 4, 5],
        "out": str(tmp_path / "runs"),
        **changes,
    }
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in study.items() if v is not None}, sort_keys=False))
    return path


def figures(tmp_path, crew, **changes):
    folder = conduct(load_study(study_file(tmp_path, **changes)), crew)
    return json.loads((folder / "study.json").read_text())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seeds": [1, 2, 1]}, "seeds has 1 twice"),
        ({"seeds": []}, "seeds is empty"),
        ({"seeds": [-1]}, "a seed of seeds is -1"),
        ({"seeds": 3}, "seeds is 3; it must be a list"),
        ({"arms": {"one": []}, "reference": "one"}, "arms has 1"),
        ({"reference": "best"}, "reference is 'best'; it must be one of arms, uniform, raft, again"),
        ({"arms": {"a": [], "b": ["evaluation.width=3"]}, "reference": "a"}, "arm b sets evaluation.width, which must"),
        ({"arms": {"a": [], "b": ["seed=3"]}, "reference": "a"}, "arm b sets seed, which must be equal"),
        ({"arms": {"a": [], "b": ["tasks.eval.kind.count=9"]}, "reference": "a"}, "arm b sets tasks.eval.kind.count"),
        ({"arms": {"a": [], "b": ["beam.width=10"]}, "reference": "a"}, "arm b is given 160 programs, and a 80"),
        ({"arms": {"a": [], "b": ["train.target_tokens=900"]}, "reference": "a"}, "arm b is given 1800 target tokens"),
        ({"arms": {"a": [], "b": ["replay.alpha=7"]}, "reference": "a"}, "arm b: replay.alpha is 7"),
        ({"arms": {"a": [], "../b": []}, "reference": "a"}, "the name arms.../b"),
        ({"settings": ["train.target_tokens=null"]}, "train.target_tokens is not given"),
        ({"settings": ["tasks.eval={}"]}, "the base has no held-out tasks"),
        ({"part": "train"}, "part is 'train'; choose one of dev, test, all"),
        ({"equal": ["programs"]}, "arms are compared at equal target_tokens at least"),
        ({"equal": ["test_s"]}, "equal, entry 1 is 'test_s'; choose one of sampled_tokens, programs, target_tokens"),
        ({"hypothesis": None}, "the key hypothesis is missing"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_a_sentence_before_anything_runs(tmp_path, changes, said):
    with pytest.raises(UserError) as error:
        load_study(study_file(tmp_path, **changes))
    assert said in str(error.value)
    assert not (tmp_path / "runs").exists()


def test_arms_of_other_shape_and_equal_budget_may_be_compared(tmp_path):
    wide = ["beam.width=10", "tasks.train.count=4"]
    short = ["rounds=1", "tasks.train.count=16", "train.target_tokens=1000"]
    study = load_study(study_file(tmp_path, arms={"a": [], "wide": wide, "short": short}, reference="a"))
    assert study.arms["wide"].beam.width == 10


def test_what_arms_share_is_made_once_and_given_to_their_runs(tmp_path):
    crew = Fabricator({})
    figures(tmp_path, crew, arms={"a": [], "b": ["replay.alpha=0"], "wide": ["beam.width=8", "tasks.train.count=5"]},
            reference="a")  # fmt: skip
    names = [task["config"]["name"] for task in crew.told]
    assert sum(name.startswith("before-") for name in names) == 1  # for all arms and seeds
    assert sum(name.startswith("first-") for name in names) == 6  # for each seed, of a and b, and of wide
    runs = {task["config"]["name"]: task["given"] for task in crew.told}
    assert runs["a-3"] == runs["b-3"] != runs["a-4"]
    assert sorted(runs["a-3"]) == [
        "samples/eval_000_kind.jsonl", "samples/round_001.jsonl",
        "verdicts/eval_000_kind.jsonl", "verdicts/round_001.jsonl",
    ]  # fmt: skip
    assert runs["a-3"]["samples/eval_000_kind.jsonl"] == runs["a-4"]["samples/eval_000_kind.jsonl"]
    assert runs["a-3"]["samples/round_001.jsonl"] != runs["wide-3"]["samples/round_001.jsonl"]


def test_held_out_tasks_belong_to_the_study_and_its_halves_share_none(tmp_path):
    tasks = load_tasks("micro_python", split="heldout_kind", count=200, seed=0)
    dev, test = half(tasks, "dev"), half(tasks, "test")
    assert {task.task_id for task in dev} | {task.task_id for task in test} == {task.task_id for task in tasks}
    assert 70 < len(dev) < 130
    assert half(tasks, "all") == tasks
    assert [part_of(task.task_id) for task in half(tasks[::-1], "test")] == ["test"] * len(test)
    crew = Fabricator({})
    figures(tmp_path, crew, part="test")
    judged = {
        task["config"]["tasks"]["eval"]["kind"]["source"] for task in crew.told if task["config"]["tasks"]["eval"]
    }
    assert len(judged) == 1  # one file for all runs, whatever their seed
    assert {part_of(task.task_id) for task in read_tasks(judged.pop())} == {"test"}


def test_equal_arms_differ_by_exactly_nothing_and_a_planted_effect_is_found(tmp_path):
    found = figures(tmp_path, Fabricator({"raft": 0.2}))
    arms = found["sets"]["kind"]["arms"]
    assert arms["again"]["against"]["difference"] == 0
    assert arms["again"]["against"]["p"] == 1
    assert arms["again"]["against"]["wins"] == 0
    assert arms["raft"]["against"]["low"] > 0.1
    assert arms["raft"]["against"]["holm"] < 0.01
    assert (arms["raft"]["against"]["wins"], arms["raft"]["against"]["of"]) == (3, 3)
    assert arms["raft"]["gain"]["difference"] > 0.1
    assert "against" not in arms["uniform"]
    assert arms["raft"]["curve"][-1]["sampled_tokens"] == 2000
    assert found["arms"]["raft"]["ledger"] == {
        "sampled_tokens": 2000, "programs": 80, "target_tokens": 1000, "updates": 2,
    }  # fmt: skip
    assert found["arms"]["raft"]["distinct_programs"] == pytest.approx(0.1)
    assert found["arms"]["raft"]["tasks_solved"] == 1


def test_an_arm_that_spent_otherwise_is_not_compared_and_says_so(tmp_path):
    found = figures(tmp_path, Fabricator({"raft": 0.2}, tokens={"raft": 1100}, idle=("again",)))
    assert found["arms"]["raft"]["apart"] == {"sampled_tokens": pytest.approx(0.1)}
    assert "against" not in found["sets"]["kind"]["arms"]["raft"]
    assert found["sets"]["kind"]["arms"]["raft"]["gain"]["difference"] > 0.1
    # An arm that found nothing to learn from had the budget and could not spend it: that is a result.
    assert found["arms"]["again"]["rounds_without_learning"] == 6
    assert "against" in found["sets"]["kind"]["arms"]["again"]


def test_arms_that_write_longer_programs_may_be_compared_at_equal_tokens(tmp_path):
    arms = {"uniform": [], "few": ["tasks.train.count=6"]}
    crew = Fabricator({"few": 0.2}, programs={"few": 30})
    found = figures(tmp_path, crew, arms=arms, equal=["sampled_tokens", "target_tokens"])
    assert found["arms"]["few"]["ledger"]["programs"] == 60
    assert found["arms"]["few"]["apart"] == {}
    assert found["sets"]["kind"]["arms"]["few"]["against"]["difference"] > 0.1
    assert "- Equal: sampled tokens, target tokens\n" in markdown(found)


def test_two_percent_apart_is_borne_and_more_is_not():
    spent = {"sampled_tokens": 1000, "programs": 50, "target_tokens": 0}
    assert apart({**spent, "sampled_tokens": 1020}, spent) == {}
    assert apart({**spent, "sampled_tokens": 979}, spent) == {"sampled_tokens": pytest.approx(-0.021)}
    assert apart({**spent, "target_tokens": 1}, spent) == {"target_tokens": float("inf")}


def test_an_arm_that_fails_is_reported_and_the_others_are_finished(tmp_path):
    found = figures(tmp_path, Fabricator({}, fails={"raft": "the disk is full"}))
    assert found["failed"] == {f"raft-{seed}": "the disk is full" for seed in (3, 4, 5)}
    assert "raft" not in found["sets"]["kind"]["arms"]
    assert "against" in found["sets"]["kind"]["arms"]["again"]


def test_a_study_of_which_nothing_ran_says_why(tmp_path):
    with pytest.raises(RunFailure, match="no run of try was finished; the first failed: the disk is full"):
        figures(tmp_path, Fabricator({}, fails=dict.fromkeys(("uniform", "raft", "again"), "the disk is full")))


def test_what_is_finished_is_not_made_again_and_arms_and_seeds_may_be_added(tmp_path):
    figures(tmp_path, Fabricator({"raft": 0.2}))
    crew = Fabricator({"raft": 0.2})
    first = figures(tmp_path, crew)
    assert crew.told == []
    arms = {"uniform": ["replay.mode=uniform"], "raft": ["replay.store=solved"], "more": ["replay.alpha=0"]}
    crew = Fabricator({"raft": 0.2})
    second = figures(tmp_path, crew, arms=arms, seeds=[3, 4, 5, 6])
    made = {task["config"]["name"] for task in crew.told if task["config"]["tasks"]["eval"]}
    assert made == {"more-3", "more-4", "more-5", "more-6", "uniform-6", "raft-6"}
    assert second["sets"]["kind"]["arms"]["raft"]["each"]["3"] == first["sets"]["kind"]["arms"]["raft"]["each"]["3"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"part": "test"}, "differs in part"),
        ({"task_seed": 1}, "differs in task_seed"),
        ({"settings": ["rounds=1"]}, "differs in arms.again.rounds"),
        (
            {"arms": {"uniform": ["replay.mode=uniform"], "raft": ["replay.alpha=0"]}},
            "differs in arms.raft.replay.alpha",
        ),
    ],
)
def test_a_folder_of_another_study_is_refused(tmp_path, changes, said):
    figures(tmp_path, Fabricator({}))
    with pytest.raises(UserError, match="is another study's") as error:
        figures(tmp_path, Fabricator({}), **changes)
    assert said in str(error.value)


def test_the_same_runs_may_be_read_against_another_reference(tmp_path):
    first = figures(tmp_path, Fabricator({"raft": 0.2}))["sets"]["kind"]["arms"]
    crew = Fabricator({"raft": 0.2})
    other = figures(tmp_path, crew, reference="raft")["sets"]["kind"]["arms"]
    assert crew.told == []
    assert other["uniform"]["against"]["difference"] == -first["raft"]["against"]["difference"]
    assert "against" not in other["raft"]


def test_a_run_that_was_ended_alone_is_said_to_be_unfinished(tmp_path):
    found = figures(tmp_path, Fabricator({}, fails={"raft": "it was interrupted"}))
    assert found["failed"]["raft-3"] == "it was interrupted"


def test_a_folder_of_something_else_is_refused_and_left(tmp_path):
    (tmp_path / "runs" / "try").mkdir(parents=True)
    (tmp_path / "runs" / "try" / "thesis.tex").write_text("mine")
    with pytest.raises(UserError, match="is not a study folder"):
        figures(tmp_path, Fabricator({}))
    assert [path.name for path in (tmp_path / "runs" / "try").iterdir()] == ["thesis.tex"]
