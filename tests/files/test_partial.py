"""What is finished is kept beside the output, with what was asked, until all of it is done."""

import errno
import json
import os
import subprocess
import sys

import pytest

from pper_jax.errors import UserError
from pper_jax.files import finish_together, open_partial, partial, read_jsonl

ASKING = {"tasks": "ab12", "options": {"beams": 2, "max_new_tokens": 48}}


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out.jsonl"


def keep(out, *units, asking=ASKING):
    with open_partial(out, asking) as work:
        for unit in units:
            work.append(unit)


def units(out, asking=ASKING):
    with open_partial(out, asking) as work:
        return work.units


def test_finished_units_are_kept_beside_the_output_which_is_not_touched(out):
    out.write_text("old\n")
    keep(out, [{"a": 1}, {"a": 2}], [])
    assert out.read_text() == "old\n"
    assert units(out) == [[{"a": 1}, {"a": 2}], []]
    with open_partial(out, ASKING) as work:
        finish_together([(work, [{"all": 1}])])
    assert read_jsonl(out) == [{"all": 1}]
    assert [path.name for path in out.parent.iterdir()] == ["out.jsonl"]


def test_another_asking_is_told_what_differs_and_changes_nothing(out):
    keep(out, [{"a": 1}])
    before = {path: path.read_bytes() for path in out.parent.iterdir()}
    other = {"tasks": "cd" * 400, "options": {"beams": 2, "max_new_tokens": 5000}}
    with pytest.raises(UserError) as caught:
        units(out, other)
    sentence = str(caught.value)
    assert "options.max_new_tokens: 48 -> 5000" in sentence
    assert "tasks: ab12 -> cdcd" in sentence
    assert "beams" not in sentence
    assert len(sentence) < 600
    assert {path: path.read_bytes() for path in out.parent.iterdir()} == before
    assert units(out) == [[{"a": 1}]]


def test_what_a_kill_tore_is_dropped_and_the_rest_kept(out):
    keep(out, [{"a": 1}], [{"a": 2}])
    kept = out.with_name("out.jsonl.partial")
    whole = kept.read_bytes()
    first = whole.index(b"\n") + 1
    for cut in range(first + 1, len(whole)):
        kept.write_bytes(whole[:cut])
        assert units(out) == [[{"a": 1}], [{"a": 2}]][: whole[first:cut].count(b"\n")]
        kept.write_bytes(whole)


def test_a_file_torn_before_anything_was_kept_begins_anew_with_any_asking(out):
    keep(out, [{"a": 1}])
    kept = out.with_name("out.jsonl.partial")
    head = kept.read_bytes().split(b"\n")[0] + b"\n"
    for cut in (0, 1, 10, len(head)):
        kept.write_bytes(head[:cut])
        assert units(out, {"other": 1}) == []
        assert not kept.exists()


@pytest.mark.parametrize("text", ["mine", "mine\n", '{"pper_jax": 1}\n', "{}\n[]\n"])
def test_a_file_of_that_name_that_is_not_ours_is_not_touched(out, text):
    theirs = out.with_name("out.jsonl.partial")
    theirs.write_text(text)
    with pytest.raises(UserError, match="not ours"):
        units(out)
    assert theirs.read_text() == text


def test_neither_is_a_folder_a_link_or_a_pipe(out):
    theirs = out.with_name("out.jsonl.partial")
    (out.parent / "precious").write_text("")
    for make in (theirs.mkdir, lambda: theirs.symlink_to("precious"), lambda: os.mkfifo(theirs)):
        make()
        with pytest.raises(UserError, match="not ours"):
            units(out)
        theirs.rmdir() if theirs.is_dir() else theirs.unlink()
    assert (out.parent / "precious").read_text() == ""


def test_a_command_that_finished_nothing_leaves_nothing(out):
    with pytest.raises(UserError, match="a prompt too long"), open_partial(out, ASKING):
        raise UserError("a prompt too long")
    assert not list(out.parent.iterdir())


def test_a_full_disk_loses_nothing_that_was_finished(out, monkeypatch):
    with open_partial(out, ASKING) as work:
        work.append([{"a": 1}])

        def no_room(fd, data):
            os.write(fd, data[:5])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(partial, "write_bytes", no_room)
        with pytest.raises(OSError, match="No space left") as caught:
            work.append([{"a": 2}])
        assert caught.value.filename == str(work.path)
        monkeypatch.undo()
        work.append([{"a": 3}])
    assert units(out) == [[{"a": 1}], [{"a": 3}]]


def test_two_commands_on_one_output_do_not_mix_and_a_killed_one_holds_nothing(out):
    code = (
        "import os, sys; from pper_jax.files import open_partial\n"
        f"with open_partial(sys.argv[1], {ASKING!r}) as work:\n"
        "    work.append([{'a': 1}]); print(flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(out)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    other.stdout.readline()
    with pytest.raises(UserError, match="another process"):
        units(out)
    other.kill()
    other.communicate()
    assert units(out) == [[{"a": 1}]]


def test_a_link_and_its_target_are_one_output(out):
    link = out.parent / "link"
    link.symlink_to(out)
    keep(link, [{"a": 1}])
    assert units(out) == [[{"a": 1}]]


def test_a_device_keeps_nothing_and_gets_everything(capfd):
    with open_partial("/dev/stdout", ASKING) as work:
        work.append([{"a": 1}])
        finish_together([(work, work.units[0])])
    assert json.loads(capfd.readouterr().out) == {"a": 1}
