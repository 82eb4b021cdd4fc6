"""Which CPU a kernel is compiled for, and which of its instructions the kernel may use.

LLVM names the host's CPU from its family and model. A hypervisor can hide some of that CPU's features,
so those that the operating system does not list are switched off in the target.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import tvm
from tvm.target import Target
from tvm.target.codegen import llvm_get_system_cpu, target_has_features

from paring_runtimes.errors import ExportError

# LLVM's name of a feature: the name in /proc/cpuinfo.
_LISTED = {
    "avx2": "avx2",
    "avx512f": "avx512f",
    "avx512bw": "avx512bw",
    "avx512vl": "avx512vl",
    "avx512vbmi": "avx512vbmi",
    "avx512vnni": "avx512_vnni",
    "avx512bitalg": "avx512_bitalg",
    "avx512vpopcntdq": "avx512_vpopcntdq",
}
# Byte tables of 64 entries and dot products of four bytes, 512 bits wide.
VNNI = ("avx512f", "avx512bw", "avx512vbmi", "avx512vnni")
# Population counts of 32- and 64-bit words, 512 bits wide.
POPCOUNT = ("avx512f", "avx512vpopcntdq")


def host_target(threads: int | None = None) -> Any:
    """Return the target of this machine's CPU, with all features that it has.

    Args:
        threads: how many threads kernels are split for; by default one a usable core.
    """
    cpu = llvm_get_system_cpu()
    listed = _cpuinfo_flags()
    plain = Target({"kind": "llvm", "mcpu": cpu})
    hidden = [f"-{name}" for name in _hidden(plain, listed)]
    return Target({"kind": "llvm", "mcpu": cpu, "num-cores": threads or usable_cores(), "mattr": hidden})


def portable_target(threads: int | None = None) -> Any:
    """Return a target of this machine's architecture that asks for no optional feature."""
    return Target({"kind": "llvm", "num-cores": threads or usable_cores()})


def has(target: Any, *features: str) -> bool:
    """Whether an LLVM target has every one of these features (LLVM's names: `avx512vnni`)."""
    return target.kind.name == "llvm" and bool(target_has_features(list(features), target))


def threads_of(target: Any) -> int:
    """How many threads kernels for this target are split for."""
    return int(target.attrs.get("num-cores", 1))


def describe(target: Any) -> str:
    """Return one line that names CPU, missing features and threads: the key of stored measurements."""
    cpu = target.attrs.get("mcpu", "generic")
    missing = "".join(sorted(str(name) for name in target.attrs.get("mattr", [])))
    return f"{cpu}{missing}, {threads_of(target)} threads"


def usable_cores() -> int:
    """How many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_version() -> None:
    """Raise ExportError unless TVM is 0.27 or newer: its modules moved before."""
    major, minor = (int(part) for part in tvm.__version__.split(".")[:2])
    if (major, minor) < (0, 27):
        raise ExportError(f"TVM: {tvm.__version__} is installed, 0.27 or newer is needed")


def _hidden(target: Any, listed: frozenset[str]) -> list[str]:
    """Return features that LLVM gives the CPU and the operating system does not list."""
    if not listed:
        return []
    return [name for name, flag in _LISTED.items() if flag not in listed and has(target, name)]


@functools.cache
def _cpuinfo_flags() -> frozenset[str]:
    """Return the flags of the first processor in /proc/cpuinfo; none where there is no such file."""
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return frozenset()
    lines = path.read_text().splitlines()
    return frozenset(next((line.split(":")[1] for line in lines if line.startswith("flags")), "").split())
