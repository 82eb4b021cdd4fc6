"""Architectures that libraries are compiled for: triples, features and the compilers that link for them."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tvm.target import Target


@dataclass(frozen=True)
class Architecture:
    """One instruction set of Linux.

    Attributes:
        machine: as `platform.machine()` says it there; the plain name of `export.target`.
        cpu: LLVM's name of the least CPU.
        features: that every CPU of Linux's distributions has, by LLVM's names.
        abi: LLVM's name of the calling convention; "" is the usual one.
        flags: LLVM's name of an optional feature, to its name in /proc/cpuinfo; only what LLVM's code
            generator makes use of.
        zig: name of the platform to `zig c++`, with the glibc of TVM's wheels where there are any.
    """

    machine: str
    cpu: str
    features: tuple[str, ...] = ()
    abi: str = ""
    flags: Mapping[str, str] = field(default_factory=dict)
    zig: str = ""

    @property
    def triple(self) -> str:
        """Of LLVM, and the start of the names of GCC's cross tools."""
        return f"{self.machine}-linux-gnu"

    def target(self, cpu: str, features: tuple[str, ...], threads: int) -> Any:
        """Return TVM's target for a CPU with further features (`dotprod`)."""
        options: dict[str, Any] = {"kind": "llvm", "mcpu": cpu, "num-cores": threads}
        if self.machine != here().machine:  # otherwise LLVM's own, which names this system too
            options["mtriple"] = self.triple
        known = self.features if cpu == self.cpu else ()
        if known or features:
            options["mattr"] = [f"+{name}" for name in (*known, *features)]
        if self.abi:
            options["mabi"] = self.abi
        return Target(options)


X86_64 = Architecture(
    "x86_64",
    "x86-64",
    flags={
        "sse3": "pni", "ssse3": "ssse3", "sse4.1": "sse4_1", "sse4.2": "sse4_2", "popcnt": "popcnt",
        "avx": "avx", "avx2": "avx2", "fma": "fma", "f16c": "f16c", "bmi": "bmi1", "bmi2": "bmi2",
        "movbe": "movbe",
        "lzcnt": "abm", "adx": "adx", "avx512f": "avx512f", "avx512bw": "avx512bw", "avx512vl": "avx512vl",
        "avx512dq": "avx512dq", "avx512cd": "avx512cd", "avx512vbmi": "avx512vbmi",
        "avx512vnni": "avx512_vnni", "avx512vbmi2": "avx512_vbmi2", "avx512bitalg": "avx512_bitalg",
        "avx512vpopcntdq": "avx512_vpopcntdq", "avx512ifma": "avx512ifma", "avx512bf16": "avx512_bf16",
        "avx512fp16": "avx512_fp16", "avxvnni": "avx_vnni", "amx-tile": "amx_tile", "amx-int8": "amx_int8",
        "amx-bf16": "amx_bf16",
    },
    zig="x86_64-linux-gnu.2.28",
)  # fmt: skip
AARCH64 = Architecture(
    "aarch64",
    "generic",
    flags={
        "lse": "atomics", "rdm": "asimdrdm", "fullfp16": "fphp", "dotprod": "asimddp", "fp16fml": "asimdfhm",
        "i8mm": "i8mm", "bf16": "bf16", "sve": "sve", "sve2": "sve2", "jsconv": "jscvt",
        "complxnum": "fcma", "rcpc": "lrcpc",
    },
    zig="aarch64-linux-gnu.2.28",
)  # fmt: skip
RISCV64 = Architecture(
    "riscv64",
    "generic-rv64",
    features=("m", "a", "f", "d", "c"),
    abi="lp64d",
    flags={"v": "v", "zba": "zba", "zbb": "zbb", "zbs": "zbs", "zfh": "zfh", "zvfh": "zvfh"},
    zig="riscv64-linux-gnu.2.36",
)
ALL = (X86_64, AARCH64, RISCV64)
_OTHER_NAMES = {"AMD64": "x86_64", "arm64": "aarch64"}


def here() -> Architecture:
    """This machine's; one that we know nothing of has only its name."""
    machine = _OTHER_NAMES.get(platform.machine(), platform.machine())
    return next((one for one in ALL if one.machine == machine), Architecture(machine, "generic"))


def of(target: Any) -> Architecture:
    """A target's: of the machine in its triple, or this machine's."""
    triple = str(target.attrs.get("mtriple", ""))
    return next((one for one in ALL if triple.startswith(one.machine)), here())
