"""A weighted mixture of sources: the model's own beams among programs of files, folders and teachers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pper_jax.files import dump_jsonl, write_atomic
from pper_jax.loop.sources import ANY_LENGTH, Foreign, ModelSource, fitting
from pper_jax.programs import LanguageModel
from pper_jax.programs.score import score_samples
from pper_jax.tasks import Sample, Task
from pper_jax.terminal import say

SOURCE = "source"  # key of a row that names where it comes from


@dataclass(frozen=True)
class MixtureSource:
    """``width`` programs a task from several sources, in proportion to their ``weights``.

    ``sources`` by name; those of the model are decoded into a file of their own beside the round's.
    """

    sources: Mapping[str, ModelSource | Foreign]
    weights: Mapping[str, float]
    width: int
    most: int = ANY_LENGTH

    def write(
        self, model: LanguageModel, tasks: Sequence[Task], path: Path, *, round_index: int, label: str
    ) -> list[Sample]:
        """Gather what the sources offer, choose, and score what the model did not write itself."""
        offers = {
            name: self._offers(name, model, tasks, path, round_index=round_index, label=label) for name in self.sources
        }
        turn = round_index - 1
        chosen = mix(offers, self.weights, [task.task_id for task in tasks], self.width, turn=turn)
        foreign = [sample for sample in chosen if sample.logprob is None]
        scored = iter(score_samples(model, tasks, foreign, label=label) if foreign else ())
        samples = [next(scored) if sample.logprob is None else sample for sample in chosen]
        write_atomic(path, dump_jsonl([sample.to_json() for sample in samples]))
        counts = Counter(sample.extra[SOURCE] for sample in samples)
        say(f"{label}: {len(samples)} programs, " + ", ".join(f"{counts[name]} of {name}" for name in self.sources))
        return samples

    def _offers(
        self, name: str, model: LanguageModel, tasks: Sequence[Task], path: Path, *, round_index: int, label: str
    ) -> list[Sample]:
        source = self.sources[name]
        if isinstance(source, ModelSource):
            own = path.with_name(f"{path.stem}.{name}.jsonl")
            return source.write(model, tasks, own, round_index=round_index, label=label)
        offered = fitting(model, tasks, source.offers(tasks, path.parent, label=label), self.most, name, label)
        return [replace(sample, logprob=None) for sample in offered]  # another model's


def mix(
    offers: Mapping[str, Sequence[Sample]],
    weights: Mapping[str, float],
    task_ids: Sequence[str],
    width: int,
    turn: int = 0,
) -> list[Sample]:
    """At most ``width`` programs a task, in the order of ``task_ids``, each with its source's name among its keys.

    The next program of a task is the best that is left of the source furthest behind its share: the least
    ``(1 + taken) / weight``, the first named where two are equal. What was taken counts over tasks, so that the shares
    come out to a program where every source has enough; where one has too few for a task, the others fill its place.
    In turn ``turn`` (0, 1, ...) a source's programs for a task begin that many shares further on, and around: who has
    more than his share gives others every time.
    """
    left = {name: _by_task(samples) for name, samples in offers.items()}
    total, taken, chosen = sum(weights[name] for name in offers), Counter[str](), list[Sample]()
    for task_id in task_ids:
        queues = {}
        for name, groups in left.items():
            group = groups.get(task_id, [])
            share = max(1, round(width * weights[name] / total))
            start = turn * share % len(group) if len(group) > width else 0
            queues[name] = [*group[start:], *group[:start]]
        for _ in range(width):
            able = [name for name, queue in queues.items() if queue]
            if not able:
                break
            name = min(able, key=lambda name: (1 + taken[name]) / weights[name])
            sample = queues[name].pop(0)
            chosen.append(replace(sample, extra={**sample.extra, SOURCE: name}))
            taken[name] += 1
    return chosen


def _by_task(samples: Sequence[Sample]) -> dict[str, list[Sample]]:
    groups: dict[str, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(sample.task_id, []).append(sample)
    return groups
