"""Speed and accuracy of prioritized samplers, ours beside flashbax, torchrl and cpprb, on the same priorities.

``pper bench replay --capacities 16384 --batches 256,4096`` prints one line a capacity, batch and library:
medians of interleaved blocks in microseconds (a draw of one stratified batch, setting the priorities of one batch, both
in turn inside one ``lax.scan``), their ratio to ours, and the chi-square per degree of freedom of the draws. A library
that does not import is left out, and why is said.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from pper_jax.errors import UserError
from pper_jax.files import write_atomic
from pper_jax.replay import sum_tree
from pper_jax.terminal import check_interrupted

SCAN_STEPS = 100
MEASURES = ("sample", "update", "scan")


class Sampler(Protocol):
    """One library's sampler over ``capacity`` leaves; batches are in the library's own array type."""

    def draw(self) -> Any:
        """Draw one batch, with replacement; ready when it returns."""

    def set(self) -> None:
        """Set the priorities of one batch (new random leaves each time); ready when it returns."""

    def scan(self) -> bool:
        """``SCAN_STEPS`` draws, each followed by setting what was drawn, as one compiled call; False: there is none."""


class JaxSampler:
    """A sampler of pure functions: ``draw(tree, key) -> indices [n]``, ``put(tree, indices, values) -> tree``."""

    def __init__(self, tree: Any, batch: int, capacity: int, draw: Callable, put: Callable) -> None:
        self.tree, self.key, self.turn = tree, jax.random.key(1), 0
        values = jax.random.uniform(jax.random.key(2), (batch,))
        self.where = [
            jax.random.randint(k, (batch,), 0, capacity, jnp.int32) for k in jax.random.split(jax.random.key(3), 16)
        ]

        def steps(tree: Any, key: jax.Array) -> Any:
            def step(tree: Any, key: jax.Array) -> tuple[Any, None]:
                return put(tree, draw(tree, key), values), None

            return jax.lax.scan(step, tree, jax.random.split(key, SCAN_STEPS))[0]

        def one(tree: Any, key: jax.Array) -> tuple[jax.Array, jax.Array]:
            now, later = jax.random.split(key)
            return draw(tree, now), later

        self._draw, self._put, self._steps = jax.jit(one), jax.jit(put, donate_argnums=0), jax.jit(steps)
        self.values = values

    def draw(self) -> jax.Array:
        """One batch."""
        drawn, self.key = jax.block_until_ready(self._draw(self.tree, self.key))
        return drawn

    def set(self) -> None:
        """One batch."""
        self.turn += 1
        self.tree = jax.block_until_ready(self._put(self.tree, self.where[self.turn % 16], self.values))

    def scan(self) -> bool:
        """One compiled scan."""
        jax.block_until_ready(self._steps(self.tree, self.key))
        return True


class HostSampler:
    """A library of the host: ``draw() -> indices``, ``put(indices, values)``."""

    def __init__(self, batch: int, capacity: int, draw: Callable, put: Callable, wrap: Callable) -> None:
        rng = np.random.default_rng(1)
        self.where = [wrap(rng.integers(0, capacity, batch)) for _ in range(16)]
        self.values, self.turn = wrap(rng.random(batch).astype(np.float32)), 0
        self.draw, self._put = draw, put

    def set(self) -> None:
        """One batch."""
        self.turn += 1
        self._put(self.where[self.turn % 16], self.values)

    def scan(self) -> bool:
        """Not possible on the host."""
        return False


def pper(priorities: np.ndarray, batch: int, target: sum_tree.Target, arity: int | None = None) -> Sampler:
    """This project's sum tree."""
    tree = sum_tree.build(jnp.asarray(priorities), arity)
    draw = partial(sum_tree.sample, n=batch, target=target)
    return JaxSampler(tree, batch, priorities.size, lambda tree, key: draw(tree, key), sum_tree.update)


def flashbax(priorities: np.ndarray, batch: int) -> Sampler:
    """flashbax's sum tree with the setter that it picks for the backend."""
    from flashbax.buffers import sum_tree as other

    put = other.set_batch_scan if jax.default_backend() == "cpu" else other.set_batch_bincount
    tree = other.set_batch_bincount(other.init(priorities.size), jnp.arange(priorities.size), jnp.asarray(priorities))
    return JaxSampler(tree, batch, priorities.size, lambda tree, key: other.stratified_sample(tree, batch, key), put)


