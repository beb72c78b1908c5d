"""Operations on lists of integers: steps give a list, endings return a number or a truth value."""

from __future__ import annotations

from typing import Any

from pper_jax.tasks.micro_python.operation import EASY, HARD, MEDIUM, Operation, each


def _keep(name: str, test: str, wrong: tuple[str, ...], phrases: tuple[str, ...], **more: Any) -> Operation:
    def line(condition: str) -> str:
        return f"{{v}} = [x for x in {{v}} if {condition}]"

    return Operation(name, "list_filter", "list", "list", phrases, line(test), tuple(map(line, wrong)), **more)


def _map(name: str, value: str, wrong: tuple[str, ...], phrases: tuple[str, ...], **more: Any) -> Operation:
    def line(expression: str) -> str:
        return f"{{v}} = [{expression} for x in {{v}}]"

    return Operation(name, "list_map", "list", "list", phrases, line(value), tuple(map(line, wrong)), **more)


LIST_STEPS = (
    _keep(
        "keep_even",
        "x % 2 == 0",
        ("x % 2 == 1", "x % 2 == 0 and x > 0"),
        ("keep the even numbers", "remove the odd numbers", "leave only even numbers", "drop every odd number"),
        difficulty=EASY,
    ),
    _keep(
        "keep_odd",
        "x % 2 == 1",
        ("x % 2 == 0", "x % 2 == 1 and x > 0"),
        ("keep the odd numbers", "remove the even numbers", "leave only odd numbers", "drop every even number"),
    ),
    _keep(
        "keep_above",
        "x > {c}",
        ("x >= {c}", "x < {c}"),
        ("keep numbers above {c}", "keep numbers greater than {c}", "drop numbers not above {c}"),
        constants=each(*range(-4, 12)),
        difficulty=HARD,
    ),
    _keep(
        "keep_below",
        "x < {c}",
        ("x <= {c}", "x > {c}"),
        ("keep numbers below {c}", "keep numbers less than {c}", "drop numbers not below {c}"),
        constants=each(*range(-4, 12)),
    ),
    _keep(
        "keep_at_least",
        "x >= {c}",
        ("x > {c}", "x <= {c}"),
        ("keep numbers that are at least {c}", "keep numbers not below {c}", "remove numbers smaller than {c}"),
        constants=each(*range(-4, 12)),
        difficulty=EASY,
    ),
    _keep(
        "keep_multiples",
        "x % {c} == 0",
        ("x % {c} != 0", "x // {c} == 0"),
        ("keep the multiples of {c}", "keep numbers divisible by {c}", "leave only multiples of {c}"),
        constants=each(3, 4, 5, 6, 7),
    ),
    _keep(
        "drop_value",
        "x != {c}",
        ("x == {c}", "x > {c}"),
        ("remove every {c}", "drop all numbers equal to {c}", "delete each {c} from the list"),
        constants=each(*range(-2, 8)),
        difficulty=EASY,
    ),
    _map(
        "add",
        "x + {c}",
        ("x - {c}", "x + {c} + 1"),
        ("add {c} to each number", "increase every number by {c}", "make each number {c} larger"),
        constants=each(*range(1, 11)),
        difficulty=EASY,
    ),
    _map(
        "subtract",
        "x - {c}",
        ("{c} - x", "x + {c}"),
        ("subtract {c} from each number", "decrease every number by {c}", "make each number {c} smaller"),
        constants=each(*range(1, 11)),
        difficulty=HARD,
    ),
    _map(
        "multiply",
        "x * {c}",
        ("x + {c}", "x ** {c}"),
        ("multiply each number by {c}", "make every number {c} times as large", "scale all numbers by {c}"),
        constants=each(2, 3, 4, 5, 6),
    ),
    _map(
        "square",
        "x * x",
        ("x * 2", "x + x"),
        ("square each number", "replace every number by its square", "multiply each number by itself"),
        difficulty=HARD,
    ),
    _map(
        "negate",
        "-x",
        ("abs(x)", "1 - x"),
        ("negate each number", "flip the sign of every number", "replace each number by its negative"),
    ),
    _map(
        "absolute",
        "abs(x)",
        ("-x", "max(x, 0)"),
        ("take the absolute value of each number", "make every number non-negative by dropping its sign", "drop signs"),
        difficulty=EASY,
    ),
    _map(
        "cap",
        "min(x, {c})",
        ("max(x, {c})", "min(x, {c} - 1)"),
        ("cap each number at {c}", "replace numbers above {c} by {c}", "limit every number to at most {c}"),
        constants=each(*range(1, 10)),
        difficulty=HARD,
    ),
    Operation(
        "sort",
        "list_order",
        "list",
        "list",
        ("sort the numbers", "sort in ascending order", "order the numbers from smallest to largest"),
        "{v} = sorted({v})",
        ("{v} = sorted({v}, reverse=True)", "{v} = {v}[::-1]"),
        difficulty=EASY,
    ),
    Operation(
        "sort_down",
        "list_order",
        "list",
        "list",
        ("sort in descending order", "order the numbers from largest to smallest", "sort the numbers downwards"),
        "{v} = sorted({v}, reverse=True)",
        ("{v} = sorted({v})", "{v} = {v}[::-1]"),
        difficulty=HARD,
    ),
    Operation(
        "reverse",
        "list_order",
        "list",
        "list",
        ("reverse the list", "put the numbers in reverse order", "turn the list around"),
        "{v} = {v}[::-1]",
        ("{v} = sorted({v}, reverse=True)", "{v} = {v}[::-2]"),
    ),
    Operation(
        "take",
        "list_slice",
        "list",
        "list",
        ("take the first {c} numbers", "keep only the first {c} items", "cut the list after {c} numbers"),
        "{v} = {v}[:{c}]",
        ("{v} = {v}[:{c} - 1]", "{v} = {v}[{c}:]"),
        each(2, 3, 4, 5),
        difficulty=MEDIUM,
    ),
    Operation(
        "skip",
        "list_slice",
        "list",
        "list",
        ("skip the first {c} numbers", "drop the first {c} items", "remove {c} numbers from the front"),
        "{v} = {v}[{c}:]",
        ("{v} = {v}[{c} - 1:]", "{v} = {v}[:-{c}]"),
        each(1, 2, 3, 4),
        difficulty=HARD,
    ),
    Operation(
        "drop_last",
        "list_slice",
        "list",
        "list",
        ("drop the last {c} numbers", "remove {c} numbers from the end", "leave out the last {c} items"),
        "{v} = {v}[:-{c}]",
        ("{v} = {v}[{c}:]", "{v} = {v}[:{c}]"),
        each(1, 2, 3),
    ),
)

