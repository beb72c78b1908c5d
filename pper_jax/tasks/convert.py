"""Task sets by name: converting them to tasks files, and checking that their references pass their tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pper_jax.errors import UserError
from pper_jax.execution import Job, Verdict
from pper_jax.tasks.sources import load_tasks
from pper_jax.tasks.task import Task, program_text, trim_at_stop, write_tasks

SHOWN = 20  # faults that a printed report names


def _humaneval(src: str) -> list[Task]:
    from pper_jax.tasks.humaneval import load_humaneval

    return load_humaneval(src)


def _mbpp(src: str) -> list[Task]:
    from pper_jax.tasks.mbpp import load_mbpp

    return load_mbpp(src)


def _mbpp_challenge(src: str) -> list[Task]:
    from pper_jax.tasks.mbpp import load_mbpp

    return load_mbpp(src, challenge=True)


def _micro_python(src: str) -> list[Task]:
    split, count, seed = [*src.split(":"), "", ""][:3]
    try:
        return load_tasks("micro_python", split=split, count=int(count or 100), seed=int(seed or 0))
    except ValueError:
        raise UserError(f"cannot read {src!r} as micro_python tasks; write SPLIT:COUNT:SEED, as train:200:0") from None


# name -> what SRC is, and the loader
CONVERTERS: dict[str, tuple[str, Callable[[str], list[Task]]]] = {
    "humaneval": ("HumanEval.jsonl or .jsonl.gz: 164 functions with check(candidate)", _humaneval),
    "mbpp": ("mbpp.jsonl (974) or sanitized-mbpp.json (427): short programs with asserts", _mbpp),
    "mbpp_challenge": ("mbpp.jsonl, the challenge asserts added to the tests", _mbpp_challenge),
    "micro_python": ("SPLIT:COUNT:SEED, as train:200:0: our own small functions, generated", _micro_python),
}


def list_sets() -> Iterator[tuple[str, str]]:
    """Name of each task set, and what its SRC is."""
    for name, (about, _) in CONVERTERS.items():
        yield name, about


def convert(name: str, src: str | Path, out: str | Path) -> int:
    """Write the tasks of set ``name`` from its published form ``src`` to the tasks file ``out``; returns how many.

    Raises:
        UserError: an unknown name, ``src`` missing or of another format, ``out`` cannot be written.
    """
    if name not in CONVERTERS:
        raise UserError(f"no task set is called {name!r}; choose one of {', '.join(CONVERTERS)}")
    tasks = CONVERTERS[name][1](str(src))
    if not tasks:
        raise UserError(f"{src} holds no tasks")
    return write_tasks(out, tasks)


class Pool(Protocol):
    """What a test pool offers."""

    def run(self, jobs: Sequence[Job]) -> list[Verdict]:
        """The verdicts on jobs, in their order."""


@dataclass(frozen=True)
class ReferenceReport:
    """What the references of a task set did.

    Attributes:
        tasks: how many tasks there are.
        checked: how many have a reference.
        faults: ``(task_id, what is wrong)`` of those that do not pass, or that the task's own stops would cut.
    """

    tasks: int
    checked: int
    faults: tuple[tuple[str, str], ...]

    @property
    def sound(self) -> bool:
        """Whether there were references and none has a fault."""
        return self.checked > 0 and not self.faults

    def __str__(self) -> str:
        lines = [f"{self.checked - len(self.faults)} of {self.checked} references pass"]
        if self.checked < self.tasks:
            lines[0] += f"; {self.tasks - self.checked} of {self.tasks} tasks have none"
        lines += [f"  {task_id}: {fault}" for task_id, fault in self.faults[:SHOWN]]
        if len(self.faults) > SHOWN:
            lines.append(f"  and {len(self.faults) - SHOWN} more")
        return "\n".join(lines)


def check_references(tasks: Sequence[Task], pool: Pool) -> ReferenceReport:
    """Run each task's reference against its tests; a stop that would cut a reference is a fault, too."""
    known = [(task, task.reference) for task in tasks if task.reference is not None]
    jobs = [Job(program_text(task, reference), task.tests, task.entry_point) for task, reference in known]
    faults = []
    for (task, reference), verdict in zip(known, pool.run(jobs), strict=True):
        fault = _fault(task, reference, verdict)
        if fault:
            faults.append((task.task_id, fault))
    return ReferenceReport(len(tasks), len(known), tuple(faults))


def _fault(task: Task, reference: str, verdict: Verdict) -> str | None:
    if verdict.status != "pass":
        detail = next((test.detail for test in verdict.tests if test.status != "pass"), None)
        return f"{verdict.status}, {verdict.passed} of {verdict.total} tests pass" + (f" ({detail})" if detail else "")
    _, stop = trim_at_stop(reference, task.stop)
    return None if stop is None else f"passes, but its stop {stop!r} would cut it"
