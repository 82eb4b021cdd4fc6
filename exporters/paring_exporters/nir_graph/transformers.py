"""What NIR has no node for in a spiking transformer."""

from __future__ import annotations

from torch import nn

from paring.transforms._spikes.bipolar import SpikingTrunk, find


def find_transformer(model: nn.Module) -> SpikingTrunk | None:
    """The spiking blocks of a model, if it has any."""
    found = find(model)
    return found if isinstance(found, SpikingTrunk) else None


def unsaid(model: nn.Module) -> str:
    """The first places that NIR cannot say, by their paths in the model, and what can be done."""
    trunk = find_transformer(model)
    assert trunk is not None
    paths = {module: path for path, module in model.named_modules()}
    block = trunk.opened()[0]
    named = (
        (block.norm1, f"a {type(block.norm1).__name__}, a function of sums"),
        (block.at("normed1"), "neurons that fire -1 too, with bounds on what they fired"),
        (block.scores, "a product of two spike trains"),
        (block.softmax, "a softmax"),
    )
    lines = "; ".join(f"{paths[module]} is {what}" for module, what in named)
    return f"NIR has no node for {lines}; and so in every block. export.format onnx writes the network"
