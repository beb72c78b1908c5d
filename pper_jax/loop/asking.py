"""What a run was asked, and whether a resume asks the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# What may change between two calls without changing a number, or is judged by its content.
FREE = frozenset(
    {
        "name",
        "out",
        "tensorboard",
        "rounds",
        "model",
        "tasks",
        "train.checkpoint_every",
        "train.stop_after_skipped",
        "execution.workers",
        "execution.backend",
        "execution.isolation",
        "execution.require_isolation",
    }
)


@dataclass(frozen=True)
class Asking:
    """Digests of what a run learns from and begins with.

    Attributes:
        tasks: of each set of tasks, by the key of the configuration that names it.
        model: of the model's files.
        horizon: optimizer steps that the schedule was laid out for; an extended run keeps it.
    """

    tasks: Mapping[str, str]
    model: str
    horizon: int

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"tasks": dict(self.tasks), "model": self.model, "horizon": self.horizon}

    def differences(self, old: Mapping[str, Any]) -> list[str]:
        """What differs from the plain data of an earlier asking, in words."""
        before, found = dict(old.get("tasks", {})), []
        for name in sorted({*before, *self.tasks}):
            if before.get(name) != self.tasks.get(name):
                found.append(f"the content of tasks.{name}")
        if old.get("model") != self.model:
            found.append("the content of model")
        return found


def config_differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Dotted keys that differ between two plain configurations, those that may differ left out."""
    if path in FREE:
        return []
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted(old.keys() | new.keys())
        return [d for key in keys for d in config_differences(old.get(key), new.get(key), f"{path}.{key}".lstrip("."))]
    return [] if old == new else [path]
