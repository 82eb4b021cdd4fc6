"""TVM: runs a whole model that was compiled into a shared library. Needs TVM's runtime, not its compiler.

A shared library is machine code: open only those whose origin you trust. Before anything of it runs, the CPU
is compared with what the library says it was compiled for, so that a missing instruction is an error that
says so, and not the end of the process.

TVM's Python package `tvm_ffi` imports PyTorch where it is installed, for its own convenience. Here it is kept
from doing so, unless PyTorch is in the process already.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import platform
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paring_runtimes.engines import Options
from paring_runtimes.errors import EngineError, InputError, MissingExtraError
from paring_runtimes.manifest import TensorSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

NAME = "tvm"
FORMATS = {"tvm": ".so"}

_SYMBOL = "paring_facts"
_ELF_MACHINES = {62: "x86_64", 183: "aarch64", 243: "riscv64"}  # EM_X86_64, EM_AARCH64, EM_RISCV
_MACHINES = {"AMD64": "x86_64", "arm64": "aarch64"}  # what other systems call them
_ALIGNMENT_BYTES = 64  # TVM's kernels read whole vector registers
_CPU, _POOLED = 1, 2  # kDLCPU; the allocator that keeps its memory for the next run
# How often a worker looks for more work, with sched_yield, before it sleeps: below a millisecond, in place of
# some hundred, so that idle workers leave the cores to the product.
_SPIN_SETTING, _SPINS = "TVM_THREAD_POOL_SPIN_COUNT", "2000"
_SHARE_CORES = -3  # kSpecifyThreadShareAllCore
_settings = threading.Lock()  # of the environment, while a pool is made
_pools = threading.local()


def why_not() -> str | None:
    """Return None when TVM's runtime is here, otherwise the command that installs it."""
    try:
        _library_file()
    except (MissingExtraError, EngineError) as error:
        return str(error)
    return None


def open_session(path: Path, options: Options) -> TvmSession:
    """Open a library that `paring convert -s export.format=tvm` wrote.

    Raises:
        MissingExtraError: TVM is not installed.
        InputError: a provider other than the CPU.
        EngineError: the file is no such library, or needs a CPU with more features than this one.
    """
    runtime = _library_file()
    for name in options.providers or ():
        if name.lower() not in ("cpu", "cpuexecutionprovider"):
            raise InputError(f"providers: no {name!r} in engine tvm; available: cpu")
    if options.provider_options:
        raise InputError("provider_options: engine tvm has none")
    if options.profile_to is not None:
        raise InputError("profile_to: engine tvm writes no profile of its own")
    ffi = _ffi(runtime)
    facts = _facts(path)
    _check_cpu(path, facts["target"])
    try:
        machine = ffi.load_module(str(path))["vm_load_executable"]()
        machine["vm_initialization"](_CPU, 0, _POOLED)
        main = machine["main"]
    except Exception as error:  # TVM's errors share no base class
        raise EngineError(f"{path}: TVM cannot open it: {_one_line(error)}") from error
    return TvmSession(ffi, machine, main, path, facts, options.threads)


class TvmSession:
    """One virtual machine of TVM. Fulfils `paring_runtimes.engines.NativeSession`."""

    def __init__(
        self, ffi: Any, machine: Any, main: Any, path: Path, facts: Mapping[str, Any], threads: int | None
    ) -> None:
        self._ffi, self._machine, self._main, self._path = ffi, machine, main, path
        self._threads = threads or len(_usable())
        self._lock = threading.Lock()  # a machine has one set of registers
        self.version = f"{NAME} {facts['tvm']}"
        self.providers: tuple[str, ...] = ("cpu",)
        self.inputs, self.outputs = (_specs(facts[key]) for key in ("inputs", "outputs"))
        self._names = [spec.name for spec in self.outputs]
        self._most: int | None = facts.get("max_batch")

    def run(self, names: list[str], feeds: Mapping[str, NDArray[Any]]) -> Sequence[NDArray[Any]]:
        """Compute the outputs `names`; safe from several threads at once, which wait for each other."""
        import numpy as np

        with self._lock:
            found = self._compute([feeds[spec.name] for spec in self.inputs])
            # Copied: the machine uses its memory again.
            return [np.array(np.from_dlpack(found[self._names.index(name)])) for name in names]

    def bind(
        self, inputs: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[Any]]
    ) -> Callable[[], None]:
        """Return a call that computes `outputs` from `inputs` in place."""
        import numpy as np

        given = [inputs[spec.name] for spec in self.inputs]

        def execute() -> None:
            with self._lock:
                found = self._compute(given)
                for name, array in outputs.items():
                    value = np.from_dlpack(found[self._names.index(name)])
                    if value.shape != array.shape:
                        raise EngineError(
                            f"{self._path}: output {name!r} has shape {value.shape}, its buffer {array.shape}"
                        )
                    np.copyto(array, value)

        return execute

    def end_profiling(self) -> Path:
        """Refuse: there is no profiler.

        Raises:
            EngineError: always.
        """
        raise EngineError(f"{self._path}: opened without a profile; engine tvm has none")

    def _compute(self, arrays: Sequence[NDArray[Any]]) -> Any:
        if self._most is not None and arrays[0].shape[0] > self._most:
            raise InputError(
                f"{self._path}: a batch of {arrays[0].shape[0]} was given, and the library takes at most"
                f" {self._most}: run parts of it"
            )
        try:
            _use_threads(self._ffi, self._threads)
            found = self._main(*(self._ffi.from_dlpack(_aligned(array)) for array in arrays))
            # One output may come as it is: TVM's importer of ONNX makes no tuple of it.
            return (found,) if isinstance(found, self._ffi.Tensor) else found
        except Exception as error:
            raise EngineError(f"{self._path}: the run failed: {_one_line(error)}") from error


