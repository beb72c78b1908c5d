"""An evaluation against an earlier one: the same tasks, the ranks kept, every group tested, nothing else taken."""

import json

import pytest

from pper_jax.cli import main
from pper_jax.errors import UserError
from pper_jax.files import dump_jsonl
from pper_jax.programs import figures, print_figures
from pper_jax.programs.against import check_shared, compare_with, earlier_evaluation, print_comparison
from pper_jax.programs.testing import task_digest
from pper_jax.tasks import Task, evaluation_task

TESTS = {"kind": "answer", "expected": "1"}
TASKS = [
    Task(f"t{i}", f"prompt {i}", TESTS, source="apps" if i < 8 else "mbpp", difficulty="hard" if i % 2 else "easy")
    for i in range(12)
]


def row(task, rate, rank=0, **more):
    status = "infrastructure" if rate is None else "pass" if rate == 1 else "fail"
    judged = {"passed": 0, "total": 1, "tests": [], "pass_rate": rate or 0.0, "status": status, "rank": rank}
    return {"task_id": task.task_id, "task_digest": task_digest(task), **judged, **more}


def stored(folder, rows, name="verdicts.jsonl"):
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(dump_jsonl(rows))
    return folder


def test_gains_are_paired_and_all_groups_are_one_family(tmp_path, capsys):
    earlier = earlier_evaluation(stored(tmp_path, [row(task, 0.0) for task in TASKS]))
    now = [row(task, 1.0 if i < 8 else 0.0) for i, task in enumerate(TASKS)]
    result = compare_with(earlier, TASKS, now, "beam", seed=0)
    found = result["comparisons"]
    assert [*found] == ["all", "easy", "hard", "apps", "mbpp"]
    assert found["all"]["mcnemar"] == {"gained": 8, "lost": 0, "p": 2 / 2**8, "holm": 5 * 2 / 2**8}
    assert found["all"]["gain"]["accuracy"]["difference"] == pytest.approx(2 / 3)
    assert found["all"]["gain"]["accuracy"]["low"] > 0
    assert found["mbpp"]["mcnemar"] == {"gained": 0, "lost": 0, "p": 1.0, "holm": 1.0}
    print_comparison(result)
    out = capsys.readouterr().out
    assert "on the same 12 tasks" in out
    assert "0.0 -> 66.7" in out
    assert "differs too" not in out


def test_a_program_that_could_not_be_judged_keeps_its_rank():
    task = TASKS[:1]
    rows = [row(task[0], 1.0, rank=1), row(task[0], None, rank=0), row(task[0], 0.0, rank=2)]
    result = figures(task, rows, [1, 2, 3], "beam", seed=0)["all"]
    assert (result["tasks"], result["not_judged"]) == (0, 1)  # the best program is that of rank 0, whatever it is worth
    assert (result["pass@1"], result["pass@2"], result["pass@3"]) == (None, 1.0, 1.0)
    assert result["mean_of_programs"]["pass_rate"] == 0.5
    rows = [row(task[0], 1.0, rank=2), row(task[0], None, rank=1), row(task[0], 0.0, rank=0)]
    result = figures(task, rows, [1, 2, 3], "beam", seed=0)["all"]
    assert (result["pass_rate"], result["pass@1"], result["pass@2"], result["pass@3"]) == (0.0, 0.0, None, 1.0)
    assert [result[f"pass@{k}_tasks"] for k in (1, 2, 3)] == [1, 0, 1]


def test_greedy_best_beam_and_mean_of_samples_are_told_apart(capsys):
    rows = [row(TASKS[0], 0.5), row(TASKS[0], 1.0, rank=1)]
    shown = {}
    for method in ("greedy", "beam", "sample"):
        result = figures(TASKS[:1], rows, [1], method, seed=0)
        print_figures(result, [1])
        shown[result["answer"]] = result["all"]["pass_rate"], "mean_of_programs" in result["all"]
        assert f"an answer is the {result['answer']}" in capsys.readouterr().out
    assert shown == {"greedy program": (0.5, False), "best beam": (0.5, True), "mean of samples": (0.75, False)}


def test_figures_by_source_and_their_intervals(capsys):
    rows = [row(task, float(i < 8)) for i, task in enumerate(TASKS)]
    result = figures(TASKS, rows, [1], "beam", seed=0)
    assert {label: each["accuracy"] for label, each in result["by_source"].items()} == {"apps": 1.0, "mbpp": 0.0}
    assert 0 < result["all"]["pass@1_low"] < result["all"]["pass@1"] == 2 / 3 < result["all"]["pass@1_high"] < 1
    print_figures(result, [1])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:6]] == ["all", "easy", "hard", "apps", "mbpp"]


