import ast
import dataclasses
import gzip
import json
import os
import warnings
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pper_jax.errors import UserError
from pper_jax.execution import Limits, TestPool, TestResult, Verdict
from pper_jax.tasks import load_tasks, program_text, read_tasks, trim_at_stop
from pper_jax.tasks.check import check_references
from pper_jax.tasks.convert import convert, list_sets
from pper_jax.tasks.mbpp import docstring, split_of
from pper_jax.tasks.mbpp import tested_function as function_of_assert
from pper_jax.tasks.registry import SETS
from pper_jax.tasks.sources import read_set

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("PPER_SHARED_DATA") or ROOT / ".." / "shared" / "data")
needs_shared_data = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared task sets are not here")

HUMANEVAL = {
    "task_id": "HumanEval/900",
    "prompt": 'from typing import List\n\n\ndef double(xs: List[int]) -> List[int]:\n    """Twice each."""\n',
    "entry_point": "double",
    "canonical_solution": "    return [2 * x for x in xs]\n",
    "test": "\n\nMETADATA = {}\n\n\ndef check(candidate):\n    assert candidate([1, 2]) == [2, 4]\n\n",
}
FULL = {
    "text": 'Write a function to split at "\\n" and """quotes""".',
    "code": "import re\r\ndef cut(s): \r\n\treturn re.split(r'[\\n\"]+', s)\r\n",
    "task_id": 11,
    "test_setup_code": "",
    "test_list": ["assert cut('a\\nb') == ['a', 'b'] ", "assert cut('a\"b') == ['a', 'b']"],
    "challenge_test_list": ["assert cut('') == ['']"],
}
WITH_SETUP = {
    "text": "Write a function to find the value of a node.",
    "code": "class Node: \r\n\tdef __init__(self, v): \r\n\t\tself.v = v \r\ndef value(n): \r\n\treturn n.v\r",
    "task_id": 601,
    "test_setup_code": "root = Node(1) \r\nroot.v = Node(2).v",
    "test_list": ["assert value(root) == 2"],
    "challenge_test_list": [],
}
SANITIZED = {
    "source_file": "Benchmark Questions Verification V2.ipynb",
    "task_id": 520,
    "prompt": "Write a function to take a root.",
    "code": "import math\ndef root(x):\n  return math.sqrt(x) ",
    "test_imports": ["import math", "import sys"],
    "test_list": ["assert math.isclose(root(4), 2.0, rel_tol=0.001)"],
}


@pytest.fixture(scope="module")
def pool():
    with TestPool(workers=2, limits=Limits(timeout_s=10)) as pool:
        yield pool


