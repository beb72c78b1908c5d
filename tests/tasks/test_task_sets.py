"""Every published set: what its rows become, from every form in which they are handed out, and the traps in them."""

import dataclasses
import json
import os
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from published import (
    APPS_ROW,
    CALL_ROW,
    CODECONTESTS_ROW,
    GSM8K_ROW,
    HUB,
    HUMANEVAL_ROW,
    LEETCODE_ROW,
    MBPP_ROW,
    MBPPPLUS_ROW,
    SANITIZED_ROW,
    write_apps_folder,
    write_lines,
    write_parquet,
)

from pper_jax.errors import UserError
from pper_jax.execution import Job, TestPool
from pper_jax.tasks import Sample, evaluation_task, load_tasks, open_tasks, program_text, read_tasks, runnable
from pper_jax.tasks.apps import rows as apps_rows
from pper_jax.tasks.apps import tests_of as apps_tests
from pper_jax.tasks.check import check_references, job_of, sort_problems
from pper_jax.tasks.convert import convert
from pper_jax.tasks.harness import end_at_returns
from pper_jax.tasks.registry import problems
from pper_jax.tasks.rows import Row, read_rows, split_of
from pper_jax.tasks.sources import read_set

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("PPER_SHARED_DATA") or ROOT / ".." / "shared" / "data")
needs_shared_data = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared task sets are not here")


@pytest.fixture(scope="module")
def pool():
    with TestPool(workers=2) as pool:
        yield pool


def convert_row(name, row, split=None):
    """The task, or what is left out, of one row of a set."""
    from pper_jax.tasks.registry import SETS

    module = __import__(f"pper_jax.tasks.{SETS[name].module}", fromlist=["problem"])
    return getattr(module, SETS[name].converter)(Row("here, line 1", row, split, 1))


# ---- forms


@pytest.mark.parametrize("name", HUB)
def test_json_lines_gzip_a_list_and_parquet_give_the_same_tasks(tmp_path, name):
    rows = HUB[name]
    expected = read_set(name, write_lines(tmp_path / "test.jsonl", *rows))
    assert len(expected) == len(rows)
    (tmp_path / "test.json").write_text(json.dumps(rows, indent=1))
    for form in (
        write_lines(tmp_path / "test.jsonl.gz", *rows),
        tmp_path / "test.json",
        write_parquet(tmp_path / "test.parquet", rows, row_group_size=1),
        write_parquet(tmp_path / "hub" / "data" / "test-00000-of-00001.parquet", rows).parents[1],
    ):
        assert read_set(name, form) == expected, form


def test_references_of_every_set_pass_by_their_own_rules(pool):
    tasks = [convert_row(name, row) for name, rows in HUB.items() for row in rows]
    tasks += [convert_row("mbpp", SANITIZED_ROW)]
    report = check_references(tasks, pool)
    assert report.faults == ()
    assert report.passed == len(tasks)


def test_wrong_programs_of_every_set_do_not(pool):
    wrong = {
        "apps": "print(1)",
        "codecontests": "print(3)",
        "gsm8k": " #### 13",
        "leetcode": "class Solution:\n    def rev(self, head):\n        return head\n",
        "humaneval": "    return x // 2\n",
        "humanevalplus": "    return x // 2\n",
        "mbpp": "def inc(x):\n    return 2\n",
        "mbpp_challenge": "def inc(x):\n    return 2\n",
        "mbppplus": "def common(a, b):\n    return (4,)\n",
    }
    tasks = [dataclasses.replace(convert_row(name, HUB[name][0]), reference=text) for name, text in wrong.items()]
    report = check_references([dataclasses.replace(t, task_id=str(i)) for i, t in enumerate(tasks)], pool)
    assert [int(task_id) for task_id, _ in report.faults] == list(range(len(tasks)))


def test_a_tasks_file_keeps_all_that_a_set_says(tmp_path):
    for name, rows in HUB.items():
        source = write_lines(tmp_path / "test.jsonl", *rows)
        assert convert(name, source, tmp_path / "out.jsonl").tasks == len(rows)
        assert read_tasks(tmp_path / "out.jsonl") == read_set(name, source)
        again = convert("tasks", tmp_path / "out.jsonl", tmp_path / "again.jsonl")
        assert (again.tasks, again.left_out.count) == (len(rows), 0)
        assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "out.jsonl").read_bytes()


