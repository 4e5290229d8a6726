"""When the compiled kernels are used, and what happens where they cannot be."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from graphs.ops import native
from graphs.ops.native import build

here = pytest.mark.skipif(build.library() is None, reason="no C compiler here")


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """A machine that has compiled nothing yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    build.library.cache_clear()
    yield tmp_path
    build.library.cache_clear()


@here
def test_it_is_compiled_once_and_kept(fresh, monkeypatch):
    assert build.library() is not None
    (made,) = (fresh / "cache" / "wireloom").iterdir()
    build.library.cache_clear()
    monkeypatch.setattr(build.subprocess, "run", None)
    assert build.library() is not None
    assert list((fresh / "cache" / "wireloom").iterdir()) == [made]


@here
def test_another_source_or_processor_is_another_library(fresh, monkeypatch):
    build.library()
    monkeypatch.setattr(build, "_cpu", lambda: "another")
    build.library.cache_clear()
    build.library()
    assert len(list((fresh / "cache" / "wireloom").iterdir())) == 2


@here
def test_a_home_that_cannot_be_written_is_no_obstacle(fresh, monkeypatch):
    (fresh / "cache").write_text("a file in its place")
    assert build.library() is not None


@here
def test_a_compiler_that_fails_is_a_warning_with_its_words(fresh, monkeypatch):
    broken = fresh / "cc"
    broken.write_text("#!/bin/sh\necho no space left >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(build.shutil, "which", lambda name: str(broken))
    with pytest.warns(UserWarning, match="were not compiled, slower ones are used: no space left"):
        assert build.library() is None
    assert not native.available(torch.float32)


@here
def test_a_damaged_library_is_made_anew(fresh):
    build.library()
    (made,) = (fresh / "cache" / "wireloom").iterdir()
    damaged = made.with_suffix(".cut")
    damaged.write_bytes(made.read_bytes()[:100])
    damaged.replace(made)
    code = "from graphs.ops.native.build import library; assert library() is not None"
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, env=env)
    assert made.stat().st_size > 1000


@here
def test_no_home_is_no_obstacle(fresh, monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(build.Path, "home", homeless)
    assert build.library() is not None


def test_it_can_be_turned_off(fresh, monkeypatch):
    monkeypatch.setenv(build.SWITCH, "0")
    assert build.library() is None


def test_other_systems_do_without(fresh, monkeypatch):
    monkeypatch.setattr(build.sys, "platform", "darwin")
    assert build.library() is None


def test_sixteen_bits_have_none():
    assert not native.available(torch.bfloat16)


@here
def test_torch_s_threads_are_the_only_ones():
    """One OpenMP library in the process: two would fight for the cores."""
    code = (
        "import torch, pathlib\nfrom graphs.ops.native.build import library\nassert library() is not None\n"
        "torch.ones(10**6).sum()\n"
        "maps = pathlib.Path('/proc/self/maps').read_text().splitlines()\n"
        "print(len({line.split()[-1] for line in maps if 'gomp' in line or 'iomp' in line}))"
    )
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert done.stdout.strip() == "1"
