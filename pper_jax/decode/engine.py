"""Decoding of prompt lists: rows that end make room for waiting prompts; few compiled shapes; results as they come."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax
from jax.sharding import Mesh

from pper_jax.decode.cache import prefill
from pper_jax.decode.devices import batch_shardings, lay_out
from pper_jax.decode.ends import Ends, RowEnds, row_ends
from pper_jax.decode.method import Method
from pper_jax.decode.prompts import HostProgram, pad_on_host, to_host
from pper_jax.decode.segments import Batch, advance_until, begin, compact, grow, idle, live_slots, merge, step_counts
from pper_jax.decode.shared import shared_prefix
from pper_jax.errors import UserError
from pper_jax.ranges import check_number
from pper_jax.sharding import batch_devices
from pper_jax.types import KVCache, Params, Programs, Prompts

BUCKETS = (64, 128, 256, 512, 1024, 2048, 4096, 8192)
SEGMENT = 32  # steps between two looks of the host
LONG = 2048  # tokens: longer prompts are read one by one on CPU, and a reproducible batch of them has fewer rows
LEAST = 8  # steps that giving up dead slots must make room for, or the cache is enlarged


def decode_prompts(
    module: nn.Module,
    params: Params,
    token_lists: Sequence[Sequence[int]],
    *,
    config: Method,
    batch_size: int,
    ends: Ends | Sequence[Ends] | None = None,
    only: Sequence[int] | None = None,
    buckets: Sequence[int] = BUCKETS,
    names: Sequence[str] | None = None,
    key: jax.Array | None = None,
    prompt_ids: Sequence[int] | None = None,
    mesh: Mesh | None = None,
    reproducible: bool = False,
    watch: Callable[[], None] | None = None,
) -> Iterator[tuple[int, list[HostProgram]]]:
    """Decode prompts of any lengths, ``batch_size`` at a time; a row whose prompt is done takes the next one.

    The prompts are checked when this is called; decoding happens while the result is iterated, shortest bucket first,
    so that a caller can save and show what is done. A prompt's programs do not depend on when it was admitted, nor on
    the other prompts but for how much all of them share: up to rounding, and with ``reproducible`` on CPU to the last
    bit.
    What all prompts begin with (:func:`pper_jax.decode.shared.shared_prefix`) is read once a bucket. A bucket compiles
    two programs, one that admits prompts and one that extends them; unless ``reproducible``, the latter once for each
    of up to three cache sizes, with one each that frees slots and (but on CPU) enlarges the cache.

    Args:
        module: a causal LM with the call contract of ``pper_jax.models``.
        params: its parameters.
        token_lists: token ids, one non-empty sequence a prompt.
        config: the method: ``BeamConfig``, ``SampleConfig`` (sampling and greedy decoding), or any other ``Method``.
        batch_size: rows of every device call, filled up with idle ones where prompts are few.
        ends: what programs end at, one for all prompts or one a prompt; None: what the method itself says.
        only: the indices of the prompts to decode, when others are done already. What is compiled depends on all of
            them, so that ``reproducible`` holds for a call that takes up where another stopped.
        buckets: padded prompt lengths, after what all prompts begin with; a longer prompt is padded to the longest one
            the model has room for.
        names: what error messages call the prompts, such as task ids; their numbers if absent.
        key: one typed key; needed for a method that draws at random.
        prompt_ids: what the key is folded with, so that a prompt's draws do not depend on the list; default its index.
        mesh: split the rows over ``data`` and ``fsdp`` and the weights over ``tp`` (``lay_out``). Programs are the same
            up to rounding.
        reproducible: keep the cache at its full size and the buckets apart, and take products whose rows do not depend
            on their place, so that sums are added in the same order whatever else is decoded. Idle rows are then kept
            few by the bucket, not by the prompts: one of more than 2,048 tokens has half of ``batch_size`` (but on a
            mesh), of more than 4,096 a quarter, and so on. Otherwise the cache grows as programs do, slots that no beam
            descends from any more are used again, both of which is faster for long limits, and buckets with few prompts
            are joined.
        watch: called between two calls of the device; what it raises ends the decoding.

    Yields:
        ``(index into token_lists, programs)``, each index once; beam search gives its programs best first.

    Raises:
        UserError: a prompt is empty or leaves no room for ``max_new_tokens``, an option does not fit the model, the
            key is missing, kernels are named beside a mesh, or the device has too little memory (the message says
            which batch size would fit).
    """
    check_number("batch_size", batch_size, least=1, whole=True)
    if mesh is not None and batch_size % (parts := batch_devices(mesh)):
        raise UserError(f"batch_size {batch_size} must be a multiple of the mesh's data axis times fsdp ({parts}).")
    if mesh is not None and module.compute.kernels not in (None, "reference"):
        raise UserError(f"kernels {module.compute.kernels!r} run on one device; leave them or the mesh out.")
    if config.needs_key and key is None:
        raise UserError("this method draws at random and needs a key; pass key=jax.random.key(seed).")
    config.check(module.config)
    closing = _closing(ends, len(token_lists), module.config.vocab_size)
    ids = list(prompt_ids) if prompt_ids is not None else list(range(len(token_lists)))
    groups: dict[int, list[_Waiting]] = {}
    longest = module.config.max_positions - config.max_new_tokens
    prefix = shared_prefix(token_lists)
    padded = [len(prefix) + bucket for bucket in buckets]
    for index in range(len(token_lists)) if only is None else only:
        tokens = token_lists[index]
        name = names[index] if names is not None else f"prompt {index}"
        bucket = _bucket(len(tokens), padded, longest, name, config.max_new_tokens)
        groups.setdefault(bucket, []).append(_Waiting(index, tokens, ids[index]))

    def results() -> Iterator[tuple[int, list[HostProgram]]]:
        model, weights = lay_out(module, params, mesh)
        for bucket, waiting in _streams(groups, 1 if reproducible else batch_size):
            rows = _rows(batch_size, bucket) if reproducible and mesh is None else batch_size
            of_bucket = (config, closing, rows, bucket, prefix, key, mesh, reproducible)
            try:  # no name holds the stream, whose cache goes before the next one's comes
                yield from _Stream(model, weights, *of_bucket).run(deque(waiting), watch)
            except jax.errors.JaxRuntimeError as err:
                if "RESOURCE_EXHAUSTED" not in str(err):
                    raise
                raise UserError(_out_of_memory(module, config, rows, bucket, batch_size // rows)) from err

    return results()


def _closing(ends: Ends | Sequence[Ends] | None, prompts: int, vocabulary: int) -> Ends | RowEnds | None:
    """What the caller says that programs end at, as the device takes it; judged."""
    if ends is None:
        return None
    each = [ends] * prompts if isinstance(ends, Ends) else list(ends)
    if len(each) != prompts:
        raise UserError(f"{len(each)} ends are given for {prompts} prompts; pass one for all or one a prompt.")
    for one in {*each}:
        one.check_vocabulary(vocabulary)
    return row_ends(each)


@dataclass(frozen=True)
class _Waiting:
    index: int
    tokens: Sequence[int]
    id: int


def _bucket(length: int, buckets: Sequence[int], longest: int, name: str, new_tokens: int) -> int:
    """The padded length for a prompt of ``length`` tokens."""
    if length == 0:
        raise UserError(f"{name} has no tokens; give it at least one, such as the tokenizer's BOS.")
    if length > longest:
        raise UserError(
            f"{name} has {length} tokens, but with max_new_tokens={new_tokens} the model's context leaves room for "
            f"{max(longest, 0)}; shorten the prompt or lower max_new_tokens."
        )
    return min(min((b for b in buckets if b >= length), default=longest), longest)


def _rows(batch_size: int, bucket: int) -> int:
    """Rows of a bucket's batches: beyond ``LONG`` tokens half as many, beyond twice that a quarter, and so on.

    Long prompts are few as a rule, and an idle row costs what another does. How many there are cannot decide, for a
    program's last bits depend on the rows of its batch.
    """
    return min(batch_size, max(batch_size >> ((bucket - 1) // LONG).bit_length(), 2))


def _streams(groups: Mapping[int, list[_Waiting]], least: int) -> Iterator[tuple[int, list[_Waiting]]]:
    """Buckets, shortest first; one with fewer prompts than ``least`` joins the next."""
    carried: list[_Waiting] = []
    for bucket in sorted(groups):
        waiting = carried + groups[bucket]
        carried = waiting if len(waiting) < least and bucket != max(groups) else []
        if not carried:
            yield bucket, waiting


def cache_bytes(config: Any, rows: int, width: int, prompt_slots: int, steps: int, dtype: Any = jnp.float32) -> int:
    """Bytes of a batch's keys and values: each prompt once, and ``steps`` slots for each of ``width`` beams."""
    each = 2 * config.num_layers * config.num_kv_heads * config.head_dim * jnp.dtype(dtype).itemsize
    return rows * (prompt_slots + width * steps) * each


