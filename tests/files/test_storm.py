"""Whatever is asked and wherever it is cut, no finished row is lost, and no file holds rows of two askings."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

OUTPUTS = {
    "sample": ["sample"],
    "test": ["test"],
    "score": ["score"],
    "eval": ["eval/samples.jsonl", "eval/verdicts.jsonl"],
}
# shrinking starts processes by the thousand: a storm of a few orders can be read as it is
QUICK = settings(
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
MATTERS = {  # what of the asking decides the bytes of a command's outputs
    "sample": ("tasks", "tests", "programs", "tokens", "seed"),
    "test": ("tasks", "tests", "given", "timeout"),
    "score": ("tasks", "tests", "given"),
    "eval": ("tasks", "tests", "programs", "tokens", "seed", "timeout"),
}

askings = st.fixed_dictionaries(
    {
        "tasks": st.sampled_from([2, 3]),
        "tests": st.sampled_from(["old", "old", "corrected"]),
        "programs": st.sampled_from([1, 2]),
        "tokens": st.sampled_from([8, 8, 48]),
        "seed": st.sampled_from([0, 0, 1]),
        "timeout": st.sampled_from([4, 4, 9]),
        "given": st.sampled_from([0, 1]),
    }
)
orders = st.fixed_dictionaries(
    {
        "command": st.sampled_from([*OUTPUTS]),
        "asked": st.integers(0, 1),  # of two askings: often enough the same one again
        "batch": st.integers(1, 4),
        "fault": st.sampled_from(["none", "kill", "kill", "full", "full", "signal", "kill late"]),
        "at": st.integers(1, 9),
    }
)
WHOLE = {}  # outputs of undisturbed commands


class Process:
    """The process that runs commands."""

    def __init__(self):
        argv = [sys.executable, str(Path(__file__).with_name("storm_process.py"))]
        self.process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def run(self, order):
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


@pytest.fixture(scope="module")
def process():
    process = Process()
    yield process
    process.close()


def contents(folder, names):
    return {name: (folder / name).read_bytes() if (folder / name).exists() else None for name in names}


class Storm:
    """One folder, the orders given in it, and what must hold after each."""

    def __init__(self, process, folder, asked):
        self.process, self.folder, self.asked = process, folder, asked
        self.owner = {}  # command -> asking that matters, of what is unfinished
        self.kept = {}  # (command, asking that matters) -> units kept and not yet taken their place
        for number in (0, 1):
            rows = [{"task_id": f"t/{i}", "completion": f"given {number} {i}"} for i in range(2)]
            (folder / f"given-{number}").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def right(self, command, asked):
        """The outputs of an undisturbed command in a folder of its own."""
        key = self.key(command, asked)
        if key not in WHOLE:
            with tempfile.TemporaryDirectory() as calm:
                other = Storm(self.process, Path(calm), self.asked)
                found = other.order({"command": command, "asked": asked, "batch": 2, "fault": "none", "at": None})
                assert found["code"] == 0, found
                WHOLE[key] = contents(Path(calm), OUTPUTS[command])
        return WHOLE[key]

    def key(self, command, asked):
        return command, *(asked[name] for name in MATTERS[command])

    def order(self, order):
        return self.process.run({**order, "folder": str(self.folder)})

    def check(self, order):
        command, asked = order["command"], self.asked[order["asked"]]
        names, key = OUTPUTS[command], self.key(command, asked)
        partials = [f"{name}.partial" for name in names]
        before, unfinished = contents(self.folder, names), contents(self.folder, partials)
        found = self.order({**order, "asked": asked, "at": None if order["fault"] == "none" else order["at"]})
        after = contents(self.folder, names)
        right, code = self.right(command, asked), found["code"]
        assert code in (0, 1, 2, 143, -9), found
        units = any(text is not None and text.count(b"\n") > 1 for text in unfinished.values())
        others = units and self.owner[command] != key
        if code == 2:  # only for another asking that is unfinished; nothing is changed
            assert others, found
            assert (before, unfinished) == (after, contents(self.folder, partials))
            return
        assert not others, "rows of two askings could mix"
        assert code != 0 or after == right
        for name in names:
            assert after[name] in (before[name], right[name])
        redone = {line[6:] for line in found["log"] if line.startswith("begun ")} & self.kept.get(key, set())
        assert not redone, "a finished row was lost"
        self.owner[command] = key
        self.kept.setdefault(key, set()).update(line[5:] for line in found["log"] if line.startswith("kept "))
        if not any((self.folder / name).exists() for name in partials):
            assert code == 0 or not self.kept[key] or after == right, "finished rows are gone"
            self.kept[key] = set()


def storm(process, asked, told):
    with tempfile.TemporaryDirectory() as folder:
        here = Storm(process, Path(folder), asked)
        for order in told:
            here.check(order)
        for command in OUTPUTS:  # whatever happened, the unfinished asking can be finished
            for number in (0, 1):
                here.check({"command": command, "asked": number, "batch": 1, "fault": "none", "at": None})
            for number in (1, 0):
                here.check({"command": command, "asked": number, "batch": 1, "fault": "none", "at": None})
        left = {path.name for path in Path(folder).rglob("*.partial")}
        assert not left


@settings(QUICK, max_examples=15)
@given(asked=st.tuples(askings, askings), told=st.lists(orders, min_size=1, max_size=8))
def test_nothing_is_lost_and_nothing_mixed(process, asked, told):
    storm(process, asked, told)


@pytest.mark.slow
@settings(QUICK, max_examples=150)
@given(asked=st.tuples(askings, askings), told=st.lists(orders, min_size=1, max_size=20))
def test_nothing_is_lost_and_nothing_mixed_at_length(process, asked, told):
    storm(process, asked, told)
