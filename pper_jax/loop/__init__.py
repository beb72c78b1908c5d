"""The BTP loop: configuration, rounds, checkpoints."""

from pper_jax.loop.rounds import run

__all__ = ["run"]
