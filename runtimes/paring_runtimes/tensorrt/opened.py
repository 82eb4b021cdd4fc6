"""A plan, deserialised: its tensors, types, profiles; everything that contexts share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from paring_runtimes.errors import EngineError
from paring_runtimes.manifest import TensorSpec
from paring_runtimes.tensorrt.library import log_of
from paring_runtimes.tensorrt.plan import PlanFacts
from paring_runtimes.tensorrt.profiles import Profile, Range

_DTYPES = {
    "FLOAT": "float32", "HALF": "float16", "INT8": "int8", "INT32": "int32", "INT64": "int64",
    "UINT8": "uint8", "BOOL": "bool",
}  # fmt: skip


@dataclass(frozen=True)
class Tensor:
    """One input or output.

    Attributes:
        shape: sizes, -1 where open.
        on_host: TensorRT reads it on the host, to compute shapes from it.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    on_host: bool


class Opened:
    """A deserialised engine. Keep it as long as a context of it is used.

    Attributes:
        trt: the Python module that runs it.
        engine: its `ICudaEngine`.
        log: TensorRT's errors.
        profiles: the ranges of its inputs' shapes.
    """

    def __init__(self, trt: Any, path: Path, facts: PlanFacts, device: int, budget: int | None) -> None:
        self.trt, self.path, self.device = trt, path, device
        self.log = log_of(trt)
        self.runtime = trt.Runtime(self.log)
        if facts.version_compatible and not facts.excludes_lean_runtime:
            self.runtime.engine_host_code_allowed = True  # the plan brings its own release's runtime
        self.engine = self.runtime.deserialize_cuda_engine(path.read_bytes())
        if self.engine is None:
            raise EngineError(f"{path}: TensorRT cannot load it: {self.log.said()}")
        if facts.stripped is not None:
            self._refit(path.with_name(facts.stripped))
        self._stream_weights(budget)
        names = [self.engine.get_tensor_name(index) for index in range(self.engine.num_io_tensors)]
        tensors = {name: self._tensor(name) for name in names}
        mode = {name: self.engine.get_tensor_mode(name) for name in names}
        self.inputs = [tensors[name] for name in names if mode[name] == trt.TensorIOMode.INPUT]
        self.outputs = [tensors[name] for name in names if mode[name] == trt.TensorIOMode.OUTPUT]
        self.profiles = [self._profile(index) for index in range(self.engine.num_optimization_profiles)]
        self.dimensions = facts.dimensions or {}

    def specs(self, tensors: list[Tensor]) -> tuple[TensorSpec, ...]:
        """Tensors as a session tells them; open sizes get the names that were written beside the plan."""

        def named(tensor: Tensor) -> TensorSpec:
            names = self.dimensions.get(tensor.name, [])
            shape = tuple(
                size if size >= 0 else names[axis] if axis < len(names) else f"{tensor.name}_{axis}"
                for axis, size in enumerate(tensor.shape)
            )
            return TensorSpec(tensor.name, str(tensor.dtype), shape)

        return tuple(named(tensor) for tensor in tensors)

    def context(self) -> Any:
        """Make an `IExecutionContext`.

        Raises:
            EngineError: there is no memory for another.
        """
        made = self.engine.create_execution_context()
        if made is None:
            raise EngineError(f"{self.path}: no execution context: {self.log.said()}")
        return made

    def _tensor(self, name: str) -> Tensor:
        kind = self.engine.get_tensor_dtype(name).name
        if kind not in _DTYPES:
            raise EngineError(
                f"{self.path}: {name!r} is of {kind}, which numpy has not: cast it to FP32 or FP16"
            )
        on_host = self.engine.get_tensor_location(name) == self.trt.TensorLocation.HOST
        return Tensor(name, np.dtype(_DTYPES[kind]), tuple(self.engine.get_tensor_shape(name)), on_host)

    def _profile(self, index: int) -> Profile:
        return {tensor.name: self._range(tensor, index) for tensor in self.inputs}

    def _range(self, tensor: Tensor, index: int) -> Range:
        if tensor.on_host or -1 not in tensor.shape:
            return (tensor.shape, tensor.shape, tensor.shape)
        smallest, best, largest = self.engine.get_tensor_profile_shape(tensor.name, index)
        return (tuple(smallest), tuple(best), tuple(largest))

    def _refit(self, model: Path) -> None:
        """Put the weights of an ONNX file into an engine that was built without."""
        trt = self.trt
        if not hasattr(trt, "OnnxParserRefitter"):
            raise EngineError(f"{self.path}: built without weights, which {trt.__name__} cannot put in")
        refitter = trt.Refitter(self.engine, self.log)
        reader = trt.OnnxParserRefitter(refitter, self.log)
        if not reader.refit_from_file(str(model)) or not refitter.refit_cuda_engine():
            raise EngineError(f"{self.path}: the weights of {model.name} do not fit: {self.log.said()}")

    def _stream_weights(self, budget: int | None) -> None:
        """Keep so many bytes of the weights on the device, and send the others when they are needed."""
        if not hasattr(self.engine, "streamable_weights_size") or not self.engine.streamable_weights_size:
            if budget is not None:
                raise EngineError(f"{self.path}: built without export.tensorrt.weight_streaming")
            return
        wanted = self.engine.get_weight_streaming_automatic_budget() if budget is None else budget
        self.engine.weight_streaming_budget_v2 = wanted
