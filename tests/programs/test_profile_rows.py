"""Rows under a prompt profile: the text that was written, the program that it says, and whose log-probability it is."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest

from pper_jax.decode import BeamConfig, HostProgram
from pper_jax.errors import UserError
from pper_jax.files import read_jsonl
from pper_jax.programs import encode_prompts, sample_tasks
from pper_jax.programs.rows import sample_rows
from pper_jax.programs.score import scorable, score_samples
from pper_jax.programs.write import sampling_asked
from pper_jax.tasks import Sample, Task, read_samples
from pper_jax.text import Profile, profile_named
from tests.programs.test_scoring import EOS, logprob, model
from tests.text.text_stand_ins import byte_level

HEAD = "def f(x):\n"
TASK = Task("t/1", HEAD, {"kind": "asserts", "asserts": ["assert f(1) == 1"]}, entry_point="f")
PROGRAM = "def f(x):\n    return x\n"
RAW = f"```python\n{PROGRAM}```"
SHOUT = Profile(
    "shout", "a test's own", lambda task, examples, tokenizer: f"# {task.prompt}", lambda task: ("1",),
    program=lambda task, raw: raw.upper(), raw=lambda task, program: program.lower(),
)  # fmt: skip


@pytest.fixture(scope="module")
def chatting():
    tokenizer = copy.copy(byte_level())
    tokenizer.chat_template = "{% for m in messages %}<turn>{{ m['content'] }}</s>{% endfor %}<turn>"
    return replace(model(tokenizer, positions=256), profile=profile_named("chat"))


def test_the_prompt_is_the_profile_s_and_no_special_token_is_added_to_those_it_writes(chatting):
    (tokens,) = encode_prompts(chatting, [TASK])
    assert chatting.tokenizer.decode(tokens) == chatting.profile.ask(TASK, chatting.tokenizer)
    adding = replace(chatting, encoded={}, tokenizer=model(byte_level()).tokenizer, profile=SHOUT)
    assert adding.tokenizer.decode(encode_prompts(adding, [TASK])[0]) == f"# {HEAD}"


def test_a_row_keeps_what_was_written_and_the_program_that_it_says(tmp_path):
    shouting, out = replace(model(byte_level()), profile=SHOUT), tmp_path / "s.jsonl"
    (row,) = sample_tasks(shouting, [TASK], out, BeamConfig(width=1, max_new_tokens=12), batch_size=1)
    assert (row.profile, row.completion, row.solution) == ("shout", None, row.raw.upper())
    prompt = encode_prompts(shouting, [TASK])[0]
    end = [EOS] if row.stop_reason == "eos" else []
    body = list(row.tokens[: len(row.tokens) - len(end)])
    assert shouting.tokenizer.decode([*prompt, *body]).removeprefix(f"# {HEAD}") == row.raw
    assert row.logprob == pytest.approx(logprob(shouting, prompt, list(row.tokens)), abs=1e-4)
    assert read_samples(out, [TASK]) == [row]  # and reads again as it was
    (scored,) = score_samples(shouting, [TASK], [row])
    assert (scored.tokens, scored.raw, scored.solution) == (row.tokens, row.raw, row.solution)
    assert scored.logprob == pytest.approx(row.logprob, abs=1e-4)


ENDING = replace(SHOUT, stops=lambda task: ("%.",), end="%.")


@pytest.mark.parametrize("text", ["return x", ""])
def test_a_program_keeps_the_tokens_of_the_end_that_its_prompt_shows(text):
    ending = replace(model(byte_level()), profile=ENDING)
    prompt, written = encode_prompts(ending, [TASK])[0], ending.tokenizer.encode(f"{text}%.", add_special_tokens=False)
    program = HostProgram(tuple(written), -float(len(written)), (-1.0,) * len(written), True, 0.0)
    (row,) = sample_rows(ending, TASK, [program])
    assert (row.raw, row.solution, row.stop_reason, row.finished) == (text, text.upper(), "stop", True)
    assert row.tokens == tuple(written)
    assert (row.num_tokens, row.logprob) == (len(written), -float(len(written)))
    for sample in (row, replace(row, tokens=tuple(written[:-2]))):  # as it was written without its end
        (scored,) = score_samples(ending, [TASK], [sample])
        assert scored.tokens == row.tokens
        assert scored.logprob == pytest.approx(logprob(ending, prompt, written), abs=1e-4)


@pytest.mark.parametrize(
    ("sample", "end"),
    [
        (Sample("t/1", solution="RETURN X"), "%."),
        (Sample("t/1", completion="return x", finished=False), ""),
        (Sample("t/1", raw="return x", profile="shout", solution="RETURN X", stop_reason="length"), ""),
        (Sample("t/1", raw="return x", profile="shout", solution="RETURN X", stop_reason="stop"), "%."),
    ],
)
def test_a_program_of_elsewhere_takes_the_end_that_the_prompt_shows_and_no_eos(sample, end):
    ending = replace(model(byte_level()), profile=replace(ENDING, raw=lambda task, program: "return x"))
    (row,) = score_samples(ending, [TASK], [sample])
    assert ending.tokenizer.decode(list(row.tokens)) == f"return x{end}"


def test_another_profile_is_another_asking():
    plain, config = model(byte_level()), BeamConfig(width=1, max_new_tokens=2)
    models = (plain, replace(plain, profile=SHOUT))
    asked = [sampling_asked(one, [TASK], config, None, False) for one in models]
    assert "profile" not in asked[0]  # so that files under way of earlier versions are gone on with
    assert asked[1]["profile"] == "shout"
    other = replace(SHOUT, prompt=lambda task, examples, tokenizer: "?")
    third = sampling_asked(replace(plain, profile=other), [TASK], config, None, False)
    assert third["prompts"] != asked[1]["prompts"]


@pytest.mark.parametrize(
    ("sample", "ends"),
    [
        (Sample("t/1", completion="    return x\n"), True),  # written for the base profile
        (Sample("t/1", completion="    return x\n", stop_reason="stop"), True),
        (Sample("t/1", completion="    return x\n", stop_reason="length", tokens=(4, 5)), False),
        (Sample("t/1", solution=PROGRAM), True),
        (Sample("t/1", solution=PROGRAM, raw=RAW, profile="chat", stop_reason="length"), False),
        (Sample("t/1", solution="other", raw="another's text", profile="apps", finished=False), False),
    ],
)
def test_a_program_of_elsewhere_is_scored_as_the_text_that_the_model_would_write(chatting, sample, ends):
    (row,) = score_samples(chatting, [TASK], [sample])
    wanted = RAW if sample.solution != "other" else "```python\nother\n```"
    assert (row.raw, row.profile, row.completion) == (wanted, "chat", None)
    assert row.solution.strip("\n").endswith("return x" if wanted == RAW else "other")
    prompt, said = encode_prompts(chatting, [TASK])[0], list(row.tokens)
    assert chatting.tokenizer.decode(said) == wanted + "</s>" * ends
    assert row.logprob == pytest.approx(logprob(chatting, prompt, said), abs=1e-3)


def test_a_text_of_the_base_profile_serves_another_that_completes_the_prompt():
    base = model(byte_level())
    (written,) = score_samples(base, [TASK], [Sample("t/1", completion="    return x", stop_reason="stop")])
    (again,) = score_samples(replace(base, profile=profile_named("humaneval")), [TASK], [written])
    assert again == written


def test_what_cannot_be_learnt_from_is_counted_by_its_reason():
    base = model(byte_level(), positions=64)
    samples = [
        Sample("t/1", completion="    return x\n"),
        Sample("t/1", solution="def g(): ...\n"),  # no completion of the head
        Sample("t/1", completion="    return x" + " + 1" * 40),
    ]
    kept, lost = scorable(base, [TASK], samples, 1000)
    assert kept == samples[:1]
    assert lost == {"cannot be written under profile base": 1, "are beyond 64 tokens with their prompt": 1}
    assert scorable(base, [TASK], samples[:1], 8) == ([], {"are beyond 8 tokens with their prompt": 1})
    with pytest.raises(UserError, match="does not begin with the task's prompt"):
        score_samples(base, [TASK], samples)


def test_keys_of_other_tools_that_bear_our_names_stay_as_they_are():
    row = {"task_id": "t/1", "completion": "x", "rank": 0, "raw": {"a": 1}, "profile": 3}
    assert Sample.from_json(row).to_json() == row


def test_rows_of_the_base_profile_are_what_they_were(tmp_path):
    out = tmp_path / "s.jsonl"
    sample_tasks(model(byte_level()), [TASK], out, BeamConfig(width=1, max_new_tokens=4), batch_size=1)
    assert not {"raw", "profile", "solution"} & read_jsonl(out)[0].keys()
