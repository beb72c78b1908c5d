import pytest

from pper_jax.programs import figures, print_figures, summarise_verdicts
from pper_jax.tasks import Task

TESTS = {"kind": "answer", "expected": "1"}
TASKS = [Task("a", "x", TESTS, difficulty="easy"), Task("b", "y", TESTS, difficulty="hard")]


def rows(task_id, *rates):
    status = {1.0: "pass", None: "infrastructure"}
    return [{"task_id": task_id, "pass_rate": r or 0.0, "status": status.get(r, "fail")} for r in rates]


def test_beam_figures_judge_the_best_program_and_the_best_k():
    result = figures(TASKS, [*rows("a", 0.5, 1.0), *rows("b", 0.0, 0.0)], [1, 2], "beam", seed=0)
    assert result["all"]["pass_rate"] == 0.25
    assert (result["all"]["pass@1"], result["all"]["pass@2"]) == (0.0, 0.5)
    assert result["by_difficulty"]["easy"]["pass@2"] == 1.0
    assert result["statuses"] == {"fail": 3, "pass": 1}


def test_sampled_figures_use_the_unbiased_estimate():
    result = figures(TASKS, [*rows("a", 1.0, 0.0, 0.0, 0.0), *rows("b", 1.0, 1.0, 0.0, 0.0)], [1, 2], "sample", seed=0)
    assert result["all"]["pass@1"] == pytest.approx((1 / 4 + 2 / 4) / 2)
    assert result["all"]["pass@2"] == pytest.approx((1 - 3 / 6 + 1 - 1 / 6) / 2)


def test_a_fault_of_the_harness_is_never_a_failed_program(capsys):
    result = figures(TASKS, [*rows("a", None, 1.0), *rows("b", None, None)], [1, 2], "sample", seed=0)
    assert result["all"]["tasks"] == 1
    assert result["all"]["pass@1"] == 1.0
    assert result["all"]["pass@2"] is None
    assert result["by_difficulty"]["hard"]["pass_rate"] is None
    print_figures(result, [1, 2])
    assert capsys.readouterr().out.splitlines()[1].split()[:3] == ["all", "1", "100.0"]


def test_the_summary_line_leaves_faults_out_of_the_rate():
    line = summarise_verdicts([*rows("a", 1.0, 0.0), *rows("b", None)])
    assert line == "3 programs: 1 pass, 1 fail, 1 infrastructure; mean pass rate 50.0 % of the 2 that could be judged"


def test_a_task_without_a_program_has_failed(capsys):
    four = [Task(name, "x", TESTS) for name in "abcd"]
    for method in ("beam", "sample"):
        result = figures(four, rows("a", 1.0), [1], method, seed=0)
        assert (result["all"]["tasks"], result["all"]["unanswered"], result["all"]["not_judged"]) == (4, 3, 0)
        assert result["all"]["pass_rate"] == result["all"]["accuracy"] == result["all"]["pass@1"] == 0.25
    print_figures(result, [1])
    assert "3 of 4 tasks have no program" in capsys.readouterr().out
    assert summarise_verdicts(rows("a", 1.0), four).endswith("; 3 of 4 tasks have no program")


def test_a_task_that_nobody_could_judge_is_left_out_and_counted(capsys):
    four = [Task(name, "x", TESTS) for name in "abcd"]
    verdicts = [*rows("a", 1.0), *rows("b", 0.5), *rows("c", None), *rows("d", 0.0)]
    result = figures(four, verdicts, [1], "beam", seed=0)
    assert (result["all"]["tasks"], result["all"]["not_judged"]) == (3, 1)
    assert result["all"]["pass_rate"] == 0.5
    print_figures(result, [1])
    assert "3 of 4 tasks could be judged" in capsys.readouterr().out


def test_without_one_judged_program_figures_are_unknown(capsys):
    result = figures(TASKS, [*rows("a", None), *rows("b", None)], [1], "beam", seed=0)
    assert result["all"]["pass_rate"] is None
    assert result["all"]["accuracy"] is None
    print_figures(result, [1])
    assert capsys.readouterr().out.splitlines()[1].split() == ["all", "0", "unknown", "unknown", "-"]


def test_all_programs_drawn_at_random_count_alike():
    drawn = [*rows("a", 0.0, 1.0, 1.0, 0.5), *rows("b", 0.0, 0.0, None, 0.0)]
    result = figures(TASKS, drawn, [1], "sample", seed=0)["all"]
    assert result["pass_rate"] == pytest.approx((2.5 / 4 + 0) / 2)
    assert result["accuracy"] == pytest.approx((2 / 4 + 0) / 2) == result["pass@1"]
    assert figures(TASKS, list(reversed(drawn)), [1], "sample", seed=0)["all"] == result


def test_programs_that_are_missing_to_k_have_failed():
    result = figures(TASKS, [*rows("a", 1.0), *rows("b", 1.0, 0.0, 0.0, 0.0)], [4], "sample", seed=0)
    assert result["all"]["pass@4"] == 1.0
    result = figures(TASKS, [*rows("a", 0.0), *rows("b", 1.0, 0.0, 0.0, 0.0)], [4], "sample", seed=0)
    assert result["all"]["pass@4"] == 0.5
