"""ExecuTorch: runs a program whose products XNNPACK computes, on the CPU.

ExecuTorch's Python package imports PyTorch, and takes and gives its tensors: a process that opens a session
of this engine has PyTorch in it, unlike one of any other engine. Nothing of ours imports it. In a product,
where that weighs too much, ExecuTorch's runtime for C++, Java or Swift runs the same file without PyTorch.

XNNPACK's threads are the process's: sessions that are open at once have the same number.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paring_runtimes.engines import Options
from paring_runtimes.errors import EngineError, InputError, MissingExtraError
from paring_runtimes.manifest import TensorSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

NAME = "executorch"
FORMATS = {"executorch": ".pte"}
LIBRARY = "executorch.runtime"  # what is imported when a session is opened

_FACTS = "paring_facts"  # a method of our programs: names and open sizes, as JSON
_DTYPES = {
    0: "uint8", 1: "int8", 2: "int16", 3: "int32", 4: "int64", 5: "float16", 6: "float32", 7: "float64",
    11: "bool",
}  # fmt: skip
_open: weakref.WeakSet[ExecutorchSession] = weakref.WeakSet()


def why_not() -> str | None:
    """Return None when ExecuTorch is here, otherwise the command that installs it."""
    if importlib.util.find_spec("executorch") is None:
        return str(MissingExtraError("running an ExecuTorch program", "executorch"))
    return None


def open_session(path: Path, options: Options) -> ExecutorchSession:
    """Open a program of ExecuTorch: ours, or another's with one method `forward`.

    Raises:
        MissingExtraError: ExecuTorch is not installed.
        InputError: a provider other than the CPU.
        EngineError: the file is no program that it can run, or open sessions have other threads.
    """
    library = _library()
    for name in options.providers or ():
        if name.lower() not in ("cpu", "cpuexecutionprovider"):
            raise InputError(f"providers: no {name!r} in engine executorch; available: cpu")
    if options.provider_options:
        raise InputError("provider_options: engine executorch has none")
    if options.profile_to is not None:
        raise InputError("profile_to: engine executorch writes no profile of its own")
    try:
        program = library.load_program(str(path))
        facts = _facts(program)
        _use_threads(options.threads, path)  # before XNNPACK is opened, which keeps the threads that it finds
        method = program.load_method("forward")
    except EngineError:
        raise
    except Exception as error:  # RuntimeError with a number, or KeyError
        raise EngineError(f"{path}: ExecuTorch cannot open it: {_one_line(error)}") from error
    session = ExecutorchSession(program, method, path, facts)
    _open.add(session)
    return session


class ExecutorchSession:
    """One method of a program. Fulfils `paring_runtimes.engines.NativeSession`."""

    def __init__(self, program: Any, method: Any, path: Path, facts: Mapping[str, Any] | None) -> None:
        from importlib.metadata import version

        self._program, self._method, self._path = program, method, path
        self._lock = threading.Lock()  # a method has one memory for what lies between its operators
        self.version = f"{NAME} {version('executorch')}"
        self.providers: tuple[str, ...] = ("xnnpack",)
        self._max_batch: int | None = None if facts is None else facts["max_batch"]
        if facts is None:
            meta = method.metadata
            count_in, count_out = meta.num_inputs(), meta.num_outputs()
            self.inputs = tuple(_spec(f"input_{i}", meta.input_tensor_meta(i), path) for i in range(count_in))
            self.outputs = tuple(
                _spec(f"output_{i}", meta.output_tensor_meta(i), path) for i in range(count_out)
            )
        else:
            self.inputs, self.outputs = (_specs(facts[key]) for key in ("inputs", "outputs"))
        self._places = {spec.name: place for place, spec in enumerate(self.outputs)}

    def run(self, names: list[str], feeds: Mapping[str, NDArray[Any]]) -> Sequence[NDArray[Any]]:
        """Compute the outputs `names`; safe from several threads at once, which wait for each other."""
        found = self._compute([feeds[spec.name] for spec in self.inputs])
        return [found[self._places[name]].numpy() for name in names]  # copied out of the method's memory

    def bind(
        self, inputs: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[Any]]
    ) -> Callable[[], None]:
        """Return a call that computes `outputs` from `inputs` in place."""
        import numpy as np

        given = [inputs[spec.name] for spec in self.inputs]

        def execute() -> None:
            found = self._compute(given)
            for name, array in outputs.items():
                value = found[self._places[name]].numpy()
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
        raise EngineError(f"{self._path}: opened without a profile; engine executorch has none")

    def _compute(self, arrays: Sequence[NDArray[Any]]) -> Any:
        if self._max_batch is not None and len(arrays[0]) > self._max_batch:
            raise EngineError(
                f"{self._path}: a batch of {len(arrays[0])}, and the program's memory is planned for"
                f" {self._max_batch} at most: run it in parts"
            )
        torch = sys.modules["torch"]  # imported by ExecuTorch
        try:
            tensors = [torch.from_numpy(_own(array)) for array in arrays]
            with self._lock:
                return self._method.execute(tensors)
        except Exception as error:
            raise EngineError(f"{self._path}: the run failed: {_one_line(error)}") from error


def _library() -> Any:
    if why_not() is not None:
        raise MissingExtraError("running an ExecuTorch program", "executorch")
    logger = logging.getLogger("torch.utils._pytree")  # warns of torchao, which ExecuTorch imports
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that its interface is experimental
            from executorch.runtime import Runtime

            return Runtime.get()
    except ImportError as error:
        raise EngineError(f"executorch is installed but does not import: {_one_line(error)}") from error
    finally:
        logger.setLevel(level)


def _use_threads(threads: int | None, path: Path) -> None:
    """Have XNNPACK use so many. Open sessions hold its present threads, which go when others come."""
    from executorch.extension.pybindings import portable_lib

    now = portable_lib._threadpool_get_thread_count()
    if threads is None or threads == now:
        return
    if len(_open):
        raise EngineError(
            f"{path}: threads={threads}, and open sessions of ExecuTorch use {now}, which all of a process"
            f" share: ask for {now}, or close them first"
        )
    portable_lib._unsafe_reset_threadpool(threads)


def _facts(program: Any) -> Mapping[str, Any] | None:
    """What a program of ours says of itself; None of another's."""
    if _FACTS not in program.method_names:
        return None
    facts = json.loads(program.load_method(_FACTS).execute([])[0])
    return {key: facts[key] for key in ("inputs", "outputs", "max_batch")}


def _specs(told: Sequence[Mapping[str, Any]]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(one["name"], one["dtype"], tuple(one["shape"])) for one in told)


def _spec(name: str, meta: Any, path: Path) -> TensorSpec:
    if meta.dtype() not in _DTYPES:
        raise EngineError(f"{path}: {name!r} has scalar type {meta.dtype()}, which numpy lacks")
    return TensorSpec(name, _DTYPES[meta.dtype()], tuple(meta.sizes()))


def _own(array: NDArray[Any]) -> NDArray[Any]:
    """Return the array, or a copy, that is contiguous and that PyTorch takes."""
    import numpy as np

    return array if array.flags.c_contiguous and array.flags.writeable else np.array(array, order="C")


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 400 else f"{text[:400]}..."
