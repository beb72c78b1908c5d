"""Our own puzzles: one exact answer each, the same for the same seed, and no question in two splits."""

import re

import pytest

from pper_jax.errors import UserError
from pper_jax.execution.compare import answers_match
from pper_jax.tasks import load_tasks, open_tasks, program_text, trim_at_stop
from pper_jax.tasks.overlap import find_overlaps
from pper_jax.tasks.puzzles import generate


def test_the_same_seed_gives_the_same_puzzles_and_another_others():
    tasks = generate("train", 90, 3)
    assert tasks == generate("train", 90, 3) == open_tasks("puzzles:train:90:3")
    assert load_tasks("puzzles", split=None, count=90, seed=3) == tasks
    assert len({task.task_id for task in tasks}) == 90
    assert {task.task_id for task in generate("train", 90, 4)} != {task.task_id for task in tasks}
    kinds = [task.task_id.split("/")[2] for task in tasks]
    assert [kinds.count(kind) for kind in ("sort", "sum", "logic")] == [30, 30, 30]
    assert {task.difficulty for task in tasks} == {"easy", "medium", "hard"}


def test_no_question_is_in_both_splits_whatever_the_seed():
    train = [task for seed in range(4) for task in generate("train", 300, seed)]
    held_out = [task for seed in range(4) for task in generate("heldout", 300, seed)]
    assert {task.statement for task in train}.isdisjoint(task.statement for task in held_out)
    assert find_overlaps(train[:300], held_out[:300]) == []


def test_the_answer_is_what_the_question_asks_for():
    for task in generate("heldout", 600, 0):
        question, answer = task.statement, task.tests["expected"]
        if question.startswith("Sort"):
            items = question.partition(": ")[2].split()
            assert sorted(items) == sorted(answer.split())
            numbers = [int(x) for x in answer.split()] if items[0].lstrip("-").isdigit() else answer.split()
            down = "largest to" in question or "against" in question
            assert numbers == sorted(numbers, reverse=down)
        elif question.startswith("What is"):
            assert re.fullmatch(r"What is [0-9+*() -]+\?", question)
            assert eval(question[len("What is ") : -1]) == int(answer)
        elif "taller" in question:
            taller = dict(re.findall(r"(\w+) is taller than (\w+)", question))
            names = {*taller, *taller.values()}
            tallest, shortest = names - {*taller.values()}, names - {*taller}
            assert {answer} == (tallest if "tallest" in question else shortest)
        else:
            values = {name: value == "true" for name, value in re.findall(r"([ABC]) is (true|false)", question)}
            statement = question.partition("Is this true: ")[2].rstrip("?")
            assert answer == ("yes" if eval(statement, {}, values) else "no")


def test_an_answer_passes_by_its_exact_words_alone():
    (task,) = generate("train", 1, 0)
    assert task.compare == "exact"
    right = task.tests["expected"]
    written = program_text(task, trim_at_stop(f" {right}\nQuestion: next", task.stop)[0])
    assert answers_match(written, right, task.compare)
    assert not answers_match(" ".join(reversed(right.split())), right, task.compare)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("puzzles:test:5", "no split 'test'; choose one of train, heldout"),
        ("puzzles:train:0", "0 cannot be drawn"),
        ("puzzles:train:99999", "99999 cannot be drawn"),
        ("puzzles:train:x", "write SPLIT:COUNT:SEED"),
    ],
)
def test_what_there_is_not_is_one_sentence(source, words):
    with pytest.raises(UserError, match=words):
        open_tasks(source)
