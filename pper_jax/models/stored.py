"""The weight files of a model folder, safetensors or PyTorch's pickles: what they hold, read tensor by tensor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from pper_jax.errors import UserError
from pper_jax.models.stated import Stated, cut, read_json

READ = ("F64", "F32", "F16", "BF16")
KINDS = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}  # torch's name -> safetensors'
FORMATS = (("model.safetensors", "model.safetensors.index.json"), ("pytorch_model.bin", "pytorch_model.bin.index.json"))


@dataclass(frozen=True)
class Tensor:
    """A stored tensor: its type as safetensors names it, and what reads it."""

    kind: str
    read: Callable[[], np.ndarray]


def stored(folder: Path) -> Iterator[dict[str, Tensor]]:
    """The tensors of each weight file of the folder, by name; only their headers are read.

    Raises:
        UserError: there is no weight file, one is missing or not readable, or it takes torch, which is not here.
    """
    for file in weight_files(folder):
        yield _pickled(file) if file.suffix == ".bin" else _safe(file)


def weight_files(folder: Path) -> list[Path]:
    """``model.safetensors``, or the shards that its index names; else ``pytorch_model.bin``, or its shards."""
    for single, index in FORMATS:
        if (folder / single).exists():
            return [folder / single]
        if (folder / index).exists():
            return _shards(folder, folder / index)
    raise UserError(f"{folder}: no weights there; model.safetensors, or its index and shards, is needed.")


def _shards(folder: Path, index: Path) -> list[Path]:
    names = Stated(str(index), read_json(index)).inner("weight_map").values.values()
    if unknown := [name for name in names if not isinstance(name, str) or Path(name).name != name]:
        raise UserError(f"{index}: its weight_map names {cut(repr(unknown[0]))}, which is no file of the folder.")
    files = [folder / name for name in sorted(set(names))]
    if lost := [file.name for file in files if not file.exists()]:
        raise UserError(f"{folder}: {index.name} names {lost[0]!r}, which is not there; copy every shard.")
    if not files:
        raise UserError(f"{index}: its weight_map names no file; download the model again.")
    return files


def _safe(file: Path) -> dict[str, Tensor]:
    with _opened(file) as handle:
        kinds = {name: handle.get_slice(name).get_dtype() for name in handle.keys()}  # noqa: SIM118 (not a dict)
    return {name: Tensor(kind, partial(_read_safe, name, kind, file)) for name, kind in kinds.items()}


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    try:
        with safe_open(str(file), framework="np") as handle:
            yield handle
    except (SafetensorError, OSError) as error:
        raise UserError(f"{file}: not a readable safetensors file: {cut(error, 160)}") from error


def _read_safe(name: str, kind: str, file: Path) -> np.ndarray:
    """The file is opened for each tensor: what an open one has given stays mapped, and counts as memory."""
    _known(kind, name, file)
    with _opened(file) as handle:
        return handle.get_tensor(name)


def _known(kind: str, name: str, file: Path) -> None:
    if kind not in READ:
        raise UserError(f"{file}: tensor {name!r} is stored as {kind}; only F32, F16 and BF16 weights are read.")


def _pickled(file: Path) -> dict[str, Tensor]:
    """Through torch's reader that runs nothing of the pickle, and maps the file instead of reading it whole."""
    try:
        import torch
    except ImportError:
        raise UserError(
            f"{file.parent}: only {file.name} is there, which takes torch to read (pip install torch); or save it as "
            "safetensors."
        ) from None
    try:
        tensors = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # torch and pickle raise whatever they meet
        raise UserError(f"{file}: not readable as weights alone: {cut(error, 160)}") from error
    if not isinstance(tensors, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in tensors.values()):
        raise UserError(f"{file}: holds something else than tensors by name; save the model's state_dict.")
    kinds = {name: str(tensor.dtype).removeprefix("torch.") for name, tensor in tensors.items()}
    return {
        name: Tensor(KINDS.get(kinds[name], kinds[name]), partial(_read_pickled, tensor, name, file))
        for name, tensor in tensors.items()
    }


def _read_pickled(tensor: Any, name: str, file: Path) -> np.ndarray:
    kind = str(tensor.dtype).removeprefix("torch.")
    _known(KINDS.get(kind, kind), name, file)
    return tensor.float().numpy()
