"""What the sub-commands of `pper` do; the command line itself is in ``cli``."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pper_jax.execution import TestPool
from pper_jax.files import read_jsonl
from pper_jax.programs.figures import figures, summarise_verdicts
from pper_jax.programs.testing import run_tests
from pper_jax.tasks import Sample, Task, read_samples

if TYPE_CHECKING:
    from pper_jax.programs.language_model import LanguageModel


def sample_file(
    model: LanguageModel,
    tasks: Sequence[Task],
    out: Path,
    config: Any,
    *,
    batch_size: int,
    seed: int,
    only_distinct: bool = False,
) -> list[Sample]:
    """Write programs for ``tasks`` to ``out``, or complete what an interrupted call wrote there."""
    import jax

    from pper_jax.programs.write import sample_tasks

    forget_if_complete(out, {task.task_id for task in tasks}, "task_id")
    key = jax.random.key(seed)
    return sample_tasks(model, tasks, out, config, batch_size=batch_size, key=key, only_distinct=only_distinct)


def test_file(tasks: Sequence[Task], samples_path: Path, out: Path, pool: TestPool) -> str:
    """Test a samples file with a pool that is not open yet; returns the summary line."""
    samples = read_samples(samples_path, tasks)
    out.parent.mkdir(parents=True, exist_ok=True)
    forget_if_complete(out, set(range(len(samples))), "sample")
    pool.expect(len(samples))
    with pool:
        line = summarise_verdicts(run_tests(pool, tasks, samples, out), tasks)
    known = pool.statistics.shared + pool.statistics.from_cache
    return line + (f"; {known} verdicts were known from the same program and tests" if known else "")


def evaluate(
    model: LanguageModel,
    tasks: Sequence[Task],
    ks: Sequence[int],
    method: str,
    config: Any,
    *,
    batch_size: int,
    pool: TestPool,
    out: Path | None,
    seed: int,
) -> dict[str, Any]:
    """Sample, test and judge a model; returns the figures that ``print_figures`` shows, as plain data.

    With ``out`` the samples and verdicts are kept there, and an interrupted evaluation goes on where it stopped.
    """
    with tempfile.TemporaryDirectory(prefix="pper-eval-") as scratch:
        folder = out or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        samples = sample_file(model, tasks, folder / "samples.jsonl", config, batch_size=batch_size, seed=seed)
        forget_if_complete(folder / "verdicts.jsonl", set(range(len(samples))), "sample")
        pool.expect(len(samples))
        with pool:
            rows = run_tests(pool, tasks, samples, folder / "verdicts.jsonl")
    return figures(tasks, rows, ks, method, seed)


def forget_if_complete(path: Path, keys: set[Any], key: str) -> None:
    """Remove an output that already covers all ``keys``: the same command again starts over, a cut one goes on."""
    if path.exists() and {row.get(key) for row in read_jsonl(path, torn_ok=True)} >= keys:
        path.unlink()