def lines(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_humaneval_keeps_what_every_field_means(tmp_path):
    path = tmp_path / "HumanEval.jsonl.gz"
    path.write_bytes(gzip.compress((json.dumps(HUMANEVAL) + "\n").encode()))
    (task,) = read_set("humaneval", path)
    assert (task.task_id, task.prompt, task.reference, task.entry_point) == (
        "HumanEval/900",
        HUMANEVAL["prompt"],
        HUMANEVAL["canonical_solution"],
        "double",
    )
    assert task.tests == {"kind": "check", "code": HUMANEVAL["test"]}
    assert (task.source, task.split) == ("humaneval", "test")
    assert trim_at_stop("    return 1\n\ndef other():", task.stop) == ("    return 1\n", "\ndef")


@pytest.mark.parametrize("name", ["task_id", "prompt", "canonical_solution", "test", "entry_point"])
def test_a_file_of_another_format_is_no_humaneval(tmp_path, name):
    bad = {key: value for key, value in HUMANEVAL.items() if key != name}
    with pytest.raises(UserError, match=f"line 2 is no HumanEval problem: {name} is missing or is not text"):
        read_set("humaneval", lines(tmp_path / "x.jsonl", HUMANEVAL, bad))


def test_mbpp_rows_become_programs_with_unix_lines(tmp_path):
    first, second = read_set("mbpp", lines(tmp_path / "mbpp.jsonl", FULL, WITH_SETUP))
    assert (first.task_id, first.entry_point, first.split, first.source) == ("mbpp/11", "cut", "test", "mbpp")
    assert first.reference == "import re\ndef cut(s): \n\treturn re.split(r'[\\n\"]+', s)\n"
    asserts = ["assert cut('a\\nb') == ['a', 'b']", "assert cut('a\"b') == ['a', 'b']"]
    assert first.tests == {"kind": "asserts", "setup": "", "asserts": asserts}
    told = ast.literal_eval(first.prompt)
    assert told == "\n" + "\n".join([FULL["text"], *asserts]) + "\n"
    assert second.tests["setup"] == "root = Node(1) \nroot.v = Node(2).v"
    assert (second.entry_point, second.split) == ("value", "train")
    assert second.reference.endswith("\treturn n.v\n")  # a lone carriage return ends a line as well
    assert "\r" not in second.reference


def test_challenge_asserts_are_tests_that_the_prompt_does_not_show(tmp_path):
    path = lines(tmp_path / "mbpp.jsonl", FULL)
    (plain,), (hard,) = read_set("mbpp", path), read_set("mbpp_challenge", path)
    assert hard.tests["asserts"] == [*plain.tests["asserts"], "assert cut('') == ['']"]
    assert hard.prompt == plain.prompt
    (tmp_path / "s.json").write_text(json.dumps([SANITIZED]))
    with pytest.raises(UserError, match="sanitized file has none"):
        read_set("mbpp_challenge", tmp_path / "s.json")


def test_sanitized_mbpp_imports_before_its_tests(tmp_path):
    (tmp_path / "sanitized-mbpp.json").write_text(json.dumps([SANITIZED], indent=2))
    (task,) = read_set("mbpp", tmp_path / "sanitized-mbpp.json")
    assert task.tests["setup"] == "import math\nimport sys"
    assert (task.task_id, task.entry_point, task.split) == ("mbpp/520", "root", "validation")
    assert task.source == "mbpp_sanitized"


def test_mbpp_splits_are_the_authors():
    splits = [split_of(number) for number in range(1, 975)]
    assert [splits.count(name) for name in ("prompt", "test", "validation", "train")] == [10, 500, 90, 374]
    assert [split_of(n) for n in (10, 11, 510, 511, 600, 601)] == [
        "prompt",
        "test",
        "test",
        "validation",
        "validation",
        "train",
    ]


@given(text=st.text(st.sampled_from("\"'\\nNuxr{} a\n"), max_size=25) | st.text(max_size=20))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_any_text_is_a_docstring_that_says_it(text):
    source = docstring(text)
    said = text.replace("\r\n", "\n").replace("\r", "\n")  # Python reads line ends so
    if "\0" not in text:
        assert ast.literal_eval(source) == f"\n{said}\n"
        compile(source + "def f():\n    return 1\n", "<prompt>", "exec")


@pytest.mark.parametrize(
    ("test", "code", "name"),
    [
        ("assert set(f((1,))) == set((1,))", "def helper(): pass\ndef f(x): return x", "f"),
        ("assert sum(10, 15) == 6", "def sum(a, b): return 6", "sum"),  # a builtin's name, redefined
        ("assert math.isclose(area(2), 4.)", "area = lambda x: 4.0", "area"),
        ("assert longest([Pair(5, 24)], 1) == 1", "class Pair: pass\ndef longest(a, n): return 1", "longest"),
        ("assert not is_it (10)", "def is_it(x): return False", "is_it"),
        (r"assert match('\w') == 1", r"def match(s): return len('\w')", "match"),  # a warning to Python's parser
        ("assert len([]) == 0", "", None),
        ("assert (", "", None),
    ],
)
def test_the_tested_function_is_found_in_the_assert(test, code, name):
    assert function_of_assert(test, code) == name


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"task_id": "11"}, "task_id is missing or is not a whole number"),
        ({"code": None}, "code is missing or is not text"),
        ({"test_list": "assert"}, "test_list is missing or is not a list of texts"),
        ({"test_list": [1]}, "test_list is missing or is not a list of texts"),
        ({"challenge_test_list": None}, "challenge_test_list is missing"),
    ],
)
def test_a_row_of_another_format_is_no_mbpp_problem(tmp_path, changes, sentence):
    with pytest.raises(UserError, match=f"line 2 .*{sentence}"):
        read_set("mbpp", lines(tmp_path / "mbpp.jsonl", FULL, {**FULL, **changes}))
    sanitized = [SANITIZED, {key: value for key, value in SANITIZED.items() if key != "test_imports"}]
    (tmp_path / "s.json").write_text(json.dumps(sanitized))
    with pytest.raises(UserError, match="problem 2 is no MBPP problem: test_imports is missing"):
        read_set("mbpp", tmp_path / "s.json")


