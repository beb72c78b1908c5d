"""How the processes of the pool are started: by exec, with nothing of the parent in them."""

from __future__ import annotations

import os
import site
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_BOOT = """
import sys, types
sys.path += {packages!r}
for name, path in (("pper_jax", {package!r}), ("pper_jax.execution", {room!r})):
    sys.modules[name] = module = types.ModuleType(name)
    module.__path__ = [path]
from pper_jax.execution.{role} import main
main()
"""
ENVIRONMENT = {"PYTHONHASHSEED": "0", "PYTHONIOENCODING": "utf-8:strict", "LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"}
WITHOUT = "PPER_EXECUTION_WITHOUT"


def left_out() -> list[str]:
    """Return the layers of isolation to do without, to try a lesser machine: ``namespaces,uid,seccomp,landlock``."""
    return [name for name in os.environ.get(WITHOUT, "").split(",") if name]


def spawn(role: str, arguments: Sequence[str], fds: Sequence[int]) -> subprocess.Popen[bytes]:
    """Start ``pper_jax.execution.<role>.main`` in a new session, with an empty environment and only ``fds`` open.

    The package's own ``__init__`` modules are not run, nor is what site-packages would have run at every start, so that
    the new process imports nothing but what it names.
    """
    room = Path(__file__).parent
    packages = [path for path in site.getsitepackages() if os.path.isdir(path)]
    boot = _BOOT.format(package=str(room.parent), room=str(room), role=role, packages=packages)
    return subprocess.Popen(
        [sys.executable, "-S", "-s", "-P", "-B", "-X", "utf8", "-c", boot, *arguments],
        env=ENVIRONMENT | {name: os.environ[name] for name in (WITHOUT,) if name in os.environ},
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=None,
        pass_fds=fds,
        close_fds=True,
        start_new_session=True,
    )
