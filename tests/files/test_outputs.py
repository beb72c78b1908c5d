"""A file is written whole or not at all, through links, and never over a device or an input."""

import errno
import gzip
import os
import stat
import subprocess
import sys
import threading

import pytest

from pper_jax.errors import UserError
from pper_jax.files import check_output, outputs, parse_jsonl, write_atomic, write_together


@pytest.fixture
def full_disk(monkeypatch):
    def no_room(fd, data):
        os.write(fd, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(outputs, "write_bytes", no_room)


def test_a_link_stays_and_its_target_is_replaced(tmp_path):
    target, link = tmp_path / "far" / "target", tmp_path / "link"
    target.parent.mkdir()
    target.write_text("old")
    link.symlink_to(target)
    write_atomic(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"


def test_a_link_to_nothing_makes_its_target(tmp_path):
    (tmp_path / "link").symlink_to("made")
    write_atomic(tmp_path / "link", "new")
    assert (tmp_path / "made").read_text() == "new"


def test_a_device_is_written_and_stays_a_device(tmp_path):
    write_atomic("/dev/null", "gone")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_a_pipe_is_written_and_stays_a_pipe(tmp_path):
    pipe, heard = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: heard.append(pipe.read_text()))
    reader.start()
    write_atomic(pipe, "through")
    reader.join()
    assert heard == ["through"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_standard_output_that_is_a_file_is_written_in_turn_with_what_is_printed(tmp_path):
    code = "from pper_jax.files import write_atomic as w; print('before'); w('/dev/stdout', 'rows\\n'); print('after')"
    with (tmp_path / "out").open("w") as out:
        subprocess.run([sys.executable, "-c", code], stdout=out, check=True)
    assert (tmp_path / "out").read_text() == "before\nrows\nafter\n"


def test_nothing_of_the_users_is_taken_for_a_temporary_file(tmp_path):
    for name in ("out.tmp", "out.part", ".out.tmp"):
        (tmp_path / name).write_text("mine")
    write_atomic(tmp_path / "out", "new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "out": "new", "out.tmp": "mine", "out.part": "mine", ".out.tmp": "mine",
    }  # fmt: skip


def test_a_full_disk_leaves_what_stood_there_and_nothing_else(tmp_path, full_disk):
    for name in ("one", "two"):
        (tmp_path / name).write_text("old")
    with pytest.raises(OSError, match="No space left") as caught:
        write_together({tmp_path / "one": "new", tmp_path / "two": "new"})
    assert caught.value.filename == str(tmp_path / "one")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"one": "old", "two": "old"}


def test_of_outputs_that_belong_together_none_changes_when_one_cannot_be_written(tmp_path):
    (tmp_path / "one").write_text("old")
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):  # noqa: PT011
        write_together({tmp_path / "one": "new", tmp_path / "file" / "two": "new"})
    assert (tmp_path / "one").read_text() == "old"


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o755])
def test_permissions_are_those_of_the_file_before(tmp_path, mode):
    out = tmp_path / "out"
    out.write_text("old")
    out.chmod(mode)
    write_atomic(out, "new")
    assert stat.S_IMODE(out.stat().st_mode) == mode


def test_a_new_file_has_the_permissions_that_any_new_file_has(tmp_path):
    (tmp_path / "plain").write_text("")
    write_atomic(tmp_path / "out", "new")
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "plain").stat().st_mode


def model(folder):
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "rows.jsonl"):
        (folder / name).write_text("{}")
    return folder


def run_folder(folder):
    (folder / "samples").mkdir(parents=True)
    (folder / ".pper-run").write_text("")
    (folder / "metrics.jsonl").write_text("")
    return folder


def test_an_output_that_is_an_input_is_refused_through_links_too(tmp_path):
    tasks, link, hard = tmp_path / "tasks.jsonl", tmp_path / "link", tmp_path / "hard"
    tasks.write_text("{}\n")
    link.symlink_to(tasks)
    os.link(tasks, hard)
    for out in (tasks, link, hard, tmp_path / "." / "tasks.jsonl"):
        with pytest.raises(UserError, match="is what is read"):
            check_output(out, [None, "micro", tasks])
    with pytest.raises(UserError, match="is what is read"):
        check_output(tasks, [link])
    check_output(tmp_path / "other", [tasks])


def test_a_file_of_a_model_or_of_a_run_is_no_output(tmp_path):
    folder, run = model(tmp_path / "model"), run_folder(tmp_path / "run")
    for out in (folder / "config.json", folder / "model.safetensors"):
        with pytest.raises(UserError, match="is what is read"):
            check_output(out, [folder])
    for out in (run / "metrics.jsonl", run / "config.yaml", run / "samples" / "round_001.jsonl", run / "model" / "x"):
        with pytest.raises(UserError, match="belongs to a run"):
            check_output(out)
    check_output(folder / "rows.jsonl", [folder])
    check_output(run / "mine.jsonl", [run])


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "no name"),
        ("folder", "it is a folder"),
        ("file/out", "is no folder"),
        ("file/deeper/out", "is no folder"),
        ("x" * 250, "too long"),
        ("nul\0", "null"),
        ("loop", "too many"),
    ],
)
def test_what_cannot_be_written_is_known_before_work_begins(tmp_path, monkeypatch, name, reason):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(UserError, match=f"cannot write .*{reason}") as caught:
        check_output(name)
    assert len(str(caught.value)) < 400
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder", "loop"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_leave_to_write_is_refused(tmp_path):
    (tmp_path / "closed").mkdir(mode=0o555)
    with pytest.raises(UserError, match="may not be written"):
        check_output(tmp_path / "closed" / "new" / "out")


def test_folders_that_can_be_made_and_devices_are_outputs(tmp_path):
    for out in (tmp_path / "a" / "b" / "out", "/dev/null", "/dev/stdout"):
        check_output(out)
    assert not list(tmp_path.iterdir())


def test_parts_are_written_as_they_come_and_all_or_nothing(tmp_path):
    path = tmp_path / "rows"

    def parts(good):
        for number in range(3):
            yield f"{number}\n".encode()
            assert path.read_text() == "old"  # until the last part is there
        if not good:
            raise UserError("the source ends in the middle")

    path.write_text("old")
    with pytest.raises(UserError, match="in the middle"):
        write_atomic(path, parts(good=False))
    assert [child.name for child in tmp_path.iterdir()] == ["rows"]
    assert path.read_text() == "old"
    write_atomic(path, parts(good=True))
    assert path.read_text() == "0\n1\n2\n"


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_lines_are_read_one_by_one_and_every_byte_is_told_of(tmp_path, name):
    text = "\ufeff[1]\r\n\n" + "[2]\n" * 4000 + "[3]"
    data = gzip.compress(text.encode()) if name.endswith("gz") else text.encode()
    (tmp_path / name).write_bytes(data)
    told = []
    rows = parse_jsonl(tmp_path / name, told=told.append)
    assert next(rows) == (1, [1])
    assert sum(told) < len(data) or name.endswith("gz")
    assert [number for number, _ in rows] == [*range(3, 4004)]
    assert sum(told) == len(data)
