"""What PyTorch computes, as the reference that an artifact is compared with.

Binary attention turns thousands of numbers a sample into bits. Where one lies within rounding of its
threshold, two correct implementations may differ in the bit, and all that follows differs by more than any
tolerance; at the size of a ViT-S most samples have such a bit. So the reference takes the artifact's bit
where its own was decided by less than `parity.TIE_MARGIN`, and nowhere else: the outputs then have to agree
as any other model's. Where an artifact cannot show its bits, the nearest one joins the margin of a sample's
decisions. A spiking network's membranes are held to their thresholds in the same way, step by step: within
`parity.TIE_MARGIN` of a threshold, in thresholds, the artifact's spike is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager

import numpy as np
import torch
from torch import nn

from paring.transforms._additive import adopting, binarisers, watching
from paring.transforms._spikes import adopting_spikes, firing_layers
from paring.transforms.token_map import trace

from .nir_graph import shown
from .onnx_graph.bits import shown_bits, shown_spikes
from .parity import TIE_MARGIN, Outputs
from .request import Exported

Spikes = shown.Spikes
Reference = Callable[[np.ndarray], tuple[Outputs, np.ndarray | None]]


def _spikes(exported: Exported, count: int) -> AbstractContextManager[Spikes | None]:
    if exported.entry.suffix == ".nir":
        return shown.shown_spikes(exported, count)
    return shown_spikes(exported.entry, count)


@contextmanager
def torch_reference(
    model: nn.Module, names: Sequence[str], exported: Exported, precision: str
) -> Iterator[Reference]:
    """The reference for `parity.compare`: pixels to outputs by name, and each sample's margin.

    Args:
        model: what was exported.
        names: of its outputs.
        exported: the artifact, which is asked for its bits if the model has any.
        precision: of the artifact; says how near a threshold a bit may be another.
    """
    input_name = exported.inputs[0].name
    with (
        shown_bits(exported.entry, len(binarisers(model))) as bits,
        _spikes(exported, len(firing_layers(model))) as spikes,
    ):

        def reference(pixels: np.ndarray) -> tuple[Outputs, np.ndarray | None]:
            tensor, gaps = torch.from_numpy(pixels), list[torch.Tensor]()
            with ExitStack() as stack:
                stack.enter_context(torch.inference_mode())
                if bits is None:
                    gaps = stack.enter_context(watching(model))
                else:
                    theirs = [torch.from_numpy(one) for one in bits({input_name: pixels})]
                    stack.enter_context(adopting(model, theirs, TIE_MARGIN[precision]))
                if spikes is not None:
                    fired = [torch.from_numpy(one) for one in spikes({input_name: pixels})]
                    stack.enter_context(adopting_spikes(model, fired, TIE_MARGIN[precision]))
                outputs, found = trace(model, tensor)
            values = (outputs,) if isinstance(outputs, torch.Tensor) else outputs
            arrays = {name: value.numpy() for name, value in zip(names, values, strict=True)}
            margins = gaps if found is None else [*gaps, found.margin]
            return arrays, torch.stack(margins).amin(0).numpy() if margins else None

        yield reference
