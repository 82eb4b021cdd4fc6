"""The bits and spikes that an exported graph computes on its way, shown as outputs of a copy of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import paring_runtimes

from .scans import spike_names

Bits = Callable[[Mapping[str, np.ndarray]], list[np.ndarray]]


@contextmanager
def shown_bits(entry: Path, count: int) -> Iterator[Bits | None]:
    """What runs the graph and gives the bits of its binary attention, [B, H, N, b] each, in their order.

    None where the graph is no ONNX file, or does not hold `count` comparisons whose results are multiplied.
    """
    with _shown(entry, count, compared, "BOOL") as found:
        yield found


@contextmanager
def shown_spikes(entry: Path, count: int) -> Iterator[Bits | None]:
    """What runs the graph and gives the spikes of its layers of neurons, [T, B, C, ...] each, in their order.

    None where the graph is no ONNX file, or does not hold `count` such layers.
    """
    with _shown(entry, count, spike_names, "FLOAT") as found:
        yield found


@contextmanager
def _shown(entry: Path, count: int, named: Callable[[Any], list[str]], kind: str) -> Iterator[Bits | None]:
    """While this lasts, a second graph over the same weights lies beside the first."""
    import onnx

    model = onnx.load(entry, load_external_data=False) if entry.suffix == ".onnx" and count else None
    names = [] if model is None else named(model.graph)
    if model is None or len(names) != count:
        yield None
        return
    for name in names:
        model.graph.output.append(
            onnx.helper.make_tensor_value_info(name, getattr(onnx.TensorProto, kind), None)
        )
    beside = entry.with_name(f"{entry.stem}-bits.onnx")
    try:
        onnx.save(model, beside)
        with paring_runtimes.load(beside) as session:
            yield lambda feeds: list(session.run(dict(feeds), names).values())
    finally:
        beside.unlink(missing_ok=True)


def compared(graph: Any) -> list[str]:
    """Results of Greater that become numbers, in the order of the graph."""
    cast = {node.input[0] for node in graph.node if node.op_type == "Cast"}
    return [node.output[0] for node in graph.node if node.op_type == "Greater" and node.output[0] in cast]
