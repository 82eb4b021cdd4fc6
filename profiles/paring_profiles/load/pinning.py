"""Which CPUs threads run on, and which node their memory comes from (Linux)."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path

from paring_runtimes.errors import InputError

_NODES = Path("/sys/devices/system/node")
_TASKS = Path("/proc/self/task")
FIRST_TOUCH = "where the thread that first touches it runs (the system's default)"


def parse_cpus(text: str) -> tuple[int, ...]:
    """Return the CPUs of a list as Linux writes it: "0-3,8".

    Raises:
        InputError: no such list.
    """
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()) or (dash and int(last) < int(first)):
            raise InputError(f"cpus: expected numbers and ranges such as 0-3,8, given {text!r}")
        found.update(range(int(first), int(last or first) + 1))
    return tuple(sorted(found))


def shown(cpus: Sequence[int]) -> str:
    """Return CPUs as `parse_cpus` reads them."""
    runs: list[list[int]] = []
    for cpu in sorted(cpus):
        if runs and cpu == runs[-1][1] + 1:
            runs[-1][1] = cpu
        else:
            runs.append([cpu, cpu])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def nodes() -> dict[int, tuple[int, ...]]:
    """Return the CPUs of every NUMA node; empty where the system tells of none."""
    found = {}
    for folder in _NODES.glob("node[0-9]*"):
        listed = (folder / "cpulist").read_text().strip()
        found[int(folder.name.removeprefix("node"))] = parse_cpus(listed) if listed else ()
    return dict(sorted(found.items()))


def choose(cpus: Sequence[int], numa: int | None) -> tuple[int, ...]:
    """Return the CPUs to use, empty for where the system puts threads.

    Raises:
        InputError: CPUs or a node that this process may not use, or that are not there.
    """
    if not cpus and numa is None:
        return ()
    if not hasattr(os, "sched_setaffinity"):
        raise InputError("cpus: this system cannot pin threads to CPUs; Linux can")
    usable = os.sched_getaffinity(0)
    for cpu in cpus:
        if cpu not in usable:
            raise InputError(f"cpus: no CPU {cpu} here: this process may use {shown(tuple(usable))}")
    if numa is None:
        return tuple(cpus)
    known = nodes()
    if numa not in known:
        there = ", ".join(map(str, known)) or "none that the system tells of"
        raise InputError(f"numa: no node {numa} here; there is {there}")
    of_node = tuple(cpu for cpu in known[numa] if cpu in usable and (not cpus or cpu in cpus))
    if not of_node:
        raise InputError(
            f"numa: node {numa} has the CPUs {shown(known[numa]) or 'none'}, of which none may be used "
            f"(asked for {shown(tuple(cpus)) if cpus else shown(tuple(usable))})"
        )
    return of_node


def shares(cpus: Sequence[int], workers: int) -> list[tuple[int, ...]]:
    """Return each worker's CPUs: neighbours, as evenly as they go; all of them where there are fewer."""
    if not cpus or len(cpus) < workers:
        return [tuple(cpus)] * workers
    edges = [len(cpus) * number // workers for number in range(workers + 1)]
    return [tuple(cpus[a:b]) for a, b in pairwise(edges)]


def threads() -> set[int]:
    """Return this process's threads, Python's and the engines'; empty where the system does not tell."""
    return {int(task.name) for task in _TASKS.iterdir()} if _TASKS.is_dir() else set()


def pin(tasks: Sequence[int], cpus: Sequence[int]) -> None:
    """Let threads run on these CPUs alone; one that has ended meanwhile is left out."""
    for task in tasks:
        with suppress(ProcessLookupError):
            os.sched_setaffinity(task, cpus)


def astray(cpus: Sequence[int]) -> int:
    """Return how many threads may run on other CPUs too."""
    count = 0
    for task in threads():
        with suppress(ProcessLookupError):
            count += not os.sched_getaffinity(task) <= set(cpus)
    return count


@contextmanager
def pinned(cpus: Sequence[int]) -> Iterator[None]:
    """Keep all threads of this process, and those that they start, on these CPUs; then as before."""
    if not cpus:
        yield
        return
    before = {task: os.sched_getaffinity(task) for task in threads()}
    pin(list(before), cpus)
    try:
        yield
    finally:
        usual = before[threading.get_native_id()]
        for task in threads():
            pin([task], tuple(before.get(task, usual)))


@contextmanager
def memory_of(node: int | None) -> Iterator[str]:
    """Take new memory from a node, where libnuma is there and the system lets it; say where it comes from."""
    if node is None:
        yield FIRST_TOUCH
        return
    library = _libnuma()
    if isinstance(library, str):
        yield f"{FIRST_TOUCH}; binding it to node {node} was not possible: {library}"
        return
    mask = library.numa_parse_nodestring(str(node).encode())
    library.numa_set_membind(mask)
    try:
        bound = library.numa_get_membind()
        held = library.numa_bitmask_isbitset(bound, node) and library.numa_bitmask_weight(bound) == 1
        library.numa_bitmask_free(bound)
        yield f"node {node} alone (libnuma)" if held else f"{FIRST_TOUCH}; node {node} could not be bound"
    finally:
        library.numa_set_localalloc()
        library.numa_bitmask_free(mask)


def _libnuma() -> ctypes.CDLL | str:
    """Return libnuma, or why it cannot be used."""
    name = ctypes.util.find_library("numa")
    if name is None:
        return "libnuma is not installed (apt install libnuma1)"
    try:
        library = ctypes.CDLL(name)
    except OSError as error:
        return str(error)
    if library.numa_available() < 0:
        return "the system does not let this process choose a node"
    for function in ("numa_parse_nodestring", "numa_get_membind"):
        getattr(library, function).restype = ctypes.c_void_p
    for function in ("numa_set_membind", "numa_bitmask_free", "numa_bitmask_weight"):
        getattr(library, function).argtypes = (ctypes.c_void_p,)
    library.numa_bitmask_isbitset.argtypes = (ctypes.c_void_p, ctypes.c_uint)
    return library
