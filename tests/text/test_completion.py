"""Between text and tokens: what tokens add to a prompt's text, what text adds to its tokens, and where programs end."""

from __future__ import annotations

import pytest
from text_stand_ins import EOS, TOKENIZERS, TURN, appending, byte_fallback, byte_level, demo

from pper_jax.errors import UserError
from pper_jax.programs import LanguageModel, encode_prompts
from pper_jax.tasks import Task
from pper_jax.text import completion_text, completion_tokens, cut_program, encode, stop_token_suffixes, trim_program

TESTS = {"kind": "answer", "expected": "1"}
PROMPT = "def f(x):\n"


def trimmed(tokenizer, text, stops=(), prompt=PROMPT):
    """A program that says ``text`` behind ``prompt``, cut; every token has log-prob -1."""
    tokens = completion_tokens(tokenizer, prompt, text)
    return trim_program(tokenizer, tokens, [-1.0] * len(tokens), stops, (EOS, TURN), tokenizer(prompt)["input_ids"])


@pytest.mark.parametrize("kind", sorted(TOKENIZERS))
def test_the_first_space_of_a_completion_is_kept(kind):
    text = "    y = x + 1"
    assert trimmed(TOKENIZERS[kind](), text)[0] == text
    assert trimmed(TOKENIZERS[kind](), text + "\nclass A", ("\nclass",))[0] == text


def test_a_completion_of_an_empty_prompt_is_the_text_that_its_tokens_are():
    tokenizer = byte_fallback()
    assert tokenizer("")["input_ids"] == [1]  # the BOS
    assert completion_text(tokenizer, [1], tokenizer("yes")["input_ids"][1:]) == "yes"
    assert completion_text(tokenizer, [], tokenizer("yes")["input_ids"][1:]) == "yes"


def test_every_byte_of_a_character_before_a_stop_is_counted():
    tokenizer = byte_fallback()
    assert trimmed(tokenizer, "😀#", ("#",)) == ("😀", 4, -4.0, "stop")
    assert trimmed(tokenizer, "x日本😀y", ("y",)) == ("x日本😀", 11, -11.0, "stop")
    assert trimmed(tokenizer, "x日本😀y", ("本",)) == ("x日", 4, -4.0, "stop")
    assert trimmed(tokenizer, "日" * 30 + "\n#" + "本" * 30, ("\n",)) == ("日" * 30, 90, -90.0, "stop")
    assert trimmed(byte_level(), "😀#", ("#",)) == ("😀", 3, -3.0, "stop")


@pytest.mark.parametrize("text", ["x", "x)", "", "日本"])
@pytest.mark.parametrize("make", [byte_level, byte_fallback, demo])
def test_a_stop_that_is_kept_keeps_the_tokens_up_to_the_one_that_completes_it(make, text):
    tokenizer, stop = make(), "\n[DONE]"
    tokens = completion_tokens(tokenizer, PROMPT, f"{text}{stop} and more")
    prompt, logprobs = tokenizer(PROMPT)["input_ids"], [-float(i) for i in range(len(tokens))]
    found = cut_program(tokenizer, prompt, tokens, logprobs, (stop, "#"), (EOS,), stop)
    count = len(found.tokens)
    assert (found.text, found.stop_reason) == (text, "stop")
    assert (found.tokens, found.token_logprobs) == (tuple(tokens[:count]), tuple(logprobs[:count]))
    assert completion_text(tokenizer, prompt, found.tokens).startswith(text + stop)
    assert not completion_text(tokenizer, prompt, found.tokens[:-1]).startswith(text + stop)
    others = cut_program(tokenizer, prompt, tokens, logprobs, (stop, "#"), (EOS,), "#")
    assert (others.text, others.stop_reason) == (text, "stop")
    assert others.tokens == cut_program(tokenizer, prompt, tokens, logprobs, (stop, "#"), (EOS,)).tokens
    assert text.startswith(completion_text(tokenizer, prompt, others.tokens))


