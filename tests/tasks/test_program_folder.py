"""A folder of programs as a samples file: whose task each file is, and in which order they come."""

import json

import pytest

from pper_jax.cli import main
from pper_jax.errors import UserError
from pper_jax.tasks import Task, read_samples, write_tasks

ONE = {"kind": "asserts", "asserts": ["assert f(1) == 1"]}
TASKS = [Task(name, "", ONE, entry_point="f") for name in ("HumanEval/0", "HumanEval/1", "t")]


def folder(path, **files):
    for name, text in files.items():
        file = path / name.replace("__", "/")
        file = file.with_name(f"{file.name}.py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return path


def test_files_are_for_the_task_that_their_path_or_their_folder_names(tmp_path):
    names = {"t": "a", "HumanEval__0": "b", "HumanEval_1__10": "d", "HumanEval_1__9": "c", "HumanEval__0__x": "e"}
    samples = read_samples(folder(tmp_path, **names), TASKS)
    assert [(sample.task_id, sample.solution, sample.rank) for sample in samples] == [
        ("HumanEval/0", "e", 0),
        ("HumanEval/0", "b", 1),
        ("HumanEval/1", "c", 0),
        ("HumanEval/1", "d", 1),
        ("t", "a", 0),
    ]


def test_what_is_hidden_or_no_python_is_passed_over(tmp_path):
    path = folder(tmp_path, t="a", **{".git__t": "b"})
    (path / "t.txt").write_text("c")
    assert [sample.solution for sample in read_samples(path, TASKS)] == ["a"]


def test_a_program_for_no_task_is_named_or_left_out(tmp_path):
    path = folder(tmp_path, t="a", other="b")
    with pytest.raises(UserError, match=r"other\.py is for task other, which is not in the tasks file"):
        read_samples(path, TASKS)
    assert [sample.solution for sample in read_samples(path, TASKS, others=True)] == ["a"]
    with pytest.raises(UserError, match="holds no samples for the tasks that are asked"):
        read_samples(path, TASKS[:1], others=True)


def test_a_folder_without_programs_is_said(tmp_path):
    with pytest.raises(UserError, match=r"is a folder without a \.py file; give programs as TASK\.py or TASK/1\.py"):
        read_samples(tmp_path, TASKS)
    (tmp_path / "t.py").write_bytes(b"\xff")
    with pytest.raises(UserError, match=r"cannot read .*t\.py: it is not UTF-8 text"):
        read_samples(tmp_path, TASKS)


def test_pper_test_takes_a_folder(tmp_path, capsys):
    programs = folder(tmp_path / "programs", t__1="def f(x):\n    return x\n", t__2="def f(x):\n    return 0\n")
    write_tasks(tmp_path / "tasks.jsonl", TASKS[2:])
    out = tmp_path / "verdicts.jsonl"
    argv = ["test", "--tasks", str(tmp_path / "tasks.jsonl"), "--samples", str(programs), "--out", str(out)]
    assert main([*argv, "--workers", "1"]) == 0
    assert [json.loads(line)["status"] for line in out.read_text().splitlines()] == ["pass", "fail"]
    assert "2 programs: 1 pass, 1 fail" in capsys.readouterr().out