def test_a_published_set_is_a_source_of_tasks_wherever_a_file_is(tmp_path):
    source = f"gsm8k:{write_lines(tmp_path / 'train.jsonl', *[GSM8K_ROW] * 9)}"
    assert len(open_tasks(source)) == 9
    assert len(load_tasks(source, split="train", count=4, seed=0)) == 4
    with pytest.raises(UserError, match="no task of split test; its splits are train"):
        load_tasks(source, split="test", count=0, seed=0)


@pytest.mark.parametrize(
    ("name", "lacking", "words"),
    [
        ("gsm8k", "answer", "no column answer; its columns are question"),
        ("humaneval", "test", "no column test; its columns are task_id, prompt, entry_point, canonical_solution"),
        ("codecontests", "solutions", "no column solutions; its columns are name, description, public_tests"),
        ("apps", "input_output", "no column input_output; its columns are problem_id, question, solutions, difficulty"),
    ],
)
def test_a_parquet_file_without_the_columns_says_which_it_lacks_and_has(tmp_path, name, lacking, words):
    row = {key: value for key, value in HUB[name][0].items() if key != lacking}
    path = write_parquet(tmp_path / "test.parquet", [row])
    with pytest.raises(UserError, match=words) as caught:
        convert(name, path, tmp_path / "out.jsonl")
    assert str(path) in str(caught.value)
    assert not (tmp_path / "out.jsonl").exists()


def test_a_damaged_parquet_file_is_one_sentence(tmp_path):
    path = write_parquet(tmp_path / "test.parquet", [GSM8K_ROW] * 50)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"cannot read .* as parquet") as caught:
        read_set("gsm8k", path)
    assert "\n" not in str(caught.value)


def test_without_pyarrow_parquet_is_refused_in_one_sentence_and_all_else_goes_on(tmp_path, monkeypatch):
    path = write_parquet(tmp_path / "test.parquet", [GSM8K_ROW])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"needs pyarrow: pip install 'pper-jax\[parquet\]'"):
        read_set("gsm8k", path)
    assert len(read_set("gsm8k", write_lines(tmp_path / "test.jsonl", GSM8K_ROW))) == 1


def test_a_folder_without_rows_says_what_it_wants(tmp_path):
    with pytest.raises(UserError, match=r"holds no file that ends in \.parquet, \.jsonl"):
        read_set("gsm8k", tmp_path)
    with pytest.raises(UserError, match=r"holds no problem of APPS: no folder in it has question\.txt"):
        read_set("apps", tmp_path)


def test_a_folder_is_read_by_one_form_and_its_other_files_are_not(tmp_path):
    write_parquet(tmp_path / "data" / "train-00000.parquet", [GSM8K_ROW])
    write_lines(tmp_path / "train.jsonl", {"no": "problem"})
    (tmp_path / "dataset_infos.json").write_text("{}")
    assert [task.task_id for task in read_set("gsm8k", tmp_path)] == ["gsm8k/train/1"]


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("data/train-00000-of-00002.parquet", "train"),
        ("LeetCodeDataset-v0.2.0-test.jsonl.gz", "test"),
        ("valid.jsonl", "validation"),
        ("train/rows.jsonl", "train"),
        ("test_of_mine/contest.jsonl", None),
        ("latest.jsonl", None),
    ],
)
def test_a_split_is_a_word_of_a_files_name_or_the_name_of_its_folder(path, split):
    assert split_of(Path(path)) == split


@pytest.mark.parametrize("name", ["gsm8k", "apps", "mbpp", "tasks"])
def test_a_set_without_a_source_is_refused_and_no_folder_is_searched(name):
    with pytest.raises(UserError, match="needs a source; name its file or folder"):
        open_tasks(f"{name}:")


# ---- APPS


def test_the_folders_of_apps_are_its_rows_with_their_splits(tmp_path):
    for split in ("train", "test"):
        write_apps_folder(tmp_path / split / "0007", APPS_ROW)
        write_apps_folder(tmp_path / split / "0008", CALL_ROW)
    tasks = read_set("apps", tmp_path)
    assert [task.task_id for task in tasks] == [f"apps/{s}/000{n}" for s in ("test", "train") for n in (7, 8)]
    rows = read_set("apps", write_lines(tmp_path / "hub" / "test.jsonl", APPS_ROW, CALL_ROW))
    assert tasks[:2] == rows
    assert read_set("apps", tmp_path / "train") == tasks[2:]
    assert read_set("apps", tmp_path / "train" / "0008") == tasks[3:]