def _out_of_memory(module: Any, config: Any, rows: int, bucket: int, each_stands_for: int) -> str:
    """What to say; a row of this bucket stands for so many of ``batch_size``."""
    slots = {"prompt_slots": bucket, "steps": step_counts(config.max_new_tokens)[-1]}
    need = partial(cache_bytes, module.config, width=config.width, dtype=module.compute.dtype, **slots)
    stats: Mapping[str, int] = jax.devices()[0].memory_stats() or {}
    free = stats.get("bytes_limit", 0) - stats.get("bytes_in_use", 0)
    # logits in float32 and their copies come on top of the cache
    each = need(rows=1) + 3 * 4 * config.width * module.config.vocab_size
    fits = max(1, min(rows // 2, free // each if free > 0 else rows))
    return (
        f"The device has too little memory to decode {rows} prompts of up to {bucket} tokens at once (the cache alone "
        f"takes {need(rows=rows) / 2**20:.0f} MiB); batch_size={fits * each_stands_for} should fit."
    )


class _Stream:
    """One bucket's prompts on their way through a batch of fixed shape; host state only."""

    def __init__(
        self,
        module: nn.Module,
        params: Params,
        method: Method,
        ends: Ends | RowEnds | None,
        rows: int,
        bucket: int,
        prefix: Sequence[int],
        key: jax.Array | None,
        mesh: Mesh | None,
        reproducible: bool,
    ) -> None:
        self.params, self.bucket = params, bucket
        self.sizes = list(step_counts(method.max_new_tokens)[-1 if reproducible else 0 :])
        self.key, self.mesh, self.ends = key, mesh, ends
        self.cpu = jax.default_backend() == "cpu" and mesh is None
        # prompts admitted at once; on CPU a long one has rows enough for the products by itself
        self.group = (1 if bucket > LONG else min(rows, 2)) if self.cpu else max(1, rows // 4)
        if mesh is not None:
            self.group = -(-self.group // batch_devices(mesh)) * batch_devices(mesh)
        few_rows = self.cpu and not reproducible and rows * method.width <= 24
        self.compiled = _compiled(module, method, _compiler_options(few_rows), mesh)
        self.shared = self.compiled.read(params, pad_on_host([prefix], len(prefix))) if prefix else None
        self.steps = self.sizes.pop(0)
        self.holds: list[_Waiting | None] = [None] * rows
        self.taken = np.zeros(rows, np.int64)  # slots in use
        self.live = np.zeros(rows, np.int64)  # slots that some beam sees
        self.width = method.width
        shapes = self.compiled.shapes.eval_shape(
            params, self._keys([0] * rows), self._ends([0] * rows), bucket=bucket, steps=self.steps, rows=rows
        )
        self.batch = self._place(idle(shapes))

    def run(
        self, waiting: deque[_Waiting], watch: Callable[[], None] | None = None
    ) -> Iterator[tuple[int, list[HostProgram]]]:
        """The programs of every waiting prompt, as they end."""
        while waiting or any(self.holds):
            if watch is not None:
                watch()
            self._admit(waiting)
            steps = self._make_room()
            enough = min(self.group, len(waiting)) or len(self.holds)
            self.batch, done, live, programs = self.compiled.extend(
                self.params, self.batch, np.int32(steps), np.int32(enough)
            )
            taken, live, done, programs = jax.device_get((self.batch.taken, live, done, programs))
            self.taken, self.live = np.array(taken), np.array(live)  # the batch's own memory is used again
            yield from self._take_ended(done, programs)

    def _make_room(self) -> int:
        """Free or add slots where a row has none left; how many steps to take."""
        held = [row for row, prompt in enumerate(self.holds) if prompt]
        slots, used = self.steps * self.width, int(self.taken[held].max())
        if slots - used < self.width:
            if self.sizes and slots - int(self.live[held].max()) >= LEAST * self.width:
                self.batch = self.compiled.compact(self.batch)
                self.taken = self.live
            else:
                self._grow()
            slots, used = self.steps * self.width, int(self.taken[held].max())
        return min(SEGMENT, (slots - used) // self.width)

    def _take_ended(self, done: np.ndarray, programs: Programs) -> Iterator[tuple[int, list[HostProgram]]]:
        """The programs of the rows that are done; their rows become free."""
        ended = [(row, held) for row, held in enumerate(self.holds) if held and done[row]]
        if ended:
            rows = [row for row, _ in ended]
            found = to_host(jax.tree.map(lambda x: x[rows], programs))
            for (row, held), texts in zip(ended, found, strict=True):
                self.holds[row] = None
                yield held.index, texts

    def _admit(self, waiting: deque[_Waiting]) -> None:
        """Fill free rows, a group of prompts at a time."""
        free = [row for row, held in enumerate(self.holds) if held is None]
        while waiting and len(free) >= min(self.group, len(waiting)):
            taken = [waiting.popleft() for _ in range(min(self.group, len(waiting)))]
            rows, free = free[: len(taken)], free[len(taken) :]
            for row, prompt in zip(rows, taken, strict=True):
                self.holds[row], self.taken[row], self.live[row] = prompt, 0, 0
            spare = self.group - len(taken)
            prompts = taken + [taken[0]] * spare
            places = np.asarray(rows + [len(self.holds)] * spare, np.int32)  # a row that does not exist is dropped
            packed = pad_on_host([prompt.tokens for prompt in prompts], self.bucket)
            keys = self._keys([prompt.id for prompt in prompts])
            closing = self._ends([prompt.index for prompt in prompts])
            self.batch = self.compiled.admit(self.params, self.batch, packed, keys, closing, places, self.shared)

    def _keys(self, ids: Sequence[int]) -> jax.Array | None:
        if self.key is None:
            return None
        return jax.vmap(jax.random.fold_in, (None, 0))(self.key, jnp.asarray(ids, jnp.int32))

    def _ends(self, prompts: Sequence[int]) -> Ends | RowEnds | None:
        return self.ends.rows(prompts) if isinstance(self.ends, RowEnds) else self.ends

    def _grow(self) -> None:
        self.steps = self.sizes.pop(0)
        if self.cpu:  # on the host: nothing to compile
            self.batch = jax.device_put(grow(self.batch, self.steps, on_host=True))
        else:
            self.batch = self.compiled.grow(self.batch, self.steps)

    def _place(self, batch: Batch) -> Batch:
        return jax.device_put(batch, None if self.mesh is None else batch_shardings(batch, self.mesh))


@dataclass(frozen=True)
class _Compiled:
    """The jitted functions of one model and method; the batch is donated to each. ``shapes`` is traced only."""

    shapes: Any
    read: Callable[..., KVCache]
    admit: Callable[..., Batch]
    extend: Callable[..., tuple[Batch, jax.Array, jax.Array, Programs]]
    compact: Callable[..., Batch]
    grow: Callable[..., Batch]


@lru_cache(maxsize=64)
def _compiled(
    module: nn.Module, method: Method, options: tuple[tuple[str, str], ...], mesh: Mesh | None = None
) -> _Compiled:
    def put(batch: Batch) -> Batch:  # one sharding always, so that nothing is compiled for another
        return batch if mesh is None else lax.with_sharding_constraint(batch, batch_shardings(batch, mesh))

    def shapes(params: Params, keys: jax.Array | None, ends: Any, bucket: int, steps: int, rows: int) -> Batch:
        prompts = Prompts(jnp.zeros((rows, bucket), jnp.int32), jnp.ones(rows, jnp.int32))
        return grow(begin(module, params, prompts, keys, method, ends), steps)

    def admit(
        params: Params, batch: Batch, prompts: Prompts, keys: Any, ends: Any, rows: jax.Array, shared: KVCache | None
    ) -> Batch:
        return put(merge(batch, begin(module, params, prompts, keys, method, ends, shared), rows))

    def extend(
        params: Params, batch: Batch, steps: jax.Array, done: jax.Array
    ) -> tuple[Batch, jax.Array, jax.Array, Programs]:
        batch = put(advance_until(module, params, batch, method, steps, done))
        return batch, batch.state.done | False, live_slots(batch).sum(-1), method.results(batch.state)

    jit: Callable[..., Any] = partial(jax.jit, compiler_options=dict(options) or None)
    return _Compiled(
        shapes=jax.jit(shapes, static_argnames=("bucket", "steps", "rows")),
        read=jit(lambda params, prompts: prefill(module, params, prompts)[1]),
        admit=jit(admit, donate_argnames="batch"),
        extend=jit(extend, donate_argnames="batch"),
        compact=jit(lambda batch: put(compact(batch)), donate_argnames="batch"),
        grow=jit(lambda batch, steps: put(grow(batch, steps)), static_argnames="steps", donate_argnames="batch"),
    )


@lru_cache
def _compiler_options(few_rows: bool) -> tuple[tuple[str, str], ...]:
    """For products of few rows on CPU, Eigen's kernels instead of XLA's present default (BUILD_NOTES.md has the rates).

    On processors without AVX-512 Eigen rounds the last rows of some numbers of rows otherwise than the first.

    The option belongs to some versions of XLA only; where it is unknown nothing is changed.
    """
    if not few_rows:
        return ()
    options = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_REDUCE"}
    try:
        jax.jit(lambda x: x, compiler_options=options).lower(np.float32(0)).compile()
    except (jax.errors.JaxRuntimeError, ValueError, RuntimeError):
        return ()
    return tuple(options.items())
