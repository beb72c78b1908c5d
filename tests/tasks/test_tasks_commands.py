"""`pper tasks` as typed: what it prints, and how it ends."""

import json

import pytest
from published import APPS_ROW, CALL_ROW, CODECONTESTS_ROW, GSM8K_ROW, HUMANEVAL_ROW, write_lines, write_parquet

from pper_jax.cli import main
from pper_jax.tasks import read_tasks


def run(capsys, *argv):
    """The exit code, and the lines that were printed on both streams."""
    try:
        code = main(["tasks", *map(str, argv)])
    except SystemExit as end:
        code = end.code
    said = capsys.readouterr()
    return code, said.out.splitlines(), said.err.splitlines()


def test_every_set_is_listed_with_what_it_reads(capsys):
    code, out, _ = run(capsys, "list")
    assert code == 0
    names = "apps codecontests gsm8k humaneval humanevalplus leetcode mbpp mbpp_challenge mbppplus"
    assert {*names.split(), "micro_python", "puzzles", "tasks"} == {line.split()[0] for line in out}


def test_convert_counts_and_names_what_it_leaves_out(capsys, tmp_path):
    source = write_lines(tmp_path / "test.jsonl.gz", APPS_ROW, {**APPS_ROW, "problem_id": 9, "input_output": ""})
    code, out, err = run(capsys, "convert", "apps", source, tmp_path / "out.jsonl")
    assert code == 0
    assert out == [
        f"wrote 1 tasks to {tmp_path / 'out.jsonl'}",
        "1 problems are left out",
        "  apps/test/0009: it has no tests",
    ]
    assert err[-1].startswith("convert: 1/1 MiB")
    assert len(read_tasks(tmp_path / "out.jsonl")) == 1


def test_convert_onto_its_source_is_refused(capsys, tmp_path):
    source = write_lines(tmp_path / "test.jsonl", GSM8K_ROW)
    before = source.read_bytes()
    code, _, err = run(capsys, "convert", "gsm8k", source, source)
    assert code == 2
    assert "it is what is read" in err[-1]
    assert source.read_bytes() == before


def test_check_takes_a_set_from_its_published_form_and_names_each_fault(capsys, tmp_path):
    rows = [
        APPS_ROW,
        CALL_ROW,
        {**APPS_ROW, "problem_id": 10, "solutions": json.dumps(["print(7)"])},
        {**APPS_ROW, "problem_id": 11, "input_output": json.dumps({"inputs": ["1"], "outputs": []})},
        {**APPS_ROW, "problem_id": 7},
    ]
    code, out, _ = run(capsys, "check", f"apps:{write_parquet(tmp_path / 'test.parquet', rows)}", "--workers", 1)
    assert code == 1
    assert out == [
        "2 of 3 references pass",
        "  apps/test/0010: fail, 0 of 2 tests pass (wrong output)",
        "2 problems are broken",
        "  apps/test/0011: it has 1 inputs and 0 outputs",
        "  apps/test/0007: its task_id occurs twice",
    ]
    code, out, _ = run(capsys, "check", f"apps:{write_lines(tmp_path / 'ok.jsonl', *rows[:2])}", "--workers", 1)
    assert (code, out) == (0, ["2 of 2 references pass"])


def test_check_names_rows_of_a_tasks_file_that_are_no_tasks(capsys, tmp_path):
    row = {"task_id": "a", "prompt": "", "tests": {"kind": "answer", "expected": "4"}, "reference": "4"}
    bad = {**row, "task_id": "b", "tests": {"kind": "stdio", "cases": [{"stdin": "1"}]}}
    file = write_lines(tmp_path / "tasks.jsonl", row, bad, row, {**row, "task_id": "c", "compare": "tokens"})
    code, out, _ = run(capsys, "check", file)
    assert code == 1
    assert out[:2] == ["1 of 1 references pass", "3 problems are broken"]
    assert "line 2: (b): case 1 has no stdout" in out[2]
    assert out[3] == "  a: its task_id occurs twice"
    assert "compare is 'tokens'; its kind of tests has number, exact" in out[4]