def test_a_script_may_return_and_import_nothing_and_the_first_solution_in_python_3_is_the_reference(pool):
    task = convert_row("apps", APPS_ROW, "train")
    assert "return" in task.reference
    assert "print 1" not in task.reference
    assert (task.difficulty, task.compare, task.limits, task.split) == (
        "interview",
        "official",
        {"seconds": 4},
        "train",
    )
    programs = {
        "print(gcd(0, int(input())))": "pass",  # the checker's imports
        "import numpy as np\nprint(int(np.sum([int(input())])))": "pass",
        "n = int(input())\nprint(n)\nreturn print('more')": "fail",  # the value of a return is computed
        "def f():\n    return 1\nif f():\n    print(int(input()))\nelse:\n    return\n": "pass",
        "return return": "error",
        '"""Sum."""\nfrom __future__ import annotations\nprint(int(input()))\n': "pass",
    }
    verdicts = pool.run([job_of(task, runnable(task, program)) for program in programs])
    assert [verdict.status for verdict in verdicts] == list(programs.values())


@given(
    value=st.sampled_from(["", "1", "(1,\n 2)", "f(1)  # why", "lambda: 0", "1, 2", "'é'"]),
    before=st.sampled_from(["", "x = 'return 3'\n", "def f(n):\n    return n\n", "class A:\n    pass\n"]),
    head=st.sampled_from(["", "if True:\n    ", "try:\n    pass\nfinally:\n    ", "for _ in [1]: "]),
    newline=st.sampled_from(["\n", "\r\n"]),
)
@settings(max_examples=80, deadline=None, derandomize=True)
def test_a_return_ends_a_script_wherever_it_stands_and_functions_keep_theirs(value, before, head, newline):
    if "f(" in value and "def f" not in before:
        before += "def f(n):\n    return n\n"
    said = []
    program = f"{before}said.append(1)\n{head}return {value}\nsaid.append(2)\n".replace("\n", newline)
    with pytest.raises(SystemExit) as caught:
        exec(compile(end_at_returns(program), "<script>", "exec"), {"said": said})
    assert caught.value.code is None
    assert said == [1]


def test_a_program_that_is_no_python_is_left_as_it_is():
    for program in ("return (", "return\x00", "retur\ud800n return", "x = 1"):
        assert end_at_returns(program) == program


def test_calls_take_a_method_of_solution_or_a_function_and_outputs_raw_or_wrapped(pool):
    task = convert_row("apps", CALL_ROW)
    assert task.tests["cases"] == [{"args": [["a", "b"]], "expected": 2}, {"args": [[]], "expected": [0]}]
    assert "class Solution" in task.prompt
    programs = [task.reference, "def count(words):\n    return len(words)", "def count(words):\n    return 2"]
    verdicts = pool.run([job_of(task, runnable(task, program)) for program in programs])
    assert [verdict.passed for verdict in verdicts] == [2, 2, 1]


def test_tuples_are_lists_and_keys_that_read_as_whole_numbers_are_such(pool):
    given_ = {"fn_name": "f", "inputs": [[{"1": {"2": "x"}}], [{"a": 1}]], "outputs": [{"3": [1, 2]}, {"a": 1}]}
    task = convert_row("apps", {**CALL_ROW, "input_output": json.dumps(given_)})
    program = "def f(d):\n    return {3: (1, 2)} if d == {1: {2: 'x'}} else d\n"
    (verdict,) = pool.run([job_of(task, runnable(task, program))])
    assert [test.status for test in verdict.tests] == ["pass", "pass"]


def test_sets_of_tokens_pass_by_the_official_rule_and_not_by_another(pool):
    row = {**APPS_ROW, "input_output": json.dumps({"inputs": ["1"], "outputs": ["1 2 2"]})}
    task = convert_row("apps", row)
    jobs = [job_of(dataclasses.replace(task, compare=rule), "print('2 1')") for rule in ("official", "strict")]
    assert [verdict.status for verdict in pool.run(jobs)] == ["pass", "fail"]