def torchrl(priorities: np.ndarray, batch: int) -> Sampler:
    """torchrl's PrioritizedSampler (alpha 1, no storage behind it)."""
    import torch
    from torchrl.data import ListStorage, PrioritizedSampler

    sampler = PrioritizedSampler(priorities.size, alpha=1.0, beta=1.0, eps=0.0)
    storage = ListStorage(priorities.size)
    storage._storage = range(priorities.size)  # only its length is asked for
    sampler.extend(torch.arange(priorities.size))
    sampler.update_priority(torch.arange(priorities.size), torch.from_numpy(priorities))
    return HostSampler(
        batch,
        priorities.size,
        lambda: np.asarray(sampler.sample(storage, batch)[0]),
        sampler.update_priority,
        torch.from_numpy,
    )


def cpprb(priorities: np.ndarray, batch: int) -> Sampler:
    """cpprb's prioritized buffer of one float a transition (alpha 1)."""
    from cpprb import PrioritizedReplayBuffer

    buffer = PrioritizedReplayBuffer(priorities.size, {"x": {}}, alpha=1.0, eps=0.0)
    buffer.add(x=np.zeros(priorities.size, np.float32))
    buffer.update_priorities(np.arange(priorities.size), priorities)
    return HostSampler(
        batch,
        priorities.size,
        lambda: buffer.sample(batch, beta=1.0)["indexes"],
        buffer.update_priorities,
        lambda values: values,
    )


LIBRARIES: dict[str, Callable[[np.ndarray, int], Sampler]] = {
    "pper exact": partial(pper, target="exact"),
    "pper dithered": partial(pper, target="dithered"),
    "flashbax": flashbax,
    "torchrl": torchrl,
    "cpprb": cpprb,
}


def timings(samplers: dict[str, Sampler], rounds: int, block_s: float) -> dict[str, dict[str, float]]:
    """Microseconds a step: medians over ``rounds`` blocks of at least ``block_s`` seconds, libraries in turn."""
    calls: dict[tuple[str, str], tuple[Callable[[], Any], int, int]] = {}
    for name, sampler in samplers.items():
        for measure, call in zip(MEASURES, (sampler.draw, sampler.set, sampler.scan), strict=True):
            if call() is False:
                continue
            call()
            began = time.perf_counter()
            call()
            count = max(1, round(block_s / (time.perf_counter() - began)))
            calls[name, measure] = (call, count, SCAN_STEPS if measure == "scan" else 1)
    found: dict[tuple[str, str], list[float]] = {key: [] for key in calls}
    for _ in range(rounds):
        for key, (call, count, steps) in calls.items():
            check_interrupted()
            began = time.perf_counter()
            for _ in range(count):
                call()
            found[key].append(1e6 * (time.perf_counter() - began) / count / steps)
    return {name: {m: statistics.median(found[name, m]) for m in MEASURES if (name, m) in found} for name in samplers}


def chi_square(sampler: Sampler, priorities: np.ndarray, draws: float) -> float:
    """Chi-square per degree of freedom of at least ``draws`` draws (stratified ones come out below 1).

    Leaves of which fewer than 5 draws are expected are taken together.
    """
    counts, made = np.zeros(priorities.size, np.int64), 0
    while made < draws:
        drawn, size = [], 0
        while size < min(draws, priorities.size):  # counting costs as much as there are leaves
            drawn.append(np.array(sampler.draw()))  # a copy: cpprb writes each batch into the same memory
            size += drawn[-1].size
        counts += np.bincount(np.concatenate(drawn), minlength=priorities.size)[: priorities.size]
        made += size
    expected = made * (priorities.astype(np.float64) / priorities.sum(dtype=np.float64))
    order = np.argsort(expected)
    cells = np.minimum(np.cumsum(expected[order]) / 5, np.arange(priorities.size) + 1e9)
    rare = expected[order] < 5
    group = np.where(rare, cells.astype(np.int64), 0)
    group[~rare] = group[rare].max(initial=0) + 1 + np.arange(np.count_nonzero(~rare))
    e, o = np.bincount(group, expected[order]), np.bincount(group, counts[order])
    kept = e >= 1
    return float(np.sum((o[kept] - e[kept]) ** 2 / e[kept]) / (np.count_nonzero(kept) - 1))


