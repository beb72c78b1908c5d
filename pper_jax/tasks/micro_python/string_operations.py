"""Operations on strings: steps give a string, endings return a number or a truth value."""

from __future__ import annotations

from typing import Any

from pper_jax.tasks.micro_python.operation import EASY, HARD, Operation, each


def _text(name: str, line: str, wrong: tuple[str, ...], phrases: tuple[str, ...], **more: Any) -> Operation:
    return Operation(
        name, "string_step", "str", "str", phrases, f"{{v}} = {line}", tuple(f"{{v}} = {w}" for w in wrong), **more
    )


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
        constants=each(*_LETTERS),
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
        constants=each(2, 3, 4, 5),
    ),
    _text(
        "skip_text",
        "{v}[{c}:]",
        ("{v}[:{c}]", "{v}[{c} + 1:]"),
        ("skip the first {c} characters", "drop {c} characters from the front", "remove the first {c} characters"),
        constants=each(1, 2, 3),
        difficulty=HARD,
    ),
    _text(
        "append_text",
        '{v} + "{c}"',
        ('"{c}" + {v}', '{v} + "{c}{c}"'),
        ("append {c}", "add {c} at the end", "put {c} behind it"),
        constants=each(*_LETTERS),
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
        each(*_LETTERS),
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
