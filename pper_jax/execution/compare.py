"""When a printed text, a returned value or an answer is right. Pure functions.

A rule of these is for the kinds ``stdio`` and ``call``: ``strict`` (the default), ``tokens`` (white space apart) and
``official`` (the cascade of the APPS checker, which accepts some wrong answers). Asserts and checks compare as Python
does.

====================================  ======================  ======  ======  ========
test                                  program gave            strict  tokens  official
====================================  ======================  ======  ======  ========
stdout ``1 2\\n4\\n``                   ``1 2  \\r\\n4\\t\\n\\n``    pass    pass    pass
stdout ``1 2\\n4\\n``                   ``1\\n2 4``               fail    pass    fail
stdout ``1\\n2``                       ``1\\n\\n2``               fail    pass    pass
stdout ``YES``                        ``yes``                 fail    fail    fail
stdout ``7``                          ``+07``                 pass    pass    pass
stdout ``7``                          ``7.000``               fail    pass    pass
stdout ``0.3333``                     ``0.33330000001``       pass    pass    pass
stdout ``0.3333``                     ``0.3334``              fail    fail    pass [1]_
stdout ``100000.0``                   ``100000.5``            fail    fail    pass [1]_
stdout ``1000000``                    ``1000001``             fail    fail    fail [2]_
stdout an integer of 400 digits       ``5``                   fail    fail    fail [2]_
stdout ``1e999``                      ``0``                   fail    fail    fail
stdout ``1e999``                      ``1e999``               pass    pass    pass
stdout ``inf``, ``-inf`` or ``nan``   the same                pass    pass    pass
stdout ``1.0``                        ``nan`` or ``inf``      fail    fail    fail
stdout ``1000``                       ``1_000``               fail    fail    fail
stdout ``1 2``                        ``2 1``                 fail    fail    pass
stdout ``1\\n2\\n3``                    ``1``                   fail    fail    fail
call, expected ``[1, 2]``             ``(1, 2)``              fail    fail    pass
call, expected ``[9]``                ``9``                   fail    fail    pass
call, expected ``[[1, 2]]``           ``[1, 2]``              fail    fail    pass
call, expected ``1``                  ``True``                pass    pass    pass
call, expected ``2.0``                ``2``                   pass    pass    pass
call, expected ``0.3``                ``0.1 + 0.2``           fail    fail    fail
====================================  ======================  ======  ======  ========

.. [1] The cascade compares floats with numpy's ``allclose`` (relative 1e-5, absolute 1e-8), then sets of tokens, then
   sets of numbers rounded to three digits.
.. [2] Not as APPS has it: two integers are compared exactly, however long, where APPS makes floats of them.

Text: white space at the ends of lines, trailing blank lines and CRLF do not count; integers and words must be the same
characters (but for an integer's sign and leading zeros), and where the expected token is a decimal number, the
program's must be a number within 1e-6, relative or absolute; a number beyond a float's range is compared exactly by
its digits. ``strict`` wants the tokens on the same lines, ``tokens`` in the same order. Calls: Python's ``==``, in
``official`` with tuples as lists and the value wrapped in a list or not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any

COMPARE_MODES = ("strict", "tokens", "official")
ANSWER_RULES = ("number", "exact")
TOLERANCE = 1e-6
_INTEGER = re.compile(r"[+-]?[0-9]+", re.ASCII)
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?", re.ASCII)
_IN_TEXT = re.compile(r"[+-]?[$€£]?([0-9][0-9,]*(\.[0-9]+)?|\.[0-9]+)", re.ASCII)

_NO_DIGITS = str.maketrans("", "", ",$€£")


def outputs_match(printed: str, expected: str, compare: str) -> bool:
    """Whether a program's standard output is right."""
    if compare == "official":
        return _official_outputs_match(printed, expected)
    if compare == "tokens":
        return _all_match(printed.split(), expected.split(), _same_number)
    ours, theirs = _token_lines(printed), _token_lines(expected)
    return len(ours) == len(theirs) and all(map(_all_match, ours, theirs))


def _all_match(ours: list[str], theirs: list[str], or_else: Callable[[str, str], bool] | None = None) -> bool:
    if len(ours) != len(theirs):
        return False
    pairs = zip(ours, theirs, strict=True)
    return all(tokens_match(a, b) or (or_else is not None and or_else(a, b)) for a, b in pairs)


def _same_number(ours: str, theirs: str) -> bool:
    """Whether a decimal number was printed where that integer is expected."""
    return bool(_INTEGER.fullmatch(theirs) and _NUMBER.fullmatch(ours)) and Decimal(ours) == Decimal(theirs)


