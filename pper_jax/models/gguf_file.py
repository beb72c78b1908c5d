"""The header of a GGUF file: its metadata, and where the bytes of each tensor are.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Every count and length is held against what is
left of the file before anything is made of it, so that a damaged header ends in a sentence and never in a long wait.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pper_jax.errors import UserError
from pper_jax.models.stated import Stated, cut

SCALARS = {0: "u1", 1: "i1", 2: "u2", 3: "i2", 4: "u4", 5: "i4", 6: "f4", 7: "u1", 10: "u8", 11: "i8", 12: "f8"}
BOOL, STRING, ARRAY = 7, 8, 9
LEAST_BYTES = {STRING: 8, ARRAY: 12}  # of an array's element; of a scalar's its size
VERSIONS = (2, 3)
MOST_AXES = 4


@dataclass(frozen=True)
class Tensor:
    """A stored tensor: ``kind`` its GGML type, ``shape`` with the fastest axis last, ``data`` its bytes in the file."""

    kind: Any
    shape: tuple[int, ...]
    data: np.ndarray


@dataclass(frozen=True)
class GGUF:
    """An open file: ``meta`` key -> value (scalars, strings, lists), ``tensors`` name -> where and what it is."""

    path: Path
    meta: dict[str, Any]
    tensors: dict[str, Tensor]

    def stated(self, prefix: str = "") -> Stated:
        """The metadata whose keys begin with ``prefix``, to be read with their types judged."""
        return Stated(str(self.path), self.meta, prefix)


class _Cursor:
    """A place in the file's bytes; reading beyond their end is a ``ValueError``."""

    def __init__(self, data: np.ndarray) -> None:
        self.data, self.at = data, 0

    def take(self, size: int) -> np.ndarray:
        if size > len(self.data) - self.at:
            raise ValueError(f"{size} bytes wanted at {self.at} of {len(self.data)}")
        self.at += size
        return self.data[self.at - size : self.at]

    def unsigned(self, size: int) -> int:
        return int.from_bytes(self.take(size).tobytes(), "little")

    def string(self) -> str:
        return self.take(self.unsigned(8)).tobytes().decode("utf-8")

    def value(self, kind: int, depth: int = 0) -> Any:
        if kind == STRING:
            return self.string()
        if kind == ARRAY and depth < MOST_AXES:
            return self.array(depth)
        return self.scalars(kind, 1)[0]

    def array(self, depth: int) -> list[Any]:
        kind, count = self.unsigned(4), self.unsigned(8)
        if kind in SCALARS:
            return self.scalars(kind, count)
        if count * LEAST_BYTES.get(kind, 1) > len(self.data) - self.at:
            raise ValueError(f"an array of {count} at {self.at} of {len(self.data)} bytes")
        return [self.value(kind, depth + 1) for _ in range(count)]

    def scalars(self, kind: int, count: int) -> list[Any]:
        if kind not in SCALARS:
            raise ValueError(f"values of type {kind}, which is none")
        dtype = np.dtype("<" + SCALARS[kind])
        values = np.frombuffer(self.take(count * dtype.itemsize).tobytes(), dtype).tolist()
        return [bool(value) for value in values] if kind == BOOL else values


def open_gguf(path: Path) -> GGUF:
    """Map a GGUF file into memory and read its header."""
    try:
        if path.exists() and not path.is_file():
            raise UserError(f"{path}: not a file; give a Hugging Face model folder or a .gguf file.")
        with path.open("rb") as file:
            magic = file.read(4)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{cut(path)}: no model there ({reason}); give a model folder or a .gguf file.") from None
    if magic != b"GGUF":
        raise UserError(f"{path}: not a GGUF file; give a Hugging Face model folder or a .gguf file.")
    try:
        return GGUF(path, *_header(np.memmap(path, mode="r")))
    except (ValueError, struct.error, OSError) as error:
        raise UserError(f"{path}: damaged or truncated GGUF file ({cut(error)}); download it again.") from error


def _header(data: np.ndarray) -> tuple[dict[str, Any], dict[str, Tensor]]:
    cursor = _Cursor(data)
    cursor.take(4)
    if (version := cursor.unsigned(4)) not in VERSIONS:
        raise ValueError(f"version {version}; versions 2 and 3 in little-endian order are read")
    tensors, pairs = cursor.unsigned(8), cursor.unsigned(8)
    meta: dict[str, Any] = {}
    for _ in range(pairs):
        key, kind = cursor.string(), cursor.unsigned(4)
        if key in meta:
            raise ValueError(f"the key {key!r} twice")
        meta[key] = cursor.value(kind)
    places = [_place(cursor) for _ in range(tensors)]
    align = meta.get("general.alignment", 32)
    if not isinstance(align, int) or align < 1 or align & (align - 1):
        raise ValueError(f"general.alignment is {align!r}")
    if len({name for name, *_ in places}) < tensors:
        raise ValueError("two tensors of one name")
    start = -(-cursor.at // align) * align
    return meta, {name: _tensor(data, start + offset, kind, shape) for name, kind, shape, offset in places}


def _place(cursor: _Cursor) -> tuple[str, int, tuple[int, ...], int]:
    """``(name, type, shape, offset)`` of the next tensor."""
    name, axes = cursor.string(), cursor.unsigned(4)
    if not 1 <= axes <= MOST_AXES:
        raise ValueError(f"a tensor of {axes} axes")
    shape = tuple(cursor.unsigned(8) for _ in range(axes))[::-1]
    return name, cursor.unsigned(4), shape, cursor.unsigned(8)


def _tensor(data: np.ndarray, at: int, kind: int, shape: tuple[int, ...]) -> Tensor:
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    stored = GGMLQuantizationType(kind)
    block, size = GGML_QUANT_SIZES[stored]
    if shape[-1] % block:
        raise ValueError(f"rows of {shape[-1]} in blocks of {block}")
    in_bytes = (*shape[:-1], shape[-1] // block * size)
    if at + math.prod(in_bytes) > len(data):
        raise ValueError(f"a tensor that ends at {at + math.prod(in_bytes)} of {len(data)} bytes")
    return Tensor(stored, shape, data[at : at + math.prod(in_bytes)].reshape(in_bytes))
