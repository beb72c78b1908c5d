"""Prompt profiles: what a model is asked, where it stops, and which program its text is."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pper_jax.errors import UserError
from pper_jax.tasks import Task
from pper_jax.text import BASE, PROFILES, profile_named, with_examples
from pper_jax.text.fences import defines, fenced, fenced_code, imports_of
from tests.text.text_stand_ins import byte_level

HEAD = 'from typing import List\n\n\ndef twice(x: int) -> int:\n    """Double x."""\n'
FUNCTION = Task("h/0", HEAD, {"kind": "check", "code": "def check(f): ..."}, entry_point="twice", stop=("\nassert",))
ASSERTS = {"kind": "asserts", "asserts": ["assert f(1) == 2", 'assert f("a\\n") == """b"""', "assert f(3) == 4"]}
WORDS = Task(
    "mbpp/601", '"""\nWrite f.\nassert f(1) == 2\nassert f("a\\\\n") == \\"\\"\\"b\\"\\"\\"\n"""\n', ASSERTS,
    entry_point="f", statement="Write f.",
)  # fmt: skip
SUM = Task("gsm8k/0", "Question: 1 + 1?\nAnswer:", {"kind": "answer", "expected": "2"}, statement="1 + 1?")
SCRIPT = Task("apps/0", "Add two numbers.", {"kind": "stdio", "cases": [{"stdin": "1 2", "stdout": "3"}]})
METHOD = Task(
    "apps/1", "", {"kind": "call", "fn_name": "f", "cases": [{"args": [1], "expected": 2}]}, entry_point="Solution().f",
    statement="Find it.", starter="class Solution:\n    def f(self, x):\n        ",
)  # fmt: skip
EVERY = (FUNCTION, WORDS, SUM, SCRIPT, METHOD)


def chatty():
    tokenizer = copy.copy(byte_level())
    tokenizer.chat_template = "{% for m in messages %}<turn>{{ m['content'] }}</s>{% endfor %}<turn>"
    return tokenizer


def test_base_asks_with_the_task_s_prompt_which_a_program_completes():
    for task in EVERY:
        assert (BASE.ask(task, None), BASE.stops(task), BASE.program) == (task.prompt, task.stop, None)
    assert BASE.raw(FUNCTION, HEAD + "    return 2 * x\n") == "    return 2 * x\n"
    assert BASE.raw(FUNCTION, "def twice(x):\n    return 2 * x\n") is None  # no completion of the head
    assert BASE.raw(WORDS, "def f(x): ...\n") == "def f(x): ...\n"  # any program may follow a docstring
    assert BASE.raw(SUM, "2") == "2"


def test_humaneval_stops_where_its_paper_says():
    profile = profile_named("humaneval")
    assert profile.ask(FUNCTION, None) == HEAD
    assert set(profile.stops(FUNCTION)) == {"\nclass", "\ndef", "\n#", "\nif", "\nprint"}


def test_mbpp_shows_three_solved_problems_and_the_asserts_that_the_task_shows():
    shots = [
        replace(WORDS, task_id=f"mbpp/{n}", prompt="", statement=f"Task {n}.", reference=f"def f(x):\n    return {n}\n")
        for n in (4, 2, 3, 9)
    ]
    profile = with_examples(profile_named("mbpp_fewshot"), shots, "mbpp.jsonl")
    asked = profile.ask(WORDS, None)
    parts = asked.split("[BEGIN]\n")
    assert [part.split("\n[DONE]\n\n")[0] for part in parts[1:]] == [
        *(f"def f(x):\n    return {n}" for n in (2, 3, 4)),
        "",
    ]
    assert [f"Task {n}." in part for n, part in zip((2, 3, 4), parts, strict=False)] == [True] * 3
    last = parts[3].split("[DONE]\n\n")[1]
    assert last.endswith(
        'Write f. Your code should pass these tests:\n\nassert f(1) == 2\nassert f("a\\n") == """b"""\n'
    )
    assert profile.stops(WORDS) == ("\n[DONE]",)
    assert profile.program(WORDS, "def f(x): ...") == "def f(x): ..."


def test_mbpp_says_which_example_is_missing_and_which_tasks_it_cannot_ask():
    with pytest.raises(UserError, match=r"tasks mbpp/2, mbpp/3, mbpp/4 .* and t.jsonl has no mbpp/2 with one"):
        with_examples(profile_named("mbpp_fewshot"), [WORDS, replace(WORDS, task_id="mbpp/2")], "t.jsonl")
    with pytest.raises(UserError, match="task apps/0 has tests of kind stdio; take another profile"):
        profile_named("mbpp_fewshot").ask(SCRIPT, None)


def test_apps_asks_with_the_question_the_starter_code_and_the_form_of_the_input():
    profile = profile_named("apps")
    assert profile.ask(SCRIPT, None) == "\nQUESTION:\nAdd two numbers.\nUse Standard Input format\nANSWER:\n"
    assert profile.ask(METHOD, None) == (
        "\nQUESTION:\nFind it.\nclass Solution:\n    def f(self, x):\n        \nUse Call-Based format\nANSWER:\n"
    )
    assert profile.program(METHOD, "class Solution: ...") == "class Solution: ..."


def test_chat_asks_in_the_tokenizer_s_template_whose_special_tokens_it_writes_out():
    profile, tokenizer = profile_named("chat"), chatty()
    for task in EVERY:
        asked = profile.ask(task, tokenizer)
        assert asked.startswith("<turn>")
        assert asked.endswith("</s><turn>")
    assert HEAD.strip("\n") in profile.ask(FUNCTION, tokenizer)
    assert "####" in profile.ask(SUM, tokenizer)
    assert profile.written_out
    with pytest.raises(UserError, match="needs a tokenizer with a chat template"):
        profile.ask(SUM, byte_level())
    tokenizer.chat_template = "{{ raise_exception('no such role') }}"
    with pytest.raises(UserError, match=r"chat template fails \(no such role\); take another profile"):
        profile.ask(SUM, tokenizer)


ANSWER = "Sure!\n\n```python\ndef twice(x):\n    return 2 * x\n```\n\nTry it:\n```python\nprint(twice(2))\n```\n"


def test_a_chat_program_is_the_block_that_defines_what_is_tested_behind_what_the_prompt_has():
    program, code = profile_named("chat").program, "def twice(x):\n    return 2 * x\n"
    assert program(FUNCTION, ANSWER) == f"{HEAD}\n\n{code}"  # its helpers and imports are there
    assert program(FUNCTION, "```\nprint(1)\n```\n" + ANSWER) == program(FUNCTION, ANSWER)
    assert program(FUNCTION, "```python\n    return 2 * x\n```") == HEAD + "    return 2 * x\n"  # the body alone
    later = "from __future__ import annotations\n" + code
    assert program(FUNCTION, fenced(later)) == later  # which must come first
    headless = replace(FUNCTION, prompt="import os\n\ndef twice(x):\n")
    assert program(headless, ANSWER) == f"import os\n\n\n{code}"
    assert program(SCRIPT, "print(3)") == "print(3)"  # no block: all of it
    assert program(SUM, "1 + 1 = 2\n#### 2") == "1 + 1 = 2\n#### 2"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("no block", None),
        ("```sh\nls\n```\n```py\nx\n```", "x\n"),
        ("```\nx = 1", "x = 1"),  # the length limit came first
        ("1. so:\n   ```python\n   if x:\n       y\n   ```", "if x:\n    y\n"),
        ("~~~\nx = '```'\n~~~\n", "x = '```'\n"),
        ("````python\n```\nx\n```\n````", "```\nx\n```\n"),
        ("```python\r\nx\r\n```\r\n", "x\n"),
    ],
)
def test_code_blocks(text, code):
    assert fenced_code(text) == code


def test_what_code_defines_and_imports():
    assert defines("async  def f():\n  ...", "f")
    assert defines("x\nclass Solution:\n  ...", "Solution().f")
    assert not defines("    def f(): ...\n# def f\ndef ff(): ...", "f")
    assert (
        imports_of("import os\nfrom a import b\n  import c\nfromage\nimporting = 1\n") == "import os\nfrom a import b\n"
    )


TEXTS = st.text(st.sampled_from("ab`~\n\t #'\"é:()"), max_size=60)


@settings(deadline=None, max_examples=300)
@given(TEXTS)
def test_every_text_comes_out_of_its_block(code):
    assert fenced_code(fenced(code)) == code.strip("\n") + "\n"


@settings(deadline=None, max_examples=300)
@given(TEXTS, st.sampled_from(sorted(PROFILES)), st.sampled_from(EVERY))
def test_the_text_for_a_program_gives_that_program(text, name, task):
    """Up to newlines around it, and what a profile puts in front."""
    profile = PROFILES[name]
    program = task.prompt + text if name in ("base", "humaneval") and task.tests["kind"] != "answer" else text
    raw = profile.raw(task, program)
    made = raw if profile.program is None else profile.program(task, raw)
    assert made.strip("\n").endswith(text.strip("\n"))


def test_an_unknown_profile_is_named():
    with pytest.raises(UserError, match="no prompt profile is called 'x'; choose one of base, humaneval, mbpp_fewshot"):
        profile_named("x")
