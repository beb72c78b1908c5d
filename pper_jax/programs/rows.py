"""Decoded programs as rows of a samples file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pper_jax.decode import HostProgram
from pper_jax.programs.language_model import LanguageModel, encode_prompts
from pper_jax.tasks import Sample, Task
from pper_jax.text import BASE, cut_program


def sample_rows(
    model: LanguageModel, task: Task, programs: Sequence[HostProgram], prompt: Sequence[int] | None = None
) -> list[Sample]:
    """Rows of one task's programs, best first.

    ``tokens``, ``num_tokens`` and ``logprob`` are those of what is kept of a text, up to its stop, its end included
    where it ended in one. Where the model's profile makes the program from that text, ``raw`` is the text and
    ``solution`` the program: learnt from is what was written, tested what it says. ``prompt`` is the task's as
    ``encode_prompts`` gives it, which is asked where it is left out.
    """
    profile, stops = model.profile, model.profile.stops(task)
    before = encode_prompts(model, [task])[0] if prompt is None else prompt
    rows = []
    for rank, program in enumerate(programs):
        kept = cut_program(
            model.tokenizer, before, program.tokens, program.token_logprobs, stops, model.eos_ids, profile.end
        )
        said: dict[str, Any] = {"completion": kept.text}
        if profile.program is not None:
            said = {"solution": profile.program(task, kept.text), "raw": kept.text}
        if profile != BASE:
            said["profile"] = profile.name
        rows.append(
            Sample(
                task_id=task.task_id,
                logprob=kept.logprob,
                num_tokens=len(kept.tokens),
                rank=rank,
                finished=kept.stop_reason != "length",
                stop_reason=kept.stop_reason,
                model=model.name,
                tokens=kept.tokens,
                **said,
            )
        )
    return rows
