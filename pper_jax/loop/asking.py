"""What a run was asked, and whether a resume asks the same."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import Any

BY_CONTENT = frozenset({"model", "tasks"})  # keys that may be spelled otherwise, where digests are compared
# What may change between two calls without changing a number (the mesh and what it gathers: but for rounding).
FREE = frozenset(
    {
        "name",
        "out",
        "tensorboard",
        "mesh",
        "distributed",
        "rounds",
        "train.checkpoint_every",
        "train.gather",
        "train.stop_after_skipped",
        "train.stop_after_unchanged",
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
        tasks: of each set of tasks, by the key below ``tasks`` that names it.
        model: of the model's files.
        horizon: optimizer steps that the schedule was laid out for; an extended run keeps it.
        sources: of each file or model, by the source's name, that programs come from beside the run's own.
    """

    tasks: Mapping[str, str]
    model: str
    horizon: int
    sources: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        plain = {"tasks": dict(self.tasks), "model": self.model, "horizon": self.horizon}
        return plain | ({"sources": dict(self.sources)} if self.sources else {})

    def differences(self, old: Mapping[str, Any]) -> list[str]:
        """What differs from the plain data of an earlier asking, in words."""
        before, found = dict(old.get("tasks", {})), []
        for name in sorted({*before, *self.tasks}):
            if before.get(name) != self.tasks.get(name):
                found.append(f"the content of tasks.{name}")
        if old.get("model") != self.model:
            found.append("the content of model")
        known = old.get("sources", {})  # runs of earlier versions noted none
        changed = [name for name in sorted(known) if known[name] != self.sources.get(name)]
        found += [f"the content of the source {name}" for name in changed]
        return found


def config_differences(old: Any, new: Any, free: Set[str] = FREE, path: str = "") -> list[str]:
    """Dotted keys that differ between two plain configurations, those in ``free`` left out."""
    if path in free:
        return []
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return [] if old == new else [path]
    found = []
    for key in sorted(old.keys() | new.keys()):
        found += config_differences(old.get(key), new.get(key), free, f"{path}.{key}".lstrip("."))
    return found
