"""The pool over the machines of a Ray cluster: the interface of ``TestPool``, with Ray actors for its workers.

Each actor takes one CPU of some machine and owns a worker process there, with the same isolation as at home. An actor
that is lost with its machine is replaced like a worker that died. Needs the extra ``ray``.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from pper_jax.errors import RunFailure, UserError
from pper_jax.execution.link import START_SECONDS, WorkerLost
from pper_jax.execution.pool import TestPool
from pper_jax.execution.ticket import Run
from pper_jax.execution.verdict import Job, TestResult

try:
    import ray
except ImportError:
    ray = None


class Host:
    """What runs on the other machine: a pool of one worker."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.pool = TestPool(1, cache=False, **options)

    def layers(self) -> tuple[str, ...]:
        """Start, and return the layers of isolation that stand there."""
        self.pool.__enter__()
        while self.pool.walls is None:
            self.pool.poll(1.0)
        return self.pool.walls

    def test(self, job: Job) -> list[tuple[str, float, str | None]]:
        """Return the results of one program's tests."""
        (verdict,) = self.pool.run([job])
        return [(test.status, test.seconds, test.detail) for test in verdict.tests]

    def close(self) -> None:
        """End the processes there."""
        self.pool.close()


class RayLink:
    """The pool's end of one actor; it does what ``Link`` does for a worker process."""

    silent_until = float("inf")  # the pool there watches its worker itself

    def __init__(self, options: dict[str, Any]) -> None:
        self.actor = ray.remote(Host).options(num_cpus=1, scheduling_strategy="SPREAD").remote(options)
        self.answers: deque[Any] = deque([self.actor.layers.remote()])  # what was asked of the actor, in order
        self.isolation: tuple[str, ...] | None = None
        self.looked_at = False
        self.runs: deque[Run] = deque()
        self.results: dict[int, TestResult] = {}

    @property
    def ready(self) -> bool:
        """Whether the actor has a machine: until then it is given no work."""
        return self.isolation is not None

    def give(self, run: Run) -> None:
        """Send a job."""
        self.runs.append(run)
        self.answers.append(self.actor.test.remote(run.job))

    def receive(self) -> Iterator[tuple[Run, list[TestResult]]]:
        """Take the next answer; yield the run that it is of. Raises WorkerLost."""
        try:
            answer = ray.get(self.answers.popleft())
        except RunFailure as error:  # as the pool there raised it
            raise RunFailure(str(getattr(error, "cause", error))) from None
        except ray.exceptions.RayError:
            raise WorkerLost from None
        if self.isolation is None:
            self.isolation = answer
        else:
            yield self.runs.popleft(), [TestResult(*row) for row in answer]

    def why_it_ended(self) -> str:
        """Return what is known of an actor that never started."""
        return "its Ray actor died"

    def ask_to_end(self) -> None:
        """Nothing: it ends at once when asked."""

    def end(self, seconds: float = 0.0) -> None:
        """End the actor; with it go the processes that it started."""
        if seconds > 0 and self.ready:
            ray.wait([self.actor.close.remote()], timeout=seconds + 3.0)
        ray.kill(self.actor)


def join_cluster() -> bool:
    """Join the Ray cluster that ``RAY_ADDRESS`` names or that runs on this machine, or start one here.

    Returns:
        Whether it was joined now; False where this process was in one already.

    Raises:
        UserError: the package is not there.
        RunFailure: Ray did not start, or its cluster does not answer.
    """
    if ray is None:
        raise UserError("--ray needs the package `ray`: pip install 'pper-jax[ray]'.")
    if ray.is_initialized():
        return False
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    except Exception as error:  # it raises whatever it met, plain exceptions among it
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        where = os.environ.get("RAY_ADDRESS")
        what = f"the Ray cluster at {where} was not joined" if where else "Ray did not start on this machine"
        raise RunFailure(
            f"{what} ({reason}); `ray status` says more, and without --ray no cluster is needed."
        ) from error
    return True


class RayTestPool(TestPool):
    """A ``TestPool`` whose workers are spread over a Ray cluster.

    It takes the options of TestPool; ``workers`` counts those on all machines together, a CPU each. A cluster that is
    connected already is used; else the one that RAY_ADDRESS names, or a local one for the time that the pool is open.
    All machines need this package and the same Python. Raises UserError where Ray is not installed.
    """

    __test__ = False

    def __enter__(self) -> TestPool:
        self._own_cluster = join_cluster()
        try:
            super().__enter__()
            first = [worker.answers[0] for worker in self._workers if not worker.ready]
            if len(first) == len(self._workers) and not ray.wait(first, timeout=START_SECONDS)[0]:
                raise RunFailure(f"The Ray cluster had no free CPU for a test worker in {START_SECONDS:.0f} seconds.")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if self._own_cluster:
            self._own_cluster = False
            ray.shutdown()

    def _new_link(self) -> Any:
        return RayLink(
            {
                "limits": self.limits,
                "compare": self.compare,
                "isolation": self.isolation,
                "overrule": self.rules.overrule,
                "stop": self.stop,
                "require_isolation": self.require_isolation,
            }
        )

    def _news(self, seconds: float) -> list[Any]:
        by_answer = {worker.answers[0]: worker for worker in self._workers if worker.answers}
        if not by_answer:
            return []
        ready, _ = ray.wait(list(by_answer), num_returns=len(by_answer), timeout=0)
        if not ready and seconds > 0:
            ready, _ = ray.wait(list(by_answer), timeout=seconds)
        return [by_answer[answer] for answer in ready]
