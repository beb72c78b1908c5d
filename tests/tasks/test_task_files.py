import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pper_jax.errors import UserError
from pper_jax.files import append_jsonl, dump_jsonl, read_jsonl
from pper_jax.tasks import Task, program_text, read_tasks, trim_at_stop, write_tasks

ANY_TEXT = st.text(st.characters(), max_size=20)  # half surrogates, too: other tools' JSON may hold them
TESTS = st.one_of(
    st.fixed_dictionaries({"kind": st.just("answer"), "expected": ANY_TEXT}),
    st.fixed_dictionaries({"kind": st.just("asserts"), "asserts": st.lists(ANY_TEXT, min_size=1, max_size=3)}),
    st.fixed_dictionaries(
        {
            "kind": st.just("stdio"),
            "cases": st.lists(st.fixed_dictionaries({"stdin": ANY_TEXT, "stdout": ANY_TEXT}), min_size=1, max_size=2),
        }
    ),
)
TASKS = st.builds(
    Task,
    task_id=ANY_TEXT,
    prompt=ANY_TEXT,
    tests=TESTS,
    entry_point=st.none() | ANY_TEXT,
    stop=st.lists(st.text(min_size=1, max_size=4), max_size=3).map(tuple),
    reference=st.none() | ANY_TEXT,
    difficulty=st.none() | ANY_TEXT,
    source=ANY_TEXT,
    split=st.none() | ANY_TEXT,
    hidden=st.none() | st.fixed_dictionaries({"kind": st.just("check"), "code": ANY_TEXT}),
    limits=st.none() | st.fixed_dictionaries({"seconds": st.integers(1, 9)}, optional={"memory_mb": st.just(64)}),
    statement=st.none() | ANY_TEXT,
    starter=st.none() | ANY_TEXT,
    prelude=st.none() | ANY_TEXT,
    harness=st.sampled_from([None, "apps"]),
).filter(lambda task: task.hidden is None or bool(task.entry_point))
GOOD = {"task_id": "a", "prompt": "p", "tests": {"kind": "answer", "expected": "4"}}


@given(tasks=st.lists(TASKS, min_size=1, max_size=4, unique_by=lambda task: task.task_id))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_tasks_come_back_as_they_were_written(tmp_path_factory, tasks):
    path = tmp_path_factory.mktemp("tasks") / "deep" / "tasks.jsonl"
    assert write_tasks(path, tasks) == len(tasks)
    assert read_tasks(path) == tasks
    assert [child.name for child in path.parent.iterdir()] == ["tasks.jsonl"]


def test_absent_fields_are_left_out_of_the_row():
    row = Task("a", "p", {"kind": "answer", "expected": "4"}).to_json()
    assert row == {**GOOD, "stop": [], "source": ""}


def test_a_file_may_be_gzipped_and_begin_with_a_byte_order_mark_and_hold_empty_lines(tmp_path):
    text = "\ufeff" + json.dumps(GOOD) + "\r\n\r\n" + json.dumps({**GOOD, "task_id": "b"})
    path = tmp_path / "tasks.jsonl.gz"
    path.write_bytes(gzip.compress(text.encode()))
    assert [task.task_id for task in read_tasks(path)] == ["a", "b"]
    path.write_bytes(gzip.compress(text.encode())[:-9])
    with pytest.raises(UserError, match=r"cannot read .*tasks\.jsonl\.gz"):
        read_tasks(path)


def line(**changes):
    return json.dumps({**GOOD, "task_id": "second", **changes})


def line_with(**tests):
    return line(tests=tests)


