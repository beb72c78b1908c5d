"""What a round stores: tested programs as rows of the replay buffer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from pper_jax import replay
from pper_jax.errors import UserError
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
    """Rows for the buffer: prompt and program as tokens, with log-prob and pass rate; ``[len(samples), ...]``.

    A program is exactly its sample's tokens, whose log-prob is the sample's: one that ended in an end keeps it, one
    that was cut at a stop or ran into the length limit has none. Programs without a token besides an end, beyond
    ``max_length`` and with faults of ours are marked invalid.

    Raises:
        UserError: a sample has no tokens or log-prob (its task is named).
    """
    number = {task.task_id: i for i, task in enumerate(tasks)}
    count = len(samples)
    tokens = np.zeros((count, max_length), np.int32)
    lengths, prompt_lengths, index = (np.zeros(count, np.int32) for _ in range(3))
    logprobs, valid = np.zeros(count, np.float32), np.zeros(count, bool)
    for row, (sample, verdict) in enumerate(zip(samples, verdicts, strict=True)):
        if sample.tokens is None or sample.logprob is None:
            raise UserError(
                f"a program for task {sample.task_id[:100]} has no tokens or logprob; `pper score` gives it both."
            )
        index[row], logprobs[row] = number[sample.task_id], sample.logprob
        prompt = prompts[index[row]]
        whole = [*prompt, *sample.tokens]
        lengths[row] = min(len(whole), max_length)
        tokens[row, : lengths[row]] = whole[:max_length]
        prompt_lengths[row] = len(prompt)
        says_something = any(token not in eos for token in sample.tokens)
        valid[row] = says_something and len(whole) <= max_length and verdict["status"] != "infrastructure"
    return replay.Items(
        tokens=jnp.asarray(tokens),
        prompt_length=jnp.asarray(prompt_lengths),
        length=jnp.asarray(lengths),
        logprob=jnp.asarray(logprobs),
        pass_rate=jnp.array([verdict["pass_rate"] for verdict in verdicts], jnp.float32),
        task_index=jnp.asarray(index),
        round=jnp.full(count, round_index, jnp.int32),
        program_id=jnp.arange(first_program, first_program + count, dtype=jnp.int32),
        valid=jnp.asarray(valid),
    )
