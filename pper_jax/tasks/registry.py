"""The task sets by name: each gives its problems one by one, whatever form its source has."""

from __future__ import annotations

import hashlib
import importlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pper_jax.errors import UserError, cut, shown
from pper_jax.tasks.left_out import LeftOut
from pper_jax.tasks.rows import Row, Told, read_rows, source_files
from pper_jax.tasks.task import Task

COUNT = 100  # tasks generated where no count is given
Problems = Iterator[Task | LeftOut]


@dataclass(frozen=True)
class TaskSet:
    """A task set.

    Attributes:
        about: what its source is.
        module: where its ``FORMS`` and its converter stand; loaded when it is used.
        converter: the name of its ``(Row) -> Task | LeftOut``; or of ``(split, count, seed) -> list[Task]`` where its
            tasks are ``generated``.
        reader: the name of its ``(src, told) -> Iterator[Row]``, where it has one of its own.
        generated: whether its source is SPLIT:COUNT:SEED.
    """

    about: str
    module: str
    converter: str = "problem"
    reader: str | None = None
    generated: bool = False

    def problems(self, src: str, told: Told | None = None) -> Problems:
        """Its problems; see :func:`problems`."""
        if self.generated:
            yield from self.generate(src)
            return
        forms: Sequence[Mapping[str, Any]] = self._named("FORMS")
        convert: Callable[[Row], Task | LeftOut] = self._named(self.converter)
        rows = read_rows(src, forms, told) if self.reader is None else self._named(self.reader)(src, told)
        for row in rows:
            yield convert(row)

    def generate(self, choice: str) -> list[Task]:
        """Tasks that ``SPLIT[:COUNT[:SEED]]`` names."""
        name = self.module
        split, count, seed = [*choice.split(":"), "", ""][:3]
        if choice.count(":") > 2 or not all(re.fullmatch("[0-9]{0,18}", digits) for digits in (count, seed)):
            what = f"cannot read the tasks {shown(f'{name}:{choice}')}"
            raise UserError(f"{what}; behind {name}: write SPLIT:COUNT:SEED, such as train:200:0")
        tasks: list[Task] = self._named(self.converter)(split or "train", int(count or COUNT), int(seed or 0))
        return tasks

    def _named(self, name: str) -> Any:
        return getattr(importlib.import_module(f"pper_jax.tasks.{self.module}"), name)


SETS: dict[str, TaskSet] = {
    "apps": TaskSet("the folder of APPS, a split or a problem of it; the hub's rows", "apps", reader="rows"),
    "codecontests": TaskSet("CodeContests: DeepMind's rows, or rows with flat inputs and outputs", "codecontests"),
    "gsm8k": TaskSet("GSM8K's train and test: sums in words, answered in words", "gsm8k"),
    "humaneval": TaskSet("HumanEval.jsonl or .jsonl.gz: 164 functions with check(candidate)", "humaneval"),
    "humanevalplus": TaskSet("HumanEval+, the hub's rows or the release's", "evalplus", "humaneval_problem"),
    "leetcode": TaskSet("LeetCodeDataset: class Solution with asserts", "leetcode"),
    "mbpp": TaskSet("mbpp.jsonl (974) or sanitized-mbpp.json (427): short programs with asserts", "mbpp"),
    "mbpp_challenge": TaskSet("mbpp.jsonl, the challenge asserts added to the tests", "mbpp", "challenge_problem"),
    "mbppplus": TaskSet("MBPP+, the hub's rows or the release's; its tests are hidden", "evalplus", "mbpp_problem"),
    "micro_python": TaskSet(
        "SPLIT:COUNT:SEED, as train:200:0: our own small functions, generated",
        "micro_python",
        "generate",
        generated=True,
    ),
    "puzzles": TaskSet(
        "SPLIT:COUNT:SEED, as heldout:50:0: our own sorting, sums and logic, generated",
        "puzzles",
        "generate",
        generated=True,
    ),
    "tasks": TaskSet("a tasks file of ours, to be checked and written anew", "tasks_file"),
}
GENERATED = tuple(name for name, task_set in SETS.items() if task_set.generated)


def find_set(name: str) -> TaskSet:
    """The set of that name; raise UserError where there is none."""
    if name not in SETS:
        raise UserError(f"no task set is called {shown(name)}; choose one of {', '.join(SETS)}")
    return SETS[name]


def problems(name: str, src: str, told: Told | None = None) -> Problems:
    """The problems of set ``name`` from its published form ``src``, one by one; of an id that comes again, the first.

    ``told`` hears how many bytes of the source were read since it was last called. Of what was read, 16 bytes a problem
    are kept.

    Raises:
        UserError: an unknown name; ``src`` missing, of another format or with a line that is not JSON.
    """
    seen: set[bytes] = set()
    for problem in find_set(name).problems(src, told):
        if isinstance(problem, Task):
            mark = hashlib.blake2b(problem.task_id.encode(errors="surrogatepass"), digest_size=16).digest()
            if mark in seen:
                problem = LeftOut(problem.task_id, "its task_id occurs twice", fault=True)
            seen.add(mark)
        yield problem


def split_source(source: str) -> tuple[str, str] | None:
    """``(name, src)`` of a source ``NAME:SRC`` or ``NAME`` alone (generated sets); None where it is a file's name."""
    name, colon, src = source.partition(":")
    if name not in SETS or (os.path.exists(source) and not os.path.isdir(source)) or not (colon or name in GENERATED):
        return None
    return name, src


def no_tasks_file(source: str) -> str:
    """The sentence that says so."""
    return f"no tasks file {cut(source, 300)}; make one with: pper tasks convert NAME SRC {cut(source, 300)}"


def open_problems(source: str, told: Told | None = None) -> Problems:
    """The problems of a tasks file, or of ``NAME:SRC``; see :func:`problems`."""
    named = split_source(source)
    if named is None and not os.path.exists(source):
        raise UserError(no_tasks_file(source))
    return problems(*(named or ("tasks", source)), told)


def source_bytes(name: str, src: str) -> int:
    """How many bytes the source of a set has, on the disk; 0 of one that is generated."""
    return 0 if find_set(name).generated else sum(os.path.getsize(path) for path in source_files(src) if path.exists())