@pytest.mark.parametrize(
    ("tests", "reason", "fault"),
    [
        ("", "it has no tests", False),
        (None, "it has no tests", False),
        ('{"inputs": [], "outputs": []}', "it has no tests", False),
        ('{"inputs": ["1"], "outputs": ["1", "2"]}', "it has 1 inputs and 2 outputs", True),
        ("{", "cannot be read", True),
        ('{"inputs": [' + "7" * 5000 + '], "outputs": ["1"]}', "cannot be read", True),
        ('{"inputs": [1], "outputs": ["1"]}', "is no text", True),
        ('{"fn_name": "f", "inputs": [1], "outputs": [1]}', "no list", True),
        ('{"inputs": "1", "outputs": "1"}', "no lists", True),
    ],
)
def test_problems_without_tests_are_left_out_and_broken_ones_are_faults(tests, reason, fault):
    problem = convert_row("apps", {**APPS_ROW, "input_output": tests}, "test")
    assert problem.task_id == "apps/test/0007"
    assert reason in problem.reason
    assert problem.fault is fault


def test_lines_of_a_script_come_as_a_text_or_as_a_list():
    tests = apps_tests({"inputs": [["1", "2"]], "outputs": ["3"]})
    assert tests == {"kind": "stdio", "cases": [{"stdin": ["1", "2"], "stdout": "3"}]}


# ---- CodeContests


def test_public_tests_are_seen_and_private_and_generated_ones_are_hidden(pool):
    task = convert_row("codecontests", CODECONTESTS_ROW, "train")
    assert task.tests["cases"] == [{"stdin": "1 2\n", "stdout": "3\n"}]
    assert [case["stdout"] for case in task.hidden["cases"]] == ["7", "10\n", "0\n"]  # one lacks its last newline
    assert task.reference == "print(sum(map(int, input().split())))"
    assert (task.difficulty, task.compare) == ("A", "tokens")
    assert task.limits == {"seconds": 1.5, "memory_mb": 256}
    fooled = Sample(task.task_id, solution="print(3)")  # right on what is seen
    jobs = [job_of(which, fooled.program(which)) for which in (task, evaluation_task(task))]
    assert [verdict.passed for verdict in pool.run(jobs)] == [1, 0]


def test_where_one_of_both_is_published_it_is_the_tests():
    only_hidden = convert_row("codecontests", {**CODECONTESTS_ROW, "public_tests": {"input": [], "output": []}})
    assert len(only_hidden.tests["cases"]) == 3
    assert only_hidden.hidden is None
    nothing = {key: {"input": [], "output": []} for key in ("private_tests", "generated_tests")}
    only_public = convert_row("codecontests", {**CODECONTESTS_ROW, **nothing})
    assert (len(only_public.tests["cases"]), only_public.hidden) == (1, None)
    assert evaluation_task(only_public) is only_public
    none = convert_row("codecontests", {**CODECONTESTS_ROW, **nothing, "public_tests": None})
    assert (none.reason, none.fault) == ("it has no tests", False)
    uneven = {**CODECONTESTS_ROW, "generated_tests": {"input": ["1"], "output": []}}
    assert convert_row("codecontests", uneven).reason == "it has 1 inputs and 0 outputs"


def test_tests_and_solutions_may_come_as_lists_of_objects_with_names():
    row = {
        **CODECONTESTS_ROW,
        "public_tests": [{"input": "1 2", "output": "3"}],
        "solutions": [{"language": "CPP", "solution": "int"}, {"language": "PYTHON3", "solution": "print(3)"}],
        "difficulty": "UNKNOWN_DIFFICULTY",
        "time_limit": None,
        "memory_limit_bytes": 0,
    }
    task = convert_row("codecontests", row)
    assert task.tests["cases"] == [{"stdin": "1 2", "stdout": "3"}]
    assert (task.reference, task.difficulty, task.limits) == ("print(3)", None, None)


def test_a_flat_row_whose_reference_is_known_to_fail_has_none():
    flat = {"id": "1_a", "question": "Q", "inputs": ["1"], "outputs": ["1"], "solution": "print(1)", "difficulty": None}
    sound = convert_row("codecontests", {**flat, "ref_pass_token": 1, "n_tests": 1})
    wrong = convert_row("codecontests", {**flat, "ref_pass_token": 0, "n_tests": 1})
    assert (sound.reference, wrong.reference, sound.difficulty) == ("print(1)", None, None)
    assert convert_row("codecontests", {**flat, "outputs": ["1", "2"]}).fault


# ---- LeetCode


