"""Compiles ``kernels.c`` once for this machine and loads it; the parallel loops run in torch's own threads."""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import warnings
from functools import lru_cache
from pathlib import Path

import torch

HERE = Path(__file__).parent
SWITCH = "WIRELOOM_NATIVE"
FLAGS = ("-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math")
LINK = ("-fopenmp", "-fPIC", "-shared")


@lru_cache(maxsize=1)
def library() -> ctypes.CDLL | None:
    """The compiled kernels, or None where they are not used.

    They are on Linux where a C compiler (``cc``) and the OpenMP library that torch brings are found, unless the
    environment has ``WIRELOOM_NATIVE=0``. A compiler that fails is a warning with what it said.
    """
    compiler = shutil.which("cc")
    shared = Path(torch.__file__).parent / "lib" / "libgomp.so.1"
    if os.environ.get(SWITCH) == "0" or sys.platform != "linux" or compiler is None or not shared.exists():
        return None
    try:
        # The name under which torch has loaded its OpenMP library is the one that ours asks for: one set of threads.
        return ctypes.CDLL(str(_built(compiler)))
    except (OSError, subprocess.SubprocessError) as error:
        said = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else str(error)
        warnings.warn(f"kernels for this CPU were not compiled, slower ones are used: {said}", stacklevel=2)
        return None


def _built(compiler: str) -> Path:
    """The library in the user's cache, compiled if this source on this CPU has not been."""
    sources = [HERE / "kernels.c", HERE / "kernels.h"]
    seen = b"\0".join([*(path.read_bytes() for path in sources), " ".join((*FLAGS, *LINK)).encode(), _cpu().encode()])
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wireloom"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix="wireloom-"))
    target = folder / f"kernels-{hashlib.sha256(seen).hexdigest()[:16]}.so"
    if not target.exists():
        made = target.with_suffix(f".{os.getpid()}.so")
        command = [compiler, *FLAGS, *LINK, str(sources[0]), "-o", str(made)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
            made.replace(target)  # whole or not there, whoever else compiles it now
        finally:
            made.unlink(missing_ok=True)
    return target


def _cpu() -> str:
    """What the compiled code depends on: a cache may be shared by machines."""
    flags = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith(("flags", "Features"))]
    return f"{platform.machine()} {flags[0] if flags else ''}"
