"""Outputs that take long: what is finished is kept beside them, with what was asked, until all of it is done."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pper_jax.errors import UserError
from pper_jax.files.jsonl import dump_jsonl
from pper_jax.files.locks import try_lock
from pper_jax.files.outputs import is_stream, target_of, write_bytes, write_together

SUFFIX = ".partial"
MARK = '{"pper_jax": "unfinished output", "asking": '
Rows = Sequence[Mapping[str, Any]]


class Partial:
    """An output under way. Made by :func:`open_partial`; ends by :func:`finish_together` or stays for the next call.

    Attributes:
        out: the output; what stands there is not touched before everything is done.
        path: where finished units are kept meanwhile; None where ``out`` is a device or a pipe.
        units: what is finished: plain data, each as one :meth:`append` gave it.
    """

    def __init__(self, out: Path, path: Path | None, fd: int | None, units: list[Any]) -> None:
        self.out, self.path, self.units = out, path, units
        self._fd, self._removed = fd, False

    def append(self, unit: Any) -> None:
        """Keep a finished unit: all of it or, after a kill or on a full disk (OSError), nothing."""
        if self._fd is not None:
            end = os.lseek(self._fd, 0, os.SEEK_END)
            try:
                write_bytes(self._fd, dump_jsonl([unit]).encode())
            except OSError as error:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._fd, end)
                raise OSError(error.errno, error.strerror, str(self.path)) from None
        self.units.append(unit)

    def remove(self) -> None:
        """Forget what was kept."""
        if self.path is not None and not self._removed:
            with contextlib.suppress(OSError):
                self.path.unlink()
        self._removed = True


@contextmanager
def open_partial(out: str | Path, asking: Mapping[str, Any]) -> Iterator[Partial]:
    """Begin ``out``, or go on where an earlier call with the same ``asking`` stopped.

    Args:
        out: a file; its folder is made.
        asking: plain data: every option that changes what is written, and digests of all that is read.

    Raises:
        UserError: an earlier call asked something else (what differs is said, nothing is changed), another process
            is at work on ``out``, or a file that is not ours bears the name of the partial one.
        OSError: it cannot be written.
    """
    out = Path(out)
    if is_stream(out):
        yield Partial(out, None, None, [])
        return
    path = partial_of(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = _open_locked(path)
    partial = Partial(out, path, fd, [])
    begun = False
    try:
        partial.units = _begin(fd, path, json.loads(json.dumps(asking, default=repr)))
        begun = True
        yield partial
    finally:
        if begun and not partial.units:
            partial.remove()  # nothing is lost, and the next call may ask what it likes
        os.close(fd)


def finish_together(outputs: Sequence[tuple[Partial, Rows]]) -> None:
    """Write each whole output; all take their places, or on failure (OSError) none, and the partial files go."""
    write_together({partial.out: dump_jsonl(rows) for partial, rows in outputs})
    for partial, _ in outputs:
        partial.remove()


def partial_of(out: str | Path) -> Path:
    """Where the finished units of an ``out`` under way are kept."""
    target = target_of(out)
    return target.with_name(target.name + SUFFIX)


def _open_locked(path: Path) -> int:
    while True:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
                raise UserError(_not_ours(path)) from None
            raise
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise UserError(_not_ours(path))
            if not try_lock(fd):
                raise UserError(f"another process is writing {path}; wait for it, or name another output")
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(fd), os.stat(path)):
                    return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # its holder finished and removed it between our two looks


def _begin(fd: int, path: Path, asking: dict[str, Any]) -> list[Any]:
    """The units that are kept already; a last line that a kill tore is dropped, and a new file gets its mark."""
    data = b""
    while block := os.pread(fd, 2**20, len(data)):
        data += block
    mark = MARK.encode()
    if data and not data.startswith(mark) and not (b"\n" not in data and mark.startswith(data)):
        raise UserError(_not_ours(path))
    lines = data[: data.rfind(b"\n") + 1].splitlines()
    units = [_parse(line, f"{path}, line {number}") for number, line in enumerate(lines, start=1)]
    kept = units[1:]
    if not kept:
        os.ftruncate(fd, 0)
        _write_head(fd, path, asking)
        return []
    _refuse_other_asking(path, units[0]["asking"], asking)
    os.ftruncate(fd, data.rfind(b"\n") + 1)
    return kept


def _write_head(fd: int, path: Path, asking: dict[str, Any]) -> None:
    try:
        write_bytes(fd, f"{MARK}{json.dumps(asking)}}}\n".encode())
    except OSError as error:
        with contextlib.suppress(OSError):
            path.unlink()
        raise OSError(error.errno, error.strerror, str(path)) from None


def _parse(line: bytes, where: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        raise UserError(f"{where} cannot be read; remove that file to start over") from None


def _refuse_other_asking(path: Path, old: Any, new: dict[str, Any]) -> None:
    before, now = _flat(old), _flat(new)
    keys = [key for key in sorted({*before, *now}) if before.get(key) != now.get(key)]
    if keys:
        differences = ", ".join(f"{key}: {_short(before.get(key))} -> {_short(now.get(key))}" for key in keys[:6])
        raise UserError(
            f"{path} keeps what an unfinished command was asked for otherwise ({differences}); finish it with what it "
            "was asked, name another output, or remove that file to start over"
        )


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {name: value}
    return {k: v for key, item in value.items() for k, v in _flat(item, f"{name}.{key}".lstrip(".")).items()}


def _short(value: Any) -> str:
    text = "nothing" if value is None else value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _not_ours(path: Path) -> str:
    return f"{path} is needed for what is unfinished, but stands there already and is not ours; move it away"
