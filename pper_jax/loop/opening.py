"""Opening the folder of a run: whether it may be resumed, and what it was made with."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from pper_jax.errors import RunFailure, UserError
from pper_jax.files import RunFolder, empty_marked_folder, is_marked, lock_folder, mark_folder, write_atomic, write_json
from pper_jax.loop.asking import BY_CONTENT, FREE, config_differences
from pper_jax.loop.config import RunConfig
from pper_jax.loop.parts import Parts
from pper_jax.settings import dump_yaml, from_dict, load_yaml, to_dict
from pper_jax.tasks import write_tasks

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "transformers", "numpy")


@contextmanager
def claimed(folder: RunFolder) -> Iterator[None]:
    """Hold the folder of a run for this process, and make it one where nothing is there yet.

    Raises:
        UserError: something else is there, or another process has it.
        RunFailure: the folder cannot be written.
    """
    try:
        if folder.path.exists() and any(folder.path.iterdir()) and not is_marked(folder.path):
            raise UserError(f"{folder.path} exists and is not a run folder; choose another name or move it away")
        mark_folder(folder.path)
        lock = lock_folder(folder.path)
    except OSError as error:
        raise _unwritable(folder, error) from None
    with lock:
        yield


def open_run(folder: RunFolder, parts: Parts, *, fresh: bool, given: Mapping[str, Path]) -> None:
    """Begin a run in a claimed folder, or check that the one begun there was asked for the same.

    Raises:
        UserError: the run was asked for something else (what differs is said), or an earlier version began it.
        RunFailure: the folder cannot be written.
    """
    begun = folder.asking.exists()
    if not fresh and begun:
        _refuse_other_config(folder, parts.config)
        _refuse_other_content(folder, parts)
    if not fresh and not begun and folder.metrics.exists():
        raise UserError(
            f"{folder.path} was begun by an earlier version of pper, whose runs this one does not go on with; add "
            "--fresh to start over, or name=NEW for a new run"
        )
    try:
        if fresh or not begun:  # what a cut opening left is no run yet
            empty_marked_folder(folder.path)
            _begin(folder, parts, given)
        elif to_dict(parts.config) != load_yaml(folder.config):
            write_atomic(folder.config, dump_yaml(parts.config))
    except OSError as error:
        raise _unwritable(folder, error) from None


def _unwritable(folder: RunFolder, error: OSError) -> RunFailure:
    return RunFailure(f"cannot write the run folder {folder.path}: {error.strerror}")


def horizon_of(folder: RunFolder) -> int:
    """The steps that the schedule of the folder's run was laid out for; 0 where no run is there."""
    return int(_asked(folder).get("horizon", 0)) if folder.asking.exists() else 0


def _asked(folder: RunFolder) -> dict[str, Any]:
    asked: dict[str, Any] = json.loads(folder.asking.read_text(encoding="utf-8"))
    return asked


def _begin(folder: RunFolder, parts: Parts, given: Mapping[str, Path]) -> None:
    """Write what a run begins with; the asking, which makes it one that can be resumed, is the last."""
    for child in ("samples", "verdicts", "draws"):
        (folder.path / child).mkdir(parents=True, exist_ok=True)
    write_json(folder.environment, describe_environment())
    write_atomic(folder.config, dump_yaml(parts.config))
    tasks = {task.task_id: task for set_ in (parts.tasks, *parts.held_out.values()) for task in set_}
    write_tasks(folder.tasks, tasks.values())
    for place, source in given.items():
        write_atomic(folder.path / place, source.read_bytes())
    write_json(folder.asking, parts.asking.to_json())


def is_same(folder: RunFolder, config: RunConfig) -> bool:
    """Whether the folder's run was asked for the same, in the same words."""
    return not config_differences(_config_of(folder), to_dict(config))


def _config_of(folder: RunFolder) -> dict[str, Any]:
    """The configuration that is written there; keys that it does not know have their defaults."""
    return to_dict(from_dict(RunConfig, load_yaml(folder.config)))


def _refuse_other_config(folder: RunFolder, config: RunConfig) -> None:
    old = _config_of(folder)
    differing = config_differences(old, to_dict(config), FREE | BY_CONTENT)
    if differing:
        raise UserError(
            f"{folder.path} was made with another configuration (it differs in {', '.join(differing)}); "
            "add --fresh to start over, or name=NEW for a new run"
        )
    if old["rounds"] > config.rounds:
        raise UserError(
            f"{folder.path} is a run of {old['rounds']} rounds, which can be extended and not cut to {config.rounds}; "
            "take rounds of at least as many, add --fresh to start over, or name=NEW for a new run"
        )


def _refuse_other_content(folder: RunFolder, parts: Parts) -> None:
    differing = parts.asking.differences(_asked(folder))
    if differing:
        raise UserError(
            f"{folder.path} was begun with other tasks or another model ({', '.join(differing)} changed since); put "
            "back what was there, add --fresh to start over, or take name=NEW for a new run"
        )


def describe_environment() -> dict[str, Any]:
    """Versions, devices, git revision and command of this process, for ``environment.json``."""
    import jax

    return {
        "command": "pper " + " ".join(sys.argv[1:]),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        **{package: _version(package) for package in ("pper-jax", *PACKAGES)},
        "devices": [f"{device.platform}:{device.device_kind}" for device in jax.devices()],
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "git": _git_revision(),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_revision() -> str | None:
    where = Path(__file__).parent
    try:
        revision = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=where,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return revision.stdout.strip() or None
