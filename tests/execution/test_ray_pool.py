"""The pool over Ray is the pool: the same verdicts, tickets and errors; and every host's share of the programs."""

from __future__ import annotations

import builtins
import importlib
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pper_jax.errors import RunFailure, UserError
from pper_jax.execution import merge_shards, ray_pool, shard

# A Ray cluster leaves threads and warnings behind, so it is tried in a process of its own.
SCRIPT = """
import os, signal, subprocess, time
from pper_jax.errors import RunFailure, UserError
from pper_jax.execution import Job, Limits, TestPool
from pper_jax.execution.ray_pool import RayTestPool

TESTS = {"kind": "asserts", "asserts": ["assert f(1) == 2", "assert f(2) == 3"]}
PROGRAMS = ["def f(x): return x + 1", "def f(x): return x", "def f(x) return", "import os\\ndef f(x): os._exit(0)",
            "def f(x):\\n    while True: pass"]
JOBS = [Job(f"{program}\\n# {number}", TESTS) for number in range(4) for program in PROGRAMS]
LIMITS = Limits(timeout_s=0.5, file_bytes=16777219)  # a number to know our processes by

def statuses(verdicts):
    return [[test.status for test in verdict.tests] for verdict in verdicts]

if __name__ == "__main__":
    with TestPool(2, LIMITS) as pool:
        expected = statuses(pool.run(JOBS))
    with RayTestPool(2, LIMITS, progress=lambda done, total: None) as pool:
        assert statuses(pool.run(JOBS)) == expected
        assert pool.walls
        assert pool.statistics.executions == len(JOBS)
        pool.run(JOBS[:1])
        assert pool.statistics.from_cache == 1

        slow = Job("import time\\ntime.sleep(0.4)\\ndef f(x): return x + 1", TESTS)
        tickets = [pool.submit(slow), pool.submit(JOBS[4])]
        assert tickets[1].cancel()
        assert tickets[0].result().status == "pass"

        ticket = pool.submit(Job("import time\\ntime.sleep(1)\\ndef f(x): return x + 1", TESTS))
        time.sleep(0.3)
        import ray
        holder = next(worker for worker in pool._workers if worker.runs)
        ray.kill(holder.actor)  # as if its machine went away
        assert ticket.result().status == "pass"
        assert pool.statistics.workers_lost == 1
    assert not ray.is_initialized()
    with RayTestPool(1, LIMITS, require_isolation=None) as pool:
        left = pool.submit(JOBS[4])
    try:
        left.result()
    except RunFailure:
        print("all is well")
    time.sleep(1)
    assert subprocess.run(["pgrep", "-f", "16777219"], capture_output=True).stdout == b""
"""


@pytest.mark.slow
def test_a_local_cluster_gives_the_verdicts_of_the_local_pool(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, tmp_path / "script.py"], capture_output=True, text=True, timeout=300, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "all is well" in done.stdout


@pytest.mark.slow
def test_a_cluster_of_lesser_machines_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    code = (
        "import os\nos.environ['PPER_EXECUTION_WITHOUT'] = 'seccomp,landlock'\n"
        "from pper_jax.errors import RunFailure\nfrom pper_jax.execution.ray_pool import RayTestPool\n"
        "try:\n    RayTestPool(1, require_isolation='strong').__enter__()\nexcept RunFailure as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert "strong isolation is required" in done.stdout, done.stderr[-3000:]


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: object, **named: object) -> object:
        if name == "ray":
            raise ImportError(name)
        return real(name, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    monkeypatch.delitem(sys.modules, "pper_jax.execution.ray_pool", raising=False)
    module = importlib.import_module("pper_jax.execution.ray_pool")
    monkeypatch.delitem(sys.modules, "pper_jax.execution.ray_pool")
    with pytest.raises(UserError, match="pper-jax\\[ray\\]"):
        module.RayTestPool(1).__enter__()


@pytest.mark.parametrize(("address", "said"), [(None, "Ray did not start on"), ("ray1:6379", "at ray1:6379 was not")])
def test_a_cluster_that_does_not_answer_is_one_sentence(
    address: str | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def init(**options: object) -> None:
        raise Exception("The node timed out.\nA second line.")

    monkeypatch.setattr(ray_pool, "ray", SimpleNamespace(is_initialized=lambda: False, init=init))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if address is not None:
        monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(RunFailure, match=said) as failure:
        ray_pool.join_cluster()
    assert "(The node timed out.)" in str(failure.value)
    assert "\n" not in str(failure.value)


@settings(deadline=None)
@given(st.lists(st.integers(0, 9)), st.integers(1, 7), st.booleans())
def test_the_shares_of_all_hosts_make_the_whole(items: list[int], count: int, grouped: bool) -> None:
    together = (lambda item: item) if grouped else None
    shares = [shard(items, index, count, together) for index in range(count)]
    assert merge_shards(shares) == items
    if grouped:
        hosts = Counter(item for share in shares for item in {item for _, item in share})
        assert all(number == 1 for number in hosts.values())
    else:
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_results_of_a_missing_host_are_noticed() -> None:
    with pytest.raises(ValueError, match="missing"):
        merge_shards([shard("abcd", 1, 2)])
    with pytest.raises(ValueError, match="no host 2"):
        shard("abcd", 2, 2)
