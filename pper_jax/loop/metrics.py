"""What a run shows and keeps: ``metrics.jsonl``, and TensorBoard events by option."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pper_jax.errors import UserError
from pper_jax.files import finite


class MetricsWriter:
    """Appends one JSON object a line to ``path``; numbers also go to TensorBoard when a folder is given.

    A last line that a killed writer left torn is dropped when the file is opened.

    Raises:
        UserError: TensorBoard is asked for and its package is not installed.
    """

    def __init__(self, path: Path, *, tensorboard: Path | None = None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._board = _open_board(tensorboard) if tensorboard else None
        _drop_torn_line(path)
        self._file = path.open("a", encoding="utf-8")

    def write(self, row: dict[str, Any], step: int | None = None) -> None:
        """Append ``row``; it is on disk, for all but a power failure, when this returns.

        What is no finite number is null, for JSON has no NaN. ``step`` is where TensorBoard shows the row; the row's
        own step or round by default.
        """
        row = finite(row)
        self._file.write(json.dumps(row, allow_nan=False) + "\n")
        self._file.flush()
        if self._board:
            step = row.get("step", row.get("round", 0)) if step is None else step
            name = "/".join(str(row[key]) for key in ("event", "split", "phase") if key in row)
            for key, value in row.items():
                if isinstance(value, (int, float)) and key not in ("round", "step"):
                    self._board.add_scalar(f"{name}/{key}", value, step)

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        if self._board:
            self._board.close()


def _drop_torn_line(path: Path) -> None:
    if path.exists():
        with path.open("rb+") as file:
            file.truncate(file.read().rfind(b"\n") + 1)


def _open_board(folder: Path) -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise UserError(
            "tensorboard: true needs the package tensorboardX; install it with pip install 'pper-jax[tensorboard]'"
        ) from None
    return SummaryWriter(str(folder))
