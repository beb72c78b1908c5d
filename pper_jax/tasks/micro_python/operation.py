"""The operations that micro_python tasks are made of: phrases, the right line of code, and the mistakes made in it.

An operation is one line (or a short block) on the variable ``{v}``; ``{c}`` and ``{d}`` are its constants. Its first
bug is its *habit*: the mistake that a pretrained model should prefer (see ``HABIT_SHARE``). ``difficulty`` scales how
often the pretraining text gets it wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

EASY, MEDIUM, HARD = 0.3, 0.8, 1.3
Constants = tuple[tuple[int | str, int | str], ...]


@dataclass(frozen=True)
class Operation:
    """A family of lines of code.

    Attributes:
        name: unique; compositions are held out by the names of their operations.
        kind: the kind of task that it makes on its own.
        takes, gives: value types, ``list | str | int | dict | words | bool``; ``takes`` may be ``int2`` (two integers).
        phrases: paraphrases in the imperative, at least three.
        code: the right body; a step assigns to ``{v}``, an ending returns.
        bugs: wrong bodies, the habit first.
        constants: values of ``(c, d)``.
        difficulty: how much more often than ``bug_rate`` the pretraining text gets it wrong.
    """

    name: str
    kind: str
    takes: str
    gives: str
    phrases: tuple[str, ...]
    code: str
    bugs: tuple[str, ...]
    constants: tuple[tuple[int | str, int | str], ...] = ((0, 0),)
    difficulty: float = MEDIUM

    @property
    def ends(self) -> bool:
        """Whether the code returns, so that nothing can follow."""
        return self.code.lstrip().startswith(("return", "if", "total", "for", "count", "result"))


def each(*values: int | str) -> Constants:
    """One constant, ``d`` unused."""
    return tuple((value, 0) for value in values)


def pairs(firsts: range, gaps: tuple[int, ...]) -> Constants:
    """Two constants, the second larger by one of ``gaps``."""
    return tuple((first, first + gap) for first in firsts for gap in gaps)
