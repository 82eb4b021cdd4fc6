"""The CPU that a library is compiled for, and what the library needs of it: checked when it is opened."""

from __future__ import annotations

from typing import Any

from tvm.target import Target
from tvm.target.codegen import llvm_get_cpu_archlist, llvm_get_cpu_features

from paring_runtimes.errors import ExportError
from paring_runtimes.suggest import near_miss

from ..tvm.target import host_target, portable_target, threads_of, usable_cores
from .architectures import ALL, Architecture, here, of

_RIGHT = (
    "host, portable, aarch64, riscv64, or the name of a CPU such as x86-64-v3 or cortex-a76, is needed;"
    " +FEATURE may follow all but the first two"
)


def target_for(name: str, threads: int | None) -> Any:
    """Return the target of a recipe's `export.target`.

    Args:
        name: "host", "portable", an architecture ("aarch64", "riscv64", "x86_64") or LLVM's name of a CPU;
            after the last two "+FEATURE" adds a feature by LLVM's name, as in "aarch64+dotprod".
        threads: how many threads kernels are split for; None is the usable cores.

    Raises:
        ExportError: LLVM knows no such CPU, or it has no such feature.
    """
    if name == "host":
        return host_target(threads)
    if name == "portable":
        return portable_target(threads)
    cpu, *features = name.split("+")
    architecture = _architecture(cpu)
    chosen = architecture.cpu if cpu == architecture.machine else cpu
    # The plain target first: LLVM itself only warns of features that it does not know.
    _check(features, architecture, chosen)
    return architecture.target(chosen, tuple(features), threads or usable_cores())


def _architecture(cpu: str) -> Architecture:
    """Of a name; names that several know, such as generic, are this machine's."""
    plain = next((one for one in ALL if one.machine == cpu), None)
    if plain is not None:
        return plain
    known: list[str] = [one.machine for one in ALL]
    for architecture in (here(), *ALL):
        names = [str(one) for one in llvm_get_cpu_archlist(_plain(architecture))]
        if cpu in names:
            return architecture
        known += names
    raise ExportError(f"export.target: LLVM knows no CPU {cpu!r}{near_miss(cpu, known)}; {_RIGHT}")


def _check(features: list[str], architecture: Architecture, cpu: str) -> None:
    for feature in features:
        if feature not in architecture.flags:
            raise ExportError(
                f"export.target: {architecture.machine} has no feature {feature!r}"
                f"{near_miss(feature, architecture.flags)}; known: {', '.join(sorted(architecture.flags))}"
            )


def _plain(architecture: Architecture) -> Any:
    return Target({"kind": "llvm", "mtriple": architecture.triple})


def facts_of(target: Any) -> dict[str, Any]:
    """What a library needs, for its manifest: JSON values."""
    features = {str(name) for name in llvm_get_cpu_features(target)}
    architecture = of(target)
    return {
        "machine": architecture.machine,
        "mcpu": str(target.attrs.get("mcpu", "generic")),
        "features": sorted(flag for name, flag in architecture.flags.items() if name in features),
        "threads": threads_of(target),
    }