def compare(
    capacities: Sequence[int],
    batches: Sequence[int],
    *,
    libraries: Sequence[str] = tuple(LIBRARIES),
    rounds: int = 9,
    block_s: float = 0.01,
    draws: float = 0,
    power: Literal[1, 4] = 4,
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """A row a capacity, batch and library (``draws`` > 0 adds ``chi_square``); and why each missing library is."""
    rows, missing = [], {}
    for capacity in capacities:
        priorities = (np.random.default_rng(0).random(capacity) ** power).astype(np.float32)
        for batch in batches:
            samplers: dict[str, Sampler] = {}
            for name in libraries:
                check_interrupted()
                try:
                    samplers[name] = LIBRARIES[name](priorities, batch)
                except ImportError as error:
                    missing[name] = str(error).partition("\n")[0]
            accuracy = {name: {"chi_square": chi_square(s, priorities, draws)} for name, s in samplers.items() if draws}
            for name, figures in timings(samplers, rounds, block_s).items():
                rows.append(
                    {"capacity": capacity, "batch": batch, "library": name, **figures, **accuracy.get(name, {})}
                )
    return rows, missing


def ratios(rows: Sequence[dict[str, Any]], library: str, measure: str, ours: str) -> list[float]:
    """How many times slower ``library`` is than ``ours``, a number a capacity and batch that both have."""
    by = {(r["library"], r["capacity"], r["batch"]): r.get(measure) for r in rows}
    pairs = [(by.get((ours, c, b)), t) for (name, c, b), t in by.items() if name == library]
    return [theirs / mine for mine, theirs in pairs if mine and theirs]


def table(rows: Sequence[dict[str, Any]], missing: dict[str, str], ours: str = "pper dithered") -> str:
    """The rows as text, and the ratios' geometric means and minima."""
    lines = [f"{'capacity':>9} {'batch':>6} {'library':<14} {'sample':>9} {'update':>9} {'in scan':>9} {'chi2/dof':>9}"]
    for row in rows:
        cells = [f"{row[m]:9.1f}" if m in row else f"{'-':>9}" for m in MEASURES]
        cells.append(f"{row['chi_square']:9.4f}" if "chi_square" in row else f"{'-':>9}")
        lines.append(f"{row['capacity']:9d} {row['batch']:6d} {row['library']:<14} {' '.join(cells)}")
    lines.append("microseconds a batch, medians")
    for library in dict.fromkeys(row["library"] for row in rows if not row["library"].startswith("pper")):
        for measure in MEASURES:
            found = ratios(rows, library, measure, ours)
            if found:
                mean = statistics.geometric_mean(found)
                lines.append(f"{library}, {measure}: {mean:.2f} times ours (geometric mean), least {min(found):.2f}")
    lines += [f"{name} is left out: {why}" for name, why in missing.items()]
    return "\n".join(lines)


def bench_replay(
    capacities: Sequence[int],
    batches: Sequence[int],
    libraries: Sequence[str],
    rounds: int,
    draws: float,
    out: str | None,
) -> int:
    """Run the comparison, print its table and write its JSON; returns the exit code.

    Raises UserError for an unknown library, a capacity below 2 or draws below 0.
    """
    if unknown := [name for name in libraries if name not in LIBRARIES]:
        raise UserError(f"no library {unknown[0]!r}; use {', '.join(LIBRARIES)}.")
    if min(capacities) < 2 or min(batches) < 1 or not draws >= 0:
        raise UserError("capacities must be at least 2, batches at least 1, and draws not negative.")
    # A call that returns when it is done, for all: handing it to another thread costs more than most of what is timed.
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    rows, missing = compare(capacities, batches, libraries=libraries, rounds=rounds, draws=draws)
    print(table(rows, missing))
    if out:
        write_atomic(out, json.dumps({"rows": rows, "missing": missing}, indent=1) + "\n")
    return 0
