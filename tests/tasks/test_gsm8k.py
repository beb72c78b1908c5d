"""GSM8K: what a row becomes, and which answers are right."""

import json
import os
from pathlib import Path

import pytest

from pper_jax.errors import UserError
from pper_jax.execution import TestPool
from pper_jax.tasks import load_tasks, open_tasks, program_text, trim_at_stop
from pper_jax.tasks.check import check_references, sort_problems
from pper_jax.tasks.registry import problems

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("PPER_SHARED_DATA") or ROOT / ".." / "shared" / "data")
ROW = {"question": "Ann has 3 boxes of 1,000 pens. How many? ", "answer": "3*1,000 = <<3*1000=3000>>3,000\n#### 3,000"}


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_row_becomes_a_question_whose_answer_is_the_number_behind_the_mark(tmp_path):
    (task,) = open_tasks(f"gsm8k:{write(tmp_path / 'train.jsonl', ROW)}")
    assert (task.task_id, task.split, task.source) == ("gsm8k/train/1", "train", "gsm8k")
    assert task.prompt == "Question: Ann has 3 boxes of 1,000 pens. How many?\nAnswer:"
    assert task.tests == {"kind": "answer", "expected": "3000"}
    assert task.statement == "Ann has 3 boxes of 1,000 pens. How many?"
    assert task.compare == "number"
    assert trim_at_stop(task.reference + "\nQuestion: What", task.stop)[0] == task.reference
    assert program_text(task, task.reference) == task.reference  # the question's own numbers are no answer


def test_the_split_is_that_of_the_files_name_and_ids_tell_them_apart(tmp_path):
    for name in ("train.jsonl", "test.jsonl", "test-00001.jsonl"):
        write(tmp_path / name, ROW, ROW)
    tasks = open_tasks(f"gsm8k:{tmp_path}")
    ids = [f"gsm8k/test/{n}" for n in (1, 2, 3, 4)] + ["gsm8k/train/1", "gsm8k/train/2"]
    assert [task.task_id for task in tasks] == ids
    assert {task.split for task in load_tasks(f"gsm8k:{tmp_path}", split="test", count=2, seed=1)} == {"test"}


def test_an_answer_without_the_mark_is_a_fault_of_its_problem(tmp_path):
    path = write(tmp_path / "test.jsonl", ROW, {**ROW, "answer": "3000"})
    tasks, left_out = sort_problems(problems("gsm8k", str(path)))
    assert len(tasks) == 1
    assert [(one.task_id, one.fault) for one in left_out] == [("gsm8k/test/2", True)]


def test_a_row_of_another_set_is_named_with_its_line(tmp_path):
    path = write(tmp_path / "test.jsonl", ROW, {"question": "?"})
    with pytest.raises(UserError, match=r"test\.jsonl, line 2 is no GSM8K problem: answer is missing or is not text"):
        open_tasks(f"gsm8k:{path}")


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared task sets are not here")
def test_all_published_answers_are_right_by_their_own_rule():
    tasks, left_out = sort_problems(problems("gsm8k", str(SHARED / "gsm8k")))
    assert (len(tasks), len(left_out)) == (7473 + 1319, 0)
    assert {task.split for task in tasks} == {"train", "test"}
    with TestPool(workers=1) as pool:
        report = check_references(tasks[::20], pool)
    assert report.faults == ()
