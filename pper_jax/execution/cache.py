"""Verdicts kept: a program that was tested already is not run again.

The key is everything that a verdict depends on: program, tests, entry point, limits, comparison, stop rule, isolation,
the interpreter, and the source code of this package, so that a verdict of another version is never found.

Not kept are verdicts with an ``infrastructure`` test, which say nothing about the program, and those with a
``timeout`` (or, where all tests are to run, a ``not_run``, which follows from one): a machine under load may have had
its part in them, and the next run may be luckier. Within one run their duplicates share them all the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import sys
import tempfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from pper_jax.errors import UserError
from pper_jax.execution import values, wire
from pper_jax.execution.library import NotPlain
from pper_jax.execution.limits import Limits
from pper_jax.execution.spawn import packages
from pper_jax.execution.verdict import STATUSES, Job, TestResult, Verdict

ENTRIES = 8192
log = logging.getLogger("pper_jax.execution")
NEVER_KEPT = frozenset({"infrastructure", "timeout"})


@cache
def harness_version() -> str:
    """Return a digest of this package's source code and of the interpreter that runs programs."""
    digest = hashlib.sha256(f"{sys.version} {sys.platform}".encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def rules_key(limits: Limits, compare: str, stop: str, isolation: str) -> str:
    """Return the part of the key that all jobs of a pool share."""
    return wire.to_json([harness_version(), packages(), asdict(limits), compare, stop, isolation])


def verdict_key(rules: str, job: Job, tests: Any) -> str:
    """Return the key of a job's verdict, 64 hex digits; ``tests`` are its tests as they go over the wire."""
    text = wire.to_json([rules, job.program, job.entry_point, tests])
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def may_be_kept(verdict: Verdict, stop: str) -> bool:
    """Whether another run of the same program would surely end the same."""
    never = NEVER_KEPT | ({"not_run"} if stop == "all" else set())
    return not any(test.status in never for test in verdict.tests)


class VerdictCache:
    """Verdicts by key: the last ``entries`` in memory, and all of them in ``folder`` where one is given.

    A folder may be shared by pools of several processes: files are written whole and then named. A file that cannot be
    read as a verdict counts as none; one that cannot be written is warned of once, and testing goes on. Raises
    UserError where the folder cannot be made.
    """

    def __init__(self, folder: str | Path | None = None, entries: int = ENTRIES) -> None:
        self.folder = None if folder is None else Path(folder)
        self.entries = entries
        self._recent: OrderedDict[str, Verdict] = OrderedDict()
        self._warned = False
        if self.folder is not None:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UserError(f"the cache folder {folder} cannot be made: {error.strerror}; name another.") from None

    def __len__(self) -> int:
        return len(self._recent)

    def get(self, key: str) -> Verdict | None:
        """Return the verdict kept under ``key``, or None."""
        verdict = self._recent.get(key)
        if verdict is None and self.folder is not None:
            verdict = _read(self._path(key))
        if verdict is not None:
            self._remember(key, verdict)
        return verdict

    def put(self, key: str, verdict: Verdict) -> None:
        """Keep a verdict."""
        self._remember(key, verdict)
        if self.folder is None:
            return
        try:
            _write(self._path(key), verdict)
        except OSError as error:
            if not self._warned:
                log.warning("verdicts cannot be kept in the cache folder %s: %s", self.folder, error.strerror)
            self._warned = True

    def _remember(self, key: str, verdict: Verdict) -> None:
        self._recent[key] = verdict
        self._recent.move_to_end(key)
        if len(self._recent) > self.entries:
            self._recent.popitem(last=False)

    def _path(self, key: str) -> Path:
        assert self.folder is not None
        return self.folder / key[:2] / f"{key[2:]}.json"


def _read(path: Path) -> Verdict | None:
    try:
        rows = json.loads(path.read_bytes())
        tests = tuple(TestResult(str(status), float(seconds), detail) for status, seconds, detail in rows)
    except (OSError, ValueError, TypeError):
        return None
    return Verdict(tests) if all(test.status in STATUSES for test in tests) else None


def _write(path: Path, verdict: Verdict) -> None:
    text = json.dumps([[test.status, test.seconds, test.detail] for test in verdict.tests])
    path.parent.mkdir(exist_ok=True)
    fd, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with open(fd, "w", encoding="ascii") as file:
            file.write(text)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def plain_tests(tests: Mapping[str, Any]) -> Any:
    """Return a task's tests as they go over the wire; raise UserError where they hold more than plain data."""
    try:
        return values.encode({key: tests[key] for key in tests})
    except NotPlain as error:
        raise UserError(f"the tests hold {error}: use numbers, text, lists and objects.") from None


def as_cache(cache: VerdictCache | str | Path | bool) -> VerdictCache | None:
    """What a pool's option ``cache`` stands for: True one in memory, a path one in that folder, False none."""
    if isinstance(cache, bool):
        return VerdictCache() if cache else None
    return cache if isinstance(cache, VerdictCache) else VerdictCache(cache)
