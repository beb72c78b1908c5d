"""The control of P2Value: the same values, handed to other programs of the buffer, whatever these are worth.

Priorities are distributed as P2Value's are, so that draws come from as many programs, but chance says which. What a
gain over even draws owes to P2Value, and not to drawing few programs often, is what this one lacks.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from pper_jax.replay.admission import mixed
from pper_jax.replay.items import Items
from pper_jax.replay.priorities.rule import Priority, Stored

_SEED = 0x2545F491


def lender(items: Items) -> jax.Array:
    """The slot of the program whose P2Value each one has, ``[n]`` int32; where there is no program, the slot itself.

    Programs stand in a circle by a hash of ``program_id`` (a bijection, so that those of a run, which differ, never
    tie), and each takes after the next. So it does not depend on slots, holds while the programs stay, and one that
    comes or goes changes the lender of one other. O(n log n).
    """
    slots = jnp.arange(items.valid.shape[0], dtype=jnp.int32)
    hashes = mixed(items.program_id.astype(jnp.uint32) ^ jnp.uint32(_SEED))
    circle = lax.sort((~items.valid, hashes, slots), num_keys=3)[-1]
    size = jnp.sum(items.valid, dtype=jnp.int32)
    following = jnp.where(slots + 1 == size, 0, slots + 1)
    return jnp.zeros_like(slots).at[circle].set(circle[jnp.where(slots < size, following, slots)])


def log_worth(stored: Stored) -> jax.Array:
    """Log of the P2Value of another program, ``[n]`` float32."""
    return stored.log_p2value[lender(stored.items)]


def log_ties(stored: Stored) -> jax.Array:
    """Log of that program's possibility, ``[n]`` float32: its own must not decide between programs of equal worth."""
    return stored.log_possibility[lender(stored.items)]


RULE = Priority(log_worth, scope="buffer", ties=log_ties, noun="shuffled P2Value")
