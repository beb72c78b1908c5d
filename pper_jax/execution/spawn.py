"""How the processes of the pool are started: by exec, with nothing of the parent in them."""

from __future__ import annotations

import contextlib
import os
import resource
import site
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

_BOOT = """
import sys, types
sys.path += {packages!r}
for name, path in (("pper_jax", {package!r}), ("pper_jax.execution", {folder!r})):
    sys.modules[name] = module = types.ModuleType(name)
    module.__path__ = [path]
from pper_jax.execution.{role} import main
main()
"""
ENVIRONMENT = {"PYTHONHASHSEED": "0", "PYTHONIOENCODING": "utf-8:strict", "LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"}
ENVIRONMENT |= {"MALLOC_ARENA_MAX": "1"}  # each more takes 64 MiB of a program's address space, one for each thread
PACKAGES = "PPER_EXECUTION_PACKAGES"
WITHOUT = "PPER_EXECUTION_WITHOUT"


def left_out() -> list[str]:
    """Return the layers of isolation to do without, to try a lesser machine: ``namespaces,uid,seccomp,landlock``."""
    return [name for name in os.environ.get(WITHOUT, "").split(",") if name]


def packages() -> list[str]:
    """Return the folders whose packages programs and tests may import: those of the environment that pper runs in."""
    if PACKAGES in os.environ:  # as the process said that started this one
        return os.environ[PACKAGES].split(os.pathsep)
    own = [site.getusersitepackages()] if site.ENABLE_USER_SITE else []
    return [path for path in [*own, *site.getsitepackages()] if os.path.isdir(path)]


def spawn(role: str, arguments: Sequence[str], fds: Sequence[int], stack: int | None = None) -> subprocess.Popen[bytes]:
    """Start ``pper_jax.execution.<role>.main`` in a new session, with an empty environment and only ``fds`` open.

    The package's own ``__init__`` modules are not run, nor is what site-packages would have run at every start, so that
    the new process imports nothing but what it names. ``stack``: bytes that its stack may take.
    """
    folder = Path(__file__).parent
    shared = packages()
    boot = _BOOT.format(package=str(folder.parent), folder=str(folder), role=role, packages=shared)
    own = {name: os.environ[name] for name in (WITHOUT,) if name in os.environ} | {PACKAGES: os.pathsep.join(shared)}
    with _stack_limit(stack):
        return subprocess.Popen(
            [
                sys.executable,
                "-S",
                "-s",
                "-P",
                "-B",
                "-X",
                "utf8",
                "-X",
                "int_max_str_digits=0",
                "-c",
                boot,
                *arguments,
            ],
            env=ENVIRONMENT | own,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=None,
            pass_fds=fds,
            close_fds=True,
            start_new_session=True,
        )


@contextlib.contextmanager
def _stack_limit(size: int | None) -> Iterator[None]:
    """Have what is started meanwhile start with a stack of this size: the kernel lays out its memory by it."""
    if size is None:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    resource.setrlimit(resource.RLIMIT_STACK, (size if hard == resource.RLIM_INFINITY else min(size, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_STACK, (soft, hard))
