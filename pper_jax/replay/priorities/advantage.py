"""The size of the advantage: how far a program's pass rate is from the mean of its task's stored programs.

What policy-gradient replay ranks by: where all programs of a task fare alike there is nothing to learn from them.
"""

import jax
import jax.numpy as jnp

from pper_jax.replay.priorities.rule import Priority, Stored, sound_rate, task_mean


def log_advantage(stored: Stored) -> jax.Array:
    """Log of ``|pass rate - mean pass rate of the task's stored programs|``, ``[n]`` float32."""
    rate = sound_rate(stored.items)
    return jnp.log(jnp.abs(rate - task_mean(rate, stored.items)))


RULE = Priority(log_advantage, scope="task", steady=True, noun="size of advantage")
