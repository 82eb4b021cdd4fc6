"""Files in the page cache: how much of them is there, and how to drop it (Linux)."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Sequence
from pathlib import Path


def drop(files: Sequence[Path]) -> None:
    """Ask the system to forget the pages of files; it keeps what is mapped or lies in memory alone."""
    for file in files:
        handle = os.open(file, os.O_RDONLY)
        try:
            os.fsync(handle)  # pages that wait to be written cannot be dropped
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)


def cached_share(files: Sequence[Path]) -> float:
    """Return how much of the files is in the page cache, by pages, 0 to 1.

    Raises:
        OSError: the system does not tell.
    """
    held = total = 0
    for file in files:
        if file.stat().st_size:
            inside, pages = _resident(file)
            held, total = held + inside, total + pages
    return held / max(total, 1)


def why_not() -> str | None:
    """Return why pages cannot be dropped here, or None."""
    if not hasattr(os, "posix_fadvise"):
        return "this system has no posix_fadvise, which drops a file's pages"
    return None


def _resident(file: Path) -> tuple[int, int]:
    """Return how many pages of a file are in memory, and how many it has; by mincore(2)."""
    library = ctypes.CDLL(None, use_errno=True)
    library.mmap.restype = ctypes.c_void_p
    library.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long)
    library.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    library.mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
    size = file.stat().st_size
    pages = -(-size // mmap.PAGESIZE)
    handle = os.open(file, os.O_RDONLY)
    try:
        where = library.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, handle, 0)
    finally:
        os.close(handle)
    if where == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), f"{file}: cannot be mapped")
    try:
        told = (ctypes.c_ubyte * pages)()
        if library.mincore(where, size, told) != 0:
            raise OSError(ctypes.get_errno(), f"{file}: the system does not tell its pages")
        return sum(byte & 1 for byte in told), pages
    finally:
        library.munmap(where, size)
