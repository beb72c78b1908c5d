"""Short names for contents, by which it is known whether an input is still the same."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

DIGITS = 16
WHOLE_BYTES = 64 * 2**20  # up to this size a file is read whole; of a larger one every 16th block
BLOCK_BYTES = 2**16


def digest(value: Any) -> str:
    """16 hex digits that stand for plain data; equal data give equal digits whatever the order of keys."""
    text = json.dumps(value, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def digest_path(path: str | Path) -> str:
    """16 hex digits that stand for a file, or for the files of a folder (names and contents, not times).

    Of a file beyond 64 MiB, its size and a sixteenth of its bytes are read.
    """
    path = Path(path)
    files = sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]
    whole = hashlib.sha256()
    for file in files:
        name = file.name if path.is_dir() else ""
        whole.update(f"{name}\0{_digest_file(file)}\n".encode("utf-8", "surrogateescape"))
    return whole.hexdigest()[:DIGITS]


def _digest_file(file: Path) -> str:
    size = file.stat().st_size
    found = hashlib.sha256(str(size).encode())
    step = BLOCK_BYTES if size <= WHOLE_BYTES else 16 * BLOCK_BYTES
    with file.open("rb") as handle:
        for start in range(0, size, step):
            handle.seek(start)
            found.update(handle.read(BLOCK_BYTES))
    return found.hexdigest()
