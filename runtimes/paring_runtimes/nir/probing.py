"""Whether libhdf5 survives a file: damaged ones make it loop without end, or crash, and no thread can stop
it.

Such a file is read once in a process of its own, which may hang or die. A file of an artifact, whose SHA-256
is that of the manifest beside it, needs none.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path

from paring_runtimes.artifact import read_manifest, sha256_of
from paring_runtimes.errors import ParingError
from paring_runtimes.manifest import FILE_NAME

from .errors import NirRefused

START_S = 10.0  # of processor time, to start Python with numpy and h5py
BYTES_EACH_S = 20e6  # packed ones, on a slow processor
WAITING = 30  # how much longer it may take by the clock, on a busy machine
OUT_OF_TIME = [-int(getattr(signal, name)) for name in ("SIGXCPU", "SIGKILL") if hasattr(signal, name)]
PROBE = (
    "import sys; sys.path[:] = sys.argv[3:]; from paring_runtimes.nir.probing import attempt;"
    " attempt(sys.argv[1], int(sys.argv[2]))"
)


def probe(file: Path, limit_s: float | None = None) -> None:
    """Read `file` in a process of its own. What is wrong with it otherwise is left to who reads it next.

    Does nothing where no Python can be started by itself, in a program that was frozen into one file.

    Args:
        file: what will be read.
        limit_s: seconds of processor time; None allows some for every byte.

    Raises:
        NirRefused: reading does not end, or crashes.
    """
    if not sys.executable or getattr(sys, "frozen", False):
        return
    allowed = math.ceil(START_S + file.stat().st_size / BYTES_EACH_S if limit_s is None else limit_s)
    command = [sys.executable, "-c", PROBE, os.fspath(file), str(allowed), *sys.path]
    endless = f"a damaged HDF5 file: reading it does not end within {allowed} s"
    try:
        ended = subprocess.run(command, capture_output=True, timeout=allowed * WAITING, check=False)
    except subprocess.TimeoutExpired:
        raise NirRefused(endless) from None
    if ended.returncode in OUT_OF_TIME:
        raise NirRefused(endless)
    if ended.returncode != 0:
        raise NirRefused(f"a damaged HDF5 file: reading it ends the process (code {ended.returncode})")


def attempt(path: str, limit_s: int) -> None:
    """Read `path`, whether it is right or not, in this process, which ends when its time is over."""
    from .reading import read

    with contextlib.suppress(ImportError, AttributeError):  # Windows has no such limit
        resource = import_module("resource")
        resource.setrlimit(resource.RLIMIT_CPU, (limit_s, limit_s + 1))
    with contextlib.suppress(Exception):  # who reads it next meets it again, and tells it
        read(path, own=True)


def vouched_for(file: Path) -> bool:
    """Whether the manifest beside `file` names it with the SHA-256 that it has."""
    if not (file.parent / FILE_NAME).is_file():
        return False
    try:
        named = read_manifest(file.parent).files
    except ParingError:
        return False
    return file.name in named and sha256_of(file) == named[file.name]
