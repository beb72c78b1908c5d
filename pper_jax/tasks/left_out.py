"""Problems of a published set that become no task, and why."""

from __future__ import annotations

from dataclasses import dataclass, field

SHOWN = 20  # that a report names


@dataclass(frozen=True)
class LeftOut:
    """A problem that becomes no task.

    Attributes:
        task_id: its id, or the words that say where it stands.
        reason: why, as what follows a colon.
        fault: whether something is wrong with it; one that was published without tests is none.
    """

    task_id: str
    reason: str
    fault: bool = False


@dataclass
class Tally:
    """Counts problems that are left out, and keeps the first to be named."""

    count: int = 0
    first: list[LeftOut] = field(default_factory=list)

    def add(self, problem: LeftOut) -> None:
        """Count one."""
        self.count += 1
        if len(self.first) < SHOWN:
            self.first.append(problem)

    def __str__(self) -> str:
        lines = [f"{self.count} problems are left out"]
        lines += [f"  {problem.task_id}: {problem.reason}" for problem in self.first]
        if self.count > len(self.first):
            lines.append(f"  and {self.count - len(self.first)} more")
        return "\n".join(lines)
