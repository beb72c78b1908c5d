from __future__ import annotations

import ast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pper_jax.decode import distinct
from pper_jax.decode.distinct import normalise

PROGRAM = "def f(x):\n    if x > 1:\n        return 'a b'\n    return x + 1\n"


@pytest.mark.parametrize(
    "same",
    [
        PROGRAM.rstrip(),
        "\n\n" + PROGRAM + "\n\n\n",
        "# what it does\n" + PROGRAM + "# the end",
        PROGRAM.replace("x + 1", "x+1  # one more"),
        PROGRAM.replace("x + 1", "x \\\n        + 1"),
        PROGRAM.replace("(x):", "( x ) :").replace("    return x", "\n    # a comment\n\n    return x"),
        PROGRAM.replace("    ", "\t"),
        PROGRAM.replace("        return", "      return"),
        PROGRAM.replace("\n", "\r\n"),
    ],
)
def test_comments_and_white_space_make_no_difference(same: str):
    assert same != PROGRAM
    assert normalise(same) == normalise(PROGRAM)


@pytest.mark.parametrize(
    "other",
    [
        PROGRAM.replace("x + 1", "x + 2"),
        PROGRAM.replace("'a b'", "'a  b'"),
        PROGRAM.replace("'a b'", "'a # b'"),
        PROGRAM.replace("    return x", "        return x"),
        PROGRAM.replace("x > 1", "x >1 and x"),
        PROGRAM.replace("f(x)", "fx"),
        PROGRAM.replace("return x + 1", "returnx + 1"),
        PROGRAM.replace("return x + 1", "'''doc'''"),
    ],
)
def test_everything_else_does(other: str):
    assert normalise(other) != normalise(PROGRAM)


def test_an_f_strings_text_is_not_its_code():
    assert normalise('print(f"{{x}}")') != normalise('print(f"{x}")') != normalise('print(f"{ {x} }")')


def test_what_is_not_python_is_compared_by_its_words():
    cut = "def f(x):\n    return (x +  1"
    assert normalise(cut) == normalise("def  f(x):\n\treturn (x + 1\n") != normalise(cut + "0")
    assert normalise("a = 'open  string") == normalise("a = 'open string")
    assert normalise("a = '\u2028 \x0c'") != normalise("a = '\u2028\x0c'")  # no ends of lines in Python
    assert normalise("") == normalise(" \n # nothing\n")


@pytest.mark.parametrize(
    "name", ["A\ua8e0", "a\ua8e0b", "a\ua8e01", "a\ua8e0\ua8e0_b1\ua8e0", "\u2118", "\u2118x", "a\u00b7b"]
)
def test_a_name_may_have_any_letter_that_python_takes(name: str):
    assert name.isidentifier()
    assert normalise(f"{name} = 1  # comment\n") == normalise(f"{name}=1") == ((1, name), *normalise("x = 1")[1:])
    assert normalise(f"{name} = 1") != normalise(f"{name} x = 1") != normalise(f"{name}x = 1")
    assert normalise(f"if {name}: pass") != normalise(f"if{name}: pass")


@settings(deadline=None, max_examples=300)
@given(st.one_of(st.text(), st.text(alphabet="ab1 \n\t\\'\"(){}[]#:=f$?0x_\r\f\x00", max_size=30)))
def test_any_text_has_a_normal_form_that_ignores_space_at_its_end(text: str):
    assert normalise(text) == normalise(text)
    try:
        ast.parse(text)
    except (SyntaxError, ValueError):
        return
    assert normalise(text + "\n  \n# comment\n") == normalise(text)


def test_the_first_of_equal_programs_is_kept():
    texts = ["a = 1", "a=1 # same", "b = 1", "a  =  1", "c = 1", "c=1", "d = 1"]
    assert distinct(range(7), texts, 3) == ([0, 2, 4], 2)
    assert distinct(range(7), texts, 9) == ([0, 2, 4, 6], 3)
    assert distinct(range(7), texts, 1) == ([0], 0)
    assert distinct([], [], 3) == ([], 0)


def test_groups_take_turns_and_a_repetition_is_no_turn():
    texts = ["a = 1", "b = 1", "c = 1", "a=1", "d = 1", "e = 1"]
    assert distinct(range(6), texts, 3) == ([0, 1, 2], 0)
    assert distinct(range(6), texts, 4, [0, 0, 0, 1, 1, 1]) == ([0, 1, 4, 5], 1)
    assert distinct(range(6), texts, 3, [0, 0, 0, 1, 1, 1]) == ([0, 1, 4], 1)
    assert distinct(range(6), texts, 9, [0, 0, 0, 1, 1, 1]) == ([0, 1, 2, 4, 5], 1)
