"""Memory that was freed is used again, without the kernel's clearing it; and a setting of the user's comes first."""

import os
import subprocess
import sys

import pytest

SECOND_USE = """
import ctypes, resource, sys
from pper_jax.malloc import keep_freed_memory
kept = keep_freed_memory() if sys.argv[1] == "keep" else None
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
def use():
    block = libc.malloc(ctypes.c_size_t(64 << 20))
    ctypes.memset(block, 1, 64 << 20)
    libc.free(block)
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
use()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
needs_glibc = pytest.mark.skipif(
    "CS_GNU_LIBC_VERSION" not in getattr(os, "confstr_names", {}), reason="the C library is not glibc"
)


def second_use(word: str, **variables: str) -> tuple[str, int]:
    """What `keep_freed_memory` said, and how many pages were new in the second use of 64 MiB."""
    known = {name: value for name, value in os.environ.items() if "MALLOC" not in name and name != "GLIBC_TUNABLES"}
    said = subprocess.run(
        [sys.executable, "-c", SECOND_USE, word], env=known | variables, capture_output=True, text=True, check=True
    )
    kept, pages = said.stdout.split()
    return kept, int(pages)


@needs_glibc
def test_freed_memory_is_used_again():
    assert second_use("leave")[1] >= 32  # whole, or in huge pages of 2 MiB
    kept, pages = second_use("keep")
    assert kept == "True"
    assert pages < 8


@needs_glibc
@pytest.mark.parametrize("name", ["GLIBC_TUNABLES", "MALLOC_ARENA_MAX"])
def test_a_setting_of_the_users_comes_first(name):
    value = {"GLIBC_TUNABLES": "glibc.malloc.arena_max=2", "MALLOC_ARENA_MAX": "2"}[name]
    assert second_use("keep", **{name: value})[0] == "False"