def test_convert_writes_a_tasks_file_and_counts(tmp_path):
    source = lines(tmp_path / "mbpp.jsonl", FULL, WITH_SETUP)
    out = tmp_path / "new" / "tasks.jsonl"
    assert convert("mbpp", source, out).tasks == 2
    assert read_tasks(out) == read_set("mbpp", source)
    assert convert("mbpp_challenge", source, out).tasks == 2
    assert len(read_tasks(out)[0].tests["asserts"]) == 3
    assert convert("humaneval", lines(tmp_path / "h.jsonl", HUMANEVAL), out).tasks == 1


def test_the_list_names_every_set_with_what_it_reads():
    sets = dict(list_sets())
    assert {"humaneval", "mbpp", "micro_python"} <= set(sets) == set(SETS)
    assert all(sets.values())


def test_micro_python_is_a_set_whose_source_is_a_split_a_count_and_a_seed(tmp_path):
    out = tmp_path / "tasks.jsonl"
    assert convert("micro_python", "train:5:3", out).tasks == 5
    assert read_tasks(out) == load_tasks("micro_python", split="train", count=5, seed=3)
    assert convert("micro_python", "heldout_kind:4", out).tasks == 4
    assert read_tasks(out) == load_tasks("micro_python", split="heldout_kind", count=4, seed=0)
    assert convert("micro_python", "heldout_kind", out).tasks == 100


@pytest.mark.parametrize(
    ("name", "source", "sentence"),
    [
        ("nothing", "x", "no task set is called 'nothing'; choose one of .*humaneval"),
        ("humaneval", "absent.jsonl", "cannot read absent.jsonl: No such file"),
        ("mbpp", "absent.json", "cannot read absent.json: No such file"),
        ("micro_python", "train:many", "write SPLIT:COUNT:SEED"),
        ("micro_python", "train:2:0:9", "write SPLIT:COUNT:SEED"),
        ("micro_python", "elsewhere:2", "no split 'elsewhere'"),
    ],
)
def test_wrong_use_of_convert_is_one_sentence(tmp_path, name, source, sentence):
    out = tmp_path / "tasks.jsonl"
    with pytest.raises(UserError, match=sentence) as caught:
        convert(name, source, out)
    assert "\n" not in str(caught.value)
    assert not out.exists()


@pytest.mark.parametrize(("name", "text"), [("humaneval", ""), ("mbpp", "[]"), ("mbpp", "[{"), ("mbpp", "\n")])
def test_an_empty_or_broken_file_is_refused(tmp_path, name, text):
    (tmp_path / "src").write_text(text)
    with pytest.raises(UserError, match=r"holds no tasks|is not JSON"):
        convert(name, tmp_path / "src", tmp_path / "out.jsonl")


