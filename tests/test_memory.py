"""A process begins again with large blocks in huge pages where that changes anything; the user's word comes first."""

import os
import platform
import subprocess
import sys

import pytest

from pper_jax.cli import __main__ as command_line
from pper_jax.files import RunFolder
from pper_jax.loop import journal
from pper_jax.memory import SETTING, would_gain

ASKED = "always [madvise] never\n"
SCRIPT = """
import os, sys
from pathlib import Path
from pper_jax import memory
print("began", flush=True)
memory.SWITCH = Path(sys.argv[1])
memory.begin_again_in_huge_pages()
print(os.environ.get("GLIBC_TUNABLES"), sys.argv[2:])
"""


@pytest.mark.parametrize(
    ("environment", "library", "switch", "gains"),
    [
        ({}, "glibc 2.36", ASKED, True),
        ({"LANG": "C"}, "glibc 2.35", ASKED, True),
        ({}, "glibc 3.0", ASKED, True),
        ({}, "glibc 2.34", ASKED, False),
        ({}, "glibc 2.4", ASKED, False),
        ({}, "musl 1.2", ASKED, False),
        ({}, "", "", False),
        ({}, "glibc 2.36", "[always] madvise never\n", False),  # every block lies in huge pages already
        ({}, "glibc 2.36", "always madvise [never]\n", False),
        ({"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"}, "glibc 2.36", ASKED, False),
        ({"MALLOC_ARENA_MAX": "1"}, "glibc 2.36", ASKED, False),
    ],
)
def test_where_it_gains(environment, library, switch, gains):
    assert would_gain(environment, library, switch) is gains


def begun(tmp_path, switch, **variables):
    (tmp_path / "enabled").write_text(switch)
    (tmp_path / "script.py").write_text(SCRIPT)
    known = {name: value for name, value in os.environ.items() if name[:7] not in ("MALLOC_", "GLIBC_T")}
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "enabled"), "a word", "--option"]
    return subprocess.run(command, env=known | variables, capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(
    not would_gain({}, " ".join(platform.libc_ver()), ASKED),
    reason="the C library is not a glibc that knows huge pages",
)
def test_a_process_begins_again_once_with_its_arguments(tmp_path):
    assert begun(tmp_path, ASKED) == f"began\nbegan\n{SETTING} ['a word', '--option']\n"


def test_it_goes_on_as_it_is_where_nothing_is_gained(tmp_path):
    assert begun(tmp_path, "always madvise [never]\n") == "began\nNone ['a word', '--option']\n"
    mine = begun(tmp_path, ASKED, GLIBC_TUNABLES="glibc.malloc.arena_max=2")
    assert mine == "began\nglibc.malloc.arena_max=2 ['a word', '--option']\n"


@pytest.mark.parametrize("command", [*sorted(command_line.WITH_MODELS), "tasks", "test", "report"])
def test_commands_that_compute_with_a_model_begin_again(command, monkeypatch, capsys):
    begun = []
    monkeypatch.setattr(command_line, "begin_again_in_huge_pages", lambda: begun.append(command))
    monkeypatch.setattr(sys, "argv", ["pper", command, "--help"])
    with pytest.raises(SystemExit, match="0"):  # a command of that name there is
        command_line.start()
    assert capsys.readouterr().out.startswith(f"usage: pper {command}")
    assert begun == ([command] if command not in ("tasks", "test", "report") else [])


def test_memory_is_given_back_before_a_phase(tmp_path, monkeypatch):
    order = []
    monkeypatch.setattr(journal, "give_back_freed_memory", lambda: order.append("given back"))
    with journal.Onlooker(RunFolder(tmp_path), steps=1).phase(1, "train"):
        order.append("phase")
    assert order == ["given back", "phase"]


SCATTERED = """
import ctypes, resource
from pper_jax.memory import give_back_freed_memory
def held():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
def block(size):
    found = libc.malloc(size)
    ctypes.memset(found, 1, size)
    return found
size = 100_000  # below what is taken by mmap
blocks = [block(size) for _ in range(1000)]
for index in range(0, 1000, 2):  # every other one stays
    libc.free(blocks[index])
before = held()
give_back_freed_memory()
print(before - held())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_freed_memory_between_blocks_in_use_is_given_back():
    said = subprocess.run([sys.executable, "-c", SCATTERED], capture_output=True, text=True, check=True).stdout
    assert int(said) > 0.9 * 500 * (100_000 - 2 * 4096)
