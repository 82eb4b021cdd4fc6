"""What the lint says of one node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """One thing that TensorRT would stumble over.

    Attributes:
        severity: "error": the release does not take it; "warning": it does, on a condition or at a cost.
        rule: which rule found it, the name of its file.
        node: the node's path, through subgraphs ("loop/body/TopK_3"), or the graph's input or output.
        operator: its operator, or "input" and "output".
        reason: why.
        repair: what would be right.
    """

    severity: Severity
    rule: str
    node: str
    operator: str
    reason: str
    repair: str

    def line(self) -> str:
        """The finding as one line."""
        return f"{self.severity}: {self.node} ({self.operator}): {self.reason}; {self.repair}"


@dataclass(frozen=True)
class Report:
    """Every finding on one model, errors first.

    `release` is what was asked for, `table` the release whose operator table was used.
    """

    release: str
    table: str
    opset: int
    nodes: int
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What the release does not take."""
        return tuple(finding for finding in self.findings if finding.severity == "error")

    @property
    def clean(self) -> bool:
        """Whether nothing was found at all."""
        return not self.findings


def sorted_findings(found: Sequence[Finding]) -> tuple[Finding, ...]:
    """Errors first, otherwise in the graph's order; a node's finding once."""
    return tuple(sorted(dict.fromkeys(found), key=lambda finding: finding.severity != "error"))
