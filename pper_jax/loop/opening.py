"""Opening the folder of a run: whether it may be resumed, and what it was made with."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from pper_jax.errors import RunFailure, UserError
from pper_jax.files import RunFolder, write_atomic, write_json
from pper_jax.loop.config import RunConfig
from pper_jax.settings import dump_yaml, load_yaml, to_dict

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "transformers", "numpy")


def open_run(config: RunConfig, *, fresh: bool) -> RunFolder:
    """Create ``OUT/NAME``, or open it for resuming if it was made with the same configuration.

    Raises:
        UserError: the folder belongs to another configuration (which keys differ is said).
        RunFailure: the folder cannot be written.
    """
    folder = RunFolder(Path(config.out) / config.name)
    if fresh and folder.config.exists():
        shutil.rmtree(folder.path)
    if folder.config.exists():
        _refuse_other_config(folder, config)
        return folder
    if folder.path.exists() and any(folder.path.iterdir()):
        raise UserError(f"{folder.path} exists and is not a run folder; choose another name or move it away")
    try:
        for child in ("samples", "verdicts", "draws"):
            (folder.path / child).mkdir(parents=True, exist_ok=True)
        write_json(folder.environment, describe_environment())
        write_atomic(folder.config, dump_yaml(config))
    except OSError as error:
        raise RunFailure(f"cannot write the run folder {folder.path}: {error.strerror}") from error
    return folder


def _refuse_other_config(folder: RunFolder, config: RunConfig) -> None:
    differing = sorted(_differences(load_yaml(folder.config), to_dict(config)))
    if differing:
        raise UserError(
            f"{folder.path} was made with another configuration (it differs in {', '.join(differing)}); "
            "add --fresh to start over, or name=NEW for a new run"
        )


def _differences(old: Any, new: Any, path: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        keys = old.keys() | new.keys()
        return [d for key in keys for d in _differences(old.get(key), new.get(key), f"{path}.{key}".lstrip("."))]
    return [] if old == new else [path]


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
