import json

import pytest

from pper_jax.errors import UserError
from pper_jax.execution import TestResult, Verdict
from pper_jax.files import append_jsonl, read_jsonl
from pper_jax.tasks import Sample, Task, read_samples, text_of, verdict_row

TASK = Task("t/1", "def f():\n", {"kind": "call", "fn_name": "f", "cases": [{"args": [], "expected": 1}]})
FULL = Sample("t/1", "    return 1\n", None, -0.5, 4, 1, True, "eos", "micro", (5, 6, 7, 0))


def samples_of(tmp_path, *rows):
    path = tmp_path / "samples.jsonl"
    path.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows))
    return read_samples(path, [TASK])


def test_our_own_samples_come_back_as_they_were_written(tmp_path):
    path = tmp_path / "samples.jsonl"
    append_jsonl(path, [FULL.to_json()])
    assert read_samples(path, [TASK]) == [FULL]
    assert read_jsonl(path) == [
        {
            "task_id": "t/1",
            "completion": "    return 1\n",
            "logprob": -0.5,
            "num_tokens": 4,
            "rank": 1,
            "finished": True,
            "stop_reason": "eos",
            "model": "micro",
            "tokens": [5, 6, 7, 0],
        }
    ]


def test_what_other_tools_write_is_valid(tmp_path):
    completion, solution, both_keys = samples_of(
        tmp_path,
        {"task_id": "t/1", "completion": "    return 1\n", "raw": {"their": "own"}},
        {"task_id": "t/1", "solution": "f = lambda: 1"},
        {"task_id": "t/1", "completion": None, "solution": "f = lambda: 2", "logprob": None, "rank": None},
    )
    assert completion.program(TASK) == "def f():\n    return 1\n"
    assert solution.program(TASK) == "f = lambda: 1"
    assert both_keys.program(TASK) == "f = lambda: 2"
    assert both_keys == Sample("t/1", solution="f = lambda: 2")


def test_an_empty_completion_is_a_program_too(tmp_path):
    assert samples_of(tmp_path, {"task_id": "t/1", "completion": ""})[0].program(TASK) == TASK.prompt


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"task_id": "t/2", "completion": ""}, r"line 2 is for task t/2, which is not in the tasks file"),
        ("{\n", "line 2 is not JSON"),
        ({"completion": ""}, "line 2 is not a JSON object with a task_id"),
        ({"task_id": 1, "completion": ""}, "line 2 is not a JSON object with a task_id"),
        ("[]\n", "line 2 is not a JSON object"),
        ({"task_id": "t/1"}, "line 2 has neither a completion nor a solution"),
        ({"task_id": "t/1", "completion": 5}, "line 2: completion cannot be 5"),
        ({"task_id": "t/1", "completion": "", "solution": []}, r"line 2: solution cannot be \[\]"),
        ({"task_id": "t/1", "completion": "", "tokens": 3}, "line 2: tokens cannot be 3"),
        ({"task_id": "t/1", "completion": "", "logprob": "low"}, "line 2: logprob cannot be 'low'"),
        ('{"task_id": "t/1", "completion": "", "logprob": NaN}\n', "line 2: logprob cannot be nan"),
        ('{"task_id": "t/1", "completion": "", "logprob": -Infinity}\n', "line 2: logprob cannot be -inf"),
        ({"task_id": "t/1", "completion": "", "rank": -1}, "line 2: rank cannot be -1"),
        ({"task_id": "t/1", "completion": "", "num_tokens": 10**400}, "line 2: num_tokens cannot be 1000"),
        ({"task_id": "t/1", "completion": "", "tokens": [1, "2"]}, r"line 2: tokens cannot be \[1, '2'\]"),
        ({"task_id": "t/1", "completion": "", "tokens": [-1]}, r"line 2: tokens cannot be \[-1\]"),
        ({"task_id": "t/1", "completion": ["x" * 10**6]}, r"line 2: completion cannot be \['xxx"),
        ("5\n", "line 2 is not a JSON object"),
        ({"task_id": "t/1", "completion": "", "rank": True}, "line 2: rank cannot be True"),
        ({"task_id": "t/1", "completion": "", "finished": 1}, "line 2: finished cannot be 1"),
    ],
)
def test_a_bad_sample_is_named_with_its_line(tmp_path, row, sentence):
    with pytest.raises(UserError, match=sentence) as caught:
        samples_of(tmp_path, {"task_id": "t/1", "completion": ""}, row)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_file_without_samples_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no samples"):
        samples_of(tmp_path)


def test_a_verdict_row_is_the_sample_and_the_verdict_without_token_ids():
    verdict = Verdict((TestResult("pass", 0.25), TestResult("fail", 0.5, "returned 2")))
    sample = {key: value for key, value in FULL.to_json().items() if key != "tokens"}
    assert verdict_row(FULL, verdict) == sample | {
        "passed": 1,
        "total": 2,
        "pass_rate": 0.5,
        "tests": [{"status": "pass", "seconds": 0.25}, {"status": "fail", "seconds": 0.5, "detail": "returned 2"}],
        "status": "fail",
    }


def test_a_row_keeps_its_own_keys_in_samples_and_verdicts(tmp_path):
    row = {"task_id": "t/1", "completion": "    return 1\n", "temperature": 0.8, "seed": 3, "extra": {"their": None}}
    (sample,) = samples_of(tmp_path, row)
    assert sample.to_json() == row | {"rank": 0}
    verdict = verdict_row(sample, Verdict(tests=(TestResult("pass", 0.1),)))
    assert {name: verdict[name] for name in row} == row
    assert verdict["status"] == "pass"


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"completion": "c", "solution": "s", "raw": "r"}, "c"),
        ({"completion": None, "solution": "s", "raw": "r"}, "r"),
        ({"solution": "s"}, "s"),
        ({}, None),
    ],
)
def test_the_text_of_a_row_is_what_its_tokens_say(row, text):
    assert text_of(row) == text
