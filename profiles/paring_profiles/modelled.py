"""What the ledger's chip would be charged for an inference. Modelled, beside what is measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from paring_profiles.ledger import ledger, prices
from paring_profiles.mac_formulas import Shape
from paring_profiles.onnx_graph import open_graph
from paring_profiles.result import ModelledEnergy
from paring_runtimes.errors import ParingError

_BODIES = {"If", "Loop", "Scan"}  # whose graphs the ledger does not look into


def modelled_energy(path: Path, shapes: Mapping[str, Shape], batch_size: int) -> ModelledEnergy:
    """Return the modelled energy of an ONNX graph, mJ an input of the batch.

    A graph that the ledger cannot price in full has none: a part of it would pass for the whole.
    """
    chip = prices().name
    unknown = sorted({node.op_type for node in open_graph(path).graph.node} & _BODIES)
    if not unknown:
        try:
            found = ledger(path, shapes)
        except (ParingError, LookupError, ValueError) as error:
            return ModelledEnergy(batch_size, None, chip, f"the ledger does not price this graph ({error})")
        unknown = found.unpriced
        if not unknown:
            per_input_mj = found.total_uj / 1e3 / batch_size
            return ModelledEnergy(batch_size, per_input_mj, chip, "ledger, accounting: full")
    return ModelledEnergy(batch_size, None, chip, f"the ledger does not price {', '.join(unknown)}")
