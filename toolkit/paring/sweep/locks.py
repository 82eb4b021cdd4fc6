"""Who may use the machine, and who the sweep's folder: locks that the system takes back when one is killed.

A measurement has the machine to itself; conversions share it with each other. One who waits to measure keeps
newcomers out, so that conversions in turn cannot keep him waiting for ever.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from paring_runtimes.errors import OutputError

from .waits import waiting

if os.name != "nt":
    import fcntl


def _place() -> Path:
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
    return Path(tempfile.gettempdir()) / f"paring-sweep-{user}.lock"


@contextmanager
def converting() -> Iterator[None]:
    """Inside, nobody measures on this machine."""
    with _held(_place().with_suffix(".door"), exclusive=True):
        entered = _held(_place(), exclusive=False)
        entered.__enter__()
    try:
        yield
    finally:
        entered.__exit__(None, None, None)


@contextmanager
def measuring() -> Iterator[None]:
    """Inside, no other sweep of this user converts or measures on this machine."""
    with _held(_place().with_suffix(".door"), exclusive=True), _held(_place(), exclusive=True):
        yield


@contextmanager
def folder_of_one(folder: Path) -> Iterator[None]:
    """Inside, no other process runs the sweep of this folder.

    Raises:
        OutputError: one does.
    """
    with _held(folder / ".lock", exclusive=True, wait=False):
        yield


@contextmanager
def _held(file: Path, exclusive: bool, wait: bool = True) -> Iterator[None]:
    """`file` locked. Windows has no such locks: there, sweeps on one machine must not overlap."""
    handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if os.name != "nt":
            kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
            try:
                fcntl.flock(handle, kind | fcntl.LOCK_NB)
            except BlockingIOError:
                if not wait:
                    raise OutputError(
                        f"{file.parent}: another process runs this sweep: wait for it"
                    ) from None
                with waiting():
                    fcntl.flock(handle, kind)
        yield
    finally:
        os.close(handle)
