"""MBPP as its authors ask (Austin et al., 2108.07732, section 3): three solved problems, then the one to solve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pper_jax.errors import UserError, cut
from pper_jax.tasks import Task
from pper_jax.text.profiles.profile import Profile

BEGIN, DONE = "[BEGIN]\n", "\n[DONE]"
SHOWN = 3  # asserts


def prompt(task: Task, examples: Sequence[Task], tokenizer: Any) -> str:
    """The examples with their references, then the task, each with its asserts."""
    shown = [f"{_question(one)}{(one.reference or '').strip()}{DONE}\n\n" for one in examples]
    return "".join([*shown, _question(task)])


def _question(task: Task) -> str:
    if task.tests["kind"] != "asserts":
        raise UserError(
            f"profile mbpp_fewshot shows a task's asserts, and task {cut(task.task_id)} has tests of kind "
            f"{task.tests['kind']}; take another profile"
        )
    head = "You are an expert Python programmer, and here is your task:"
    text, asserts = task.statement or task.prompt.strip(), "\n".join(_shown(task))
    return f"{head} {text} Your code should pass these tests:\n\n{asserts}\n{BEGIN}"


def _shown(task: Task) -> list[str]:
    """The asserts that the task's own prompt shows; the first three where it shows none."""
    every = list(task.tests["asserts"])
    escaped = [line.replace("\\", "\\\\").replace('"""', '\\"\\"\\"') for line in every]
    return [line for line, text in zip(every, escaped, strict=True) if text in task.prompt] or every[:SHOWN]


def stops(task: Task) -> tuple[str, ...]:
    """The mark behind a program."""
    return (DONE,)


def program(task: Task, raw: str) -> str:
    """What was written is the program."""
    return raw


PROFILE = Profile(
    "mbpp_fewshot",
    "problems 2, 3 and 4 of MBPP with their programs, then the task and its asserts; stops at [DONE]",
    prompt,
    stops,
    program=program,
    raw=program,
    end=DONE,
    shots=("mbpp/2", "mbpp/3", "mbpp/4"),
)
