"""JSON lines: rows in and out, torn last lines, gzip."""

from __future__ import annotations

import gzip
import json
import math
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from pper_jax.errors import UserError
from pper_jax.files.outputs import write_bytes

GZIP = b"\x1f\x8b"  # how a gzipped file begins


def read_text(path: str | Path, *, torn_ok: bool = False) -> str:
    """Text of a UTF-8 file, gunzipped if need be; ``torn_ok`` drops what stands behind the last newline.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        data = Path(path).read_bytes()
        if data.startswith(GZIP):
            data = gzip.decompress(data)
        return data[: data.rfind(b"\n") + 1 if torn_ok else None].decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"cannot read {path}: it is not UTF-8 text") from None
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None


def parse_jsonl(
    path: str | Path, *, torn_ok: bool = False, told: Callable[[int], None] | None = None
) -> Iterator[tuple[int, Any]]:
    """Yield ``(line number, value)`` of a JSON-lines file, plain or gzipped, empty lines left out.

    The file is read line by line and never held whole. ``torn_ok`` drops a last line without its newline: what a killed
    writer leaves. ``told`` hears how many bytes of the file were read since it was last called.

    Raises:
        UserError: the file cannot be read, or a line is not JSON.
    """
    for number, line in enumerate(read_lines(path, torn_ok=torn_ok, told=told), start=1):
        if not line.strip():
            continue
        try:
            yield number, json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{path}, line {number} is not JSON: {error.msg} at column {error.colno}") from None
        except (ValueError, RecursionError) as error:  # a number of too many digits, lists nested too deep
            raise UserError(f"{path}, line {number} cannot be read: {error}") from None


def read_lines(path: str | Path, *, torn_ok: bool = False, told: Callable[[int], None] | None = None) -> Iterator[str]:
    """Yield the lines of a UTF-8 file, plain or gzipped, without their newlines; see :func:`parse_jsonl`.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            before = 0
            stream: Iterable[bytes] = gzip.GzipFile(fileobj=file) if file.peek(2).startswith(GZIP) else file
            for number, line in enumerate(stream):
                if torn_ok and not line.endswith(b"\n"):
                    return
                yield line.decode("utf-8-sig" if number == 0 else "utf-8").rstrip("\n")
                if told is not None:
                    told(file.tell() - before)
                    before = file.tell()
    except UnicodeDecodeError:
        raise UserError(f"cannot read {path}: it is not UTF-8 text") from None
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None


def read_jsonl(path: str | Path, *, torn_ok: bool = False) -> list[Any]:
    """The values of a JSON-lines file; see :func:`parse_jsonl`."""
    return [row for _, row in parse_jsonl(path, torn_ok=torn_ok)]


def dump_jsonl(rows: Iterable[Any]) -> str:
    """Rows as JSON lines; a row that UTF-8 cannot hold (half a surrogate pair) is escaped."""
    return "".join(map(dump_row, rows))


def dump_row(row: Any) -> str:
    """One row as a JSON line; see :func:`dump_jsonl`."""
    line = json.dumps(row, ensure_ascii=False)
    return (line if _is_utf8(line) else json.dumps(row)) + "\n"


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def append_jsonl(path: str | Path, rows: Iterable[Any]) -> None:
    """Append rows in one write, so that a kill tears at most the last line."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        write_bytes(fd, dump_jsonl(rows).encode())
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        os.close(fd)


def finite(value: Any) -> Any:
    """``value`` with None for every float in it that is NaN or infinite, for JSON has no such numbers."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(each) for key, each in value.items()}
    return [finite(each) for each in value] if isinstance(value, list | tuple) else value
