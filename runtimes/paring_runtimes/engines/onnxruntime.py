"""ONNX Runtime: runs ONNX on the CPU, and on what its other providers reach."""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paring_runtimes.engines import Options
from paring_runtimes.errors import EngineError, InputError, MissingExtraError
from paring_runtimes.manifest import TensorSpec
from paring_runtimes.suggest import near_miss

if TYPE_CHECKING:
    from numpy.typing import NDArray

NAME = "onnxruntime"
FORMATS = {"onnx": ".onnx"}

_CPU = "CPUExecutionProvider"
_SUFFIX = "ExecutionProvider"
_FATAL = 4  # ONNX Runtime also prints what it raises, unless only fatal messages are let through
_DTYPES = {
    "tensor(float16)": "float16",
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(bool)": "bool",
    **{f"tensor({sign}int{bits})": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}


def why_not() -> str | None:
    """Return None when ONNX Runtime imports here, otherwise the command that installs it."""
    try:
        _library()
    except (MissingExtraError, EngineError) as error:
        return str(error)
    return None


def open_session(path: Path, options: Options) -> OrtSession:
    """Open an ONNX file with every graph optimisation.

    Raises:
        MissingExtraError: ONNX Runtime is not installed.
        InputError: a provider that this build does not have.
        EngineError: the file is not a model that it can run.
    """
    ort = _library()
    _warn_of_both_distributions()
    providers = _providers(options, ort.get_available_providers())
    settings = _settings(ort, options)
    try:
        inner = ort.InferenceSession(str(path), settings, providers=providers, enable_fallback=False)
    except Exception as error:  # its errors share no base class
        raise EngineError(_cannot_open(path, error)) from error
    _check_started(path, [name for name, _ in providers], inner.get_providers())
    return OrtSession(inner, f"{NAME} {ort.__version__}", path, options.profile_to is not None)


class OrtSession:
    """One `onnxruntime.InferenceSession`. Fulfils `paring_runtimes.engines.NativeSession`."""

    def __init__(self, inner: Any, version: str, path: Path, profiled: bool) -> None:
        self._inner = inner
        self._path = path
        self._profiled = profiled
        self.version = version
        self.providers: tuple[str, ...] = tuple(inner.get_providers())
        self.inputs = tuple(_spec(path, "input", arg) for arg in inner.get_inputs())
        self.outputs = tuple(_spec(path, "output", arg) for arg in inner.get_outputs())

    def run(self, names: list[str], feeds: Mapping[str, NDArray[Any]]) -> Sequence[NDArray[Any]]:
        """Compute the outputs `names`; safe from several threads at once."""
        try:
            result: Sequence[NDArray[Any]] = self._inner.run(names, feeds)
        except Exception as error:
            raise EngineError(f"{self._path}: the run failed: {one_line(error)}") from error
        return result

    def bind(
        self, inputs: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[Any]]
    ) -> Callable[[], None]:
        """Return a call that computes `outputs` from `inputs` in place."""
        binding = self._inner.io_binding()
        # For another provider than the CPU's, ONNX Runtime copies an input when it is bound, and
        # never again: it has to be bound anew before every run.
        copied = self.providers != (_CPU,)

        def bind_inputs() -> None:
            for name, array in inputs.items():
                where = (array.dtype.type, array.shape, array.ctypes.data)
                binding.bind_input(name, "cpu", 0, *where)

        def execute() -> None:
            try:
                if copied:
                    bind_inputs()
                    binding.synchronize_inputs()
                self._inner.run_with_iobinding(binding)
                if copied:
                    binding.synchronize_outputs()
            except Exception as error:
                raise EngineError(f"{self._path}: the run failed: {one_line(error)}") from error

        bind_inputs()
        for name, array in outputs.items():
            where = (array.dtype.type, array.shape, array.ctypes.data)
            binding.bind_output(name, "cpu", 0, *where)
        return execute

    def end_profiling(self) -> Path:
        """Stop the profiler, return its JSON file.

        Raises:
            EngineError: the session was opened without `profile_to`.
        """
        if not self._profiled:
            raise EngineError(f"{self._path}: opened without a profile; load it with profile_to=...")
        return Path(self._inner.end_profiling())


def one_line(error: Exception) -> str:
    """Return ONNX Runtime's message without its prefix and source path, as one line."""
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", str(error))
    text = re.sub(r"^Load model from .*? failed:\s*", "", text)
    text = re.sub(r"/onnxruntime_src/\S+ (?:\S+ )?", "", " ".join(text.split()))
    return text if len(text) <= 400 else f"{text[:400]}..."


