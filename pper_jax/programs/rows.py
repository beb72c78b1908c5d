"""Decoded programs as rows of a samples file."""

from __future__ import annotations

from collections.abc import Sequence

from pper_jax.decode import HostProgram
from pper_jax.programs.language_model import LanguageModel, encode_prompts
from pper_jax.tasks import Sample, Task
from pper_jax.text import cut_program


def sample_rows(
    model: LanguageModel, task: Task, programs: Sequence[HostProgram], prompt: Sequence[int] | None = None
) -> list[Sample]:
    """Rows of one task's programs, best first.

    ``tokens``, ``num_tokens`` and ``logprob`` are those of what is kept of a program, its end included where it ended
    in one. ``prompt`` is the task's as ``encode_prompts`` gives it, which is asked where it is left out.
    """
    before = encode_prompts(model, [task])[0] if prompt is None else prompt
    rows = []
    for rank, program in enumerate(programs):
        kept = cut_program(model.tokenizer, before, program.tokens, program.token_logprobs, task.stop, model.eos_ids)
        rows.append(
            Sample(
                task_id=task.task_id,
                completion=kept.text,
                logprob=kept.logprob,
                num_tokens=len(kept.tokens),
                rank=rank,
                finished=kept.stop_reason != "length",
                stop_reason=kept.stop_reason,
                model=model.name,
                tokens=kept.tokens,
            )
        )
    return rows
