"""Shapes that only the data decide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from onnx import NodeProto

from ...table import Table
from ..finding import Finding
from ..origins import ALWAYS_BY_DATA, SHAPED_BY, Origin, Origins
from ..view import Place, View

_MASK_READERS = frozenset(("Gather", "GatherND", "GatherElements", "ScatterND", "ScatterElements"))
_ON_THE_WAY = frozenset(
    ("Transpose", "Squeeze", "Cast", "Unsqueeze", "Identity", "Reshape", "Slice", "Split")
)
_FIXED = "keep a fixed count: TopK with a constant K and a gather, as token_prune and token_merge write it"


def check(view: View, origins: Origins, table: Table) -> Iterator[Finding]:
    """Operators whose output's shape depends on values that the network computes, or that it is given."""
    for place in view.places:
        operator = place.node.op_type
        if operator in ALWAYS_BY_DATA:
            if table.operators.get(operator) is None:
                continue  # the operators' rule tells it
            yield Finding("warning", "shapes", place.path, operator, _reason(place, operator), _FIXED)
            continue
        worst = max(
            (origins.of(place.scope, place.input(index)) for index in SHAPED_BY.get(operator, ())),
            default=Origin.CONSTANT,
        )
        if worst == Origin.DATA:
            yield _by_data(place, operator)
        elif worst == Origin.INPUT:
            reason = "its output's shape depends on the values of an input, which a profile must bound"
            repair = "make the value a constant, or name its range in export.tensorrt.profiles"
            yield Finding("warning", "shapes", place.path, operator, reason, repair)


def _reason(place: Place, operator: str) -> str:
    what = "a boolean mask: " if operator == "NonZero" and _is_mask(place) else ""
    return (
        f"{what}the length of its output depends on the data: no CUDA graph, an output allocator, and"
        " memory for the largest case"
    )


def _by_data(place: Place, operator: str) -> Finding:
    what = "K is computed" if operator == "TopK" else "its output's shape is computed"
    reason = (
        f"{what} from the data: older releases refuse it, newer ones run it without CUDA graph and with"
        " memory for the largest case"
    )
    repair = "make K a constant" if operator == "TopK" else _FIXED
    return Finding("warning", "shapes", place.path, operator, reason, repair)


def _is_mask(place: Place) -> bool:
    """Whether the indices found go on to pick or to set elements."""
    names, scope = set(place.node.output), place.scope
    while names:
        readers = [node for node in scope.graph.node if names & set(node.input)]
        if any(node.op_type in _MASK_READERS for node in readers):
            return True
        names = _beyond(readers)
    return False


def _beyond(readers: Sequence[NodeProto]) -> set[str]:
    return {name for node in readers if node.op_type in _ON_THE_WAY for name in node.output}
