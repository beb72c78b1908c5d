"""Rows as the task sets are published, small ones of ours, and files to put them into."""

import gzip
import json

APPS_ROW = {
    "problem_id": 7,
    "question": "Read n lines and print their sum.\r\nA blank line ends.",
    "solutions": json.dumps(
        ["print 1", "import sys\nn = int(input())\nif n == 0:\n    print(0)\n    return\nprint(n)"]
    ),
    "input_output": json.dumps({"inputs": ["0\n", "5\n"], "outputs": ["0\n", ["5"]]}),
    "difficulty": "interview",
    "url": "https://example.org",
    "starter_code": "",
}
CALL_ROW = {
    **APPS_ROW,
    "problem_id": 8,
    "question": "Count.",
    "starter_code": "class Solution:\n    def count(self, words: List[str]) -> int:\n        ",
    "input_output": json.dumps({"fn_name": "count", "inputs": [[["a", "b"]], [[]]], "outputs": [2, [0]]}),
    "solutions": json.dumps(
        ["class Solution:\n    def count(self, words: List[str]) -> int:\n        return len(words)"]
    ),
}
CODECONTESTS_ROW = {
    "name": "1_A. Sum",
    "description": "Print the sum.",
    "public_tests": {"input": ["1 2\n"], "output": ["3\n"]},
    "private_tests": {"input": ["3 4\n"], "output": ["7"]},
    "generated_tests": {"input": ["5 5\n", "0 0"], "output": ["10\n", "0\n"]},
    "source": 2,
    "difficulty": 7,
    "solutions": {
        "language": [2, 1, 3],
        "solution": ["int main()", "print 1", "print(sum(map(int, input().split())))"],
    },
    "time_limit": {"seconds": 1, "nanos": 500_000_000},
    "memory_limit_bytes": 64_000_000,
}
LEETCODE_ROW = {
    "task_id": "reverse-list",
    "prompt": "from typing import *\n\nclass ListNode:\n    def __init__(self, val=0, next=None):\n"
    "        self.val, self.next = val, next\n\n\ndef list_node(values):\n    head = None\n"
    "    for value in reversed(values):\n        head = ListNode(value, head)\n    return head\n\n\n"
    "def is_same_list(p, q):\n    return p is q is None or bool(p and q) and p.val == q.val"
    " and is_same_list(p.next, q.next)\n",
    "completion": "class Solution:\n    def rev(self, head: Optional[ListNode]) -> Optional[ListNode]:\n"
    "        back = None\n        while head:\n            back, head.next, head = head, back, head.next\n"
    "        return back\n",
    "entry_point": "Solution().rev",
    "test": "def check(candidate):\n    assert is_same_list(candidate(head = list_node([1,2])), list_node([2,1]))\n"
    "    assert candidate(head = list_node([])) == None\n",
    "query": "Reverse a list. Please complete the following python code precisely:",
    "meta": {"question_id": 1, "difficulty": "Meidum", "question_title": "Reverse a list.", "lang_code": "class S:\n "},
}
HUMANEVAL_ROW = {
    "task_id": "HumanEval/900",
    "prompt": 'def halve(x):\n    """Half of x."""\n',
    "entry_point": "halve",
    "canonical_solution": "    return x / 2\n",
    "test": "def check(candidate):\n    assert candidate(3) == 1.5\n    assert candidate(-2) == -1\n",
}
MBPPPLUS_ROW = {
    "task_id": 2,
    "code": "def common(a, b):\n  return tuple(set(a) & set(b)) ",
    "prompt": "Write a function to find shared elements.",
    "source_file": "x",
    "test_imports": [],
    "test_list": ["assert set(common((3, 4), (4, 5))) == set((4,))"],
    "test": "import math\n\ndef assertion(out, exp, atol):\n    assert set(out) == set(exp)\n\n"
    "inputs = [[[1, 2], [2, 3]], [[], [1]]]\nresults = [(2,), ()]\n"
    "for i, (inp, exp) in enumerate(zip(inputs, results)):\n    assertion(common(*inp), exp, 0)\n",
}
GSM8K_ROW = {"question": "Ann has 3 boxes of 4 pens. How many?", "answer": "3*4 = <<3*4=12>>12\n#### 12"}
MBPP_ROW = {
    "text": "Write a function to add one.",
    "code": "def inc(x): \r\n\treturn x + 1\r\n",
    "task_id": 11,
    "test_setup_code": "",
    "test_list": ["assert inc(1) == 2", "assert inc(2) == 3"],
    "challenge_test_list": [],
}
SANITIZED_ROW = {
    "source_file": "x",
    "task_id": 602,
    "prompt": "Write a function to add one.",
    "code": "def inc(x):\n    return x + 1",
    "test_imports": ["import math"],
    "test_list": ["assert inc(1) == 2", "assert math.isclose(inc(2.0), 3.0)"],
}
# set -> rows in the hub's columns; each becomes a task whose reference passes
HUB = {
    "apps": [APPS_ROW, CALL_ROW],
    "codecontests": [CODECONTESTS_ROW],
    "gsm8k": [GSM8K_ROW, {**GSM8K_ROW, "question": "And six?"}],
    "humaneval": [HUMANEVAL_ROW],
    "humanevalplus": [HUMANEVAL_ROW],
    "leetcode": [LEETCODE_ROW],
    "mbpp": [MBPP_ROW],
    "mbpp_challenge": [MBPP_ROW],
    "mbppplus": [MBPPPLUS_ROW],
}


def write_lines(path, *rows):
    """A file of JSON lines; gzipped where its name says so."""
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def write_parquet(path, rows, row_group_size=None):
    """A parquet file with the rows' keys as columns."""
    import pyarrow
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=row_group_size)
    return path


def write_apps_folder(folder, row, **files):
    """A problem of APPS in its own layout; ``files`` replace those of the row, None leaves one out."""
    contents = {
        "question.txt": row["question"],
        "input_output.json": row["input_output"],
        "solutions.json": row["solutions"],
        "starter_code.py": row["starter_code"] or None,
        "metadata.json": json.dumps({"difficulty": row["difficulty"], "url": row["url"]}),
        **{name.replace("__", "."): text for name, text in files.items()},
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in contents.items():
        if text is not None:
            (folder / name).write_text(text)
    return folder
