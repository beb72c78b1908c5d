"""Our own puzzles with one exact answer: sorting, sums and logic in words, generated from a seed."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from itertools import pairwise

from pper_jax.errors import UserError
from pper_jax.tasks.task import Task

SPLITS = ("train", "heldout")
HELD_OUT = 4  # one question in so many, by a digest of its words
MOST = 20_000
WORDS = ("ash", "bay", "cedar", "elm", "fig", "gum", "hazel", "ivy", "lime", "maple", "oak", "pine", "rowan", "teak")
PEOPLE = ("Ada", "Ben", "Cleo", "Dan", "Eve", "Finn", "Gia", "Hal")
LEVELS = ("easy", "medium", "hard")
Puzzle = tuple[str, str]  # question, answer


def generate(split: str, count: int, seed: int) -> list[Task]:
    """``count`` different puzzles of a split, the kinds in turn; a pure function of its arguments.

    A question belongs to one split by a digest of its words, whatever the seed. Answers compare word by word
    (``compare: exact``).

    Raises:
        UserError: an unknown split, or a count beyond what there is.
    """
    if split not in SPLITS:
        raise UserError(f"puzzles has no split {split!r}; choose one of {', '.join(SPLITS)}")
    if not 1 <= count <= MOST:
        raise UserError(f"puzzles makes 1 to {MOST} tasks of a split; {count} cannot be drawn")
    rng = random.Random(f"{split} {seed}")
    tasks: dict[str, Task] = {}
    while len(tasks) < count:
        kind = list(KINDS)[len(tasks) % len(KINDS)]
        level = rng.randrange(len(LEVELS))
        question, answer = KINDS[kind](level, rng)
        mark = hashlib.sha256(question.encode()).hexdigest()
        if (int(mark, 16) % HELD_OUT == 0) == (split == "heldout"):
            task_id = f"puzzles/{split}/{kind}/{mark[:12]}"
            tasks.setdefault(task_id, _task(task_id, question, answer, LEVELS[level], split))
    return list(tasks.values())


def _task(task_id: str, question: str, answer: str, level: str, split: str) -> Task:
    return Task(
        task_id=task_id,
        prompt=f"Question: {question}\nAnswer:",
        tests={"kind": "answer", "expected": answer},
        stop=("\n",),
        reference=f" {answer}",
        difficulty=level,
        source="puzzles",
        split=split,
        compare="exact",
        statement=question,
    )


def sort_puzzle(level: int, rng: random.Random) -> Puzzle:
    """Numbers or words to be put in order."""
    size = rng.randint(3, 4) + 2 * level
    down = level > 0 and rng.random() < 0.5
    if rng.random() < 0.5:
        numbers = rng.sample(range(-9 * level, 10 ** (1 + level)), size)
        items, ordered = [*map(str, numbers)], [*map(str, sorted(numbers, reverse=down))]
        order = "largest to smallest" if down else "smallest to largest"
        return f"Sort from {order}: {' '.join(items)}", " ".join(ordered)
    items = rng.sample(WORDS, size)
    return f"Sort {'against' if down else 'by'} the alphabet: {' '.join(items)}", " ".join(sorted(items, reverse=down))


def sum_puzzle(level: int, rng: random.Random) -> Puzzle:
    """An expression of whole numbers; its value is a whole number."""
    text = str(rng.randint(2, 99))
    for _ in range(level + 1):
        sign, other = rng.choice("+-*"), rng.randint(2, 9 if level else 99)
        text = f"({text}) {sign} {other}" if sign == "*" and not text.isdigit() else f"{text} {sign} {other}"
    return f"What is {text}?", str(eval(text))


def logic_puzzle(level: int, rng: random.Random) -> Puzzle:
    """Who is where in an order that neighbours tell, or whether a statement of and, or and not is true."""
    if rng.random() < 0.5:
        people = rng.sample(PEOPLE, 3 + level)
        said = [f"{a} is taller than {b}" for a, b in pairwise(people)]
        rng.shuffle(said)
        end, name = rng.choice((("tallest", people[0]), ("shortest", people[-1])))
        return f"{'. '.join(said)}. Who is the {end}?", name
    values = {name: rng.random() < 0.5 for name in "ABC"[: 2 + (level > 0)]}
    text = _literal(rng, values)
    for _ in range(level + 1):
        text = f"({text}) {rng.choice(('and', 'or'))} {_literal(rng, values)}"
    given = ", ".join(f"{name} is {str(value).lower()}" for name, value in values.items())
    return f"{given}. Is this true: {text}?", "yes" if eval(text, {"__builtins__": {}}, dict(values)) else "no"


def _literal(rng: random.Random, values: dict[str, bool]) -> str:
    return rng.choice(("", "not ")) + rng.choice(list(values))


KINDS: dict[str, Callable[[int, random.Random], Puzzle]] = {
    "sort": sort_puzzle,
    "sum": sum_puzzle,
    "logic": logic_puzzle,
}
