"""The operations that micro_python tasks are made of: phrases, the right line of code, and the mistakes made in it.

An operation is one line (or a short block) on the variable ``{v}``; ``{c}`` and ``{d}`` are its constants. Its first
bug is its *habit*: the mistake that a pretrained model should prefer (see ``HABIT_SHARE``). ``difficulty`` scales how
often the pretraining text gets it wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

EASY, MEDIUM, HARD = 0.3, 0.8, 1.3


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


def _each(*values: int | str) -> tuple[tuple[int | str, int | str], ...]:
    return tuple((value, 0) for value in values)


def _pairs(firsts: Iterator[int] | range, gaps: tuple[int, ...]) -> tuple[tuple[int | str, int | str], ...]:
    return tuple((first, first + gap) for first in firsts for gap in gaps)


def _keep(name: str, test: str, wrong: tuple[str, ...], phrases: tuple[str, ...], **more: object) -> Operation:
    def line(condition: str) -> str:
        return f"{{v}} = [x for x in {{v}} if {condition}]"

    return Operation(name, "list_filter", "list", "list", phrases, line(test), tuple(map(line, wrong)), **more)  # type: ignore[arg-type]


def _map(name: str, value: str, wrong: tuple[str, ...], phrases: tuple[str, ...], **more: object) -> Operation:
    def line(expression: str) -> str:
        return f"{{v}} = [{expression} for x in {{v}}]"

    return Operation(name, "list_map", "list", "list", phrases, line(value), tuple(map(line, wrong)), **more)  # type: ignore[arg-type]


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
        constants=_each(*range(-4, 12)),
        difficulty=HARD,
    ),
    _keep(
        "keep_below",
        "x < {c}",
        ("x <= {c}", "x > {c}"),
        ("keep numbers below {c}", "keep numbers less than {c}", "drop numbers not below {c}"),
        constants=_each(*range(-4, 12)),
    ),
    _keep(
        "keep_at_least",
        "x >= {c}",
        ("x > {c}", "x <= {c}"),
        ("keep numbers that are at least {c}", "keep numbers not below {c}", "remove numbers smaller than {c}"),
        constants=_each(*range(-4, 12)),
        difficulty=EASY,
    ),
    _keep(
        "keep_multiples",
        "x % {c} == 0",
        ("x % {c} != 0", "x // {c} == 0"),
        ("keep the multiples of {c}", "keep numbers divisible by {c}", "leave only multiples of {c}"),
        constants=_each(3, 4, 5, 6, 7),
    ),
    _keep(
        "drop_value",
        "x != {c}",
        ("x == {c}", "x > {c}"),
        ("remove every {c}", "drop all numbers equal to {c}", "delete each {c} from the list"),
        constants=_each(*range(-2, 8)),
        difficulty=EASY,
    ),
    _map(
        "add",
        "x + {c}",
        ("x - {c}", "x + {c} + 1"),
        ("add {c} to each number", "increase every number by {c}", "make each number {c} larger"),
        constants=_each(*range(1, 11)),
        difficulty=EASY,
    ),
    _map(
        "subtract",
        "x - {c}",
        ("{c} - x", "x + {c}"),
        ("subtract {c} from each number", "decrease every number by {c}", "make each number {c} smaller"),
        constants=_each(*range(1, 11)),
        difficulty=HARD,
    ),
    _map(
        "multiply",
        "x * {c}",
        ("x + {c}", "x ** {c}"),
        ("multiply each number by {c}", "make every number {c} times as large", "scale all numbers by {c}"),
        constants=_each(2, 3, 4, 5, 6),
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
        constants=_each(*range(1, 10)),
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
        _each(2, 3, 4, 5),
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
        _each(1, 2, 3, 4),
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
        _each(1, 2, 3),
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
        _each(0, 1, 2, 3, 4, 5, 6, 7, 8, 9),
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
        _each(3, 4, 5, 6, 7, 8, 9, 10, 12),
        difficulty=HARD,
    ),
)


def _text(name: str, line: str, wrong: tuple[str, ...], phrases: tuple[str, ...], **more: object) -> Operation:
    return Operation(
        name, "string_step", "str", "str", phrases, f"{{v}} = {line}", tuple(f"{{v}} = {w}" for w in wrong), **more
    )  # type: ignore[arg-type]


_LETTERS = ("a", "e", "o", "s", "t", "r", "n")

STRING_STEPS = (
    _text(
        "upper",
        "{v}.upper()",
        ("{v}.lower()", "{v}.title()"),
        ("convert it to upper case", "make all letters upper case", "write it in capitals"),
        difficulty=EASY,
    ),
    _text(
        "lower",
        "{v}.lower()",
        ("{v}.upper()", "{v}.swapcase()"),
        ("convert it to lower case", "make all letters lower case", "write it in small letters"),
    ),
    _text(
        "swap_case",
        "{v}.swapcase()",
        ("{v}.lower()", "{v}.upper()"),
        ("swap the case of each letter", "turn upper case into lower case and back", "flip the case of all letters"),
        difficulty=HARD,
    ),
    _text(
        "reverse_text",
        "{v}[::-1]",
        ("{v}[::-2]", "{v}[1:][::-1]"),
        ("reverse it", "write it backwards", "turn the string around"),
        difficulty=EASY,
    ),
    _text(
        "remove_letter",
        '{v}.replace("{c}", "")',
        ('{v}.replace("{c}", "", 1)', '{v}.strip("{c}")'),
        ("remove every {c}", "delete all letters {c}", "drop each letter {c}"),
        constants=_each(*_LETTERS),
        difficulty=HARD,
    ),
    _text(
        "replace_letter",
        '{v}.replace("{c}", "{d}")',
        ('{v}.replace("{d}", "{c}")', '{v}.replace("{c}", "{d}", 1)'),
        ("replace every {c} by {d}", "change each letter {c} to {d}", "turn all letters {c} into {d}"),
        constants=tuple((a, b) for a in _LETTERS for b in _LETTERS[:4] if a != b),
    ),
    _text(
        "take_text",
        "{v}[:{c}]",
        ("{v}[:{c} - 1]", "{v}[{c}:]"),
        ("take the first {c} characters", "cut it after {c} characters", "keep only the first {c} characters"),
        constants=_each(2, 3, 4, 5),
    ),
    _text(
        "skip_text",
        "{v}[{c}:]",
        ("{v}[:{c}]", "{v}[{c} + 1:]"),
        ("skip the first {c} characters", "drop {c} characters from the front", "remove the first {c} characters"),
        constants=_each(1, 2, 3),
        difficulty=HARD,
    ),
    _text(
        "append_text",
        '{v} + "{c}"',
        ('"{c}" + {v}', '{v} + "{c}{c}"'),
        ("append {c}", "add {c} at the end", "put {c} behind it"),
        constants=_each(*_LETTERS),
        difficulty=EASY,
    ),
)

STRING_ENDS = (
    Operation(
        "length",
        "string_measure",
        "str",
        "int",
        ("return its length", "return the number of characters", "count the characters"),
        "return len({v})",
        ("return len({v}) - 1", "return len({v}.strip())"),
        difficulty=EASY,
    ),
    Operation(
        "count_letter",
        "string_measure",
        "str",
        "int",
        ("count the letter {c}", "return how often {c} occurs", "return the number of letters {c}"),
        'return {v}.count("{c}")',
        ('return {v}.find("{c}")', 'return {v}.count("{c}") + 1'),
        _each(*_LETTERS),
    ),
    Operation(
        "count_vowels",
        "string_measure",
        "str",
        "int",
        ("count the vowels", "return the number of vowels", "return how many letters are vowels"),
        'return sum(x in "aeiouAEIOU" for x in {v})',
        ('return sum(x in "aeiou" for x in {v})', 'return sum(x not in "aeiouAEIOU" for x in {v})'),
        difficulty=HARD,
    ),
    Operation(
        "count_upper",
        "string_measure",
        "str",
        "int",
        ("count the upper case letters", "return the number of capitals", "return how many letters are upper case"),
        "return sum(x.isupper() for x in {v})",
        ("return sum(x.islower() for x in {v})", "return sum(x.isalpha() for x in {v})"),
    ),
    Operation(
        "palindrome",
        "predicate",
        "str",
        "bool",
        ("tell whether it is a palindrome", "return True if it reads the same backwards", "check for a palindrome"),
        "return {v} == {v}[::-1]",
        ("return {v} != {v}[::-1]", "return {v}[0:1] == {v}[-1:]"),
        difficulty=EASY,
    ),
)

SINGLES = (
    Operation(
        "linear",
        "arithmetic",
        "int",
        "int",
        ("multiply {v} by {c} and add {d}", "return {c} times {v} plus {d}", "return {d} more than {c} times {v}"),
        "return {v} * {c} + {d}",
        ("return ({v} + {d}) * {c}", "return {v} * {c} - {d}"),
        tuple((c, d) for c in range(2, 8) for d in range(1, 10)),
    ),
    Operation(
        "clamp",
        "branch",
        "int",
        "int",
        (
            "limit {v} to the range from {c} to {d}",
            "return {v}, but at least {c} and at most {d}",
            "clamp {v} between {c} and {d}",
        ),
        "if {v} < {c}:\n    return {c}\nif {v} > {d}:\n    return {d}\nreturn {v}",
        (
            "if {v} < {c}:\n    return {c}\nreturn {v}",
            "if {v} < {c}:\n    return {d}\nif {v} > {d}:\n    return {c}\nreturn {v}",
        ),
        _pairs(range(-4, 6), (3, 4, 5, 6, 7)),
        difficulty=HARD,
    ),
    Operation(
        "between",
        "predicate",
        "int",
        "bool",
        (
            "tell whether {v} lies from {c} to {d}, both included",
            "check {c} <= {v} <= {d}",
            "return True for {c} up to {d}",
        ),
        "return {c} <= {v} <= {d}",
        ("return {c} < {v} < {d}", "return {c} <= {v} < {d}"),
        _pairs(range(-4, 6), (2, 3, 4, 5)),
        difficulty=HARD,
    ),
    Operation(
        "size_word",
        "branch",
        "int",
        "str",
        (
            'return "big" if {v} is above {c}, else "small"',
            'say "big" for numbers above {c} and "small" otherwise',
            'call {v} "big" when it exceeds {c}, "small" if not',
        ),
        'if {v} > {c}:\n    return "big"\nreturn "small"',
        ('if {v} >= {c}:\n    return "big"\nreturn "small"', 'if {v} > {c}:\n    return "small"\nreturn "big"'),
        _each(*range(-5, 15)),
        difficulty=HARD,
    ),
    Operation(
        "fizz",
        "branch",
        "int",
        "str",
        (
            'return "fizz" for multiples of {c}, "buzz" for other multiples of {d}, else "none"',
            'say "fizz" if {c} divides {v}, else "buzz" if {d} does, else "none"',
            'give "fizz" when {v} is divisible by {c}, "buzz" when by {d} only, otherwise "none"',
        ),
        'if {v} % {c} == 0:\n    return "fizz"\nif {v} % {d} == 0:\n    return "buzz"\nreturn "none"',
        (
            'if {v} % {d} == 0:\n    return "buzz"\nif {v} % {c} == 0:\n    return "fizz"\nreturn "none"',
            'if {v} % {c} == 0:\n    return "fizz"\nreturn "none"',
        ),
        tuple((c, d) for c in (2, 3, 4, 5, 7) for d in (2, 3, 5, 7) if c != d),
    ),
    Operation(
        "digit_sum",
        "digits",
        "int",
        "int",
        (
            "return the sum of the digits of {v} plus {c}",
            "add up the digits of {v} and add {c}",
            "digit sum of {v}, plus {c}",
        ),
        "return sum(int(x) for x in str(abs({v}))) + {c}",
        ("return len(str(abs({v}))) + {c}", "return sum(int(x) for x in str(abs({v}))) - {c}"),
        _each(*range(1, 10)),
    ),
    Operation(
        "digit_count",
        "digits",
        "int",
        "int",
        (
            "count how often the digit {c} occurs in {v}",
            "return how many digits of {v} are {c}",
            "count the digits {c} in {v}",
        ),
        'return str({v}).count("{c}")',
        ('return len(str({v}).replace("{c}", ""))', 'return str({v}).count("{c}") + 1'),
        _each(*range(0, 10)),
        difficulty=EASY,
    ),
    Operation(
        "sum_to",
        "loop",
        "int",
        "int",
        (
            "return the sum of all multiples of {c} from {c} to {v}",
            "add up the multiples of {c} up to {v}, {v} included",
            "sum every multiple of {c} that is positive and at most {v}",
        ),
        "total = 0\nfor i in range({c}, {v} + 1, {c}):\n    total += i\nreturn total",
        (
            "total = 0\nfor i in range({c}, {v}, {c}):\n    total += i\nreturn total",
            "total = 0\nfor i in range(1, {v} + 1):\n    total += i\nreturn total",
        ),
        _each(2, 3, 4, 5, 6, 7),
        difficulty=HARD,
    ),
    Operation(
        "count_divisible",
        "loop",
        "int",
        "int",
        (
            "count the numbers from 1 to {v} that {c} divides",
            "return how many multiples of {c} lie from 1 to {v}",
            "count the positive multiples of {c} up to {v}",
        ),
        "count = 0\nfor i in range(1, {v} + 1):\n    if i % {c} == 0:\n        count += 1\nreturn count",
        (
            "count = 0\nfor i in range(1, {v}):\n    if i % {c} == 0:\n        count += 1\nreturn count",
            "count = 0\nfor i in range(1, {v} + 1):\n    if i % {c} != 0:\n        count += 1\nreturn count",
        ),
        _each(2, 3, 4, 5, 6, 7, 8, 9),
    ),
    Operation(
        "weighted",
        "two_numbers",
        "int2",
        "int",
        (
            "return {c} times a plus {d} times b",
            "multiply a by {c}, b by {d}, and add",
            "weigh a with {c} and b with {d}",
        ),
        "return a * {c} + b * {d}",
        ("return a * {d} + b * {c}", "return a * {c} - b * {d}"),
        tuple((c, d) for c in range(2, 8) for d in range(2, 8) if c != d),
    ),
    Operation(
        "distance",
        "two_numbers",
        "int2",
        "int",
        (
            "return the distance between a and b, at most {c}",
            "return how far a and b are apart, capped at {c}",
            "absolute difference of a and b, limited to {c}",
        ),
        "return min(abs(a - b), {c})",
        ("return max(abs(a - b), {c})", "return min(abs(a + b), {c})"),
        _each(*range(3, 15)),
        difficulty=HARD,
    ),
    Operation(
        "larger_plus",
        "two_numbers",
        "int2",
        "int",
        (
            "return the larger of a and b plus {c}",
            "take the maximum of a and b and add {c}",
            "add {c} to the bigger of a and b",
        ),
        "return max(a, b) + {c}",
        ("return min(a, b) + {c}", "return max(a, b + {c})"),
        _each(*range(1, 13)),
    ),
    Operation(
        "dict_keys_above",
        "dict_filter",
        "dict",
        "words",
        (
            "return the sorted keys whose value is above {c}",
            "list in order the keys with a value greater than {c}",
            "collect and sort keys that have values above {c}",
        ),
        "return sorted(k for k in {v} if {v}[k] > {c})",
        ("return sorted(k for k in {v} if {v}[k] >= {c})", "return sorted(k for k in {v} if {v}[k] < {c})"),
        _each(*range(-2, 10)),
        difficulty=HARD,
    ),
    Operation(
        "dict_get",
        "dict_lookup",
        "dict",
        "int",
        (
            'return the value of "{d}", or {c} if it is missing',
            'look up "{d}" with default {c}',
            'give what "{d}" maps to, {c} when absent',
        ),
        'return {v}.get("{d}", {c})',
        ('return {v}.get("{d}", 0)', 'return {v}.get("{d}", {c}) + {c}'),
        tuple((c, d) for d in ("a", "b", "c", "d") for c in (-3, -2, -1, 1, 2, 3, 4)),
    ),
    Operation(
        "dict_sum",
        "dict_total",
        "dict",
        "int",
        ("return the sum of the values plus {c}", "add up all values and add {c}", "total of the values, plus {c}"),
        "return sum({v}.values()) + {c}",
        ("return len({v}) + {c}", "return sum({v}.values()) - {c}"),
        _each(*range(1, 10)),
        difficulty=EASY,
    ),
    Operation(
        "dict_shift",
        "dict_build",
        "dict",
        "dict",
        ("add {c} to every value", "return the same keys with values {c} larger", "increase each value by {c}"),
        "return {{k: {v}[k] + {c} for k in {v}}}",
        ("return {{k: {v}[k] - {c} for k in {v}}}", "return {{k: {c} for k in {v}}}"),
        _each(*range(1, 11)),
    ),
    Operation(
        "count_long",
        "words",
        "words",
        "int",
        (
            "count the words with more than {c} letters",
            "return how many words are longer than {c} letters",
            "count words longer than {c} letters",
        ),
        "return sum(len(x) > {c} for x in {v})",
        ("return sum(len(x) >= {c} for x in {v})", "return sum(len(x) < {c} for x in {v})"),
        _each(0, 1, 2, 3, 4, 5, 6),
        difficulty=HARD,
    ),
    Operation(
        "join_words",
        "words",
        "words",
        "str",
        ('join the words with "{c}"', 'put "{c}" between the words', 'connect all words by "{c}"'),
        'return "{c}".join({v})',
        ('return "".join(x + "{c}" for x in {v})', 'return "{c}" + "".join({v})'),
        _each("-", "+", ", ", "/", "_", "."),
    ),
    Operation(
        "count_words",
        "dict_build",
        "words",
        "dict",
        (
            "return a dict of how often each word of {c} or more letters occurs",
            "count every word with at least {c} letters in a dict",
            "map each word that has {c} letters or more to its number of occurrences",
        ),
        "return {{x: {v}.count(x) for x in {v} if len(x) >= {c}}}",
        ("return {{x: {v}.count(x) for x in {v} if len(x) > {c}}}", "return {{x: 1 for x in {v} if len(x) >= {c}}}"),
        _each(1, 2, 3, 4, 5, 6),
        difficulty=HARD,
    ),
)

OPERATIONS = {op.name: op for op in (*LIST_STEPS, *LIST_ENDS, *STRING_STEPS, *STRING_ENDS, *SINGLES)}
