"""What `paring inspect` tells of a bare ONNX file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..sources import load_model

MOST = 12  # operators listed by name


def graph_facts(file: Path) -> dict[str, Any]:
    """Inputs, outputs, operators and weights of an ONNX file, which must be whole.

    Raises:
        SourceError: it is no whole ONNX file.
        MissingExtraError: the `onnx` extra is not installed.
    """
    source = load_model(f"onnx:{file}")
    from paring_exporters.given.weighing import count_parameters

    graph = source.graph  # type: ignore[union-attr]
    model = graph.model
    operators = Counter(operator for operator, _ in _nodes(model.graph, 0))
    return {
        "inputs": graph.inputs,
        "outputs": graph.outputs,
        "opset": {one.domain or "ai.onnx": one.version for one in model.opset_import},
        "ir_version": model.ir_version,
        "producer": f"{model.producer_name} {model.producer_version}".strip(),
        "parameters": count_parameters(model.graph),
        "operators": dict(operators.most_common()),
        "nodes_in_branches": sum(depth > 0 for _, depth in _nodes(model.graph, 0)),
        "files": {str(path): path.stat().st_size for path in source.source_files},
    }


def told(facts: dict[str, Any]) -> list[list[str]]:
    """The same as rows of a table."""
    most = [f"{name} {count}" for name, count in facts["operators"].items()]
    more = f" and {len(most) - MOST} kinds more" if len(most) > MOST else ""
    inside = facts["nodes_in_branches"]
    return [
        [
            "format",
            f"onnx, a bare file; IR {facts['ir_version']}, {facts['producer'] or 'producer not said'}",
        ],
        ["opset", ", ".join(f"{domain} {version}" for domain, version in facts["opset"].items())],
        ["inputs", "\n".join(_spec(spec) for spec in facts["inputs"]) or "none"],
        ["outputs", "\n".join(_spec(spec) for spec in facts["outputs"])],
        ["parameters", f"{facts['parameters']:,}"],
        [
            "operators",
            ", ".join(most[:MOST]) + more + (f"\n{inside} nodes lie in branches or bodies" if inside else ""),
        ],
        ["files", "\n".join(f"{name}: {size:,} bytes" for name, size in facts["files"].items())],
    ]


def _spec(spec: Any) -> str:
    shape = ", ".join(str(size) for size in spec.shape)
    return f"{spec.name}: {spec.dtype} [{shape}]{'' if spec.shape else ' (one number)'}"


def _nodes(graph: Any, depth: int) -> Iterator[tuple[str, int]]:
    for node in graph.node:
        yield (f"{node.domain}::{node.op_type}" if node.domain else node.op_type), depth
        for one in node.attribute:
            if one.HasField("g"):
                yield from _nodes(one.g, depth + 1)
