"""Published problems as rows: JSON lines, a JSON list, parquet, plain or in shards; never held whole, but a list."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pper_jax.errors import UserError, cut, shown
from pper_jax.files import parse_jsonl, read_lines, read_text

Told = Callable[[int], None]  # hears how many bytes of the source were read since it was last called
PARQUET = b"PAR1"  # how such a file begins
PARQUET_ROWS = 32  # held at once
SUFFIXES: tuple[tuple[str, ...], ...] = ((".parquet",), (".jsonl", ".jsonl.gz"), (".json", ".json.gz"))
SPLITS = {"train": "train", "test": "test", "valid": "validation", "validation": "validation", "dev": "validation"}
KINDS: dict[Any, str] = {int: "a whole number", str: "text", list: "a list of texts", dict: "an object"}
KINDS[type(None)] = "null"


@dataclass(frozen=True)
class Row:
    """A published problem.

    Attributes:
        where: the words that say where it stands, to begin a sentence with.
        value: what stands there.
        split: the split that the file's name, or its folder's, says.
        number: counts the rows of its split from 1.
    """

    where: str
    value: Any
    split: str | None
    number: int


def read_rows(src: str, forms: Sequence[Mapping[str, Any]], told: Told | None = None) -> Iterator[Row]:
    """The rows of a file, or of the files of a folder in the order of their names.

    Args:
        src: JSON lines or a JSON list, plain or gzipped, or parquet.
        forms: the columns that a row must have, for each published form of the set; a parquet file is judged at once.
        told: hears of the bytes that are read.

    Raises:
        UserError: nothing there, an unreadable file, a line that is not JSON, a parquet file without the columns.
    """
    numbers: dict[str | None, int] = {}
    for path in source_files(src):
        split = split_of(path)
        with_where = _parquet if begins(path, PARQUET) else _json
        for where, value in with_where(path, forms, told):
            numbers[split] = numbers.get(split, 0) + 1
            yield Row(where, value, split, numbers[split])


def source_files(src: str) -> list[Path]:
    """The file ``src``, or the files of rows in a folder and below: its parquet, else JSON lines, else JSON files."""
    if not src:
        raise UserError("a published set needs a source; name its file or folder")
    path = Path(src)
    if not path.is_dir():
        return [path]
    for suffixes in SUFFIXES:
        if found := sorted(file for file in path.rglob("*") if file.name.endswith(suffixes)):
            return found
    raise UserError(f"the folder {cut(src)} holds no file that ends in {', '.join(sum(SUFFIXES, ()))}")


def begins_with_rows(folder: Path) -> bool:
    """Whether files of rows stand in the folder itself, or in its folder ``data``, as the hub has it."""
    return any(
        file.name.endswith(SUFFIXES[0] + SUFFIXES[1]) for part in (folder, folder / "data") for file in part.glob("*")
    )


def split_of(path: Path) -> str | None:
    """The split that a word of a file's name says (``train-00000-of-00002.parquet``), else that its folder is named."""
    words = [*re.split(r"[^a-z]+", path.name.lower()), path.parent.name]
    return next((SPLITS[word] for word in words if word in SPLITS), None)


def require(row: Row, forms: Sequence[Mapping[str, Any]], what: str) -> Mapping[str, Any]:
    """The row's object, which has every field of one of ``forms``, of its type; else raise UserError.

    A field may have several types; a list that is the only one holds texts.
    """
    value = row.value
    if not isinstance(value, dict):
        raise UserError(f"{row.where} is no {what}: it is not a JSON object")
    wrong = [next((name for name, kind in form.items() if not _is(value.get(name), kind)), None) for form in forms]
    if None in wrong:
        return value
    missing = [len(set(form) - set(value)) for form in forms]
    nearest = missing.index(min(missing))
    name, kind = wrong[nearest], forms[nearest][wrong[nearest] or ""]
    words = " or ".join(KINDS[one] for one in (kind if isinstance(kind, tuple) else (kind,)))
    raise UserError(f"{row.where} is no {what}: {name} is missing or is not {words}")


def _is(value: Any, kind: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, kind):
        return False
    return kind is not list or all(isinstance(item, str) for item in value)


def begins(path: Path, mark: bytes) -> bool:
    """Whether a file begins with these bytes.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.peek(len(mark)).startswith(mark)
    except OSError as error:
        raise UserError(f"cannot read {cut(str(path), 200)}: {error.strerror}") from None


def _json(path: Path, forms: Sequence[Mapping[str, Any]], told: Told | None) -> Iterator[tuple[str, Any]]:
    first = next(read_lines(path), "")
    if first.lstrip().startswith("["):
        yield from _json_list(path)
        return
    for number, row in parse_jsonl(path, told=told):
        yield f"{path}, line {number}", row


def _json_list(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        rows = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON: {error}") from None
    yield from ((f"{path}, problem {number}", row) for number, row in enumerate(rows, start=1))


def _parquet(path: Path, forms: Sequence[Mapping[str, Any]], told: Told | None) -> Iterator[tuple[str, Any]]:
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError:
        raise UserError(f"{path} is a parquet file, which needs pyarrow: pip install 'pper-jax[parquet]'") from None
    try:
        with parquet.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False) as file:
            names = _columns(path, file.schema_arrow.names, forms)
            size, rows, done = path.stat().st_size, max(1, file.metadata.num_rows), 0
            for batch in file.iter_batches(PARQUET_ROWS, columns=names, use_threads=False):
                for number in range(batch.num_rows):
                    (value,) = batch.slice(number, 1).to_pylist()
                    yield f"{path}, row {done + number + 1}", value
                before, done = size * done // rows, done + batch.num_rows
                if told is not None:
                    told(size * done // rows - before)
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"cannot read {path} as parquet: {cut(str(error).splitlines()[0], 200)}") from None


def _columns(path: Path, has: Sequence[str], forms: Sequence[Mapping[str, Any]]) -> list[str]:
    """The columns to read: all of them, where those of a form are there."""
    lacks = min(([name for name in form if name not in has] for form in forms), key=len)
    if lacks:
        raise UserError(
            f"{path} has no column {', '.join(lacks)}; its columns are {cut(', '.join(map(shown_name, has)), 300)}"
        )
    return list(has)


def shown_name(name: str) -> str:
    """A column's name for a sentence."""
    return name if name.isprintable() else shown(name)
