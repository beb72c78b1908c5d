"""Outputs: a file is written whole or not at all, through links, and never over a device or an input."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import stat
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pper_jax.errors import UserError
from pper_jax.files.run_folder import is_run_file

LINKS = 40  # that one name may lead through
STANDARD = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}


def write_bytes(fd: int, data: bytes) -> None:
    """Every byte that this room writes goes through here."""
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]


Content = str | bytes | Iterable[bytes]


def write_atomic(path: str | Path, data: Content) -> None:
    """Write ``data`` so that a reader, or a run that resumes, sees all of it or what stood there before.

    Parts of an iterable are written as they come and never held together. A link stays and its target is replaced, with
    the permissions that it had; a device, pipe or standard stream is written straight. Raises OSError, which names
    ``path``; nothing is left behind then.
    """
    write_together({Path(path): data})


def write_together(contents: Mapping[Path, Content]) -> None:
    """:func:`write_atomic` of several files: none takes its place before all of them are on the disk."""
    staged: list[tuple[str, Path]] = []
    path = Path()
    try:
        for path, data in contents.items():
            if isinstance(data, str):
                data = data.encode()
            parts = [data] if isinstance(data, bytes) else data
            if is_stream(path):
                _write_straight(path, parts)
            else:
                _stage(path, parts, staged)
        while staged:
            os.replace(*staged[0])
            staged.pop(0)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        for temporary, _ in staged:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def write_json(path: str | Path, data: Any) -> None:
    """Write ``data`` as indented JSON, atomically."""
    write_atomic(path, json.dumps(data, indent=2) + "\n")


def target_of(path: str | Path) -> Path:
    """The file that ``path`` names, through links; it need not exist."""
    return Path(os.path.realpath(path))


def is_stream(path: str | Path) -> bool:
    """Whether ``path`` is a device, a pipe, a socket or an open stream: what is written, but never replaced."""
    end = _end_of(path)
    if _descriptor(end) is not None:
        return True
    try:
        mode = end.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def check_output(path: str | Path, inputs: Sequence[str | Path | None] = ()) -> None:
    """See before any work whether ``path`` can be written, and that this destroys nothing that is read.

    Args:
        path: where an output is to go.
        inputs: files and folders that the command reads; names that do not exist are passed over.

    Raises:
        UserError: a folder stands there, its folder cannot be made or written, it is write-protected, it is one of
            the inputs (through links too), a file of a model folder that is read, or a run's own.
    """
    try:
        reason = _why_not(Path(path), [Path(name) for name in inputs if name is not None])
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
    if not str(path):
        reason = "it has no name"
    if reason:
        raise UserError(f"cannot write {_cut(path)}: {reason}; name another file")


def _why_not(path: Path, inputs: Sequence[Path]) -> str | None:
    if is_stream(path):
        return None if os.access(path, os.W_OK) else "it may not be written"
    target = target_of(path)
    if target.is_dir():
        return "it is a folder"
    for name in inputs:
        if name.exists() and target.exists() and _is_read(target, name):
            return f"it is what is read ({_cut(name)})"
    if is_run_file(target):
        return "it belongs to a run"
    return _why_folder_cannot(target)


def _why_folder_cannot(target: Path) -> str | None:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        os.stat(target.with_name(target.name + "." * 8))  # room for the name of a partial file
    if target.exists() and not os.access(target, os.W_OK):
        return "it is write-protected"
    folder = _standing(target.parent)
    if not folder.is_dir():
        return f"{_cut(folder)} is no folder"
    return None if os.access(folder, os.W_OK | os.X_OK) else f"the folder {_cut(folder)} may not be written"


def _is_read(target: Path, name: Path) -> bool:
    if name.is_dir():  # of a model; rows that a user keeps beside it are none of its files
        return target.parent.samefile(name) and (name / "config.json").exists() and target.suffix != ".jsonl"
    return target.samefile(name)


def _standing(path: Path) -> Path:
    """``path``, or the nearest folder above it that exists."""
    while not os.path.lexists(path) and path != path.parent:
        path = path.parent
    return path


def _cut(value: object) -> str:
    text = str(value)
    return text if len(text) <= 200 else text[:100] + "..." + text[-50:]


def _end_of(path: str | Path) -> Path:
    """Where ``path`` leads, link by link, but not through an open stream (which may itself be a file)."""
    end = Path(path)
    for _ in range(LINKS):
        end = Path(os.path.realpath(end.parent)) / end.name
        if _descriptor(end) is not None or not end.is_symlink():
            return end
        end = end.parent / os.readlink(end)
    raise OSError(40, "too many links", str(path))


def _descriptor(path: Path) -> int | None:
    """The number of the open stream that ``path`` names (``/dev/stdout``, ``/proc/self/fd/3``)."""
    text = str(path)
    if text in STANDARD:
        return STANDARD[text]
    return int(path.name) if str(path.parent) == f"/proc/{os.getpid()}/fd" and path.name.isdigit() else None


def _write_straight(path: Path, parts: Iterable[bytes]) -> None:
    number = _descriptor(_end_of(path))
    if number in (1, 2):
        (sys.stdout if number == 1 else sys.stderr).flush()
    fd = os.open(path, os.O_WRONLY) if number is None else os.dup(number)
    try:
        for part in parts:
            write_bytes(fd, part)
    finally:
        os.close(fd)


def _stage(path: Path, parts: Iterable[bytes], staged: list[tuple[str, Path]]) -> None:
    """Write ``parts`` to a file beside the target, under a name that nobody guesses, and note both in ``staged``."""
    target = target_of(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = str(target.parent / f".pper-{secrets.token_hex(12)}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
    staged.append((temporary, target))
    try:
        with contextlib.suppress(FileNotFoundError, PermissionError):
            old = target.stat()
            with contextlib.suppress(PermissionError):
                os.fchown(fd, old.st_uid, old.st_gid)
            os.fchmod(fd, stat.S_IMODE(old.st_mode))
        for part in parts:
            write_bytes(fd, part)
        os.fsync(fd)
    finally:
        os.close(fd)
