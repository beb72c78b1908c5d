"""The race of test harnesses: the same programs and tests for all, and figures that follow from the turns."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pper_jax.bench.execution import Options, bench_execution, figures, table
from pper_jax.bench.execution_lanes import tree_cpu_s
from pper_jax.bench.execution_programs import make_programs
from pper_jax.cli import main
from pper_jax.errors import UserError


@pytest.mark.parametrize("kind", ["call", "asserts", "stdio"])
def test_programs_are_all_different_and_one_in_five_may_be_wrong(kind):
    rows = make_programs(60, kind)
    assert rows == make_programs(60, kind)
    assert len({row["program"] for row in rows}) == 60
    key = "asserts" if kind == "asserts" else "cases"
    assert all(len(row["tests"][key]) == len(row["inputs"]) == 6 for row in rows)


def test_the_forms_of_a_test_say_the_same():
    for kind in ("call", "asserts"):
        for row in make_programs(40, kind):
            names = {}
            exec(row["program"], names)
            by_value = all(
                names["f"](*args) == value for args, value in zip(row["inputs"], row["expected"], strict=True)
            )
            assert by_value == passes(f"{row['check']}\ncheck(f)", names)
            if kind == "asserts":
                assert by_value == passes("\n".join(row["tests"]["asserts"]), names)


def passes(code, names):
    try:
        exec(code, dict(names))
    except AssertionError:
        return False
    return True


def turn(wall, cpu, passed):
    return {"wall_s": wall, "cpu_s": cpu, "passed": passed}


def test_figures_are_medians_over_rounds_and_ratios_medians_of_the_rounds_ratios():
    ours = [turn(1.0, 0.5, [True, False]), turn(2.0, 0.5, [True, False]), turn(10.0, 0.5, [True, False])]
    theirs = [turn(4.0, 8.0, [True, False]), turn(4.0, 8.0, [True, False]), turn(30.0, 8.0, [True, False])]
    found = figures({"pper program": ours, "fresh interpreter": theirs})
    assert found["lanes"]["pper program"]["programs_s"] == 1.0
    assert found["lanes"]["fresh interpreter"]["cpu_ms"] == 4000.0
    assert found["times_faster"] == {"pper program": {"fresh interpreter": 3.0}}
    assert found["same_verdicts"]
    theirs[2]["passed"] = [True, True]
    found = figures({"pper program": ours, "fresh interpreter": theirs})
    assert not found["same_verdicts"]
    shown = table({"kind": "call", "workers": 1, "programs": 2, "missing": {"evalplus": "No module"}, **found})
    assert "evalplus is left out: No module" in shown
    assert "do NOT agree" in shown


def test_cpu_time_counts_processes_that_have_ended():
    before = tree_cpu_s()
    subprocess.run([sys.executable, "-I", "-S", "-c", "import time\nwhile time.process_time() < 0.5: pass"], check=True)
    assert 0.45 < tree_cpu_s() - before < 60


def test_a_small_race_from_the_command_line(tmp_path, capsys):
    argv = ["bench", "execution", "--kinds", "call,stdio", "--workers", "2", "--programs", "10", "--rounds", "1"]
    argv += ["--harnesses", "pper program,pper batch,fresh interpreter"]
    assert main([*argv, "--out", str(tmp_path / "out.json")]) == 0
    shown = capsys.readouterr().out
    assert len(re.findall(r"^pper batch", shown, re.MULTILINE)) == 2
    assert "NOT" not in shown
    result = json.loads((tmp_path / "out.json").read_text())
    assert [race["kind"] for race in result["races"]] == ["call", "stdio"]
    assert {lane["passed"] for race in result["races"] for lane in race["lanes"].values()} <= set(range(8, 11))


def test_a_race_with_another_checkout_and_over_references(tmp_path, capsys):
    root = str(Path(__file__).parents[2])
    task = {"task_id": "a/1", "prompt": "", "source": "a", "stop": [], "reference": "def f(x): return x + 1"}
    task |= {"entry_point": "f", "tests": {"kind": "check", "code": "def check(c):\n    assert c(1) == 2"}}
    (tmp_path / "tasks.jsonl").write_text(json.dumps(task) + "\n")
    common = ["bench", "execution", "--workers", "1", "--rounds", "1", "--harnesses", "pper program", "--against", root]
    assert main([*common, "--kinds", "literal,check", "--programs", "5"]) == 0
    assert main([*common, "--tasks", str(tmp_path / "tasks.jsonl")]) == 0
    shown = capsys.readouterr().out
    assert len(re.findall(r"^against program", shown, re.MULTILINE)) == 3
    assert "references of tasks.jsonl, 1 worker: 1 programs" in shown
    (tmp_path / "none.jsonl").write_text(json.dumps({k: v for k, v in task.items() if k != "reference"}) + "\n")
    assert main([*common, "--tasks", str(tmp_path / "none.jsonl")]) == 2
    assert "no task with a reference" in capsys.readouterr().err


@pytest.mark.slow
def test_all_harnesses_that_are_here_agree():
    shown = []
    result = bench_execution(Options(kinds=("call", "asserts"), workers=(2,), programs=40, rounds=1), shown.append)
    for race in result["races"]:
        assert race["same_verdicts"]
        assert set(race["lanes"]) | set(race["missing"]) == set(Options.lanes)
        assert all(lane["passed"] >= 32 and lane["cpu_ms"] > 0 for lane in race["lanes"].values())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kinds": ("unit",)}, "'unit' is no kind"),
        ({"lanes": ("docker",)}, "'docker' is no harness"),
        ({"against": "/nowhere"}, "/nowhere is no checkout of this project"),
        ({"programs": 0}, "programs is 0"),
        ({"workers": (1, 0)}, "workers is 0"),
    ],
)
def test_wrong_options_are_one_sentence(options, words):
    with pytest.raises(UserError, match=words):
        Options(**options)
