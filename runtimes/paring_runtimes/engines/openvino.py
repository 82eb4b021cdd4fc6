"""OpenVINO: runs ONNX on the CPU, and on Intel's GPUs and NPUs.

The inference precision is float32 unless `provider_options` says otherwise: by itself OpenVINO takes bfloat16
where a CPU has it, and its numbers would not be those that the artifact was verified with.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from paring_runtimes.engines import Options
from paring_runtimes.errors import EngineError, InputError, MissingExtraError
from paring_runtimes.manifest import TensorSpec
from paring_runtimes.suggest import near_miss

if TYPE_CHECKING:
    from numpy.typing import NDArray

NAME = "openvino"
FORMATS = {"onnx": ".onnx"}

_CPU = "CPU"
_LATENCY = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1", "INFERENCE_PRECISION_HINT": "f32"}


def why_not() -> str | None:
    """Return None when OpenVINO imports here, otherwise the command that installs it."""
    try:
        _library()
    except (MissingExtraError, EngineError) as error:
        return str(error)
    return None


def open_session(path: Path, options: Options) -> OpenVinoSession:
    """Compile an ONNX file for the CPU, or for the first of `options.providers`.

    Raises:
        MissingExtraError: OpenVINO is not installed.
        InputError: a device that is not here, or a setting that OpenVINO does not have.
        EngineError: the file is not a model that it can run.
    """
    ov = _library()
    if options.profile_to is not None:
        raise InputError("profile_to: engine openvino writes no profile of its own")
    core = ov.Core()
    device, settings = _device(options, list(core.available_devices))
    if options.threads is not None and device == _CPU:
        settings = {"INFERENCE_NUM_THREADS": str(options.threads)} | settings
    try:
        # By ONNX's own frontend: `read_model` tries every other one on a file that is damaged.
        frontend = ov.frontend.FrontEndManager().load_by_framework("onnx")
        model = frontend.convert(frontend.load(str(path)))
    except Exception as error:  # its errors share no base class
        raise EngineError(f"{path}: not a model that OpenVINO can read: {_one_line(error)}") from error
    try:
        compiled = core.compile_model(model, device, _LATENCY | settings)
    except Exception as error:
        raise EngineError(f"{path}: OpenVINO cannot compile it for {device}: {_one_line(error)}") from error
    return OpenVinoSession(compiled, device, f"{NAME} {ov.__version__.partition('-')[0]}", path)


class OpenVinoSession:
    """One compiled model. Fulfils `paring_runtimes.engines.NativeSession`."""

    def __init__(self, compiled: Any, device: str, version: str, path: Path) -> None:
        self._compiled, self._path = compiled, path
        self._idle: SimpleQueue[Any] = SimpleQueue()  # infer requests, one a thread that runs
        self.version = version
        self.providers: tuple[str, ...] = (device,)
        self.inputs = tuple(_spec(path, port) for port in compiled.inputs)
        self.outputs = tuple(_spec(path, port) for port in compiled.outputs)
        self._places = {spec.name: place for place, spec in enumerate(self.outputs)}

    def run(self, names: list[str], feeds: Mapping[str, NDArray[Any]]) -> Sequence[NDArray[Any]]:
        """Compute the outputs `names`; safe from several threads at once."""
        import numpy as np

        with self._request() as request:
            self._infer(request, [feeds[spec.name] for spec in self.inputs])
            # Copied: a request writes its next outputs into the same memory.
            return [np.array(request.get_output_tensor(self._places[name]).data) for name in names]

    def bind(
        self, inputs: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[Any]]
    ) -> Callable[[], None]:
        """Return a call that computes `outputs` from `inputs` in place."""
        ov = _library()
        request = self._compiled.create_infer_request()
        for place, spec in enumerate(self.inputs):
            request.set_input_tensor(place, ov.Tensor(inputs[spec.name], shared_memory=True))
        for name, array in outputs.items():
            request.set_output_tensor(self._places[name], ov.Tensor(array, shared_memory=True))

        def execute() -> None:
            self._infer(request, None)

        return execute

    def end_profiling(self) -> Path:
        """Raise: OpenVINO writes no profile file.

        Raises:
            EngineError: always.
        """
        raise EngineError(f"{self._path}: engine openvino writes no profile of its own")

    @contextmanager
    def _request(self) -> Iterator[Any]:
        try:
            request = self._idle.get_nowait()
        except Empty:
            request = self._compiled.create_infer_request()
        try:
            yield request
        finally:
            self._idle.put(request)

    def _infer(self, request: Any, feeds: list[NDArray[Any]] | None) -> None:
        try:
            if feeds is None:
                request.start_async()
                request.wait()
            else:
                request.infer(dict(enumerate(feeds)), share_inputs=True, share_outputs=True)
        except Exception as error:
            raise EngineError(f"{self._path}: the run failed: {_one_line(error)}") from error


def _library() -> Any:
    try:
        import openvino
        import openvino.frontend
    except ModuleNotFoundError as error:
        if error.name != "openvino":
            raise EngineError(f"openvino is installed but does not import: {error}") from error
        raise MissingExtraError("running an ONNX artifact with OpenVINO", "openvino") from None
    except ImportError as error:
        raise EngineError(f"openvino is installed but does not import: {error}") from error
    return openvino


def _device(options: Options, available: list[str]) -> tuple[str, dict[str, str]]:
    """Return the device asked for, and the settings that the user gave for it."""
    known = {name.lower(): name for name in available} | {"cpuexecutionprovider": _CPU}

    def resolve(asked: str) -> str:
        if asked.lower() not in known:
            near = near_miss(asked, available)
            raise InputError(
                f"providers: no {asked!r} in engine openvino{near}; available: {', '.join(available)}"
            )
        return known[asked.lower()]

    names = [resolve(asked) for asked in options.providers or (_CPU,)]
    if len(names) > 1:
        raise InputError(f"providers: engine openvino runs a model on one device, given {', '.join(names)}")
    settings = {resolve(asked): given for asked, given in options.provider_options.items()}
    for name in settings:
        if name not in names:
            raise InputError(f"provider_options: {name!r} is not among providers={names}")
    return names[0], {key: str(value) for key, value in settings.get(names[0], {}).items()}


def _spec(path: Path, port: Any) -> TensorSpec:
    name = port.get_any_name()
    try:
        dtype = port.element_type.to_dtype().name
    except Exception as error:  # bfloat16, strings and packed integers have no type in numpy
        raise EngineError(
            f"{path}: {name!r} is a {port.element_type.get_type_name()}, which numpy lacks"
        ) from error
    shape = port.partial_shape
    if shape.rank.is_dynamic:
        return TensorSpec(name, dtype, ())
    sizes = tuple(
        f"{name}_dim_{axis}" if size.is_dynamic else size.get_length() for axis, size in enumerate(shape)
    )
    return TensorSpec(name, dtype, sizes)


def _one_line(error: Exception) -> str:
    """Return OpenVINO's message without the places in its source, as one line."""
    text = re.sub(r"Exception from \S+:\n|Check '.*?' failed at \S+:\n", "", str(error))
    text = " ".join(text.split())
    return text if len(text) <= 400 else f"{text[:400]}..."
