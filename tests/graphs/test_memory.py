"""That freed memory stays in the process where it was asked for, and only there."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from graphs import memory

ROOT = Path(__file__).parents[2]
glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc")
# Page faults of taking, filling and freeing 64 MB four times, after a first time.
COUNT = """
import ctypes, resource
from graphs.memory import keep_memory
{ask}
c = ctypes.CDLL(None)
c.malloc.restype, c.malloc.argtypes, c.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
def turn():
    block = c.malloc(1 << 26)
    ctypes.memset(block, 1, 1 << 26)
    c.free(block)
turn()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    turn()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(ask, **more):
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", memory.SWITCH))}
    command = [sys.executable, "-c", COUNT.format(ask=ask)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, env=env | more)
    return int(done.stdout)


@glibc
def test_freed_memory_is_not_faulted_in_again():
    assert faults("assert keep_memory()") < 100
    # A page may be of 4 KB or of 2 MB.
    assert faults("") >= 4 * (1 << 26) // (1 << 21), "an import changes nothing"


@glibc
def test_it_can_be_turned_off_and_gives_way_to_settings_of_malloc():
    many = 4 * (1 << 26) // (1 << 21)
    assert faults("assert not keep_memory()", WIRELOOM_KEEP_MEMORY="0") >= many
    assert faults("assert not keep_memory()", MALLOC_ARENA_MAX="2") >= many


def test_other_systems_do_without(monkeypatch):
    monkeypatch.setattr(memory.platform, "libc_ver", lambda: ("musl", ""))
    assert memory.keep_memory() is False
