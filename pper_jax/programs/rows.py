"""Decoded programs as rows of a samples file."""

from __future__ import annotations

from collections.abc import Sequence

from pper_jax.decode import HostProgram
from pper_jax.programs.language_model import LanguageModel
from pper_jax.tasks import Sample, Task
from pper_jax.text import trim_program


def sample_rows(model: LanguageModel, task: Task, programs: Sequence[HostProgram]) -> list[Sample]:
    """Rows of one task's programs, best first."""
    rows = []
    for rank, program in enumerate(programs):
        text, kept, logprob, reason = trim_program(
            model.tokenizer, program.tokens, program.token_logprobs, task.stop, model.eos_ids
        )
        rows.append(
            Sample(
                task_id=task.task_id,
                completion=text,
                logprob=logprob,
                num_tokens=kept,
                rank=rank,
                finished=reason != "length",
                stop_reason=reason,
                model=model.name,
                tokens=tuple(program.tokens[:kept]),
            )
        )
    return rows
