"""Keeps freed memory in the process, for commands that train on a CPU. No torch."""

import ctypes
import os
import platform

SWITCH = "WIRELOOM_KEEP_MEMORY"
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h
MOST = 2**31 - 1  # mallopt takes an int


def keep_memory() -> bool:
    """Have malloc keep what is freed and take tensors of up to 2 GB from it; False where it was not changed.

    By default glibc gives a large block back to the system when it is freed, and every step faults it in again, page
    by page: a training step makes and frees the same tensors, so a tenth of it may go there. The process then holds on
    to its peak. For Linux with glibc; not where the environment has ``WIRELOOM_KEEP_MEMORY=0``, or settings of malloc
    of its own (``MALLOC_...``). Only a program may ask for it, never a library that is imported.
    """
    chosen = any(name.startswith("MALLOC_") for name in os.environ)
    if os.environ.get(SWITCH) == "0" or chosen or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all([mallopt(_MMAP_THRESHOLD, MOST) == 1, mallopt(_TRIM_THRESHOLD, MOST) == 1])