def test_another_decoding_is_said(tmp_path, capsys):
    drawn = [row(TASKS[0], rate, method="sample") for rate in (1.0, 0.0)]
    earlier = earlier_evaluation(stored(tmp_path, drawn))
    result = compare_with(earlier, TASKS, [row(TASKS[0], 1.0)], "beam", seed=0)
    assert result["comparisons"]["all"]["before"]["accuracy"] == 0.5
    print_comparison(result)
    out = capsys.readouterr().out
    assert "there an answer was the mean of samples, here it is the best beam" in out
    assert "11 tasks are left out" in out


def test_a_run_is_compared_by_its_last_held_out_verdicts(tmp_path):
    for index, rate in ((0, 0.0), (3, 1.0), (2, 0.0)):
        stored(tmp_path, [row(TASKS[0], rate)], f"verdicts/eval_{index:03d}_held.jsonl")
    stored(tmp_path, [row(TASKS[1], 0.5)], "verdicts/eval_001_other_set.jsonl")
    stored(tmp_path, [row(TASKS[2], 0.5)], "verdicts/round_004.jsonl")
    earlier = earlier_evaluation(tmp_path)
    assert {each["task_id"]: each["pass_rate"] for each in earlier.rows} == {"t0": 1.0, "t1": 0.5}
    (tmp_path / "summary.json").write_text('{"rolled_back_to": 2}')
    earlier = earlier_evaluation(tmp_path)
    assert {each["task_id"]: each["pass_rate"] for each in earlier.rows} == {"t0": 0.0, "t1": 0.5}


def test_tasks_of_the_same_name_and_other_content_are_not_compared(tmp_path):
    other = [Task("t0", "another prompt", TESTS), TASKS[1]]
    earlier = earlier_evaluation(stored(tmp_path, [row(task, 1.0) for task in other]))
    assert [task.task_id for task in check_shared(TASKS[:2], earlier)] == ["t1"]
    with pytest.raises(UserError, match="judged none of the 1 tasks; 1 have the same ids and other prompts or tests"):
        check_shared(TASKS[:1], earlier)


def test_an_evaluation_is_by_the_hidden_tests_and_compared_by_them(tmp_path):
    task = Task("t", "prompt", TESTS, hidden={"kind": "answer", "expected": "2"})
    assert task_digest(task) != task_digest(evaluation_task(task))
    earlier = earlier_evaluation(stored(tmp_path, [row(evaluation_task(task), 1.0)]))
    assert check_shared([task], earlier) == [task]
    seen = earlier_evaluation(stored(tmp_path, [row(task, 1.0)]))
    with pytest.raises(UserError, match="other prompts or tests"):
        check_shared([task], seen)


@pytest.mark.parametrize("text", [None, "", "{}\n", '{"task_id": "t0"}\n', "[1]\n", "torn"])
def test_what_is_no_evaluation_is_one_sentence(tmp_path, text, capsys):
    path = tmp_path / "earlier"
    if text is not None:
        path.write_text(text)
    argv = ["eval", "--model", "micro", "--tasks", "micro_python:train:2:0", "--against", str(path)]
    assert main(argv) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert str(path) in error


def test_an_evaluation_against_an_earlier_one(tmp_path, capsys):
    tasks = ["--model", "micro", "--tasks", "micro_python:heldout_kind:4:0", "--max-new-tokens", "16"]
    argv = ["eval", *tasks, "--method", "greedy", "--json"]
    assert main([*argv, "--out", str(tmp_path / "first")]) == 0
    rows = [json.loads(line) for line in (tmp_path / "first" / "verdicts.jsonl").read_text().splitlines()]
    assert {each["method"] for each in rows} == {"greedy"}
    assert all(each["task_source"] and each["task_difficulty"] and each["task_digest"] for each in rows)
    capsys.readouterr()
    assert main([*argv, "--against", str(tmp_path / "first")]) == 0
    against = json.loads(capsys.readouterr().out)["against"]
    assert against["answers"] == ["greedy program", "greedy program"]
    assert against["comparisons"]["all"]["tasks"] == against["tasks"] == 4
    assert against["comparisons"]["all"]["gain"]["accuracy"]["difference"] == 0
