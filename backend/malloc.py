"""How much of the memory that is freed glibc keeps; other systems' allocators are left as they are."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


def tune(kept: int, spare: int) -> None:
    """Bound the freed memory that a process holds on to, which glibc lets grow with the largest piece there was.

    Args:
        kept: pieces of more bytes than this go back to the system at once.
        spare: most bytes of smaller ones that are kept (by each of malloc's arenas).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        mallopt(_M_MMAP_THRESHOLD, kept)
        mallopt(_M_TRIM_THRESHOLD, spare)


def trim() -> None:
    """Give all freed memory back to the system, where that is glibc's."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if malloc_trim:
        malloc_trim(0)
