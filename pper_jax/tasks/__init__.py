"""Task sets and programs written for them: files in and out, converters, and our own micro_python family."""

from pper_jax.tasks.samples import Sample, read_samples, verdict_row
from pper_jax.tasks.sources import load_tasks
from pper_jax.tasks.task import (
    TEST_KINDS,
    Task,
    append_jsonl,
    dump_jsonl,
    parse_jsonl,
    program_text,
    read_jsonl,
    read_tasks,
    trim_at_stop,
    write_tasks,
)

__all__ = [
    "TEST_KINDS",
    "Sample",
    "Task",
    "append_jsonl",
    "dump_jsonl",
    "load_tasks",
    "parse_jsonl",
    "program_text",
    "read_jsonl",
    "read_samples",
    "read_tasks",
    "trim_at_stop",
    "verdict_row",
    "write_tasks",
]
