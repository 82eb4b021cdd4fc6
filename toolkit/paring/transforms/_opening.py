"""Opening a model of a family that is known, encoder or decoder."""

from __future__ import annotations

from torch import nn

from . import _decoder, _encoder


def canonical(model: nn.Module) -> nn.Module:
    """The model opened where a family knows it: the same function, a leaner graph, linear layers apart."""
    if not _decoder.why_not(model):
        return _decoder.open_decoder(model)
    if not _encoder.why_not(model):
        _encoder.open_encoder(model)
    return model
