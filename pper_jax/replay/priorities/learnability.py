"""Learnability: ``p * (1 - p)`` of a task's success, so that what is neither solved nor hopeless comes first.

The variance of a success of probability ``p``; every stored program of a task has that of its task.
"""

import jax
import jax.numpy as jnp

from pper_jax.replay.priorities.rule import Priority, Stored, sound_rate, task_mean


def log_learnability(stored: Stored) -> jax.Array:
    """Log of ``p * (1 - p)``, ``p`` being the mean pass rate of the task's stored programs; ``[n]`` float32."""
    success = task_mean(sound_rate(stored.items), stored.items)
    return jnp.log(success) + jnp.log1p(-success)


RULE = Priority(log_learnability, scope="task", steady=True, noun="learnability")
