"""What the sub-commands of `pper` do; the command line itself is in ``cli``."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pper_jax.execution import TestPool
from pper_jax.files import check_output, finish_together, open_partial
from pper_jax.programs.against import Earlier, compare_with
from pper_jax.programs.figures import figures
from pper_jax.programs.testing import judge_samples, stored_verdicts, verdicts_asked
from pper_jax.tasks import Sample, Task, evaluation_task
from pper_jax.terminal import at_sudden_end

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
    """Write programs for ``tasks`` to ``out``, or complete what an interrupted call of the same asking began.

    What stands in ``out`` stays there until its successor is whole.
    """
    import jax

    from pper_jax.programs.write import sample_tasks

    check_output(out)
    return sample_tasks(
        model,
        tasks,
        out,
        config,
        batch_size=batch_size,
        key=jax.random.key(seed),
        only_distinct=only_distinct,
        asking={"seed": seed, "key": None},
        anew=True,
    )


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
    against: Earlier | None = None,
) -> dict[str, Any]:
    """Sample, test and judge a model; returns the figures that ``print_figures`` shows, as plain data.

    With ``out`` the samples and verdicts are kept there, and an interrupted evaluation goes on where it stopped. Files
    of an evaluation that is there already stay until all of this one is done, and then are replaced together.
    With ``against``, the key ``against`` holds the comparison that ``print_comparison`` shows.
    """
    import jax

    from pper_jax.programs.write import sampling_asked, stored_samples, write_samples

    key = jax.random.key(seed)
    with _folder(out) as folder:
        samples_path, verdicts_path = folder / "samples.jsonl", folder / "verdicts.jsonl"
        check_output(samples_path)
        check_output(verdicts_path)
        stored_samples(samples_path, tasks, model.name)
        stored_verdicts(verdicts_path)
        asking = {**sampling_asked(model, tasks, config, None, False), "seed": seed}
        with (
            open_partial(samples_path, asking) as written,
            open_partial(verdicts_path, {**asking, **verdicts_asked(pool, tasks)}) as judged,
        ):
            samples = write_samples(written, model, tasks, config, batch_size=batch_size, key=key, label="sample")
            pool.expect(len(samples))
            with pool:
                rows = judge_samples(judged, pool, [*map(evaluation_task, tasks)], samples, label="test")
            kept = [{**row, "method": method} for row in rows]
            finish_together([(written, [sample.to_json() for sample in samples]), (judged, kept)])
    result = figures(tasks, rows, ks, method, seed)
    return result if against is None else {**result, "against": compare_with(against, tasks, rows, method, seed)}


@contextmanager
def _folder(out: Path | None) -> Iterator[Path]:
    """``out``, or a temporary folder that is gone afterwards however the process ends."""
    if out is not None:
        yield out
        return
    with (
        tempfile.TemporaryDirectory(prefix="pper-eval-") as scratch,
        at_sudden_end(partial(shutil.rmtree, scratch, ignore_errors=True)),
    ):
        yield Path(scratch)
