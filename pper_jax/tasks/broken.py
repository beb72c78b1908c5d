"""Programs that must fail, to try out a harness."""

from __future__ import annotations

from pper_jax.tasks.task import Task, program_text

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
