"""Programs for the replay tests, and the chi-square test."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pper_jax import replay

WIDTH = 4


def empty(config: replay.ReplayConfig) -> replay.ReplayState:
    """A buffer for the rows of :func:`items`."""
    return replay.init(config, max_length=WIDTH)


def items(count: int, *, first: int = 0, **fields: Any) -> replay.Items:
    """``count`` programs, ids from ``first`` on; one token of prompt, two of program, unless ``fields`` say else."""
    given = {
        "tokens": np.tile(np.arange(first, first + count, dtype=np.int32)[:, None], (1, WIDTH)),
        "prompt_length": np.ones(count, np.int32),
        "length": np.full(count, 3, np.int32),
        "logprob": np.full(count, -1.0, np.float32),
        "pass_rate": np.zeros(count, np.float32),
        "task_index": np.arange(count, dtype=np.int32) // 3,
        "round": np.ones(count, np.int32),
        "program_id": np.arange(first, first + count, dtype=np.int32),
        "valid": np.ones(count, bool),
    }
    extras = fields.pop("extras", {})
    for name, values in fields.items():
        given[name] = np.asarray(values, given[name].dtype)
    return replay.Items(**given, extras=extras)


def simulated(count: int = 3000) -> dict[str, np.ndarray]:
    """Lengths, log-probabilities and pass rates as a small model's programs have them."""
    rng = np.random.default_rng(7)
    num_tokens = np.clip(rng.lognormal(np.log(80), 0.6, count), 20, 400).astype(np.int32)
    logprob = (-num_tokens * rng.gamma(6.0, 0.08, count)).astype(np.float32)
    pass_rate = rng.choice([0.0, 1 / 3, 2 / 3, 1.0], count, p=[0.55, 0.2, 0.1, 0.15]).astype(np.float32)
    return {"num_tokens": num_tokens, "logprob": logprob, "pass_rate": pass_rate}


def effective_sample_size(priorities: Any) -> float:
    p = np.asarray(priorities, np.float64)
    p = p / p.sum()
    return float(1 / np.sum(p**2) / p.size)


def chi_square_deviates(counts: np.ndarray, probabilities: np.ndarray) -> float:
    """How many standard deviations the chi-square statistic lies above its mean (Wilson-Hilferty); 4 rejects."""
    expected = counts.sum() * np.asarray(probabilities, np.float64)
    assert expected.min() >= 5, "too few draws for a chi-square test"
    freedom = counts.size - 1
    statistic = np.sum((counts - expected) ** 2 / expected)
    spread = 2 / (9 * freedom)
    return float(((statistic / freedom) ** (1 / 3) - (1 - spread)) / np.sqrt(spread))


def p_value(counts: np.ndarray, probabilities: np.ndarray) -> float:
    """Of the chi-square test (Wilson-Hilferty): the chance that sound draws are as far off as these."""
    return 0.5 * math.erfc(chi_square_deviates(counts, probabilities) / math.sqrt(2))