def results_match(result: Any, expected: Any, compare: str) -> bool:
    """Whether a returned value is right. Raises what ``==`` raises (arrays have no one truth)."""
    if compare == "official":
        result, expected = _listed(result), _listed(expected)
        if isinstance(expected, list) and expected and bool(result == expected[0]):
            return True
    return bool(result == expected)


def answers_match(text: str, expected: Any, rule: str = "number") -> bool:
    """Whether an answer is right: what stands after the last ``####`` of ``text``, or all of it where there is none.

    ``number``: it names the expected number (its first one after ``####``, else its last). Thousands separators,
    currency signs, a trailing period and zeros behind the point do not count. Where the expected answer is no number,
    and by ``exact``, the texts are compared, but for white space around and between their words (``number``: around).
    """
    given, marked = text.rpartition("####")[2], "####" in text
    if rule == "exact":
        return given.split() == str(expected).split()
    wanted = _number(str(expected), -1)
    if wanted is None:
        return given.strip() == str(expected).strip()
    return _number(given, 0 if marked else -1) == wanted


def tokens_match(ours: str, theirs: str) -> bool:
    """Whether a printed token is right where tokens count one by one."""
    if ours == theirs:
        return True
    if _INTEGER.fullmatch(theirs):
        return _INTEGER.fullmatch(ours) is not None and _canonical(ours) == _canonical(theirs)
    if not (_NUMBER.fullmatch(ours) and _NUMBER.fullmatch(theirs)):
        return False
    a, b = float(ours), float(theirs)
    if math.isinf(a) or math.isinf(b):
        return Decimal(ours) == Decimal(theirs)
    return abs(a - b) <= TOLERANCE * max(1.0, abs(b))


def _canonical(integer: str) -> str:
    digits = integer.lstrip("+-").lstrip("0") or "0"
    return "-" + digits if integer[0] == "-" and digits != "0" else digits


def _token_lines(text: str) -> list[list[str]]:
    lines = [line.split() for line in text.replace("\r\n", "\n").split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _number(text: str, place: int) -> Decimal | None:
    found = [match.group().translate(_NO_DIGITS) for match in _IN_TEXT.finditer(text)]
    try:
        return Decimal(found[place]) if found else None
    except InvalidOperation:
        return None


def _listed(value: Any) -> Any:
    """Return plain data with every tuple made a list."""
    if isinstance(value, list | tuple):
        return [_listed(item) for item in value]
    return {key: _listed(item) for key, item in value.items()} if isinstance(value, dict) else value


def _official_outputs_match(printed: str, expected: str) -> bool:
    ours, theirs = printed.strip().split("\n"), expected.strip().split("\n")
    if ours == theirs:
        return True
    ours, theirs = ([line.strip() for line in lines if line.strip()] for lines in (ours, theirs))
    if ours == theirs or _all_close(ours, theirs):
        return True
    ours_tokens, theirs_tokens = ([line.split() for line in lines] for lines in (ours, theirs))
    if len(ours) == len(theirs) and all(map(_all_close, ours_tokens, theirs_tokens)):
        return True
    if _token_sets(ours_tokens) == _token_sets(theirs_tokens):
        return True
    rounded = [_rounded_sets(lines) for lines in (ours_tokens, theirs_tokens)]
    return rounded[0] is not None and rounded[0] == rounded[1]


def _all_close(ours: list[str], theirs: list[str]) -> bool:
    """Whether numbers are as near as ``allclose`` wants floats to be; integers must be equal."""
    if len(ours) != len(theirs) or not all(map(_NUMBER.fullmatch, [*ours, *theirs])):
        return False
    return all(map(_close, ours, theirs))


def _close(ours: str, theirs: str) -> bool:
    if _INTEGER.fullmatch(ours) and _INTEGER.fullmatch(theirs):
        return _canonical(ours) == _canonical(theirs)
    a, b = float(ours), float(theirs)
    if math.isinf(a) or math.isinf(b):
        return Decimal(ours) == Decimal(theirs)
    return abs(a - b) <= 1e-8 + 1e-5 * abs(b)


def _token_sets(lines: list[list[str]]) -> set[frozenset[str]]:
    return {frozenset(line) for line in lines}


def _rounded_sets(lines: list[list[str]]) -> set[frozenset[Any]] | None:
    if not all(_NUMBER.fullmatch(token) for line in lines for token in line):
        return None
    return {frozenset(map(_rounded, line)) for line in lines}


def _rounded(token: str) -> Any:
    """Return a number rounded to three digits; an integer, or what no float has room for, as it is."""
    if _INTEGER.fullmatch(token):
        return int(token)
    number = float(token)
    return Decimal(token) if math.isinf(number) else round(number, 3)
