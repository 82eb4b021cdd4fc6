"""Where it was measured, and with which tools."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
from pathlib import Path

import psutil

from paring_profiles.result import Machine
from paring_runtimes.errors import MissingExtraError

DRIVER = Path("/proc/driver/nvidia")
_TOOLS = ("paring", "onnxruntime", "onnxruntime-gpu", "numpy", "onnx", "psutil")


def describe() -> Machine:
    """Return this machine as it is now.

    Raises:
        MissingExtraError: py-cpuinfo is not installed.
    """
    name, flags = _cpu()
    return Machine(
        cpu=name,
        cores_physical=psutil.cpu_count(logical=False) or psutil.cpu_count() or 1,
        cores_logical=psutil.cpu_count() or 1,
        memory_bytes=int(psutil.virtual_memory().total),
        system=platform.platform(),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        load_1m=round(psutil.getloadavg()[0], 2),
        virtualised="hypervisor" in flags if platform.machine() in ("x86_64", "AMD64") else None,
        gpus=gpus(),
    )


def gpus(driver: Path = DRIVER) -> list[str]:
    """Return the names of NVIDIA's GPUs, in their driver's order, as its files on Linux tell them.

    https://download.nvidia.com/XFree86/Linux-x86_64/460.80/README/procinterface.html; no library of the
    driver is loaded. Other systems have no such files, and no name is told there.
    """
    found = []
    for path in sorted(driver.glob("gpus/*/information")):
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue  # a container that may not read it
        found += [line.partition(":")[2].strip() for line in lines if line.startswith("Model:")]
    return found


@functools.cache
def _cpu() -> tuple[str, frozenset[str]]:
    """Return the CPU's brand and its flags; takes about a second."""
    try:
        import cpuinfo
    except ImportError as error:
        raise MissingExtraError("describing the machine", "report") from error
    info = cpuinfo.get_cpu_info()
    brand = info.get("brand_raw") or platform.processor() or platform.machine()
    return str(brand), frozenset(info.get("flags", ()))


def usable_cores() -> float:
    """Return how many cores this process may use: its affinity, cut by its group's quota."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = float(len(affinity(0)) if affinity else psutil.cpu_count() or 1)
    quota = Path("/sys/fs/cgroup/cpu.max")
    if quota.is_file():
        limit, period = quota.read_text().split()
        if limit != "max":
            cores = min(cores, int(limit) / int(period))
    return cores


def tool_versions() -> dict[str, str]:
    """Return the versions of the tools that take part, those that are installed."""
    versions = {}
    for name in _TOOLS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
