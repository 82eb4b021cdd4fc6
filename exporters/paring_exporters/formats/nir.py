"""NIR: a spiking network as `graph.nir`, read back and compared spike for spike."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from torch import nn

from paring_runtimes.errors import ExportError, MissingExtraError

from ..request import Exported, Request, Wanted

NAME = "nir"
ENTRY = "graph.nir"
TAKES = "spiking networks"


def why_not() -> str | None:
    """None when writing NIR works here, otherwise the line that mends it."""
    return "h5py missing: pip install 'paring[spikes]'" if find_spec("h5py") is None else None


def export(model: nn.Module, request: Request, folder: Path) -> Exported:
    """Write `model`, a converted or imported spiking network, as `graph.nir` into `folder`.

    Raises:
        ExportError: not a spiking network, or one that NIR cannot say; with every module and why.
        ParityError: what is read back does not fire as the model does.
        MissingExtraError: the `spikes` extra is not installed.
    """
    if why_not():
        raise MissingExtraError("writing NIR", "spikes")
    if reason := refusal(request):
        raise ExportError(reason)
    from ..nir_graph.export import write_network

    return write_network(model, request, folder / ENTRY)


def refusal(wanted: Wanted) -> str | None:
    """Why what is wanted is never written; None where nothing speaks against it."""
    if wanted.precision != "fp32":
        return f"nir: export.precision {wanted.precision}: a graph holds fp32 numbers"
    if "image_size" in wanted.dynamic:
        return "nir: every neuron is written: remove image_size from export.dynamic"
    return None
