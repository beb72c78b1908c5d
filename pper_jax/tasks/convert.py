"""Task sets by name: converting them to tasks files, and checking that their references pass their tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pper_jax.errors import UserError
from pper_jax.execution import Job, Verdict
from pper_jax.files import check_output
from pper_jax.tasks.sources import open_tasks
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
    return open_tasks(f"micro_python:{src}")


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
        UserError: an unknown name, ``src`` missing or of another format, ``out`` cannot be written or is ``src``.
    """
    if name not in CONVERTERS:
        raise UserError(f"no task set is called {name!r}; choose one of {', '.join(CONVERTERS)}")
    check_output(out, [src])
    tasks = CONVERTERS[name][1](str(src))
    if not tasks:
        raise UserError(f"{src} holds no tasks")
    return write_tasks(out, tasks)


class Pool(Protocol):
    """What a test pool offers."""

    def as_completed(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Verdict]]:
        """Pairs of a job's index and the verdict on it, as they come."""


@dataclass(frozen=True)
class ReferenceReport:
    """What the references of a task set did.

    Attributes:
        passed: how many pass all their tests and would not be cut by their own task's stops.
        faults: ``(task_id, what is wrong)`` of the other references, in the order of the tasks.
        without: task_ids of the tasks that have no reference.
    """

    passed: int
    faults: tuple[tuple[str, str], ...]
    without: tuple[str, ...]

    @property
    def sound(self) -> bool:
        """Whether there were references and none has a fault."""
        return self.passed > 0 and not self.faults

    def __str__(self) -> str:
        checked = self.passed + len(self.faults)
        lines = [f"{self.passed} of {checked} references pass"]
        if self.without:
            lines[0] += f"; {len(self.without)} of {checked + len(self.without)} tasks have none"
        lines += [f"  {task_id}: {fault}" for task_id, fault in self.faults[:SHOWN]]
        if len(self.faults) > SHOWN:
            lines.append(f"  and {len(self.faults) - SHOWN} more")
        return "\n".join(lines)


def check_references(
    tasks: Sequence[Task], pool: Pool, progress: Callable[[int, int], None] | None = None
) -> ReferenceReport:
    """Run each task's reference against its tests; a stop that would cut a reference is a fault, too.

    Args:
        tasks: what to check.
        pool: an open pool.
        progress: called with (done, total) after each reference.
    """
    known = [(task, task.reference) for task in tasks if task.reference is not None]
    faults: dict[int, str] = {}
    jobs = [Job(program_text(task, reference), task.tests, task.entry_point) for task, reference in known]
    for done, (index, verdict) in enumerate(pool.as_completed(jobs), start=1):
        fault = _fault(*known[index], verdict)
        if fault:
            faults[index] = fault
        if progress:
            progress(done, len(known))
    return ReferenceReport(
        passed=len(known) - len(faults),
        faults=tuple((known[index][0].task_id, faults[index]) for index in sorted(faults)),
        without=tuple(task.task_id for task in tasks if task.reference is None),
    )


def _fault(task: Task, reference: str, verdict: Verdict) -> str | None:
    if verdict.status != "pass":
        detail = next((test.detail for test in verdict.tests if test.status != "pass"), None)
        return f"{verdict.status}, {verdict.passed} of {verdict.total} tests pass" + (f" ({detail})" if detail else "")
    _, stop = trim_at_stop(reference, task.stop)
    return None if stop is None else f"passes, but its stop {stop!r} would cut it"


# Its objects equal nothing that a test expects, and are neither true nor false.
BROKEN_CLASS = """class Broken:
    def __bool__(self):
        raise TypeError("broken on purpose")
"""
BROKEN_BODIES = {"value": "return Broken()", "raise": 'raise RuntimeError("broken on purpose")'}
BROKEN_SCRIPTS = {"value": 'print("broken on purpose")\n', "raise": 'raise RuntimeError("broken on purpose")\n'}


def break_reference(task: Task, how: str = "value") -> str:
    """A whole program that must fail when a harness is tried out.

    The reference stays, but the function under test is defined anew: it returns an object of a wrong kind
    (``how="value"``), which passes no test but one that only asks what the result is not, or it raises (``"raise"``).
    A script, an answer, or a program whose function under test is not known becomes a text that nobody expects.
    """
    if task.tests["kind"] == "answer":
        return "broken on purpose"
    name = task.entry_point or task.tests.get("fn_name")
    if name is None or task.tests["kind"] == "stdio":
        return BROKEN_SCRIPTS[how]
    kept = "" if task.reference is None else program_text(task, task.reference)
    owner, _, function = name.rpartition(".")  # the entry point of a method reads Solution().f
    method = f"\n\n{owner.removesuffix('()')}.{function} = {function}\n" if owner else ""
    return f"{kept}\n\n{BROKEN_CLASS}\n\ndef {function}(*args, **kwargs):\n    {BROKEN_BODIES[how]}\n{method}"
