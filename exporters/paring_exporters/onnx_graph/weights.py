"""How large a graph's weights are, and whether one protobuf message holds them."""

from __future__ import annotations

from typing import Any

_MESSAGE_BYTES = 2_000_000_000  # a protobuf message ends at 2 GiB; the graph itself needs some


def weight_bytes(model: Any) -> int:
    """Bytes of the weights of a ModelProto that is in memory. Its own `ByteSize` fails above 2 GiB."""
    return sum(len(tensor.raw_data) for tensor in model.graph.initializer)


def must_lie_beside(model: Any) -> bool:
    """Whether the weights need a file of their own."""
    return weight_bytes(model) > _MESSAGE_BYTES
