"""The layers of isolation by name, what each keeps out, and which sets of them are enough."""

from __future__ import annotations

from collections.abc import Collection

from pper_jax.errors import RunFailure
from pper_jax.execution.said import say_once

LAYERS = {
    "pid": "processes of their own: programs see and signal none but themselves",
    "mount": "a read-only root with Python's library and an empty folder, nothing else",
    "net": "no network",
    "ipc": "no shared memory or message queues of others",
    "uid": "a user id that nothing else uses",
    "seccomp": "a filter of system calls: no new programs or processes, no signals to others, no sockets",
    "landlock": "files: one private folder to write, Python's library to read, nothing else",
}


def missing_layers(standing: Collection[str]) -> list[str]:
    """Return the names of the layers that are not among ``standing``, in the order of LAYERS.

    ``user`` (a user namespace) stands for ``uid``: it gives an ordinary user what a user id of its own gives root.
    """
    there = set(standing) | ({"uid"} if "user" in standing else set())
    return [name for name in LAYERS if name not in there]


def is_strong(standing: Collection[str]) -> bool:
    """Whether programs behind these layers cannot harm the machine or their judges.

    That takes the filter of system calls, and a wall around files: landlock, or a root and process tree of their own.
    """
    return "seccomp" in standing and ("landlock" in standing or {"pid", "mount"} <= set(standing))


def look_at(standing: Collection[str], require: str | None) -> None:
    """Say once what is missing; raise RunFailure where that is too much for ``require``."""
    missing = missing_layers(standing)
    if require == "strong" and not is_strong(standing):
        raise RunFailure(
            f"strong isolation is required, but this machine lacks {', '.join(missing)}: allow them "
            "(`pper doctor` says what each is), or test without require_isolation."
        )
    if missing:
        say_once(f"less isolation than there could be; missing here: {', '.join(missing)} (see `pper doctor`)")
