from __future__ import annotations

import pytest

from pper_jax.execution import Job, TestPool
from pper_jax.execution.compare import answers_match, outputs_match, results_match


@pytest.mark.parametrize(
    ("printed", "expected", "strict", "official"),
    [
        ("1 2  \r\n4\t\n\n", "1 2\n4\n", True, True),
        ("yes", "YES", False, False),
        ("0.33330000001", "0.3333", True, True),
        ("0.3334", "0.3333", False, True),
        ("0.3344", "0.3333", False, False),
        ("1000001", "1000000", False, False),
        ("1000001.0", "1000000.0", True, True),
        ("5", "1" + "0" * 400, False, False),
        ("1" + "0" * 399 + "1", "1" + "0" * 400, False, False),
        ("1" + "0" * 400, "1" + "0" * 400, True, True),
        ("0", "1e999", False, False),
        ("1e999", "1e0999", True, True),
        ("5", "1" + "0" * 400 + ".0", False, False),
        ("-inf", "-inf", True, True),
        ("inf", "inf", True, True),
        ("inf", "-inf", False, False),
        ("nan", "nan", True, True),
        ("1_000", "1000", False, False),
        ("nan", "1.0", False, False),
        ("inf", "1e400", False, False),
        ("2 1", "1 2", False, True),
        ("1", "1\n2\n3", False, False),
        ("1\n2\n3", "1", False, False),
        ("", "", True, True),
        ("", "0", False, False),
        ("007", "7", True, True),
        ("-0", "0", True, True),
        ("5.0", "5", False, True),
        ("5", "5.0", True, True),
        ("1\n\n2", "1\n2", False, True),
        ("1234567.9", "1234567.0", True, True),
        ("1e9", "1000000000.0", True, True),
    ],
)
def test_outputs(printed: str, expected: str, strict: bool, official: bool) -> None:
    assert outputs_match(printed, expected, "strict") is strict
    assert outputs_match(printed, expected, "official") is official


@pytest.mark.parametrize(
    ("printed", "expected", "right"),
    [
        ("1\n2 4", "1 2\n4\n", True),
        ("1 2\n\n 4 ", "1 2\n4\n", True),
        ("2 1", "1 2", False),
        ("1 2 2", "1 2", False),
        ("1 2", "1 2 2", False),
        ("yes", "YES", False),
        ("0.33330000001\n7", "0.3333 07", True),
        ("12", "1 2", False),
        ("", "  \n", True),
    ],
)
def test_tokens_are_compared_white_space_apart(printed: str, expected: str, right: bool) -> None:
    assert outputs_match(printed, expected, "tokens") is right


@pytest.mark.parametrize("compare", ["strict", "tokens", "official"])
def test_a_rule_is_for_its_own_kinds(compare: str) -> None:
    asserts = {"kind": "asserts", "asserts": ["assert f(0) == [9]", "assert [9] == f(0)", "assert f(0) == 9"]}
    with TestPool(workers=1, compare=compare) as pool:
        (verdict,) = pool.run([Job("def f(x): return 9", asserts)])
    assert [test.status for test in verdict.tests] == ["fail", "fail", "pass"]


@pytest.mark.parametrize(
    ("result", "expected", "strict", "official"),
    [
        ((1, 2), [1, 2], False, True),
        ([(1, (2,))], [[1, [2]]], False, True),
        (9, [9], False, True),
        ([9], [9], True, True),
        ([9], [[9]], False, True),
        ([1, 2], [[1, 2]], False, True),
        ([1, 2], [[2, 1]], False, False),
        ([(1, 2)], [[[1, 2]]], False, True),
        (True, 1, True, True),
        (2, 2.0, True, True),
        (0.1 + 0.2, 0.3, False, False),
        ("1", 1, False, False),
        (float("nan"), float("nan"), False, False),
        ({"a": (1,)}, {"a": [1]}, False, True),
        (None, None, True, True),
        ([], None, False, False),
    ],
)
def test_results(result: object, expected: object, strict: bool, official: bool) -> None:
    assert results_match(result, expected, "strict") is strict
    assert results_match(result, expected, "official") is official


@pytest.mark.parametrize(
    ("text", "expected", "right"),
    [
        ("it takes 6 * 7 hours\n#### 42", "42", True),
        ("#### 1,042", "1042", True),
        ("#### $42.00 in all", 42, True),
        ("so the answer is 42.", "42", True),
        ("42 or 43", "42", False),
        ("#### none", "42", False),
        ("", "42", False),
        ("#### -3", "-3", True),
        ("#### Paris ", "Paris", True),
        ("#### 42", "4", False),
    ],
)
def test_answers(text: str, expected: object, right: bool) -> None:
    assert answers_match(text, expected) is right
