"""Improvement: by how much a program's pass rate is above the mean of its task's stored programs.

The positive half of the advantage, for objectives that imitate: the best of what was written for a task is drawn,
solved or not, and a task whose programs fare alike, all solved or all hopeless, is left alone.
"""

import jax
import jax.numpy as jnp

from pper_jax.replay.priorities.rule import Priority, Stored, sound_rate, task_mean


def log_improvement(stored: Stored) -> jax.Array:
    """Log of ``max(0, pass rate - mean pass rate of the task's stored programs)``, ``[n]`` float32."""
    rate = sound_rate(stored.items)
    return jnp.log(jnp.maximum(rate - task_mean(rate, stored.items), 0.0))


RULE = Priority(log_improvement, scope="task", steady=True, noun="improvement on its task's mean")
