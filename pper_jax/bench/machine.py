"""What the machine can do, measured, and what it is."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pper_jax.bench.roofline import Rates
from pper_jax.bench.runners import cores

SECONDS = 1.0  # how long each rate is sampled; the best is taken


def measure_rates(dtype: str) -> tuple[Rates, dict[str, float]]:
    """The best of several ways to multiply large matrices and to read much memory.

    Returns:
        ``(rates, every way's own rate)``.
    """
    ways = {"matmul_jax": _jax_matmul(dtype)}
    if jax.default_backend() == "cpu":
        ways["matmul_numpy"] = _numpy_matmul()
        ways["read_numpy_threads"] = _numpy_read()
    ways["read_jax"] = _jax_read(dtype)
    best = [max(rate for name, rate in ways.items() if name.startswith(kind)) for kind in ("matmul", "read")]
    return Rates(*best), ways


def faster(first: Rates, second: Rates) -> Rates:
    """The better of two samples of each rate."""
    return Rates(max(first.operations_s, second.operations_s), max(first.bytes_s, second.bytes_s))


def _best_rate(work: float, run: Callable[[], Any]) -> float:
    """``work`` over the shortest of as many runs as fit into ``SECONDS``, at least three; the first is not counted."""
    run()
    seconds: list[float] = []
    while len(seconds) < 3 or sum(seconds) < SECONDS:
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return work / min(seconds)


def _jax_matmul(dtype: str) -> float:
    n = 2048 if jax.default_backend() == "cpu" else 8192
    x = jnp.ones((n, n), dtype)
    multiply = jax.jit(jnp.matmul)
    return _best_rate(2.0 * n**3, lambda: multiply(x, x).block_until_ready())


def _numpy_matmul() -> float:
    n = 2048
    x = np.ones((n, n), np.float32)
    out = np.empty_like(x)
    return _best_rate(2.0 * n**3, lambda: np.matmul(x, x, out=out))


def _numpy_read() -> float:
    """Each core sums its part of a GiB; NumPy lets go of the interpreter's lock meanwhile."""
    parts = np.array_split(np.ones(2**28, np.float32), cores())
    with ThreadPoolExecutor(cores()) as pool:
        return _best_rate(2.0**30, lambda: list(pool.map(np.add.reduce, parts)))


def _jax_read(dtype: str) -> float:
    x = jnp.ones((4 * cores(), 2**28 // (4 * cores())), dtype)
    add = jax.jit(lambda x: x.sum(axis=1, dtype=jnp.float32))
    return _best_rate(float(x.nbytes), lambda: add(x).block_until_ready())


def describe_machine() -> dict[str, Any]:
    """Processor, cores, device, versions."""
    return {
        "cpu": _cpu_name(),
        "cores": cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "jax": jax.__version__,
        "backend": jax.default_backend(),
        "device": jax.devices()[0].device_kind,
        "load_before": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
