"""Compiles ``kernels.c`` once for this machine and loads it; the parallel loops run in torch's own threads."""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import warnings
from functools import lru_cache
from pathlib import Path

import torch

HERE = Path(__file__).parent
SWITCH = "WIRELOOM_NATIVE"
_ONE_AT_A_TIME = threading.Lock()
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
    with _ONE_AT_A_TIME:
        try:
            # Ours asks for the OpenMP library by the name under which torch has loaded its own: one set of threads.
            built = _built(compiler, again=False)
            try:
                return ctypes.CDLL(str(built))
            except OSError:  # a damaged file is made anew, once
                return ctypes.CDLL(str(_built(compiler, again=True)))
        except (OSError, subprocess.SubprocessError) as error:
            said = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else str(error)
            warnings.warn(f"kernels for this CPU were not compiled, slower ones are used: {said}", stacklevel=2)
            return None


def _built(compiler: str, *, again: bool) -> Path:
    """The library in the user's cache, compiled if this source on this CPU has not been."""
    sources = [HERE / "kernels.c", *sorted(HERE.glob("*.h"))]
    options = " ".join((*FLAGS, *LINK)).encode()
    seen = b"\0".join([*(path.read_bytes() for path in sources), options, _cpu().encode()])
    target = _folder() / f"kernels-{hashlib.sha256(seen).hexdigest()[:16]}.so"
    if again or not target.exists():
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            made = Path(scratch) / "kernels.so"
            command = [compiler, *FLAGS, *LINK, str(sources[0]), "-lm", "-o", str(made)]
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
            made.replace(target)  # whole or not there, whoever else compiles it now
    return target


def _folder() -> Path:
    """The user's cache; a folder of this process alone where there is no home or it cannot be written."""
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wireloom"
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK | os.X_OK):
            return folder
    except (OSError, RuntimeError):
        pass
    return Path(tempfile.mkdtemp(prefix="wireloom-"))


def _cpu() -> str:
    """What the compiled code depends on: a cache may be shared by machines."""
    flags = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith(("flags", "Features"))]
    return f"{platform.machine()} {flags[0] if flags else ''}"
