"""Log-probabilities of programs written elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from pper_jax.decode import pack_prompts, score
from pper_jax.errors import UserError
from pper_jax.files import dump_jsonl, write_atomic
from pper_jax.programs.language_model import LanguageModel, encode_prompts
from pper_jax.tasks import Sample, Task, read_samples
from pper_jax.terminal import Progress
from pper_jax.types import Programs


def score_file(model: LanguageModel, tasks: Sequence[Task], samples_path: Path, out: Path, batch_size: int = 8) -> int:
    """Write each sample with the model's log-probability of its completion and EOS; returns how many.

    Raises:
        UserError: a sample is a whole ``solution`` that does not begin with its task's prompt, or is too long.
    """
    samples = read_samples(samples_path, tasks)
    by_id = {task.task_id: (task, prompt) for task, prompt in zip(tasks, encode_prompts(model, tasks), strict=True)}
    programs = [_completion_tokens(model, by_id[s.task_id][0], s) for s in samples]
    longest_prompt = max(len(by_id[s.task_id][1]) for s in samples)
    longest = max(len(tokens) for tokens in programs)
    if longest_prompt + longest > model.module.config.max_positions:
        raise UserError(
            f"{samples_path}: a prompt and program of up to {longest_prompt + longest} tokens are beyond the model's "
            f"context of {model.module.config.max_positions}; leave the longest out"
        )
    rows = []
    with Progress("score", len(samples), unit="programs") as progress:
        for first in range(0, len(samples), batch_size):
            chosen = [min(first + i, len(samples) - 1) for i in range(batch_size)]
            prompts = pack_prompts([by_id[samples[i].task_id][1] for i in chosen], longest_prompt)
            scores = np.asarray(
                score(model.module, model.params, prompts, _pack_programs([programs[i] for i in chosen], longest))
            )
            for row, i in enumerate(dict.fromkeys(chosen)):
                logprob = float(scores[row, 0].sum())
                rows.append({**samples[i].to_json(), "logprob": logprob, "num_tokens": len(programs[i])})
                progress.update(1)
    write_atomic(out, dump_jsonl(rows))
    return len(rows)


def _completion_tokens(model: LanguageModel, task: Task, sample: Sample) -> list[int]:
    text = sample.completion
    if text is None:
        program = sample.solution or ""
        if not program.startswith(task.prompt):
            raise UserError(
                f"the solution for task {task.task_id} does not begin with the task's prompt, so it has no completion "
                "to score; give it as a completion"
            )
        text = program[len(task.prompt) :]
    return [*model.tokenizer(text, add_special_tokens=False)["input_ids"], *model.eos_ids]


def _pack_programs(token_lists: Sequence[Sequence[int]], length: int) -> Programs:
    tokens = pack_prompts(token_lists, length)
    shape = (len(token_lists), 1)
    return Programs(
        tokens=tokens.tokens[:, None],
        length=tokens.length[:, None],
        logprob=jnp.zeros(shape),
        token_logprobs=jnp.zeros((*shape, length)),
        finished=jnp.ones(shape, bool),
    )
