"""Why a network cannot be on a chip: node, limit, what is needed and what there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from paring_runtimes.errors import ParingError

SHOWN = 8


@dataclass(frozen=True)
class Reason:
    """One limit that is broken.

    Attributes:
        node: the layer's node in the graph, or "the network".
        limit: which one, in words.
        needed, available: in the limit's unit.
        hint: what would help, or where it comes from.
    """

    node: str
    limit: str
    needed: int
    available: int
    hint: str = ""

    def __str__(self) -> str:
        told = f"{self.node}: {self.limit}: needs {self.needed:,}, the chip has {self.available:,}"
        return f"{told} ({self.hint})" if self.hint else told


class ChipRefused(ParingError):
    """A network does not fit on a chip, or holds what no such chip runs."""

    exit_code = 4

    def __init__(self, chip: str, reasons: Sequence[Reason | str]) -> None:
        self.chip, self.reasons = chip, tuple(reasons)
        more = f"; and {len(reasons) - SHOWN} more" if len(reasons) > SHOWN else ""
        listed = "; ".join(str(reason) for reason in reasons[:SHOWN])
        super().__init__(f"the network does not fit on {chip}: {listed}{more}")
