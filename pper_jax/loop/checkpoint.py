"""Checkpoints of a run through Orbax: the whole :class:`LoopState`, atomic and asynchronous.

Orbax's ``v1`` interface is still experimental in the releases that we support, so this file, and no other, uses the
stable ``CheckpointManager``.
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from pper_jax import replay
from pper_jax.errors import RunFailure
from pper_jax.loop.state import LoopState
from pper_jax.sharding import place
from pper_jax.terminal import say

KEPT = 2  # the newest may be damaged


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _plain(state: LoopState) -> Any:
    """What is saved, by name: keys as their data, the sum tree as its leaves; nothing of what is None."""
    saved = replace(state, buffer=replay.to_checkpoint(state.buffer))
    saved = jax.tree.map(lambda leaf: jax.random.key_data(leaf) if _is_key(leaf) else leaf, saved)
    everywhere = state.train.step.sharding
    if not everywhere.is_fully_addressable:
        saved = jax.tree.map(lambda leaf: place(leaf, everywhere) if leaf.is_fully_addressable else leaf, saved)
    return {name: part for name, part in vars(saved).items() if part is not None}


def _whole(saved: Any, like: LoopState) -> LoopState:
    reference = replace(like, buffer=replay.to_checkpoint(like.buffer))
    state: LoopState = jax.tree.map(
        lambda leaf, ref: jax.random.wrap_key_data(leaf, impl=jax.random.key_impl(ref)) if _is_key(ref) else leaf,
        LoopState(**saved),
        reference,
    )
    return replace(state, buffer=replay.from_checkpoint(state.buffer))


class Checkpoints:
    """The newest checkpoints of one run, in ``directory``; a save that was cut off is never seen as one.

    A context manager: at its end the save in progress is waited for. Raises RunFailure where the disk refuses.
    """

    def __init__(self, directory: Path, keep: int = KEPT) -> None:
        logging.getLogger("absl").setLevel(logging.ERROR)  # what goes wrong is said here, in one sentence
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True, enable_async_checkpointing=True)
        self.directory = directory.resolve()
        self._manager = ocp.CheckpointManager(self.directory, options=options)

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._guarded(self._manager.wait_until_finished)
            self._guarded(self._manager.close)
        else:  # the first error is the one to tell of
            for step in (self._manager.wait_until_finished, self._manager.close):
                with contextlib.suppress(Exception):
                    step()

    def save(self, state: LoopState) -> None:
        """Save ``state``; returns once it is copied off the device. An error of the save before is raised here."""
        order = 1 + max(self._manager.all_steps(), default=0)
        plain = _plain(state)
        self._guarded(lambda: self._manager.save(order, args=ocp.args.StandardSave(plain)))

    def latest(self, like: LoopState) -> LoopState | None:
        """The newest state that is whole, shaped and sharded as ``like``; None when there is none at all.

        One that cannot be read is left out, which is said.

        Raises:
            RunFailure: there are checkpoints, and none can be read.
        """
        orders = sorted(self._manager.all_steps(), reverse=True)
        abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), _plain(like))
        for order in orders:
            try:
                return _whole(self._manager.restore(order, args=ocp.args.StandardRestore(abstract)), like)
            except Exception as error:
                say(f"the checkpoint {self.directory / str(order)} cannot be read ({_short(error)}) and is left out")
        if orders:
            raise RunFailure(
                f"none of the {len(orders)} checkpoints in {self.directory} can be read with this configuration; "
                "start over with --fresh"
            )
        return None

    def _guarded(self, step: Any) -> None:
        try:
            step()
        except Exception as error:
            raise RunFailure(
                f"cannot save a checkpoint in {self.directory} ({_short(error)}); make room or mend the disk, and run "
                "the same command again: it goes on from the checkpoint before"
            ) from error


def _short(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:160]}"
