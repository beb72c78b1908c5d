"""APPS as its authors ask (Hendrycks et al., 2105.09938): question, starter code, the form of the input, answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pper_jax.tasks import Task
from pper_jax.text.profiles.profile import Profile

STOPS = ("\nQUESTION:", "\nANSWER:", "\n---", "\n```")


def prompt(task: Task, examples: Sequence[Task], tokenizer: Any) -> str:
    """The problem in words between its marks."""
    question = task.prompt if task.statement is None else task.statement
    starter = f"\n{task.starter}" if task.starter else ""
    form = "Standard Input" if task.tests["kind"] == "stdio" else "Call-Based"
    return f"\nQUESTION:\n{question}{starter}\nUse {form} format\nANSWER:\n"


def stops(task: Task) -> tuple[str, ...]:
    """Where another question would begin."""
    return STOPS


def program(task: Task, raw: str) -> str:
    """What was written is the program; one for a task with starter code writes that too."""
    return raw


PROFILE = Profile(
    "apps",
    "QUESTION, starter code, Standard Input or Call-Based format, ANSWER; what is written is the whole program",
    prompt,
    stops,
    program=program,
    raw=program,
)
