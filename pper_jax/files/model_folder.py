"""Folders that are written whole: a model takes the place of the one before, and nothing else that lies there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from pper_jax.errors import UserError
from pper_jax.files.outputs import check_output, target_of

# what a model folder of ours holds, of this version or an earlier one
NAMES = frozenset(
    "config.json generation_config.json model.safetensors tokenizer.json tokenizer_config.json special_tokens_map.json "
    "added_tokens.json chat_template.jinja".split()
)
NOTICES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "NOTICE", "NOTICE.txt")  # go where the model goes


def check_model_folder(path: str | Path, also: Collection[str] = ()) -> None:
    """See before any work whether a model may be written to the folder ``path``.

    Args:
        path: a folder to be; it may hold a model of ours, which is replaced then.
        also: names of further files that are written with it.

    Raises:
        UserError: a file stands there, the folder cannot be made, or it holds what would be lost.
    """
    if not os.path.isdir(path):  # Path.is_dir raises for names that the system cannot bear
        check_output(path)
        target = target_of(path)
        if target.exists():
            raise UserError(f"{path}: exists and is not a model folder; give another path")
        check_output(target.with_name(f".{target.name}."))  # it is written beside
        return
    target = target_of(path)
    present = _names(target)
    if present and "config.json" not in present:
        raise UserError(f"{path}: exists and is not a model folder; give another path")
    if others := sorted(present - NAMES - {*also}):
        raise UserError(f"{path}: holds {others[0]}, which would be lost; give another path, or move it away")
    check_output(target.with_name(f".{target.name}."))  # it is written beside


def notices(path: str | Path) -> dict[str, str]:
    """The texts of the licence and notice files that lie in a model's folder, or beside its file, by name."""
    folder = Path(path) if os.path.isdir(path) else Path(path).parent
    found = {}
    for name in NOTICES:
        try:
            found[name] = (folder / name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
    return found


@contextmanager
def fresh_folder(path: str | Path) -> Iterator[Path]:
    """An empty folder that takes the place of ``path`` when the block ends well, and vanishes otherwise.

    Raises UserError as :func:`check_model_folder` does; the files of the block are those that are written.
    """
    target = target_of(path)
    check_model_folder(path, _names(target))
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as scratch:
        fresh, old = Path(scratch) / "new", Path(scratch) / "old"
        fresh.mkdir()
        yield fresh
        check_model_folder(path, _names(fresh))
        if target.exists():
            os.rename(target, old)
        try:
            os.rename(fresh, target)
        except OSError:
            if old.exists():
                os.rename(old, target)
            raise


def _names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