def all_forms(tmp_path):
    (tmp_path / "s.json").write_text(json.dumps([SANITIZED]))
    return [
        *read_set("humaneval", lines(tmp_path / "h.jsonl", HUMANEVAL)),
        *read_set("mbpp_challenge", lines(tmp_path / "m.jsonl", FULL, WITH_SETUP)),
        *read_set("mbpp", tmp_path / "s.json"),
    ]


def test_references_of_every_form_pass_and_wrong_ones_do_not(tmp_path, pool):
    tasks = all_forms(tmp_path)
    report = check_references(tasks, pool)
    assert report.faults == ()
    assert report.sound
    assert str(report) == "4 of 4 references pass"
    wrong = [dataclasses.replace(task, reference=WRONG.get(task.entry_point)) for task in tasks]
    report = check_references(wrong, pool)
    assert [task_id for task_id, _ in report.faults] == [task.task_id for task in tasks]
    assert not report.sound
    assert "mbpp/11: fail, 1 of 3 tests pass" in str(report)


WRONG = {
    "double": "    return [3 * x for x in xs]\n",
    "cut": "def cut(s):\n    return [s]\n",
    "value": "def value(n):\n    return 1\n",
    "root": "def root(x):\n    return x\n",
}


class EveryTestPasses:
    def as_completed(self, jobs):
        verdicts = [(index, Verdict((TestResult("pass", 0.0),))) for index, _ in enumerate(jobs)]
        return reversed(verdicts)  # in the order of their ends, not of the tasks


def test_a_reference_that_a_stop_would_cut_is_a_fault(tmp_path):
    (task,) = read_set("humaneval", lines(tmp_path / "h.jsonl", HUMANEVAL))
    cut = dataclasses.replace(task, reference="    return other(xs)\n\ndef other(xs):\n    return xs\n")
    report = check_references([cut], EveryTestPasses())
    assert report.faults == (("HumanEval/900", "passes, but its stop '\\ndef' would cut it"),)


def test_tasks_without_references_are_counted_and_none_at_all_is_not_sound(tmp_path):
    (task,) = read_set("humaneval", lines(tmp_path / "h.jsonl", HUMANEVAL))
    bare = dataclasses.replace(task, task_id="bare", reference=None)
    report = check_references([task, bare], EveryTestPasses())
    assert report.sound
    assert str(report) == "1 of 1 references pass; 1 of 2 tasks have none"
    assert not check_references([bare], EveryTestPasses()).sound


def test_a_long_report_names_the_first_faults_only(tmp_path):
    (task,) = read_set("humaneval", lines(tmp_path / "h.jsonl", HUMANEVAL))
    cut = [dataclasses.replace(task, task_id=str(i), reference="\ndef f(): 1") for i in range(25)]
    text = str(check_references(cut, EveryTestPasses()))
    assert text.startswith("0 of 25 references pass\n  0: ")
    assert text.endswith("and 5 more")


@needs_shared_data
@pytest.mark.parametrize(
    ("name", "file", "count", "step"),
    [
        ("humaneval", "humaneval/HumanEval.jsonl.gz", 164, 8),
        ("mbpp", "mbpp/mbpp.jsonl", 974, 25),
        ("mbpp", "mbpp/sanitized-mbpp.json", 427, 12),
    ],
)
def test_published_files_give_valid_programs_and_passing_references(pool, name, file, count, step):
    tasks = read_set(name, str(SHARED / file))
    assert len(tasks) == count == len({task.task_id for task in tasks})
    for task in tasks:
        assert task.entry_point is not None
        assert task.entry_point in task.reference or task.entry_point in task.prompt
        assert "\r" not in task.prompt + task.reference + task.tests.get("setup", "")
        assert trim_at_stop(task.reference, task.stop) == (task.reference, None)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # some references write "\w" without an r
            compile(program_text(task, task.reference), task.task_id, "exec", dont_inherit=True)
    assert check_references(tasks[::step], pool).faults == ()
