"""Which backend of an operation runs: by name, or the one preferred where the program will run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import Any

import jax
from jax import lax

KERNELS = {"pallas_gpu": "gpu", "pallas_tpu": "tpu"}  # name to the platform that it needs


def run(
    reference: Callable[..., Any],
    kernel: str,
    preferred: Mapping[str, str],
    operands: tuple[jax.Array, ...],
    implementation: str | None,
    interpret: bool,
    **options: Any,
) -> Any:
    """``operands`` through the backend named ``implementation``, or for None through the platform's preferred one.

    The platform is the one that the program is lowered for, not the process's default, so a function that is placed
    on the CPU of a GPU machine, or exported for several platforms, takes what suits each. A kernel is imported when it
    is first wanted: Pallas takes time to load, and jax may drop one of its backends.

    Args:
        reference: the operation in jnp.
        kernel: ``"package:function"``; the kernels are ``package.pallas_gpu.function`` and so on.
        preferred: platform (``"cuda"``, ``"rocm"``, ``"tpu"``) to a kernel's name; others take the reference.
        operands: arrays.
        implementation: ``"reference"``, ``"pallas_gpu"``, ``"pallas_tpu"`` or None.
        interpret: run a kernel in Pallas's interpreter, on any platform.
        options: static arguments of all backends.

    Raises:
        ValueError: for a name that does not exist, or a kernel on a machine that cannot run it.
    """
    plain = partial(reference, **options)
    if implementation is None and preferred:
        chosen = {platform: partial(_load(kernel, name), **options) for platform, name in preferred.items()}
        return lax.platform_dependent(*operands, default=plain, **chosen)
    if implementation in (None, "reference"):
        return plain(*operands)
    if implementation not in KERNELS:
        names = ", ".join(map(repr, ("reference", *KERNELS)))
        raise ValueError(f"implementation {implementation!r} does not exist; choose one of {names} or None")
    if not interpret and jax.default_backend() != KERNELS[implementation]:
        raise ValueError(
            f"implementation {implementation!r} needs a {KERNELS[implementation].upper()}, but jax runs on "
            f"{jax.default_backend()!r} here; choose 'reference' or None, or interpret=True for a slow test"
        )
    return _load(kernel, implementation)(*operands, interpret=interpret, **options)


def _load(kernel: str, name: str) -> Callable[..., Any]:
    package, function = kernel.split(":")
    loaded: Callable[..., Any] = getattr(import_module(f"{package}.{name}"), function)
    return loaded
