"""The source that a run's configuration names, and what stands for its content."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jax.sharding import Mesh

from pper_jax.files import digest, digest_path, model_folder
from pper_jax.loop.config import RunConfig, SourceSection
from pper_jax.loop.keys import stream
from pper_jax.loop.mixture import MixtureSource
from pper_jax.loop.sources import FileSource, Foreign, ModelSource, Source, TeacherSource
from pper_jax.models import model_config, resolve_model
from pper_jax.tasks import Task, open_tasks, read_samples
from pper_jax.text import Profile, profile_named, with_examples


def run_profile(config: RunConfig, name: str) -> Profile:
    """The prompt profile ``name`` with the examples of the run.

    Raises:
        UserError: an example is missing.
    """
    profile, where = profile_named(name), config.examples or config.tasks.train.source
    return with_examples(profile, open_tasks(where), where) if profile.shots else profile


def open_source(
    config: RunConfig, tasks: Sequence[Task], dtype: str, mesh: Mesh | None
) -> tuple[Source, dict[str, str]]:
    """Where the run's programs come from, and a digest of each file or model that it reads, by name.

    Files are read once to see that they hold programs for ``tasks``, and of a teacher its header.

    Raises:
        UserError: one cannot be read.
    """
    origins, digests, opened = config.origins(), dict[str, str](), dict[str, ModelSource | Foreign]()
    for name, section in origins.items():
        source, digests[name] = _opened(name, section, config, tasks, dtype, mesh)
        opened[name] = source
    digests = {name: found for name, found in digests.items() if found}
    if not config.sources:
        return next(iter(opened.values())), digests
    weights = {name: section.weight for name, section in origins.items()}
    return MixtureSource(opened, weights, config.beam.width, most=config.train.max_length), digests


def _opened(
    name: str, section: SourceSection, config: RunConfig, tasks: Sequence[Task], dtype: str, mesh: Mesh | None
) -> tuple[Any, str]:
    beam, most = config.beam, config.train.max_length
    if section.path is None:
        key = stream(config.seed, "sample")
        return ModelSource(beam.decoding(), batch_size=beam.batch_size, distinct=beam.distinct, key=key), ""
    if section.kind == "samples":
        rows = [sample.to_json() for sample in read_samples(section.path, tasks, others=True)]
        return FileSource(section.path, name, most), digest(rows)
    path = model_folder(resolve_model(section.path))
    model_config(path)  # says what is wrong before anything is written
    teacher = TeacherSource(
        path,
        section.path,
        beam.decoding(),
        batch_size=beam.batch_size,
        key=stream(config.seed, "teacher"),
        name=name,
        profile=run_profile(config, section.profile or config.profile),
        dtype=dtype,
        mesh=mesh,
        most=most,
    )
    return teacher, digest_path(path)
