"""When a printed text, a returned value or an answer is right. Pure functions; NaN and infinity are never right.

``strict`` (the default) and ``official`` (the cascade of the APPS checker, which accepts some wrong answers):

====================================  =====================  ======  ========
test                                  program gave           strict  official
====================================  =====================  ======  ========
stdout ``1 2\\n4\\n``                   ``1 2  \\r\\n4\\t\\n\\n``   pass    pass
stdout ``YES``                        ``yes``                fail    fail
stdout ``0.3333``                     ``0.33330000001``      pass    pass
stdout ``0.3333``                     ``0.3334``             fail    pass [1]_
stdout ``1000000``                    ``1000001``            fail    pass [1]_
stdout ``1000``                       ``1_000``              fail    fail [1]_
stdout ``1.0``                        ``nan``                fail    fail
stdout ``1 2``                        ``2 1``                fail    pass
stdout ``1\\n2\\n3``                    ``1``                  fail    fail
call, expected ``[1, 2]``             ``(1, 2)``             fail    pass
call, expected ``[9]``                ``9``                  fail    pass
call, expected ``1``                  ``True``               pass    pass
call, expected ``2.0``                ``2``                  pass    pass
call, expected ``0.3``                ``0.1 + 0.2``          fail    fail
====================================  =====================  ======  ========

.. [1] The cascade compares floats with numpy's ``allclose`` (relative 1e-5, absolute 1e-8), then sets of tokens, then
   sets of numbers rounded to three digits.

Strict text: lines of tokens; spaces, trailing blank lines and CRLF do not count; integers and words must be the same
characters (but for an integer's sign and leading zeros), and where the expected token is a decimal number, the
program's must be a number within 1e-6, relative or absolute. Strict calls: Python's ``==``.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import Any

COMPARE_MODES = ("strict", "official")
TOLERANCE = 1e-6
_INTEGER = re.compile(r"[+-]?[0-9]+", re.ASCII)
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?", re.ASCII)
_IN_TEXT = re.compile(r"[+-]?[0-9][0-9,]*(\.[0-9]+)?|[+-]?\.[0-9]+", re.ASCII)


def outputs_match(printed: str, expected: str, compare: str) -> bool:
    """Whether a program's standard output is right."""
    if compare == "official":
        return _official_outputs_match(printed, expected)
    ours, theirs = _token_lines(printed), _token_lines(expected)
    return len(ours) == len(theirs) and all(
        len(a) == len(b) and all(map(tokens_match, a, b)) for a, b in zip(ours, theirs, strict=True)
    )


def results_match(result: Any, expected: Any, compare: str) -> bool:
    """Whether a returned value is right; both are plain data."""
    if compare == "official":
        result, expected = _listed(result), _listed(expected)
        if isinstance(expected, list) and expected and not isinstance(result, list) and result == expected[0]:
            return True
    return bool(result == expected)


def answers_match(text: str, expected: Any) -> bool:
    """Whether an answer names the expected number: the one after ``####`` if that is there, else the last one.

    Thousands separators and a trailing ``.0`` do not count. Where the expected answer is no number, the texts are
    compared, but for surrounding space.
    """
    wanted = _last_number(str(expected))
    given_text = text.rpartition("####")[2] if "####" in text else text
    if wanted is None:
        return given_text.strip() == str(expected).strip()
    return _last_number(given_text) == wanted


def tokens_match(ours: str, theirs: str) -> bool:
    """Whether a printed token is right in strict mode."""
    if ours == theirs:
        return not _is_special(theirs)
    if _INTEGER.fullmatch(theirs):
        return _INTEGER.fullmatch(ours) is not None and _canonical(ours) == _canonical(theirs)
    if not (_NUMBER.fullmatch(ours) and _NUMBER.fullmatch(theirs)):
        return False
    a, b = float(ours), float(theirs)
    return abs(a - b) <= TOLERANCE * max(1.0, abs(b))  # False for infinity minus infinity


def _is_special(token: str) -> bool:
    return token.lower().lstrip("+-") in ("nan", "inf", "infinity") and not token.isalpha()


def _canonical(integer: str) -> str:
    digits = integer.lstrip("+-").lstrip("0") or "0"
    return "-" + digits if integer[0] == "-" and digits != "0" else digits


def _token_lines(text: str) -> list[list[str]]:
    lines = [line.split() for line in text.replace("\r\n", "\n").split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _last_number(text: str) -> Decimal | None:
    found = [match.group().replace(",", "") for match in _IN_TEXT.finditer(text)]
    try:
        return Decimal(found[-1]) if found else None
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


def _floats(tokens: list[str]) -> list[float] | None:
    return [float(token) for token in tokens] if all(_NUMBER.fullmatch(token) for token in tokens) else None


def _all_close(ours: list[str], theirs: list[str]) -> bool:
    a, b = _floats(ours), _floats(theirs)
    if a is None or b is None or len(a) != len(b):
        return False
    return all(abs(x - y) <= 1e-8 + 1e-5 * abs(y) for x, y in zip(a, b, strict=True))


def _token_sets(lines: list[list[str]]) -> set[frozenset[str]]:
    return {frozenset(line) for line in lines}


def _rounded_sets(lines: list[list[str]]) -> set[frozenset[float]] | None:
    rows = [_floats(line) for line in lines]
    if any(row is None for row in rows):
        return None
    return {frozenset(round(number, 3) for number in row or ()) for row in rows}
