"""Jobs, and the verdicts on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pper_jax.errors import UserError, shown
from pper_jax.execution.compare import ANSWER_RULES, COMPARE_MODES

STATUSES = frozenset(
    {"pass", "fail", "error", "timeout", "memory", "output_limit", "crash", "not_run", "infrastructure"}
)

# kind of tests -> the list that holds one entry a test (None: the object is one test), and the keys it needs
KINDS: dict[str, tuple[str | None, tuple[str, ...]]] = {
    "call": ("cases", ("fn_name", "cases")),
    "asserts": ("asserts", ("asserts",)),
    "check": (None, ("code",)),
    "stdio": ("cases", ("cases",)),
    "answer": (None, ("expected",)),
}
OWN_LIMITS = ("seconds", "memory_mb")  # that a job may have
CASE_KEYS = {"call": ("args", "expected"), "stdio": ("stdin", "stdout")}


@dataclass(frozen=True)
class Job:
    """One program and the tests to run it against.

    program: the whole source text (for ``answer`` tests: the answer's text).
    tests: a task's ``tests`` object: ``{"kind": "call" | "asserts" | "check" | "stdio" | "answer", ...}``.
    entry_point: the function under test, ``"f"`` or ``"Solution().f"``; ``check`` needs it, ``asserts`` may name it.
    compare: how outputs, values or answers compare, where the job has a rule of its own (see ``compare``).
    limits: of the job's own, in the place of the pool's: ``seconds`` of CPU time a test, ``memory_mb`` MiB.
    """

    program: str
    tests: Mapping[str, Any]
    entry_point: str | None = None
    compare: str | None = None
    limits: Mapping[str, float] | None = None


@dataclass(frozen=True)
class TestResult:
    """How one test ended: its status (one of STATUSES), wall seconds, and a short reason where there is one."""

    __test__ = False  # not a test class, whatever pytest thinks of the name

    status: str
    seconds: float
    detail: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the result as the verdict files hold it."""
        row: dict[str, Any] = {"status": self.status, "seconds": round(self.seconds, 6)}
        return row if self.detail is None else row | {"detail": self.detail}


@dataclass(frozen=True)
class Verdict:
    """The results of all tests of one program, in the order of the tests."""

    tests: tuple[TestResult, ...]

    @property
    def status(self) -> str:
        """The first status that is not ``pass``, else ``pass``; ``not_run`` where there are no tests.

        ``infrastructure`` where any test has it: a program that was judged in part was not judged.
        """
        if not self.tests:
            return "not_run"
        if any(test.status == "infrastructure" for test in self.tests):
            return "infrastructure"
        return next((test.status for test in self.tests if test.status != "pass"), "pass")

    @property
    def passed(self) -> int:
        """How many tests passed."""
        return sum(test.status == "pass" for test in self.tests)

    @property
    def total(self) -> int:
        """How many tests there are."""
        return len(self.tests)

    @property
    def pass_rate(self) -> float:
        """Passed over total, 0.0 where there are no tests."""
        return self.passed / self.total if self.tests else 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the verdict as the verdict files hold it."""
        return {
            "passed": self.passed,
            "total": self.total,
            "pass_rate": self.pass_rate,
            "tests": [test.to_json() for test in self.tests],
            "status": self.status,
        }


def count_tests(tests: Mapping[str, Any]) -> int:
    """Return how many tests a ``tests`` object holds."""
    key = KINDS[tests["kind"]][0]
    return 1 if key is None else len(tests[key])


def validate_job(job: Job, where: str) -> None:
    """Raise UserError where the job is not well formed; ``where`` names it in the sentence."""
    if not isinstance(job.program, str):
        raise UserError(f"{where}: the program is {type(job.program).__name__}, but it must be text.")
    if not isinstance(job.tests, Mapping):
        raise UserError(f"{where}: `tests` is {type(job.tests).__name__}, but it must be an object with a `kind`.")
    kind = job.tests.get("kind")
    if kind not in KINDS:
        raise UserError(f"{where}: tests of kind {kind!r} are unknown; use one of {', '.join(KINDS)}.")
    list_key, needed = KINDS[kind]
    missing = [key for key in needed if key not in job.tests]
    if missing:
        raise UserError(f"{where}: tests of kind `{kind}` need the key `{missing[0]}`.")
    if kind == "check" and not job.entry_point:
        raise UserError(f"{where}: tests of kind `check` need an entry_point, the function to check.")
    rules = ANSWER_RULES if kind == "answer" else COMPARE_MODES
    if job.compare is not None and job.compare not in rules:
        known = ", ".join(rules)
        raise UserError(f"{where}: compare is {shown(job.compare)}; for tests of kind `{kind}` use one of {known}.")
    if job.limits is not None and not set(job.limits) <= set(OWN_LIMITS):
        raise UserError(f"{where}: limits are {shown(job.limits)}; they may hold {' and '.join(OWN_LIMITS)}.")
    if list_key is not None:
        _validate_cases(kind, job.tests[list_key], where)


def _validate_cases(kind: str, cases: object, where: str) -> None:
    if not isinstance(cases, list | tuple):
        raise UserError(f"{where}: the tests of kind `{kind}` are {type(cases).__name__}, but must be a list.")
    if not cases:
        raise UserError(f"{where}: the list of its tests is empty, so there is nothing to judge the program by.")
    for number, case in enumerate(cases):
        if kind == "asserts":
            if not isinstance(case, str):
                raise UserError(f"{where}: assert {number} is {type(case).__name__}, but it must be text.")
            continue
        missing = [key for key in CASE_KEYS[kind] if not isinstance(case, Mapping) or key not in case]
        if missing:
            raise UserError(f"{where}: case {number} of kind `{kind}` needs the key `{missing[0]}`.")