def test_a_stop_far_from_the_end_costs_few_decodes(monkeypatch):
    tokenizer = demo()
    text = "    x = 1\n" * 20 + "class A:\n" + "    y = 2\n" * 60
    tokens = completion_tokens(tokenizer, PROMPT, text)
    seen, decode = [], tokenizer.decode
    monkeypatch.setattr(tokenizer, "decode", lambda *args, **more: seen.append(1) or decode(*args, **more))
    kept = trim_program(tokenizer, tokens, [-1.0] * len(tokens), ("\nclass",), 0, tokenizer(PROMPT)["input_ids"])
    assert kept[0] == ("    x = 1\n" * 20)[:-1]
    assert len(seen) < 60 < len(tokens)


def test_what_stands_behind_an_end_is_no_part_of_the_program():
    tokenizer = byte_level()
    tokens = [*tokenizer("x")["input_ids"], TURN, *tokenizer("print")["input_ids"], EOS]
    assert trim_program(tokenizer, tokens, [-1.0] * len(tokens), ("print",), (EOS, TURN)) == ("x", 2, -2.0, "eos")


def test_bytes_that_are_no_character_leave_the_prompts_text_alone():
    tokenizer = byte_fallback()
    byte = tokenizer.convert_tokens_to_ids
    prompt = tokenizer("é日\n")["input_ids"]
    broken = [byte("<0xFF>"), byte("x")]
    assert not tokenizer.decode([*prompt, *broken]).startswith(tokenizer.decode(prompt))
    assert completion_text(tokenizer, prompt, broken) == "\ufffdx"
    # a prompt of tokens may end within a character, which then belongs to the completion
    half, rest = [byte("<0xE6>"), byte("<0x97>")], [byte("<0xA5>"), byte("x")]
    assert completion_text(tokenizer, [*tokenizer("a")["input_ids"], *half], rest) == "日x"
    assert trimmed(byte_level(), "x")[0] == "x"


def test_tokens_follow_the_prompts_own_where_one_would_lie_across_the_border():
    tokenizer = demo()
    prompt = tokenizer(PROMPT)["input_ids"]
    assert tokenizer(PROMPT + "    return x")["input_ids"][: len(prompt)] != prompt
    tokens = completion_tokens(tokenizer, PROMPT, "    return x")
    assert completion_text(tokenizer, prompt, tokens) == "    return x"
    tokenizer = byte_fallback()
    prompt = tokenizer("a r")["input_ids"]
    assert tokenizer("a re")["input_ids"][: len(prompt)] != prompt
    assert tokenizer.convert_ids_to_tokens(completion_tokens(tokenizer, "a r", "e y")) == ["e", "▁y"]


def test_a_stop_that_begins_with_a_space_is_seen_by_the_device():
    tokenizer = byte_fallback()
    suffixes = stop_token_suffixes(tokenizer, (" y", "\nclass"))
    tokens = tokenizer("a = x y")["input_ids"]
    assert (tokens[-1],) in suffixes
    for suffix in suffixes:
        said = completion_text(tokenizer, tokens, suffix)
        assert " y" in said or "\nclass" in said


@pytest.mark.parametrize("make", [byte_level, byte_fallback])
def test_an_end_that_the_tokenizer_appends_is_no_part_of_a_prompt(make):
    tokenizer = appending(make())
    assert tokenizer(PROMPT)["input_ids"][-1] == EOS
    model = LanguageModel(None, None, tokenizer, "m")
    assert model.eos_ids == (EOS,)
    (tokens,) = encode_prompts(model, [Task("t", PROMPT, TESTS)])
    assert tokens == tokenizer(PROMPT, add_special_tokens=False)["input_ids"]
    assert completion_text(tokenizer, tokens, completion_tokens(tokenizer, PROMPT, " y", (EOS,))) == " y"


def test_a_bos_that_is_an_end_too_may_be_all_of_a_prompt():
    tokenizer = byte_fallback()
    assert encode(tokenizer, "", ends=(1, EOS)) == [1]
    assert encode(tokenizer, "</s>", ends=(EOS,)) == [1]


def test_half_of_a_character_is_refused_by_the_name_of_its_task():
    model = LanguageModel(None, None, demo(), "m")
    with pytest.raises(UserError, match=r"task t/1 holds \\ud83d, half of a surrogate pair"):
        encode_prompts(model, [Task("t/1", "x = '\ud83d'", TESTS)])