LIST_ENDS = (
    Operation(
        "sum",
        "list_reduce",
        "list",
        "int",
        ("return the sum", "add the numbers up", "return their total"),
        "return sum({v})",
        ("return sum({v}[1:])", "return len({v})"),
        difficulty=EASY,
    ),
    Operation(
        "largest",
        "list_reduce",
        "list",
        "int",
        (
            "return the largest number, or 0 if none",
            "return the maximum, 0 if the list is empty",
            "find the maximum or 0",
        ),
        "return max({v}, default=0)",
        ("return min({v}, default=0)", "return max({v}, default=1)"),
    ),
    Operation(
        "smallest",
        "list_reduce",
        "list",
        "int",
        (
            "return the smallest number, or 0 if none",
            "return the minimum, 0 if the list is empty",
            "find the minimum or 0",
        ),
        "return min({v}, default=0)",
        ("return max({v}, default=0)", "return min({v}, default=1)"),
        difficulty=EASY,
    ),
    Operation(
        "count",
        "list_reduce",
        "list",
        "int",
        ("return how many there are", "count the numbers", "return the number of items"),
        "return len({v})",
        ("return len({v}) - 1", "return sum({v})"),
    ),
    Operation(
        "spread",
        "list_reduce",
        "list",
        "int",
        (
            "return the largest minus the smallest, or 0",
            "return the range of values, or 0",
            "return maximum minus minimum, or 0",
        ),
        "return max({v}, default=0) - min({v}, default=0)",
        ("return max({v}, default=0) + min({v}, default=0)", "return min({v}, default=0) - max({v}, default=0)"),
        difficulty=HARD,
    ),
    Operation(
        "total_squares",
        "list_loop",
        "list",
        "int",
        ("return the sum of squares", "add up the squares", "return the total of the squared numbers"),
        "total = 0\nfor x in {v}:\n    total += x * x\nreturn total",
        (
            "total = 0\nfor x in {v}:\n    total += x\nreturn total",
            "total = 1\nfor x in {v}:\n    total += x * x\nreturn total",
        ),
    ),
    Operation(
        "any_above",
        "predicate",
        "list",
        "bool",
        (
            "tell whether any number is above {c}",
            "return True if some number exceeds {c}",
            "check for a number above {c}",
        ),
        "return any(x > {c} for x in {v})",
        ("return all(x > {c} for x in {v})", "return any(x >= {c} for x in {v})"),
        each(0, 1, 2, 3, 4, 5, 6, 7, 8, 9),
    ),
    Operation(
        "all_below",
        "predicate",
        "list",
        "bool",
        (
            "tell whether all numbers are below {c}",
            "return True if every number is below {c}",
            "check that all are below {c}",
        ),
        "return all(x < {c} for x in {v})",
        ("return any(x < {c} for x in {v})", "return all(x <= {c} for x in {v})"),
        each(3, 4, 5, 6, 7, 8, 9, 10, 12),
        difficulty=HARD,
    ),
)
