"""The BTP loop: configuration, parts, rounds, checkpoints."""

from pper_jax.loop.parts import Parts, build
from pper_jax.loop.rounds import run
from pper_jax.loop.state import LoopState

__all__ = ["LoopState", "Parts", "build", "run"]
