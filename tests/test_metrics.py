import builtins
import io
import itertools
import json
import sys

import pytest

from pper_jax import terminal
from pper_jax.errors import UserError
from pper_jax.files import read_jsonl
from pper_jax.loop import metrics
from pper_jax.loop.metrics import MetricsWriter
from pper_jax.terminal import Progress


def test_rows_are_readable_as_soon_as_they_are_written_and_reopening_appends(tmp_path):
    path = tmp_path / "run" / "metrics.jsonl"
    writer = MetricsWriter(path)
    writer.write({"step": 1, "loss": 0.5})
    assert read_jsonl(path) == [{"step": 1, "loss": 0.5}]
    writer.close()
    again = MetricsWriter(path)
    again.write({"step": 2})
    again.close()
    assert read_jsonl(path) == [{"step": 1, "loss": 0.5}, {"step": 2}]


@pytest.mark.parametrize("torn", ['{"st', '{"step": 2}', '"é'.encode()[:-1].decode("latin-1")])
def test_a_line_that_a_kill_left_torn_is_dropped(tmp_path, torn):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n' + torn.encode("latin-1"))
    writer = MetricsWriter(path)
    writer.write({"step": 2})
    writer.close()
    assert read_jsonl(path) == [{"step": 1}, {"step": 2}]


class Board:
    def __init__(self):
        self.scalars = []

    def add_scalar(self, name, value, step):
        self.scalars.append((name, value, step))

    def close(self):
        self.scalars.append("closed")


def test_numbers_go_to_tensorboard_under_their_event_and_split(tmp_path, monkeypatch):
    board = Board()
    monkeypatch.setattr(metrics, "_open_board", lambda folder: board)
    writer = MetricsWriter(tmp_path / "metrics.jsonl", tensorboard=tmp_path / "events")
    writer.write({"event": "train", "round": 1, "step": 7, "loss": 0.5, "note": "text"})
    writer.write({"event": "eval", "round": 2, "split": "held", "pass_rate": 1.0})
    writer.close()
    assert board.scalars == [("train/loss", 0.5, 7), ("eval/held/pass_rate", 1.0, 2), "closed"]


def test_tensorboard_events_are_written(tmp_path):
    pytest.importorskip("tensorboardX")
    writer = MetricsWriter(tmp_path / "metrics.jsonl", tensorboard=tmp_path / "events")
    writer.write({"event": "train", "step": 1, "loss": 0.5})
    writer.close()
    (events,) = (tmp_path / "events").iterdir()
    assert b"train/loss" in events.read_bytes()


def test_tensorboard_without_its_package_is_one_sentence_and_leaves_no_file(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *args):
        if name.startswith("tensorboardX"):
            raise ImportError(name)
        return real(name, *args)

    monkeypatch.delitem(sys.modules, "tensorboardX", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"pip install 'pper-jax\[tensorboard\]'"):
        MetricsWriter(tmp_path / "metrics.jsonl", tensorboard=tmp_path / "events")
    assert not (tmp_path / "metrics.jsonl").exists()


@pytest.fixture
def clock(monkeypatch):
    """Each look at the clock is four seconds after the last."""
    ticks = itertools.count(0.0, 4.0)
    monkeypatch.setattr(terminal.time, "monotonic", lambda: next(ticks))


def test_without_a_terminal_progress_is_a_line_now_and_then(capsys, clock):
    with Progress("test", 8, unit="programs") as progress:  # looks at 0 and 4 s
        progress.update()  # 8: too soon
        progress.note("half right")
        progress.update()  # 12: too soon
        progress.update()  # 16, more than 10 s behind 4: a line, at 24
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "test: 3/8 programs in 24 s, 0.125 programs/s, 40 s left, half right",
        "test: 3/8 programs in 28 s, 0.107 programs/s, 47 s left, half right",
    ]


def test_a_resumed_phase_measures_its_rate_from_where_it_resumed(capsys, clock):
    with Progress("test", 10, done=8) as progress:
        progress.update(2)
    assert capsys.readouterr().err == "test: 10/10 in 12 s, 0.167/s\n"


def test_no_last_line_after_a_failure(capsys):
    with pytest.raises(RuntimeError), Progress("test", 2):
        raise RuntimeError
    assert capsys.readouterr().err == ""


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_on_a_terminal_progress_is_a_bar(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with Progress("round 1: test", 4, done=1) as progress:
        progress.update(2)
        progress.note("loss 0.5")
    assert "round 1: test" in terminal.getvalue()
    assert "3/4" in terminal.getvalue()
    assert "loss 0.5" in terminal.getvalue()


def test_rows_are_json(tmp_path):
    writer = MetricsWriter(tmp_path / "metrics.jsonl")
    writer.write({"note": "line\nend"})
    writer.close()
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == {"note": "line\nend"}
