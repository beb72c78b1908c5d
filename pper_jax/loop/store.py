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
    tests: replay.Tests = "equal",
) -> replay.Items:
    """Rows for the buffer: prompt and program as tokens, with log-prob and pass rate; ``[len(samples), ...]``.

    A program is exactly its sample's tokens, whose log-prob is the sample's: one that ended in an end keeps it, one
    that was cut at a stop (but for the end that its profile's prompt shows) or ran into the length limit has none.
    Programs that say nothing before their end, beyond ``max_length`` and with faults of ours are marked invalid.
    ``tests``: see :class:`pper_jax.replay.ReplayConfig`.

    Raises:
        UserError: a sample has no tokens or log-prob (its task is named).
    """
    rates = rare_pass_rates(verdicts) if tests == "rare" else [verdict["pass_rate"] for verdict in verdicts]
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
        says_something = sample.raw != "" and any(token not in eos for token in sample.tokens)
        valid[row] = says_something and len(whole) <= max_length and verdict["status"] != "infrastructure"
    return replay.Items(
        tokens=jnp.asarray(tokens),
        prompt_length=jnp.asarray(prompt_lengths),
        length=jnp.asarray(lengths),
        logprob=jnp.asarray(logprobs),
        pass_rate=jnp.array(rates, jnp.float32),
        task_index=jnp.asarray(index),
        round=jnp.full(count, round_index, jnp.int32),
        program_id=jnp.arange(first_program, first_program + count, dtype=jnp.int32),
        valid=jnp.asarray(valid),
    )


def rare_pass_rates(verdicts: Sequence[dict[str, Any]]) -> list[float]:
    """Each program's share of its tests, weighted by how many of the task's programs here fail them; 0 to 1.

    A test's weight is the share of the programs that fail it, one more counted that fails all, so that no test weighs
    nothing: 1 is a program that passes all, 0 one that passes none. A fault of ours judges no test: such a row keeps
    what it says and counts for no other.
    """
    rates = [float(verdict["pass_rate"]) for verdict in verdicts]
    groups: dict[str, list[int]] = {}
    for row, verdict in enumerate(verdicts):
        if verdict["status"] != "infrastructure":
            groups.setdefault(verdict["task_id"], []).append(row)
    for rows in groups.values():
        passed = np.array([[test["status"] == "pass" for test in verdicts[row]["tests"]] for row in rows], float)
        weights = 1 - passed.sum(0) / (len(rows) + 1)
        shares = np.where(passed.all(1), 1.0, passed @ weights / weights.sum())
        for row, share in zip(rows, shares.tolist(), strict=True):
            rates[row] = share
    return rates
