"""A priority of a user's own, in one file: programs seldom drawn first; and two that look further than the program."""

import jax.numpy as jnp

from pper_jax.replay import Priority, Stored, task_mean

SELDOM = Priority(lambda stored: -jnp.log1p(stored.times_drawn.astype(jnp.float32)), scope="program", noun="rarity")


def surprise(stored: Stored):
    """How much less likely a program is than the mean of its task's."""
    mean = task_mean(jnp.exp(stored.log_possibility), stored.items)
    return jnp.log(jnp.maximum(mean - jnp.exp(stored.log_possibility), 0))


SURPRISE = Priority(surprise, scope="task")
LEAST_DRAWN = Priority(
    lambda stored: jnp.where(stored.times_drawn == jnp.min(stored.times_drawn), 0.0, -jnp.inf), scope="buffer"
)
UNSOUND = Priority(lambda stored: jnp.where(stored.items.pass_rate > 0.5, jnp.nan, jnp.inf), scope="program")
