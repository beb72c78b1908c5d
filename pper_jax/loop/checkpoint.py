"""Checkpoints of a run through Orbax: the whole state and the position in the loop, atomic and asynchronous.

Orbax's ``v1`` interface is still experimental in the releases that we support, so this file, and no other, uses the
stable ``CheckpointManager``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from pper_jax.errors import RunFailure


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _unwrap_keys(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jax.random.key_data(leaf) if _is_key(leaf) else leaf, tree)


def _rewrap_keys(tree: Any, like: Any) -> Any:
    return jax.tree.map(
        lambda leaf, ref: jax.random.wrap_key_data(leaf, impl=jax.random.key_impl(ref)) if _is_key(ref) else leaf,
        tree,
        like,
    )


class Checkpoints:
    """The newest checkpoints of one run, in ``directory``; a save that was cut off is never seen as a checkpoint."""

    def __init__(self, directory: Path, keep: int = 1) -> None:
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True, enable_async_checkpointing=True)
        self._manager = ocp.CheckpointManager(directory.resolve(), options=options)

    def save(self, state: Any, position: dict[str, int]) -> None:
        """Save the pytree ``state`` and where the loop stands; returns once the state is copied off the device."""
        order = 1 + (self._manager.latest_step() or 0)
        args = ocp.args.Composite(
            state=ocp.args.StandardSave(_unwrap_keys(state)), position=ocp.args.JsonSave(position)
        )
        try:
            self._manager.save(order, args=args)
        except OSError as error:
            raise RunFailure(f"cannot save a checkpoint in {self._manager.directory}: {error}") from error

    def latest(self, like: Any) -> tuple[Any, dict[str, int]] | None:
        """The newest state and position, shaped and sharded as ``like``; None when there is none.

        Raises:
            RunFailure: the checkpoint does not fit ``like`` (another model or buffer size) or cannot be read.
        """
        order = self._manager.latest_step()
        if order is None:
            return None
        plain = _unwrap_keys(like)
        abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), plain)
        args = ocp.args.Composite(state=ocp.args.StandardRestore(abstract), position=ocp.args.JsonRestore())
        try:
            restored = self._manager.restore(order, args=args)
        except (ValueError, KeyError, OSError) as error:
            raise RunFailure(
                f"the checkpoint in {self._manager.directory} does not fit this configuration "
                f"({type(error).__name__}); run with the configuration it was made with, or start over with --fresh"
            ) from error
        return _rewrap_keys(restored["state"], like), restored["position"]

    def close(self) -> None:
        """Wait for the save in progress and release the manager."""
        self._manager.wait_until_finished()
        self._manager.close()
