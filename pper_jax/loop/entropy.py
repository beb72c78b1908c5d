"""Entropy over the rounds: how far the model's programs for a task are spread out, measured on held-out tasks.

Of programs that the model writes by chance, at temperature 1 and without cuts, the mean of ``-log p`` is the entropy of
what it may write for the task, without bias. A program of ``beam.max_new_tokens`` counts as it was cut there. Where a
stop text ends one, ``p`` is that of the tokens before it, so that the figure lacks what that text would add.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from pper_jax.decode import SampleConfig
from pper_jax.loop.distributed import programs_of
from pper_jax.loop.journal import Journal
from pper_jax.loop.keys import stream
from pper_jax.loop.parts import Parts
from pper_jax.programs import sample_tasks
from pper_jax.programs.language_model import LanguageModel
from pper_jax.tasks import Sample
from pper_jax.terminal import say


def method(programs: int, max_new_tokens: int) -> SampleConfig:
    """Independent programs, so many a task, with the probabilities that the model itself gives them."""
    return SampleConfig(num_samples=programs, max_new_tokens=max_new_tokens, temperature=1.0, top_k=0, top_p=1.0)


def measure_entropy(parts: Parts, model: LanguageModel, journal: Journal, index: int) -> None:
    """Log the entropy of ``model`` on every held-out set after round ``index``: nothing where it was not asked for.

    Its programs are drawn by keys of their own, kept beside those of the evaluation, and not tested.
    """
    config = parts.config
    if not config.evaluation.entropy:
        return
    for name, tasks in parts.held_out.items():
        write_own = partial(
            sample_tasks,
            model,
            config=method(config.evaluation.entropy, config.beam.max_new_tokens),
            batch_size=config.beam.batch_size,
            key=jax.random.fold_in(stream(config.seed, f"entropy of {name}"), index),
            label=f"round {index}: {name} entropy",
        )
        samples = programs_of(parts.team, tasks, journal.samples(f"entropy_{index:03d}_{name}"), write_own)
        figures = entropy_of(samples)
        journal.log("entropy", index, split=name, **figures)
        say(
            f"round {index}, {name}, {figures['programs']} programs drawn: entropy {figures['nats']:.2f} nats a "
            f"program, {figures['nats_per_token']:.3f} a token"
        )


def entropy_of(samples: Sequence[Sample]) -> dict[str, Any]:
    """The estimate from programs with log-probabilities that the model wrote at temperature 1, as many for each task.

    ``nats``: the mean over tasks of the mean ``-log p`` of a task's programs. ``nats_per_token``: ``-log p`` of all
    programs over the tokens of all, ends included. ``programs``: how many.
    """
    by_task: dict[str, list[float]] = {}
    for sample in samples:
        by_task.setdefault(sample.task_id, []).append(-float(sample.logprob or 0.0))
    nats = sum(map(sum, by_task.values()))
    tokens = sum(sample.num_tokens or 0 for sample in samples)
    return {
        "nats": float(np.mean([np.mean(found) for found in by_task.values()])),
        "nats_per_token": nats / max(tokens, 1),
        "programs": len(samples),
    }
