"""Who makes the runs of a study: processes of this machine, each on cores of its own, or tasks of a Ray cluster."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pper_jax.errors import UserError
from pper_jax.folders import cache_folder
from pper_jax.settings import to_dict
from pper_jax.study.sharing import Job
from pper_jax.terminal import check_interrupted

RUNS_A_PROCESS = 16  # then a new one: what was compiled for other settings takes memory
PATIENCE_S = 120.0  # for a run that was told to end to save what it has
LOOK_EVERY_S = 0.5

Answer = dict[str, Any]


def told(job: Job, given: dict[str, str], log: Path) -> dict[str, Any]:
    """What a worker is told of a job."""
    return {"config": to_dict(job.config), "given": given, "log": str(log)}


class Local:
    """Worker processes of this machine; ``jobs`` of them share its cores, none of which two have."""

    def __init__(self, jobs: int) -> None:
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [*range(os.cpu_count() or 1)]
        if jobs > len(cores):
            raise UserError(f"--jobs is {jobs}, and this machine has {len(cores)} cores for it; take at most as many")
        self._cores = [cores[index::jobs] for index in range(jobs)]
        self._running: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()

    def work(self, tasks: Sequence[dict[str, Any]]) -> Iterator[tuple[int, Answer]]:
        """Make all runs; gives (index, answer) as they end. An interruption tells the running ones to save and end."""
        todo: queue.SimpleQueue[int] = queue.SimpleQueue()
        done: queue.SimpleQueue[tuple[int, Answer]] = queue.SimpleQueue()
        for index in range(len(tasks)):
            todo.put(index)
        threads = [
            threading.Thread(target=self._serve, args=(cores, tasks, todo, done), daemon=True) for cores in self._cores
        ]
        for thread in threads:
            thread.start()
        try:
            for _ in range(len(tasks)):
                while True:
                    check_interrupted()
                    try:
                        yield done.get(timeout=LOOK_EVERY_S)
                        break
                    except queue.Empty:
                        continue
        finally:
            self._stop(todo, threads)

    def _serve(self, cores: Sequence[int], tasks: Sequence[dict[str, Any]], todo: Any, done: Any) -> None:
        process, made = None, 0
        while True:
            try:
                index = todo.get_nowait()
            except queue.Empty:
                break
            if process is None or process.poll() is not None or made == RUNS_A_PROCESS:
                self._end(process)
                process, made = self._start(cores), 0
            made += 1
            done.put((index, _ask(process, tasks[index])))
        self._end(process)

    def _start(self, cores: Sequence[int]) -> subprocess.Popen[str]:
        environment = {"TOKENIZERS_PARALLELISM": "false", **os.environ}
        environment.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache_folder() / "compiled"))
        command = [sys.executable, "-m", "pper_jax.study.worker", ",".join(map(str, cores))]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True
        )
        with self._lock:
            self._running.add(process)
        return process

    def _end(self, process: subprocess.Popen[str] | None) -> None:
        if process is None:
            return
        assert process.stdin is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        process.wait()
        with self._lock:
            self._running.discard(process)

    def _stop(self, todo: Any, threads: Sequence[threading.Thread]) -> None:
        while True:
            try:
                todo.get_nowait()
            except queue.Empty:
                break
        with self._lock:
            for process in self._running:
                if process.poll() is None:
                    process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join(PATIENCE_S)


def _ask(process: subprocess.Popen[str], task: dict[str, Any]) -> Answer:
    """A worker's answer; where it dies, what killed it is the reason."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(task) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
    except OSError:
        line = ""
    if line:
        answer: Answer = json.loads(line)
        return answer
    code = process.wait()
    how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
    return {"wall_s": 0.0, "cpu_s": 0.0, "reason": f"its process {how}"}


class OnRay:
    """Tasks of a Ray cluster, ``cores`` CPUs each; the study's folder must be one that all machines see."""

    def __init__(self, cores: int) -> None:
        try:
            import ray
        except ImportError:
            raise UserError("--ray needs the package ray; install it with pip install 'pper-jax[ray]'") from None
        self._ray, self._cores = ray, cores

    def work(self, tasks: Sequence[dict[str, Any]]) -> Iterator[tuple[int, Answer]]:
        """Make all runs; gives (index, answer) as they end."""
        from pper_jax.execution.ray_pool import join_cluster
        from pper_jax.study.worker import make_run

        ray = self._ray
        join_cluster()
        remote = ray.remote(num_cpus=self._cores, max_calls=RUNS_A_PROCESS)(make_run)
        waiting = {remote.remote(task): index for index, task in enumerate(tasks)}
        try:
            while waiting:
                check_interrupted()
                ready, _ = ray.wait(list(waiting), timeout=LOOK_EVERY_S)
                for reference in ready:
                    index = waiting.pop(reference)
                    try:
                        yield index, ray.get(reference)
                    except ray.exceptions.RayError as error:
                        reason = f"Ray lost it: {str(error).splitlines()[0]}"
                        yield index, {"wall_s": 0.0, "cpu_s": 0.0, "reason": reason}
        finally:
            for reference in waiting:
                ray.cancel(reference, force=True)
