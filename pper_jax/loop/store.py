"""What a round stores: tested programs as rows of the replay buffer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from pper_jax import replay
from pper_jax.tasks import Sample, Task


def replay_items(
    tasks: Sequence[Task],
    prompts: Sequence[Sequence[int]],
    samples: Sequence[Sample],
    verdicts: Sequence[dict[str, Any]],
    *,
    round_index: int,
    first_program: int,
    eos: tuple[int, ...],
    max_length: int,
) -> replay.Items:
    """Rows for the buffer: prompt, program and EOS as tokens, with log-prob and pass rate; ``[len(samples), ...]``.

    A program that was cut at a stop gets the EOS it should have ended with; one that ran into the length limit gets
    none. Empty programs and faults of ours are marked invalid.
    """
    number = {task.task_id: i for i, task in enumerate(tasks)}
    count = len(samples)
    tokens = np.zeros((count, max_length), np.int32)
    lengths, prompt_lengths, index = (np.zeros(count, np.int32) for _ in range(3))
    valid = np.zeros(count, bool)
    for row, (sample, verdict) in enumerate(zip(samples, verdicts, strict=True)):
        index[row] = number[sample.task_id]
        prompt = list(prompts[index[row]])
        program = list(sample.tokens or ())
        if sample.stop_reason == "stop":
            program += eos[:1]
        whole = (prompt + program)[:max_length]
        tokens[row, : len(whole)] = whole
        prompt_lengths[row], lengths[row] = len(prompt), len(whole)
        valid[row] = bool(program) and verdict["status"] != "infrastructure"
    return replay.Items(
        tokens=jnp.asarray(tokens),
        prompt_length=jnp.asarray(prompt_lengths),
        length=jnp.asarray(lengths),
        logprob=jnp.array([sample.logprob for sample in samples], jnp.float32),
        pass_rate=jnp.array([verdict["pass_rate"] for verdict in verdicts], jnp.float32),
        task_index=jnp.asarray(index),
        round=jnp.full(count, round_index, jnp.int32),
        program_id=jnp.arange(first_program, first_program + count, dtype=jnp.int32),
        valid=jnp.asarray(valid),
    )