def test_the_sets_own_rule_holds_and_what_is_typed_holds_above_it(capsys, tmp_path):
    row = {**CODECONTESTS_ROW, "public_tests": {"input": ["1 2"], "output": ["3 \n\n"]}}
    row["solutions"] = {"language": [3], "solution": ["print()\nprint(sum(map(int, input().split())))"]}
    file = write_lines(tmp_path / "train.jsonl", row)
    assert run(capsys, "check", f"codecontests:{file}", "--workers", 1)[0] == 0
    code, out, _ = run(capsys, "check", f"codecontests:{file}", "--workers", 1, "--compare", "strict")
    assert code == 1
    assert out[1].startswith(
        "  codecontests/1_A. Sum: fail, 0 of 1 tests pass (wrong output); hidden tests: fail, 0 of 3"
    )


def test_overlap_of_two_sets_and_of_the_splits_of_one(capsys, tmp_path):
    train = write_lines(
        tmp_path / "both" / "train.jsonl", GSM8K_ROW, {**GSM8K_ROW, "question": "How many is that in all?"}
    )
    test = write_lines(tmp_path / "both" / "test.jsonl", {**GSM8K_ROW, "question": "how many is that, in ALL"})
    code, out, _ = run(capsys, "overlap", f"gsm8k:{train}", f"gsm8k:{test}")
    assert code == 1
    assert (
        "1 of 2 tasks are among the 1 others, as 1 of them (0 by task_id, 1 by text, 0 by tests, 0 by code)" in out[0]
    )
    assert out[1:] == ["  gsm8k/train/2 = gsm8k/test/1 (text)"]
    assert run(capsys, "overlap", f"gsm8k:{tmp_path / 'both'}")[1][0].startswith(
        "test and train: 1 of 1 tasks are among"
    )
    code, out, _ = run(capsys, "overlap", f"gsm8k:{test}", f"gsm8k:{write_lines(tmp_path / 'test.jsonl', GSM8K_ROW)}")
    assert code == 1  # two files of one split give the same ids
    code, _, err = run(capsys, "overlap", f"gsm8k:{test}")
    assert code == 2
    assert "has one split alone; name a second set" in err[-1]


def test_overlap_by_behaviour_runs_references(capsys, tmp_path):
    other = {**HUMANEVAL_ROW, "task_id": "HumanEval/901", "prompt": "def half(y):\n", "entry_point": "half"}
    other |= {"canonical_solution": "    return 0.5 * y\n"}
    other["test"] = "def check(candidate):\n    assert candidate(5) == 2.5\n    assert candidate(1) == 0.5\n"
    a, b = (write_lines(tmp_path / f"{n}.jsonl", row) for n, row in enumerate((HUMANEVAL_ROW, other)))
    assert run(capsys, "overlap", f"humaneval:{a}", f"humaneval:{b}")[0] == 0
    code, out, _ = run(capsys, "overlap", f"humaneval:{a}", f"humaneval:{b}", "--behaviour", "--workers", 1)
    assert code == 1
    assert out[1:] == [
        "1 of 1 pairs with like arguments ran on each other's tests",
        "  HumanEval/900 = HumanEval/901 (behaviour)",
    ]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("check", "absent.jsonl"), "no tasks file absent.jsonl"),
        (("check", "apps:absent"), "cannot read absent"),
        (("check", "nothing:x"), "no tasks file nothing:x"),
        (("overlap", "absent", "other"), "no tasks file absent"),
        (("convert", "gsm8k", "absent", "out"), "cannot read absent: No such file"),
        (("convert", "nothing", "x", "y"), "no task set is called 'nothing'"),
    ],
)
def test_wrong_use_is_one_sentence(capsys, tmp_path, monkeypatch, argv, words):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *argv)
    assert (code, out) == (2, [])
    assert words in err[-1]
    assert list(tmp_path.iterdir()) == []
