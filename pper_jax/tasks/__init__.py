"""Task sets and programs written for them: files in and out, converters, and our own micro_python family."""

from pper_jax.tasks.samples import Sample, read_samples, text_of, verdict_row
from pper_jax.tasks.sources import load_tasks, open_tasks
from pper_jax.tasks.task import (
    TEST_KINDS,
    Task,
    evaluation_task,
    program_text,
    read_tasks,
    runnable,
    trim_at_stop,
    write_tasks,
)

__all__ = [
    "TEST_KINDS",
    "Sample",
    "Task",
    "evaluation_task",
    "load_tasks",
    "open_tasks",
    "program_text",
    "read_samples",
    "read_tasks",
    "runnable",
    "text_of",
    "trim_at_stop",
    "verdict_row",
    "write_tasks",
]
