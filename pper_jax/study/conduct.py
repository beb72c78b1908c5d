"""Conducting a study: what is shared first, then every arm's run of every seed, then its figures and pages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from pper_jax.errors import RunFailure, UserError
from pper_jax.files import is_marked, lock_folder, mark_folder, write_atomic, write_json
from pper_jax.loop.asking import config_differences
from pper_jax.loop.ending import is_finished
from pper_jax.settings import dump_yaml
from pper_jax.study.config import Study, asked, asked_before
from pper_jax.study.crew import Answer, told
from pper_jax.study.figures import figures_of
from pper_jax.study.held_out import write_held_out
from pper_jax.study.sharing import Job, jobs_of
from pper_jax.terminal import Progress, say


class Crew(Protocol):
    """Who makes runs."""

    def work(self, tasks: Sequence[dict[str, Any]]) -> Any:
        """Gives (index, answer) of each as it ends."""


def conduct(study: Study, crew: Crew) -> Path:
    """Make or finish a study; returns its folder, with ``study.json`` written.

    A run that fails is named with its reason, and the others are finished.

    Raises:
        UserError: another study's folder, or held-out tasks that cannot be read.
        RunFailure: no arm has a run to compare with the reference's.
    """
    folder = study.folder
    _claim(folder)
    with lock_folder(folder):
        _open(study)
        held_out = write_held_out(study)
        shared, runs = jobs_of(study, held_out)
        needed = dict.fromkeys(name for job in runs if not _is_done(job) for name in job.needs)
        failed = _make(f"{study.config.name}: shared", [shared[name] for name in needed], {}, crew, folder)
        stranded = {job.name: next(failed[name] for name in job.needs if name in failed)
                    for job in runs if any(name in failed for name in job.needs)}  # fmt: skip
        able = [job for job in runs if job.name not in stranded]
        failed = _make(f"{study.config.name}: runs", able, shared, crew, folder) | stranded
        figures = figures_of(study, runs, failed)
        write_json(folder / "study.json", figures)
        if all(name in failed for name in (job.name for job in runs)):
            raise RunFailure(f"no run of {study.config.name} was finished; the first failed: {failed[runs[0].name]}")
    return folder


def _claim(folder: Path) -> None:
    """Make the folder one of ours where nothing is there yet."""
    if folder.exists() and any(folder.iterdir()) and not is_marked(folder):
        raise UserError(f"{folder} exists and is not a study folder; choose another name or move it away")
    mark_folder(folder)


def _open(study: Study) -> None:
    """Note what is asked, or check that it is what the folder's study was asked for."""
    folder, path = study.folder, study.folder / "asking.json"
    new = asked(study)
    if path.exists():
        old = asked_before(json.loads(path.read_text(encoding="utf-8")))
        common = {**old, "arms": {name: arm for name, arm in old.get("arms", {}).items() if name in new["arms"]}}
        mine = {**new, "arms": {name: arm for name, arm in new["arms"].items() if name in common["arms"]}}
        if differing := config_differences(json.loads(json.dumps(common)), json.loads(json.dumps(mine)), frozenset()):
            raise UserError(
                f"{folder} is another study's (it differs in {', '.join(differing[:5])}); take another name, "
                "or remove it"
            )
        new["arms"] = {**old.get("arms", {}), **new["arms"]}
    elif (folder / "config.yaml").exists():
        raise UserError(f"{folder} is a run's folder; choose another name")
    write_atomic(folder / "study.yaml", dump_yaml(study.config))
    write_json(path, new)


def _make(label: str, jobs: Sequence[Job], shared: Mapping[str, Job], crew: Crew, folder: Path) -> dict[str, str]:
    """Make the runs that are not finished; returns the reasons of those that failed, by name."""
    missing = [job for job in jobs if not _is_done(job)]
    failed: dict[str, str] = {}
    for kind in ("logs", "costs"):
        (folder / kind).mkdir(exist_ok=True)
    tasks = [told(job, _given(job, shared), folder / "logs" / f"{job.name}.log") for job in missing]
    with Progress(label, len(jobs), done=len(jobs) - len(missing), unit="runs") as progress:
        for index, answer in crew.work(tasks):
            job = missing[index]
            _note_cost(folder / "costs" / f"{job.name}.json", answer)
            if answer["reason"] is not None:
                failed[job.name] = answer["reason"]
                say(f"{job.name} failed: {answer['reason']}")
            progress.update(1)
    return failed


def _is_done(job: Job) -> bool:
    return is_finished(job.folder, job.config.rounds)


def _given(job: Job, shared: Mapping[str, Job]) -> dict[str, str]:
    """The files that a run begins with, by their place in its folder."""
    found: dict[str, str] = {}
    for name, patterns in job.needs.items():
        root = shared[name].folder.path
        for pattern in patterns:
            found |= {str(file.relative_to(root)): str(file) for file in sorted(root.glob(pattern))}
    return found


def _note_cost(path: Path, answer: Answer) -> None:
    """Add what one attempt at a run took."""
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"wall_s": 0.0, "cpu_s": 0.0}
    write_json(path, {key: before[key] + answer[key] for key in ("wall_s", "cpu_s")})
