"""Programs that differ in more than comments and white space."""

from __future__ import annotations

import tokenize
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

_LAYOUT = (tokenize.COMMENT, tokenize.NL, tokenize.ENCODING, tokenize.ENDMARKER)
_PIECES = (tokenize.NAME, tokenize.NUMBER, tokenize.ERRORTOKEN)  # of a name
_STRUCTURE = (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)  # how deep matters, with what does not


def normalise(program: str) -> tuple[tuple[int, str], ...]:
    """What is left of a Python program without comments and white space; to compare with others, not to read.

    Its tokens as ``(kind, text)``: comments, blank lines, line continuations, the spaces between tokens and the width
    of an indentation are gone; strings, docstrings among them, stay as they are written. A text that is not made of
    Python tokens, such as a program cut in the middle, is its words, whatever stands between them.
    """
    lines = iter([line + "\n" for line in program.replace("\r\n", "\n").replace("\r", "\n").split("\n")])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd numbers and escapes are the program's own affair
            tokens = [t for t in _whole_names(tokenize.generate_tokens(lines.__next__)) if t.type not in _LAYOUT]
    except (tokenize.TokenError, SyntaxError, ValueError):
        tokens = None
    if tokens is None or any(t.type == tokenize.ERRORTOKEN for t in tokens):
        return tuple((-1, word) for word in program.split())
    return tuple((t.type, "" if t.type in _STRUCTURE else t.string) for t in tokens)


def _whole_names(tokens: Iterable[tokenize.TokenInfo]) -> Iterator[tokenize.TokenInfo]:
    """The same tokens, with names in one piece: before Python 3.12 a letter's combining mark is taken for an error."""
    name: tokenize.TokenInfo | None = None  # which the next token may go on with
    for token in tokens:
        if name and name.end == token.start and token.type in _PIECES and (name.string + token.string).isidentifier():
            name = name._replace(string=name.string + token.string, end=token.end)
            continue
        if name:
            yield name
        name = token._replace(type=tokenize.NAME) if token.string.isidentifier() and token.type in _PIECES else None
        if name is None:
            yield token
    if name:
        yield name


def distinct(
    programs: Sequence[T], texts: Sequence[str], count: int, groups: Sequence[int] | None = None
) -> tuple[list[T], int]:
    """The first ``count`` programs of which none equals an earlier one after ``normalise``.

    Args:
        programs: best first, such as a prompt's ``HostProgram`` objects.
        texts: the whole program of each, prompt included, since a function's body alone may not be Python.
        count: how many are wanted; fewer come back when fewer differ.
        groups: which group each is from, such as ``HostProgram.group``. The groups then take turns, each with its best
            program that none has given yet, so that a better group does not crowd out the others.

    Returns:
        ``(programs in their order, how many were passed over as repetitions)``.
    """
    keys = [normalise(text) for _, text in zip(programs, texts, strict=True)]
    groups = [0] * len(keys) if groups is None else groups
    of_group = {group: iter([i for i, own in enumerate(groups) if own == group]) for group in dict.fromkeys(groups)}
    kept: dict[tuple[tuple[int, str], ...], int] = {}
    repeated = 0
    while of_group and len(kept) < count:
        for group, waiting in list(of_group.items())[: count - len(kept)]:
            for index in waiting:
                if keys[index] not in kept:
                    kept[keys[index]] = index
                    break
                repeated += 1
            else:
                del of_group[group]
    return [programs[index] for index in sorted(kept.values())], repeated