def test_each_assert_is_a_test_and_what_compares_is_not_the_programs(pool):
    task = convert_row("leetcode", LEETCODE_ROW, "train")
    assert len(task.tests["asserts"]) == 2
    assert task.tests["setup"].startswith("def is_same_list")
    assert (task.difficulty, task.entry_point) == ("Medium", "Solution().rev")
    cheat = "class Solution:\n    def rev(self, head):\n        return head\ndef is_same_list(p, q):\n    return True\n"
    half = "class Solution:\n    def rev(self, head):\n        return None\n"
    later = f"from __future__ import annotations\n{task.reference}"
    verdicts = pool.run([job_of(task, runnable(task, program)) for program in (task.reference, cheat, half, later)])
    assert [verdict.passed for verdict in verdicts] == [2, 1, 1, 2]


def test_a_check_that_is_more_than_asserts_stays_one_and_newer_columns_are_read():
    row = {**LEETCODE_ROW, "test": "def check(candidate):\n    for n in range(3):\n        assert candidate(n) == n\n"}
    row |= {"problem_description": "In words.", "starter_code": "class S:", "difficulty": "Hard", "meta": None}
    task = convert_row("leetcode", row)
    assert task.tests["kind"] == "check"
    assert (task.statement, task.starter, task.difficulty) == ("In words.", "class S:", "Hard")
    assert convert_row("leetcode", {**LEETCODE_ROW, "test": "def check(c)"}).fault


# ---- MBPP, HumanEval+ and MBPP+


def test_the_release_of_humaneval_plus_has_inputs_alone_and_its_solution_says_what_is_right(pool):
    row = {key: value for key, value in HUMANEVAL_ROW.items() if key != "test"}
    row |= {"base_input": [[3], [-2]], "plus_input": [[0.2], [1e300], [7]], "atol": 0}
    task = convert_row("humanevalplus", row)
    assert task.source == "humanevalplus"
    fits = "def halve(x):\n    return {3: 1.5, -2: -1.0}.get(x, 9)\n"
    near = "def halve(x):\n    return 0.5 * x + 1e-9\n"
    jobs = [job_of(which, program) for program in (fits, near) for which in (task, evaluation_task(task))]
    assert [verdict.passed for verdict in pool.run(jobs)] == [1, 0, 1, 1]
    root = {
        **row,
        "entry_point": "find_zero",
        "prompt": "",
        "base_input": [[[-4, 0, 1]]],
        "plus_input": [],
        "atol": 1e-4,
    }
    root["canonical_solution"] = "def find_zero(xs):\n    return 2.0\n"
    task = convert_row("humanevalplus", root)
    other = Job("def find_zero(xs):\n    return -2.0\n", task.tests, "find_zero")  # another zero of x^2 - 4
    assert pool.run([other])[0].status == "pass"


def test_the_many_tests_of_mbpp_plus_are_hidden(pool):
    task = convert_row("mbppplus", MBPPPLUS_ROW)
    assert (task.task_id, task.split, task.entry_point) == ("mbpp/2", "prompt", "common")
    assert task.tests["asserts"] == MBPPPLUS_ROW["test_list"]
    one = "def common(a, b):\n    return (4,)\n"
    assert [v.passed for v in pool.run([job_of(which, one) for which in (task, evaluation_task(task))])] == [1, 0]
    assert convert_row("mbppplus", {**MBPPPLUS_ROW, "test": "for"}).fault
    assert convert_row("mbppplus", {**MBPPPLUS_ROW, "test_list": []}).reason == "it has no tests"


def test_mbpp_has_unix_lines_and_a_problem_without_tests_is_left_out():
    assert "\r" not in convert_row("mbpp", MBPP_ROW).reference
    assert convert_row("mbpp", {**MBPP_ROW, "test_list": []}).reason == "it has no tests"


# ---- what is wrong is said


