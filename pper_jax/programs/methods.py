"""Decoding methods by the names of the command line."""

from __future__ import annotations

from typing import Any

from pper_jax.decode import BeamConfig, DiverseBeamConfig, SampleConfig, StochasticBeamConfig


def decode_config(
    method: str,
    width: int,
    max_new_tokens: int,
    temperature: float,
    top_p: float,
    groups: int | None = None,
    diversity: float = 0.5,
) -> Any:
    """The decoder's options for ``--method beam | diverse-beam | stochastic-beam | greedy | sample``."""
    if method == "diverse-beam":
        return DiverseBeamConfig(
            width=width, max_new_tokens=max_new_tokens, groups=groups or width, diversity=diversity
        )
    if method == "stochastic-beam":
        return StochasticBeamConfig(num_samples=width, max_new_tokens=max_new_tokens, temperature=temperature)
    if method == "beam":
        return BeamConfig(width=width, max_new_tokens=max_new_tokens)
    if method == "greedy":
        return SampleConfig(num_samples=1, temperature=0.0, max_new_tokens=max_new_tokens)
    return SampleConfig(num_samples=width, temperature=temperature, top_p=top_p, max_new_tokens=max_new_tokens)
