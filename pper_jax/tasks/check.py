"""Checking a task set: whether its problems can be tasks, and whether its references pass their tests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pper_jax.execution import Job, Verdict
from pper_jax.tasks.left_out import SHOWN, LeftOut
from pper_jax.tasks.task import Task, program_text, trim_at_stop


class Pool(Protocol):
    """What a test pool offers."""

    def as_completed(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Verdict]]:
        """Pairs of a job's index and the verdict on it, as they come."""


@dataclass(frozen=True)
class ReferenceReport:
    """What the references of a task set did.

    Attributes:
        passed: how many pass all their tests, hidden ones too, and would not be cut by their own task's stops.
        faults: ``(task_id, what is wrong)`` of the other references, in the order of the tasks, and of problems that
            can be no tasks.
        without: task_ids of the tasks that have no reference.
        left_out: problems that were published without tests, and other problems that can be no tasks.
    """

    passed: int
    faults: tuple[tuple[str, str], ...]
    without: tuple[str, ...]
    left_out: tuple[LeftOut, ...] = field(default=())

    @property
    def sound(self) -> bool:
        """Whether there were references, none has a fault, and no problem is broken."""
        return self.passed > 0 and not self.faults and not any(problem.fault for problem in self.left_out)

    def table(self, most: int | None = SHOWN) -> str:
        """The report as text, with at most so many faults, and so many problems that are left out."""
        checked = self.passed + len(self.faults)
        lines = [f"{self.passed} of {checked} references pass"]
        if self.without:
            lines[0] += f"; {len(self.without)} of {checked + len(self.without)} tasks have none"
        lines += _first([f"{task_id}: {fault}" for task_id, fault in self.faults], most)
        for fault, words in ((True, "problems are broken"), (False, "problems are left out")):
            named = [f"{problem.task_id}: {problem.reason}" for problem in self.left_out if problem.fault is fault]
            lines += [f"{len(named)} {words}"] * bool(named) + _first(named, most)
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.table()


def _first(lines: Sequence[str], most: int | None) -> list[str]:
    shown = [f"  {line}" for line in (lines if most is None else lines[:most])]
    return shown + [f"  and {len(lines) - len(shown)} more"] * (len(lines) > len(shown))


def sort_problems(problems: Iterable[Task | LeftOut]) -> tuple[list[Task], tuple[LeftOut, ...]]:
    """The tasks of a set, and its problems that are none."""
    found = list(problems)
    tasks = [problem for problem in found if isinstance(problem, Task)]
    return tasks, tuple(problem for problem in found if isinstance(problem, LeftOut))


def count_units(tasks: Sequence[Task]) -> int:
    """How many programs :func:`check_references` runs."""
    return sum(1 + (task.hidden is not None) for task in tasks if task.reference is not None)


def check_references(
    tasks: Sequence[Task],
    pool: Pool,
    progress: Callable[[int, int], None] | None = None,
    left_out: Sequence[LeftOut] = (),
) -> ReferenceReport:
    """Run each task's reference against its tests, hidden ones too; a stop that would cut a reference is a fault.

    Args:
        tasks: what to check.
        pool: an open pool.
        progress: called with (done, total) after each reference.
        left_out: problems of the set that are no tasks, for the report.
    """
    known = [(task, task.reference) for task in tasks if task.reference is not None]
    units = [(place, tests) for place, (task, _) in enumerate(known) for tests in (task.tests, task.hidden) if tests]
    jobs = [job_of(known[place][0], program_text(*known[place]), tests) for place, tests in units]
    faults: dict[int, str] = {}
    for done, (index, verdict) in enumerate(pool.as_completed(jobs), start=1):
        place, tests = units[index]
        fault = _fault(*known[place], verdict)
        if fault:
            hidden = "hidden tests: " if tests is known[place][0].hidden else ""
            faults[place] = "; ".join(sorted({hidden + fault, *([faults[place]] if place in faults else [])}))
        if progress:
            progress(done, len(units))
    return ReferenceReport(
        passed=len(known) - len(faults),
        faults=tuple((known[place][0].task_id, faults[place]) for place in sorted(faults)),
        without=tuple(task.task_id for task in tasks if task.reference is None),
        left_out=tuple(left_out),
    )


def job_of(task: Task, program: str, tests: Mapping[str, Any] | None = None) -> Job:
    """The job that tests a whole program of ``task`` by its own rules; ``tests`` in the place of the task's."""
    return Job(program, tests or task.tests, task.entry_point, task.compare, task.limits)


def _fault(task: Task, reference: str, verdict: Verdict) -> str | None:
    if verdict.status != "pass":
        detail = next((test.detail for test in verdict.tests if test.status != "pass"), None)
        return f"{verdict.status}, {verdict.passed} of {verdict.total} tests pass" + (f" ({detail})" if detail else "")
    _, stop = trim_at_stop(reference, task.stop)
    return None if stop is None else f"passes, but its stop {stop!r} would cut it"
