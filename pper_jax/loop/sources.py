"""Where a round's programs come from: the model's own, by any decoding method, or a samples file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import jax

from pper_jax.files import dump_jsonl, write_atomic
from pper_jax.programs import LanguageModel, sample_tasks
from pper_jax.programs.score import score_samples
from pper_jax.tasks import Sample, Task, read_samples


class Source(Protocol):
    """Gives a round its programs. Every row that it returns has ``tokens`` and their ``logprob``."""

    def write(
        self, model: LanguageModel, tasks: Sequence[Task], path: Path, *, round_index: int, label: str
    ) -> list[Sample]:
        """Write the programs of a round to ``path`` (samples format), all or none, and return them."""


@dataclass(frozen=True)
class ModelSource:
    """The model's own programs by ``method`` (any of ``pper_jax.decode``); ``key``: typed, for those that draw."""

    method: Any
    batch_size: int
    key: jax.Array
    distinct: bool = False

    def write(
        self, model: LanguageModel, tasks: Sequence[Task], path: Path, *, round_index: int, label: str
    ) -> list[Sample]:
        """Decode; each round has a key of its own."""
        return sample_tasks(
            model,
            tasks,
            path,
            self.method,
            batch_size=self.batch_size,
            key=jax.random.fold_in(self.key, round_index),
            label=label,
            only_distinct=self.distinct,
        )


@dataclass(frozen=True)
class FileSource:
    """Programs written elsewhere; their log-probabilities are those of the model as it stands."""

    path: str

    def write(
        self, model: LanguageModel, tasks: Sequence[Task], path: Path, *, round_index: int, label: str
    ) -> list[Sample]:
        """Score the file's programs under the model."""
        samples = score_samples(model, tasks, read_samples(self.path, tasks), label=label)
        write_atomic(path, dump_jsonl([sample.to_json() for sample in samples]))
        return samples