def _library() -> Any:
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        if error.name != "onnxruntime":
            raise EngineError(f"onnxruntime is installed but does not import: {error}") from error
        raise MissingExtraError("running an ONNX artifact", "ort") from None
    except ImportError as error:
        raise EngineError(f"onnxruntime is installed but does not import: {error}") from error
    if not hasattr(onnxruntime, "InferenceSession"):  # the empty folder that a removal left behind
        raise MissingExtraError("running an ONNX artifact", "ort")
    return onnxruntime


@functools.cache
def _warn_of_both_distributions() -> None:
    from importlib import metadata

    found = {}
    for name in ("onnxruntime", "onnxruntime-gpu"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            return
    both = " and ".join(f"{name} {version}" for name, version in found.items())
    warnings.warn(
        f"{both} are both installed and own the same module: which one runs is a matter of luck. "
        "pip uninstall -y onnxruntime onnxruntime-gpu, then pip install 'paring[ort]' or "
        "'paring[ort-gpu]'",
        RuntimeWarning,
        stacklevel=4,
    )


def _providers(options: Options, available: list[str]) -> list[tuple[str, dict[str, str]]]:
    """Return what the user asked for, by full names; "cpu" and "CUDA" are understood."""
    full = {name.removesuffix(_SUFFIX).lower(): name for name in available}
    full |= {name.lower(): name for name in available}

    def resolve(asked: str) -> str:
        if asked.lower() not in full:
            raise InputError(
                f"providers: no {asked!r} here{near_miss(asked, available)}; available: "
                f"{', '.join(available)}"
            )
        return full[asked.lower()]

    names = [resolve(asked) for asked in options.providers or (_CPU,)]
    settings = {resolve(asked): s for asked, s in options.provider_options.items()}
    for name in settings:
        if name not in names:
            raise InputError(f"provider_options: {name!r} is not among providers={names}")
    return [(name, {k: str(v) for k, v in settings.get(name, {}).items()}) for name in names]


def _settings(ort: Any, options: Options) -> Any:
    settings = ort.SessionOptions()
    settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    settings.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    settings.inter_op_num_threads = 1
    settings.intra_op_num_threads = options.threads or 0
    settings.log_severity_level = _FATAL
    # Idle workers otherwise spin for tens of milliseconds after every run, on cores that the product,
    # or the next model of a comparison, wants.
    settings.add_session_config_entry("session.force_spinning_stop", "1")
    if options.brief:
        settings.add_session_config_entry("session.disable_prepacking", "1")
        if _shared_arena(ort):
            settings.add_session_config_entry("session.use_env_allocators", "1")
    if options.profile_to is not None:
        settings.enable_profiling = True
        settings.profile_file_prefix = str(options.profile_to)
    return settings


@functools.cache
def _shared_arena(ort: Any) -> bool:
    """Have one pool of memory for all brief sessions: each would fetch its own from the system, page by page.

    False where the process has one already.
    """
    memory = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    # By doubling: chunks of a prompt differ in size, and blocks of just that size would not be reused.
    doubling = ort.OrtArenaCfg({"arena_extend_strategy": 0})
    try:
        ort.create_and_register_allocator(memory, doubling)
    except Exception:  # its errors share no base class
        return False
    return True


def _check_started(path: Path, asked: list[str], started: list[str]) -> None:
    for name in asked:
        if name not in started:
            raise EngineError(
                f"{path}: {name} did not start (its libraries or its device are missing); "
                f"started: {', '.join(started)}"
            )


def _cannot_open(path: Path, error: Exception) -> str:
    text = one_line(error)
    if "rotobuf" in text:
        return f"{path}: not a whole ONNX file (truncated, or not ONNX at all): {text}"
    return f"{path}: ONNX Runtime cannot open it: {text}"


def _spec(path: Path, role: str, arg: Any) -> TensorSpec:
    if arg.type not in _DTYPES:
        raise EngineError(
            f"{path}: {role} {arg.name!r} is a {arg.type}; expected a tensor of numbers that "
            "numpy has a type for"
        )
    shape = tuple(
        size if size and size != "?" and (isinstance(size, str) or size > 0) else f"{arg.name}_dim_{axis}"
        for axis, size in enumerate(arg.shape)
    )
    return TensorSpec(arg.name, _DTYPES[arg.type], shape)
