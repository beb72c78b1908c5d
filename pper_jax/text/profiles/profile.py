"""What a prompt profile is: how a task becomes a prompt, where a program stops, how a text becomes a program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pper_jax.tasks import Task
from pper_jax.text.fences import defines_nothing

Prompt = Callable[[Task, Sequence[Task], Any], str]


def stops_of_the_task(task: Task) -> tuple[str, ...]:
    """The stops that the task names."""
    return task.stop


def completion_of(task: Task, program: str) -> str | None:
    """What stands behind the task's prompt in ``program``; all of it where the prompt alone defines nothing.

    None where ``program`` is no completion: it does not begin with the prompt, which is the head of a function.
    """
    if program.startswith(task.prompt):
        return program[len(task.prompt) :]
    return program if task.tests["kind"] == "answer" or defines_nothing(task.prompt) else None


@dataclass(frozen=True)
class Profile:
    """A way to ask a model for a program. Pure functions; a *raw* text is what the model wrote, up to its stop.

    Attributes:
        name: as options and results have it.
        about: what it does, in a line.
        prompt: ``(task, examples, tokenizer)`` to the text that the model reads.
        stops: a task's texts that end a program.
        program: a raw text to the whole program that is tested; None: it completes the task's prompt.
        raw: a whole program to the raw text that would have become it; None where there is none.
        shots: task_ids of the examples that the prompt shows.
        examples: these tasks, once they are known.
        end: a stop that the prompt shows behind every example: a program that ends in it keeps its tokens, as one that
            ends in an EOS keeps that, so that what is learnt is to end, too.
        written_out: the prompt has its special tokens in it, and the tokenizer adds none.
    """

    name: str
    about: str
    prompt: Prompt
    stops: Callable[[Task], tuple[str, ...]] = stops_of_the_task
    program: Callable[[Task, str], str] | None = None
    raw: Callable[[Task, str], str | None] = completion_of
    shots: tuple[str, ...] = ()
    examples: tuple[Task, ...] = ()
    end: str | None = None
    written_out: bool = False

    def ask(self, task: Task, tokenizer: Any) -> str:
        """The text that the model reads for ``task``."""
        return self.prompt(task, self.examples, tokenizer)