def test_convert_lists_what_it_leaves_out_and_check_names_faults(tmp_path, pool):
    bad = [{**APPS_ROW, "problem_id": 9, "input_output": ""}, {**APPS_ROW, "problem_id": 7}]
    bad += [{**APPS_ROW, "problem_id": 10, "input_output": '{"inputs": ["1"], "outputs": []}'}]
    path = write_lines(tmp_path / "test.jsonl", APPS_ROW, *bad)
    converted = convert("apps", path, tmp_path / "out.jsonl")
    assert (converted.tasks, converted.left_out.count) == (1, 3)
    assert "apps/test/0009: it has no tests" in str(converted.left_out)
    tasks, left_out = sort_problems(problems("apps", str(path)))
    report = check_references(tasks, pool, left_out=left_out)
    assert not report.sound
    for line in (
        "1 of 1 references pass",
        "2 problems are broken",
        "  apps/test/0007: its task_id occurs twice",
        "  apps/test/0010: it has 1 inputs and 0 outputs",
        "1 problems are left out",
        "  apps/test/0009: it has no tests",
    ):
        assert line in str(report).splitlines()
    only_without = check_references(tasks, pool, left_out=[one for one in left_out if not one.fault])
    assert only_without.sound


def test_a_set_without_one_task_is_refused_with_the_reasons(tmp_path):
    path = write_lines(tmp_path / "test.jsonl", {**APPS_ROW, "input_output": ""})
    with pytest.raises(UserError, match="holds no tasks; 1 problems are left out, apps/test/0007: it has no tests"):
        convert("apps", path, tmp_path / "out.jsonl")


def test_a_source_says_on_standard_error_what_it_leaves_out(tmp_path, capsys):
    path = write_lines(tmp_path / "test.jsonl", APPS_ROW, {**APPS_ROW, "input_output": "", "problem_id": 3})
    assert len(open_tasks(f"apps:{path}")) == 1
    told = capsys.readouterr().err
    assert told.startswith(
        "apps: 1 problems are left out, the first being apps/test/0003 (it has no tests); pper tasks"
    )


def test_a_broken_line_is_named_with_its_file_and_number(tmp_path):
    path = tmp_path / "test.jsonl"
    path.write_text(json.dumps(GSM8K_ROW) + "\n\n{oops\n")
    with pytest.raises(UserError, match=r"test\.jsonl, line 3 is not JSON"):
        convert("gsm8k", path, tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


# ---- the published files themselves


@needs_shared_data
def test_the_published_files_have_the_known_numbers_of_problems():
    counts = {
        f"apps:{SHARED}/apps": (11, 11),
        f"codecontests:{SHARED}/codecontests/codecontests_200.jsonl.gz": (200, 164),
        f"leetcode:{SHARED}/leetcode": (2090, 2090),
    }
    for source, (tasks, references) in counts.items():
        found = open_tasks(source)
        assert (len(found), sum(task.reference is not None for task in found)) == (tasks, references)
    assert {task.difficulty for task in found} == {"Easy", "Medium", "Hard"}
    for task in found[::50]:
        compile(program_text(task, task.reference), task.task_id, "exec", dont_inherit=True)


PUBLISHED = {  # source -> references that do not pass
    "apps:apps": [],
    "codecontests:codecontests/codecontests_200.jsonl.gz": [],
    "leetcode:leetcode": ["leetcode/word-ladder-ii"],  # the order of its answer is that of a set of strings
    "gsm8k:gsm8k": [],
    "humaneval:humaneval/HumanEval.jsonl.gz": [],
    "mbpp_challenge:mbpp/mbpp.jsonl": [],
    "mbpp:mbpp/sanitized-mbpp.json": [],
}


@needs_shared_data
@pytest.mark.slow
@pytest.mark.parametrize("source", PUBLISHED)
def test_all_published_references_pass(pool, source):
    name, _, file = source.partition(":")
    report = check_references(read_set(name, SHARED / file), pool)
    assert [task_id for task_id, _ in report.faults] == PUBLISHED[source]


@needs_shared_data
@pytest.mark.parametrize("source", PUBLISHED)
def test_parquet_in_the_hubs_columns_gives_the_published_tasks(tmp_path, source):
    name, _, file = source.partition(":")
    tasks = read_set(name, SHARED / file)
    by_split = {}
    for row in apps_rows(str(SHARED / file)) if name == "apps" else read_rows(str(SHARED / file), [{}]):
        by_split.setdefault(row.split or "all", []).append(hub_columns(name, row.value))
    for split, rows in by_split.items():
        write_parquet(tmp_path / "data" / f"{split}.parquet", rows)
    assert read_set(name, tmp_path) == tasks


def hub_columns(name, value):
    if name != "apps":
        return value
    return {**{key: each for key, each in value.items() if key != "folder"}, "problem_id": int(value["problem_id"])}