def _library_file() -> Path:
    """Return TVM's runtime library; nothing is imported."""
    if importlib.util.find_spec("tvm_ffi") is None:
        raise MissingExtraError("running a TVM artifact", "tvm")
    found = importlib.util.find_spec("tvm")
    if found is None:
        raise MissingExtraError("running a TVM artifact", "tvm")
    ending = {"darwin": "libtvm_runtime.dylib", "win32": "tvm_runtime.dll"}.get(
        sys.platform, "libtvm_runtime.so"
    )
    for folder in found.submodule_search_locations or ():
        file = Path(folder) / "lib" / ending
        if file.is_file():
            return file
    raise EngineError(f"tvm is installed but has no lib/{ending}; TVM 0.27 or newer is needed")


def _ffi(runtime: Path) -> Any:
    """Import `tvm_ffi` without PyTorch and load TVM's runtime beside it."""
    with _without_torch():
        import tvm_ffi
    extra = runtime.with_name(runtime.name.replace("runtime", "runtime_extra"))  # what sorts
    try:
        for library in (runtime, extra):
            if library.is_file():
                ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)
    except OSError as error:
        raise EngineError(f"tvm is installed but does not load: {error}") from error
    return tvm_ffi


@contextmanager
def _without_torch() -> Iterator[None]:
    """Inside, `import torch` fails, if it has not happened yet."""
    if "tvm_ffi" in sys.modules or "torch" in sys.modules:
        yield
        return
    sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["torch"]


def _facts(path: Path) -> dict[str, Any]:
    """What the library says of itself."""
    machine = _machine_of(path)
    if machine is not None and machine != _this_machine():
        raise EngineError(f"{path}: compiled for {machine}, and this machine is {_this_machine()}")
    try:
        text = ctypes.c_char_p.in_dll(ctypes.CDLL(str(path)), _SYMBOL).value
        facts = json.loads(text or b"")
        return {**facts, **{key: facts[key] for key in ("inputs", "outputs", "target", "tvm")}}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EngineError(f"{path}: not a model that paring compiled with TVM: {_one_line(error)}") from error


def _machine_of(path: Path) -> str | None:
    """The architecture in the header of an ELF file: what is of another one cannot be opened at all."""
    try:
        with path.open("rb") as file:
            head = file.read(20)
    except OSError:
        return None
    return _ELF_MACHINES.get(int.from_bytes(head[18:20], "little")) if head[:4] == b"\x7fELF" else None


def _this_machine() -> str:
    return _MACHINES.get(platform.machine(), platform.machine())


def misfit(target: Mapping[str, Any]) -> str | None:
    """Return why a library for a target of a manifest cannot run on this machine, None where it can."""
    machine = _this_machine()
    if target["machine"] != machine:
        return f"compiled for {target['machine']}, and this machine is {machine}"
    here = cpu_features()
    missing = [] if here is None else sorted(set(target["features"]) - here)
    return f"compiled for {target['mcpu']}, and this CPU lacks {', '.join(missing)}" if missing else None


def _check_cpu(path: Path, target: Mapping[str, Any]) -> None:
    reason = misfit(target)
    if reason is not None:
        raise EngineError(f"{path}: {reason}: convert it here, or with -s export.target=portable")


def cpu_features() -> frozenset[str] | None:
    """Return the features that the operating system lists of the CPU; None where it lists none."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return None
    return features_in(text)


def features_in(cpuinfo: str) -> frozenset[str] | None:
    """Return the features that the text of /proc/cpuinfo lists: of x86, of ARM, or of RISC-V's `isa`."""
    starts = ("flags", "Features", "isa")
    line = next((line for line in cpuinfo.splitlines() if line.startswith(starts)), None)
    if line is None:
        return None
    listed = line.partition(":")[2].split()
    if not line.startswith("isa"):
        return frozenset(listed)
    # "rv64imafdcv_zba_zbb": letters, then words.
    letters, *words = "".join(listed).removeprefix("rv64").split("_")
    return frozenset((*letters, *words))


def _use_threads(ffi: Any, threads: int) -> None:
    """Have this thread's pool of workers use so many. A pool belongs to the thread that calls."""
    if getattr(_pools, "threads", None) == threads:
        return
    cores = sorted(_usable())
    # The list's length is the most that TVM uses, in place of OMP_NUM_THREADS; all may run on all of them.
    shared = [str(cores[i % len(cores)]) for i in range(max(threads, len(cores)))]
    with _settings:
        before = os.environ.get(_SPIN_SETTING)
        os.environ[_SPIN_SETTING] = before or _SPINS
        try:  # looked at when the pool is made
            ffi.get_global_func("runtime.config_threadpool")(_SHARE_CORES, threads, shared)
        finally:
            if before is None:
                del os.environ[_SPIN_SETTING]
    _pools.threads = threads


def _usable() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))


def _aligned(array: NDArray[Any]) -> NDArray[Any]:
    """Return the array, or a copy, that is contiguous and begins at 64 bytes."""
    import numpy as np

    ready = array.flags.c_contiguous and array.flags.writeable
    if ready and array.ctypes.data % _ALIGNMENT_BYTES == 0:
        return array
    room = np.empty(array.nbytes + _ALIGNMENT_BYTES, np.uint8)
    start = -room.ctypes.data % _ALIGNMENT_BYTES
    copy = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    np.copyto(copy, array)
    return copy


def _specs(told: Sequence[Mapping[str, Any]]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(one["name"], one["dtype"], tuple(one["shape"])) for one in told)


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 400 else f"{text[:400]}..."
