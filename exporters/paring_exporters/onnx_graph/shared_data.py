"""Several graphs over one file of weights: equal tensors are stored once, whichever graph holds them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import TracebackType
from typing import Any

LEAST_BYTES = 1024  # smaller tensors stay in the graph, where clean-up and readers see them
ALIGNMENT = 4096  # a page, so that a runtime can map each tensor as it lies


class SharedData:
    """The file of weights while graphs are written. Use it as a context."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[tuple[str, str, tuple[int, ...]], tuple[int, int]] = {}

    def __enter__(self) -> SharedData:
        """Open the file, empty."""
        self._file = self.path.open("wb")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self._file.close()

    def take(self, model: Any) -> None:
        """Move every large initializer of an `onnx_ir.Model` into the file."""
        for value in model.graph.initializers.values():
            tensor = value.const_value
            if tensor is not None and tensor.nbytes >= LEAST_BYTES:
                value.const_value = self._stored(tensor, value.name)

    def _stored(self, tensor: Any, name: str) -> Any:
        import onnx_ir as ir

        content = tensor.tobytes()
        shape = tuple(int(size) for size in tensor.shape)
        key = (hashlib.sha256(content).hexdigest(), tensor.dtype.name, shape)
        if key not in self._known:
            self._file.write(b"\0" * (-self._file.tell() % ALIGNMENT))
            self._known[key] = (self._file.tell(), len(content))
            self._file.write(content)
            self._file.flush()
        offset, length = self._known[key]
        return ir.ExternalTensor(
            self.path.name,
            offset,
            length,
            tensor.dtype,
            shape=tensor.shape,
            name=name,
            base_dir=self.path.parent,
        )
