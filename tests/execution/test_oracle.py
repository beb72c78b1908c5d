"""The verdict on an honest program is CPython's own: on the program and the code of its tests in one file."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from oracle_programs import ROWS, Row

from pper_jax.execution import Job, Limits, TestPool

SECTIONS = sorted({row.section for row in ROWS})
ENVIRONMENT = {"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"}
PACKAGES = sysconfig.get_path("purelib")
NOT_PASS = {"fail", "error", "crash", "timeout", "memory", "output_limit"}
# What goes behind a program: each test in turn, in the program's names.
TAIL = """
def _judge(tests):
    import sys
    told, names = [], globals()
    for test in tests:
        if 'random' in sys.modules: sys.modules['random'].seed(0)
        try: told.append(%s)
        except BaseException: told.append(False)
    with open('told', 'w') as file: print(told, file=file)
_judge(%r)
"""
ASSERT = "exec(compile(test, '<test>', 'exec', dont_inherit=True), names) is None"
CALL = "(names['Solution']().f if 'Solution' in names else names['f'])(*test[0]) == test[1]"
# Many programs and their asserts in one process, each in names of its own: for those that leave nothing behind.
MANY = """
all_told = []
for program, tests in %r:
    names, told = {'__name__': '__main__'}, []
    for code in (program, *tests):
        try: told.append(exec(compile(code, '<test>', 'exec'), names) is None)
        except BaseException: told.append(False)
    all_told.append(told[1:] if told[0] else [False for test in tests])
with open('told', 'w') as file: print(all_told, file=file)
"""
TOGETHER = {"values returned", "values handed in", "changes in place", "exceptions raised", "iteration", "sharing"}
GROUP = 40


# What no stand-in shows, in programs that might deceive by their code (they import os, sys or numpy, name ``type`` or
# an attribute as text, or compare for themselves), so that the trusted side alone can vouch for a pass.
KNOWN = {
    ("callbacks", "what the program sees of a callback"): "the code object of a test's function stays with the test",
    ("iteration", "iterators of its own"): "of an iterator's items, those after the 64th are read ahead",
    ("literals", "state of modules, shared by program and test"): "each side has modules of its own",
    ("literals", "files"): "each side has files of its own",
    ("numpy", "views"): "a view crosses as an array of its own",
    ("own classes", "a test derives from a class of the program"): "a test's class cannot derive from a stand-in",
    ("own classes", "list subclass"): "a test after one that lost the process finds no names of that one",
    ("own classes", "descriptors"): "a descriptor of the program is none in a class of the test",
    ("own classes", "__new__ and a metaclass"): "the class of a class is the stand-ins' own",
    ("own classes", "ordering against plain values"): "comparisons with plain data are never the program's",
    ("scripts", "__del__ in a module's attribute"): "of modules, the program's alone ends before the process does",
    ("scripts", "frames"): "the frames above the program's are there to be seen",
    ("sharing", "identity of what is handed in"): "what cannot be changed crosses as an equal",
    ("values handed in", "iterator"): "an iterator is of a class named like its own",
}


@pytest.fixture(scope="module")
def wide_pool() -> Iterator[TestPool]:
    with TestPool(workers=2, limits=Limits(timeout_s=4.0)) as pool:
        yield pool


def start(folder: Path, name: str, source: str, stdin: str | None = None) -> tuple[int, str]:
    """Run a file in a folder, quickly (without ``site``) unless it has input; return its exit status and its output."""
    folder.mkdir(parents=True)
    (folder / name).write_bytes(source.encode("utf-8", "surrogatepass"))
    (folder / "stdin").write_text(stdin or "", newline="")
    how = ["-S"] if stdin is None else []
    with (folder / "stdin").open() as given, (folder / "stdout").open("w") as printed:
        status = subprocess.run(
            [sys.executable, *how, folder / name],
            stdin=given,
            stdout=printed,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env=ENVIRONMENT | {"HOME": str(folder), "PYTHONPATH": PACKAGES if stdin is None else ""},
            timeout=60,
            check=False,
        ).returncode
    return status, (folder / "stdout").read_text(errors="replace")


def cpython(row: Row, folder: Path) -> list[bool]:
    """Whether each test of a row passes in a new interpreter."""
    tests = row.tests
    if tests["kind"] == "stdio":
        told = []
        for number, case in enumerate(tests["cases"]):
            status, printed = start(folder / str(number), "main.py", row.program, case["stdin"])
            told.append(status == 0 and lines(printed) == lines(case["stdout"]))
        return told
    if tests["kind"] == "check":
        status, _ = start(folder, "program.py", f"{row.program}\n{tests['code']}\ncheck({row.entry_point})\n")
        return [status == 0]
    how, given = (ASSERT, tests.get("asserts")) if tests["kind"] == "asserts" else (CALL, tests.get("cases"))
    if tests["kind"] == "call":
        given = [[case["args"], case["expected"]] for case in tests["cases"]]
    start(folder, "program.py", row.program + TAIL % (how, given))
    return told_by(folder) or [False] * len(given)


def cpython_together(rows: list[Row], folder: Path) -> list[list[bool]]:
    start(folder, "program.py", MANY % [(row.program, row.tests["asserts"]) for row in rows])
    return told_by(folder)


def told_by(folder: Path) -> Any:
    """What a run has left, None where it has not come to its end."""
    return ast.literal_eval((folder / "told").read_text()) if (folder / "told").exists() else None


def all_cpython(rows: list[Row], folder: Path) -> list[list[bool]]:
    with ThreadPoolExecutor(2) as threads:
        if rows[0].section in TOGETHER:
            groups = [rows[first : first + GROUP] for first in range(0, len(rows), GROUP)]
            found = threads.map(cpython_together, groups, [folder / str(number) for number in range(len(groups))])
            return [told for group in found for told in group]
        return list(threads.map(cpython, rows, [folder / str(number) for number in range(len(rows))]))


def lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().splitlines()]


def test_the_rows_are_many_and_a_third_of_them_wrong() -> None:
    assert len(ROWS) >= 300
    assert sum(not row.passes for row in ROWS) >= len(ROWS) / 3
    assert len({(row.section, row.name) for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("section", SECTIONS)
def test_verdicts_are_those_of_cpython(section: str, wide_pool: TestPool, tmp_path: Path) -> None:
    rows = [row for row in ROWS if row.section == section]
    theirs = all_cpython(rows, tmp_path)
    verdicts = wide_pool.run([Job(row.program, row.tests, row.entry_point) for row in rows])
    unexpected = [row.name for row, told in zip(rows, theirs, strict=True) if all(told) is not row.passes]
    assert unexpected == [], "rows that CPython judges otherwise than we believed"
    differ = [
        (row.name, number, "CPython passes" if told else "CPython fails", test.status, test.detail)
        for row, all_told, verdict in zip(rows, theirs, verdicts, strict=True)
        for number, (told, test) in enumerate(zip(all_told, verdict.tests, strict=True))
        if test.status not in ({"pass"} if told else NOT_PASS)
    ]
    unknown = [one for one in differ if (section, re.sub(r", wrong .*", "", one[0])) not in KNOWN]
    assert unknown == []
    assert not [one for one in differ if one[2] == "CPython fails"], "no wrong program may pass, whatever the reason"
