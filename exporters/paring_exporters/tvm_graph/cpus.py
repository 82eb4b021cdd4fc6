"""The CPU that a library is compiled for, and what the library needs of it: checked when it is opened."""

from __future__ import annotations

import platform
from typing import Any

from tvm.target import Target
from tvm.target.codegen import llvm_get_cpu_archlist, llvm_get_cpu_features

from paring_runtimes.errors import ExportError
from paring_runtimes.suggest import near_miss

from ..tvm.target import host_target, portable_target, threads_of, usable_cores

# LLVM's name of a feature: the name in /proc/cpuinfo; those that LLVM's code generator makes use of.
CPUINFO = {
    "sse3": "pni", "ssse3": "ssse3", "sse4.1": "sse4_1", "sse4.2": "sse4_2", "popcnt": "popcnt",
    "avx": "avx", "avx2": "avx2", "fma": "fma", "f16c": "f16c", "bmi": "bmi1", "bmi2": "bmi2",
    "movbe": "movbe",
    "lzcnt": "abm", "adx": "adx", "avx512f": "avx512f", "avx512bw": "avx512bw", "avx512vl": "avx512vl",
    "avx512dq": "avx512dq", "avx512cd": "avx512cd", "avx512vbmi": "avx512vbmi", "avx512vnni": "avx512_vnni",
    "avx512vbmi2": "avx512_vbmi2", "avx512bitalg": "avx512_bitalg", "avx512vpopcntdq": "avx512_vpopcntdq",
    "avx512ifma": "avx512ifma", "avx512bf16": "avx512_bf16", "avx512fp16": "avx512_fp16",
    "avxvnni": "avx_vnni", "amx-tile": "amx_tile", "amx-int8": "amx_int8", "amx-bf16": "amx_bf16",
}  # fmt: skip


def target_for(name: str, threads: int | None) -> Any:
    """Return the target of a recipe's `export.target`.

    Args:
        name: "host", "portable", or LLVM's name of a CPU of this machine's architecture.
        threads: how many threads kernels are split for; None is the usable cores.

    Raises:
        ExportError: LLVM knows no such CPU.
    """
    if name == "host":
        return host_target(threads)
    if name == "portable":
        return portable_target(threads)
    known = [str(cpu) for cpu in llvm_get_cpu_archlist(portable_target())]
    if name not in known:
        raise ExportError(
            f"export.target: LLVM knows no CPU {name!r}{near_miss(name, known)}; host, portable or the"
            " name of a CPU such as x86-64-v3, is needed"
        )
    return Target({"kind": "llvm", "mcpu": name, "num-cores": threads or usable_cores()})


def facts_of(target: Any) -> dict[str, Any]:
    """What a library needs, for its manifest: JSON values."""
    features = {str(name) for name in llvm_get_cpu_features(target)}
    return {
        "machine": platform.machine(),
        "mcpu": str(target.attrs.get("mcpu", "generic")),
        "features": sorted(flag for name, flag in CPUINFO.items() if name in features),
        "threads": threads_of(target),
    }
