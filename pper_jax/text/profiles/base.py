"""Base models: the task's prompt as it stands, which the program completes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pper_jax.tasks import Task
from pper_jax.text.profiles.profile import Profile


def prompt(task: Task, examples: Sequence[Task], tokenizer: Any) -> str:
    """The task's own."""
    return task.prompt


PROFILE = Profile("base", "the task's prompt as it stands, which the program completes; the task's stops", prompt)