@pytest.mark.parametrize(
    ("second", "sentence"),
    [
        ("{", "line 3 is not JSON"),
        ("[" * 100_000, "line 3 cannot be read"),
        ("7" * 5000, "line 3 cannot be read"),
        ("[]", "line 3 is not a JSON object"),
        ('{"task_id": "a", "prompt": ""}', "line 3 has no tests"),
        ('{"prompt": "", "tests": {}}', "line 3 has no task_id"),
        ('{"task_id": "b", "tests": {}}', "line 3 has no prompt"),
        (line(task_id=7), "line 3: task_id must be text"),
        (line(prompt=None), "line 3: prompt must be text"),
        (line(source=None), "line 3: source must be text"),
        (line(reference=["x"]), "line 3: reference must be text"),
        (line(stop="x"), "line 3: stop must be a list"),
        (line(stop=[""]), "line 3: stop must be a list"),
        (line(task_id="a"), "line 3: task_id a occurs twice"),
        (line(compare="strict"), r"line 3 \(second\): compare is 'strict'; its kind of tests has number, exact"),
        (line(harness="mine"), r"line 3 \(second\): harness is 'mine'; its kind of tests has apps"),
        (line(limits={"seconds": 0}), r"line 3 \(second\): limits.seconds is 0; it must be a finite number above 0"),
        (line(limits={"memory_mb": 63}), "limits.memory_mb is 63"),
        (line(limits={"memory_mb": 99.5}), "limits.memory_mb is 99.5; it must be a whole number"),
        (line(limits={"time": 1}), "limits must be an object with seconds and memory_mb"),
        (line(limits=4), "limits must be an object"),
        (line(hidden={"kind": "stdio", "cases": []}), "has no tests"),
        (line(hidden={"kind": "check", "code": ""}), "has hidden of kind check without an entry_point"),
        (line(statement=3), "line 3: statement must be text"),
        (line(tests=[]), r"line 3 \(second\) has tests of unknown kind"),
        (line_with(kind="magic"), "unknown kind 'magic'; known kinds: check, asserts"),
        (line_with(kind=["call"]), "unknown kind"),
        (line_with(kind="asserts"), r"line 3 \(second\) has tests of kind asserts without asserts"),
        (line_with(kind="asserts", asserts=[]), r"line 3 \(second\) has no tests"),
        (line_with(kind="asserts", asserts=["assert f()", 7]), r"line 3 \(second\): assert 2 must be text"),
        (line_with(kind="check", code="def check(f): pass"), r"line 3 \(second\) .* without an entry_point"),
        (line_with(kind="call", cases=[{}]), "without fn_name"),
        (line_with(kind="call", fn_name="f", cases=[{"args": []}]), "case 1 has no expected"),
        (line_with(kind="stdio", cases={"stdin": ""}), "has no tests"),
        (line_with(kind="stdio", cases=["1"]), "case 1 has no stdin"),
        (line_with(kind="call", fn_name=None, cases=[{}]), r"line 3 \(second\): fn_name must be text"),
        (line_with(kind="call", fn_name="f", cases=[{"args": 1, "expected": 1}]), "case 1: args must be a list, not 1"),
        (line_with(kind="check", code=["x"]), "code must be text"),
        (line_with(kind="asserts", setup=["import re"], asserts=["assert f()"]), "setup must be text"),
        (line_with(kind="stdio", cases=[{"stdin": "", "stdout": 4}]), "case 1: stdout must be text or a list of lines"),
        (line_with(kind="stdio", cases=[{"stdin": [1], "stdout": ""}]), "case 1: stdin must be text or a list of"),
        (line_with(kind="answer"), "without expected"),
    ],
)
def test_a_bad_line_is_named_in_one_sentence(tmp_path, second, sentence):
    path = tmp_path / "tasks.jsonl"
    path.write_text(json.dumps(GOOD) + "\n\n" + second + "\n")
    with pytest.raises(UserError, match=sentence) as caught:
        read_tasks(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_hold_no_tasks_are_refused(tmp_path):
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "latin").write_bytes(b'{"prompt": "\xe9"}')
    for name, sentence in (
        ("empty", "no tasks"),
        ("latin", "not UTF-8"),
        ("absent", "No such file"),
        (".", "directory"),
    ):
        with pytest.raises(UserError, match=sentence):
            read_tasks(tmp_path / name)


def test_a_tasks_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "tasks.jsonl"
    write_tasks(path, [Task.from_json(GOOD)])
    before = path.read_bytes()
    with pytest.raises(TypeError):
        write_tasks(path, [Task.from_json(GOOD), Task("b", "p", {"kind": "answer", "expected": object()})])
    assert path.read_bytes() == before
    with pytest.raises(UserError, match="cannot write"):
        write_tasks(tmp_path, [])
    with pytest.raises(UserError, match="cannot write"):
        write_tasks(path / "under_a_file.jsonl", [])


ROWS = st.lists(st.dictionaries(ANY_TEXT, ANY_TEXT | st.integers(), max_size=3), max_size=4)


@given(rows=ROWS, last=st.dictionaries(ANY_TEXT, ANY_TEXT, min_size=1, max_size=2), data=st.data())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_a_kill_at_any_byte_costs_at_most_the_last_line(tmp_path_factory, rows, last, data):
    path = tmp_path_factory.mktemp("torn") / "rows.jsonl"
    append_jsonl(path, rows)
    torn = dump_jsonl([last]).encode()
    with path.open("ab") as file:
        file.write(torn[: data.draw(st.integers(0, len(torn) - 1))])
    assert read_jsonl(path, torn_ok=True) == rows


def test_a_torn_line_is_an_error_where_no_kill_is_expected(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n{"b"')
    with pytest.raises(UserError, match="line 2 is not JSON"):
        read_jsonl(path)
    path.write_text('{"a": 1}\n{"b"\n')
    with pytest.raises(UserError, match="line 2 is not JSON"):
        read_jsonl(path, torn_ok=True)


def test_rows_keep_the_letters_of_every_script_readable():
    assert dump_jsonl([{"x": "é漢"}]) == '{"x": "é漢"}\n'


@given(text=st.text("ab\n", max_size=12), stops=st.lists(st.text("ab\n", max_size=3), max_size=3))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_trimming_keeps_the_longest_beginning_without_a_stop(text, stops):
    kept, stop = trim_at_stop(text, stops)
    real = [s for s in stops if s]
    if stop is None:
        assert kept == text
        assert not any(s in text for s in real)
        return
    assert stop in real
    assert text.startswith(kept + stop)
    # no stop begins earlier: every stop's own first place is at or behind the cut
    assert all(text.find(s) == -1 or text.find(s) >= len(kept) for s in real)


def test_trimming_takes_the_first_stop_in_the_text_not_in_the_list():
    assert trim_at_stop("x\nprint(1)\ndef f", ("\ndef", "\nprint")) == ("x", "\nprint")
    assert trim_at_stop("def f", ("\ndef",)) == ("def f", None)


def test_a_program_is_the_prompt_and_the_completion():
    assert program_text(Task("t", "p", {"kind": "asserts", "asserts": ["assert 1"]}), "c") == "pc"
    assert program_text(Task.from_json(GOOD), "c") == "c"  # an answer is what was written, not what was asked
