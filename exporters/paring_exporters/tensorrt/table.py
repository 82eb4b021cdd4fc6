"""Reads the operator table that a release of TensorRT's ONNX parser publishes of itself (docs/operators.md).

Its rows are facts: an operator's name, whether it is taken, and of which types. Of its restrictions, which
are prose, only a digest is kept, so that a change is noticed; they themselves are checked by `lint`.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field

TYPES = ("FP32", "FP16", "BF16", "FP8", "FP4", "INT8", "INT4", "INT32", "INT64", "UINT8", "BOOL")
_HEAD = re.compile(
    r"TensorRT ([\d.]+) supports operators in the inclusive range of opset (\d+) to opset (\d+)"
)
_ROW = re.compile(r"^\|\s*(\w+)\s*\|\s*([YN])\b[^|]*\|(.*)$")
_MISPRINTS = {"INF64": "INT64"}  # of 10.1's ConstantOfShape


@dataclass(frozen=True)
class Table:
    """One release's table.

    Attributes:
        release: what the table says it is of, "11.1".
        opsets: the first and the last opset of the default domain.
        operators: types by operator; None where the operator is not taken.
        restricted: digest of the restriction, of the operators that have one.
    """

    release: str
    opsets: tuple[int, int]
    operators: dict[str, tuple[str, ...] | None]
    restricted: dict[str, str] = field(default_factory=dict)


def parse(text: str) -> Table:
    """Read the Markdown of docs/operators.md.

    Raises:
        ValueError: it is no such file.
    """
    head = _HEAD.search(text)
    if head is None:
        raise ValueError(
            "no line 'TensorRT X supports operators in the inclusive range of opset A to opset B'"
        )
    operators: dict[str, tuple[str, ...] | None] = {}
    restricted = {}
    for line in text.splitlines():
        row = _ROW.match(line)
        if row is None:
            continue
        name, taken, rest = row.groups()
        cells = [cell.strip() for cell in rest.split("|")]
        operators[name] = _types(cells[0]) if taken == "Y" else None
        said = " ".join(cells[1].split()) if len(cells) > 1 else ""
        if taken == "Y" and said:
            restricted[name] = hashlib.sha256(said.encode()).hexdigest()[:12]
    return Table(head.group(1), (int(head.group(2)), int(head.group(3))), operators, restricted)


def _types(cell: str) -> tuple[str, ...]:
    said = {_MISPRINTS.get(name, name) for name in re.findall(r"\w+", cell)}
    unknown = said - set(TYPES)
    if unknown:
        raise ValueError(f"types that are not known: {', '.join(sorted(unknown))}")
    return tuple(name for name in TYPES if name in said)
