"""How the C library's allocator treats memory that a process frees.

Knows glibc's `mallopt`; must not know what the memory is for.

A batch of columns is some megabytes, taken and freed for each batch. By default glibc returns such
blocks to the kernel at once, and the next batch allocates them again, with a page fault for each 4
KiB: 70,000 for a million messages, a tenth of the worker's CPU. A process that displays a job
seldom allocates such blocks: there the kept memory is the cost.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping

__all__ = ["SWITCH", "keep_freed_memory", "return_freed_memory"]

SWITCH = "EWMA_ALLOCATOR"
"""The environment variable that leaves the allocator unchanged: ``EWMA_ALLOCATOR=system``."""

_KEEP = {  # of malloc.h: what to set to how many bytes
    -1: 1 << 30,  # M_TRIM_THRESHOLD: give the end of the heap back from this much on
    -2: 64 << 20,  # M_TOP_PAD: take so much more than is asked for
    -3: 32 << 20,  # M_MMAP_THRESHOLD, at its greatest: larger blocks are the kernel's
}
_RETURN = {
    -1: 1 << 20,
    -3: 256 << 10,
    -8: 1,  # M_ARENA_MAX: one heap for all threads, which take turns in Python anyway
}
_OWN = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")
"""Variables of glibc that set the same."""


def keep_freed_memory(environment: Mapping[str, str] = os.environ) -> bool:
    """Let this process keep memory that it frees, for its next batch; return whether it does.

    Only with glibc, and unless the environment says otherwise, by `SWITCH` or a variable of glibc.
    Costs up to 64 MB of address space; only pages that were used take memory.
    """
    return _set(_KEEP, environment)


def return_freed_memory(environment: Mapping[str, str] = os.environ) -> bool:
    """Let this process give large blocks back as soon as they are free; return whether it does.

    Before threads are started, and under the same conditions as `keep_freed_memory`.
    """
    return _set(_RETURN, environment)


def _set(options: Mapping[int, int], environment: Mapping[str, str]) -> bool:
    if environment.get(SWITCH) == "system" or any(name in environment for name in _OWN):
        return False
    try:
        libc = ctypes.CDLL(None)
        _ = libc.gnu_get_libc_version  # musl and macOS lack it
        set_option = libc.mallopt
    except (AttributeError, OSError):
        return False
    return all(set_option(option, size) == 1 for option, size in options.items())
