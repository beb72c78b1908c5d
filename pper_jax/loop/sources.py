"""Where a round's programs come from: the model itself by any decoding method, a file or folder, a teacher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import jax

from pper_jax.errors import UserError
from pper_jax.files import dump_jsonl, read_jsonl, write_atomic
from pper_jax.models import load_model, read_ends
from pper_jax.programs import LanguageModel, sample_tasks
from pper_jax.programs.score import scorable, score_samples
from pper_jax.tasks import Sample, Task, read_samples
from pper_jax.terminal import say
from pper_jax.text import BASE, Profile

ANY_LENGTH = 1 << 30  # tokens; the model's context bounds them


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


class Foreign(Source, Protocol):
    """A source of programs that the model did not write: it has them to offer, without the model's log-probabilities.

    ``name`` is what the user calls it.
    """

    @property
    def name(self) -> str:
        """What the user calls it."""

    def offers(self, tasks: Sequence[Task], folder: Path, *, label: str) -> list[Sample]:
        """Its programs for ``tasks``, best first; what takes long is kept in ``folder`` and read there again."""


@dataclass(frozen=True)
class FileSource:
    """Programs of a samples file or a folder; their log-probabilities are those of the model as it stands.

    Those of more than ``most`` tokens, prompt included, are left out, and those for tasks that are not asked.
    """

    path: str
    name: str = "samples"
    most: int = ANY_LENGTH

    def offers(self, tasks: Sequence[Task], folder: Path, *, label: str) -> list[Sample]:
        """The file's programs, in its order."""
        return read_samples(self.path, tasks, others=True)

    def write(
        self, model: LanguageModel, tasks: Sequence[Task], path: Path, *, round_index: int, label: str
    ) -> list[Sample]:
        """Score the file's programs under the model."""
        return _adopt(self, model, tasks, path, self.most, label)


@dataclass(frozen=True)
class TeacherSource:
    """The programs of another model by ``method``, of whatever family and tokenizer; it does not learn.

    So it is asked once in a run, in its own ``profile``; the model scores its programs anew in every round, with its
    own tokens. It is in memory only while it writes.
    """

    path: Path
    called: str
    method: Any
    batch_size: int
    key: jax.Array
    name: str = "teacher"
    profile: Profile = BASE
    dtype: str = "float32"
    mesh: Any = None
    most: int = ANY_LENGTH

    def offers(self, tasks: Sequence[Task], folder: Path, *, label: str) -> list[Sample]:
        """Its programs as texts: its tokens mean nothing to another model."""
        file = folder / f"source_{self.name}.jsonl"
        if file.exists():
            samples = [Sample.from_json(row, f"{file}, a row") for row in read_jsonl(file)]
        else:
            options: dict[str, Any] = {"batch_size": self.batch_size, "key": self.key, "label": f"{label} {self.name}"}
            samples = sample_tasks(self._open(), tasks, file, self.method, **options)
        return [replace(sample, tokens=None, logprob=None, num_tokens=None) for sample in samples]

    def _open(self) -> LanguageModel:
        module, params, tokenizer = load_model(self.path, dtype=self.dtype, mesh=self.mesh)
        ends = read_ends(self.path, tokenizer)
        return LanguageModel(module, params, tokenizer, self.called, ends, mesh=self.mesh, profile=self.profile)

    def write(
        self, model: LanguageModel, tasks: Sequence[Task], path: Path, *, round_index: int, label: str
    ) -> list[Sample]:
        """Have the teacher write, where it did not yet, and score its programs under the model."""
        return _adopt(self, model, tasks, path, self.most, label)


def _adopt(
    source: Foreign, model: LanguageModel, tasks: Sequence[Task], path: Path, most: int, label: str
) -> list[Sample]:
    """All programs of ``source`` with the tokens and log-probabilities that the model gives them, in ``path``."""
    offered = fitting(model, tasks, source.offers(tasks, path.parent, label=label), most, source.name, label)
    samples = score_samples(model, tasks, offered, label=label)
    write_atomic(path, dump_jsonl([sample.to_json() for sample in samples]))
    return samples


def fitting(
    model: LanguageModel, tasks: Sequence[Task], samples: Sequence[Sample], most: int, name: str, label: str
) -> list[Sample]:
    """Those of ``samples`` that the model can learn from; how many it cannot is said.

    Raises:
        UserError: it can learn from none.
    """
    kept, lost = scorable(model, tasks, samples, most)
    why = "; ".join(f"{count} of {len(samples)} {reason}" for reason, count in lost.items())
    if not kept:
        raise UserError(
            f"no program of the source {name} can be learnt from: {why}; give others, or change profile or "
            "train.max_length"
        )
    if lost:
        say(f"{label}: of the programs of {name}, {why}, and are left out")
    return kept
