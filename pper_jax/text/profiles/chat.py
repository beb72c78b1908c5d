"""Instruct models: the task as a user's message in the tokenizer's chat template; the program is in a code block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pper_jax.errors import UserError, cut
from pper_jax.tasks import Task
from pper_jax.text.fences import defines, fenced, fenced_code, imports_of, is_python
from pper_jax.text.profiles.profile import Profile


def prompt(task: Task, examples: Sequence[Task], tokenizer: Any) -> str:
    """The message in the template, up to where the model's turn begins."""
    if not getattr(tokenizer, "chat_template", None):
        raise UserError("profile chat needs a tokenizer with a chat template, and the model's has none; take another")
    message = [{"role": "user", "content": message_of(task)}]
    try:
        text: str = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
    except Exception as error:  # a template is a program of the model's maker
        raise UserError(f"the tokenizer's chat template fails ({cut(str(error))}); take another profile") from None
    return text


def message_of(task: Task) -> str:
    """What the user says."""
    if task.tests["kind"] == "answer":
        words = task.statement or task.prompt
        return f"{words}\n\nReason step by step, then give the answer alone on the last line, behind ####."
    if task.tests["kind"] == "stdio":
        words = task.statement or task.prompt
        return f"{words}\n\nWrite a Python program that reads standard input and prints the output, in one code block."
    if task.statement and task.starter:
        return f"{task.statement}\n\nWrite it in Python, in one code block that begins with:\n\n{fenced(task.starter)}"
    return f"Write this in Python, whole, in one code block:\n\n{fenced(task.prompt)}"


def no_stops(task: Task) -> tuple[str, ...]:
    """None: the model ends its turn."""
    return ()


def program(task: Task, raw: str) -> str:
    """The code block, or all where there is none, behind what the prompt defines and imports.

    A block without the function that the prompt begins is its body. The answer to a task of kind ``answer`` is the
    whole text.
    """
    if task.tests["kind"] == "answer":
        return raw
    name = task.entry_point or task.tests.get("fn_name")
    code = fenced_code(raw, name)
    code = raw if code is None else code
    if name and defines(task.prompt, name) and not defines(code, name):
        return task.prompt + code
    head = (task.prompt if is_python(task.prompt) else imports_of(task.prompt)).rstrip()
    return f"{head}\n\n\n{code}" if head and "from __future__" not in code else code


def raw(task: Task, program: str) -> str:
    """The program in a code block."""
    return program if task.tests["kind"] == "answer" else fenced(program)


PROFILE = Profile(
    "chat",
    "the tokenizer's chat template around the task; the program is the first code block that defines what is tested",
    prompt,
    no_stops,
    program=program,
    raw=raw,
    written_out=True,
)
