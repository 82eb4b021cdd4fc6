"""Spikes of one image as plain data, which `simulation.json` keeps, and as a small picture."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from paring_profiles.report.drawing import SERIES, Plot

if TYPE_CHECKING:
    from paring_profiles.neuromorphic.simulate import Simulation

NEURONS = 40  # of a layer, evenly spaced
_WIDTH, _LEFT, _ROW = 374, 76, 1.2


@dataclass(frozen=True)
class RasterLayer:
    """Events of some neurons of a layer: `neurons` of them are shown, event i is of row `rows[i]`.

    `steps[i]` counts from 1.
    """

    name: str
    neurons: int
    steps: list[int]
    rows: list[int]


@dataclass(frozen=True)
class Raster:
    """Events of one image over `steps` steps."""

    steps: int
    layers: list[RasterLayer]


def raster_of(found: Simulation) -> Raster:
    """At most `NEURONS` neurons of each layer that was recorded."""
    layers = []
    for layer in found.placed.network.layers.values():
        if layer.name not in found.raster:
            continue
        events = found.raster[layer.name]
        picked = np.unique(np.linspace(0, layer.size - 1, min(NEURONS, layer.size)).astype(int))
        steps = np.repeat(np.arange(events.steps), np.diff(events.start)) + 1
        place = np.searchsorted(picked, events.index)
        kept = (place < len(picked)) & (picked[np.minimum(place, len(picked) - 1)] == events.index)
        layers.append(RasterLayer(layer.label, len(picked), steps[kept].tolist(), place[kept].tolist()))
    return Raster(found.points[-1].steps, layers)


def drawn(raster: Raster) -> Plot:
    """Layer above layer, a dot an event."""
    title = "Spikes of one image"
    height = 34.0 + sum(layer.neurons * _ROW + 8 for layer in raster.layers)
    wide = (_WIDTH - _LEFT) / max(1, raster.steps)
    dot = max(0.8, min(2.5, 0.7 * wide))
    parts = [f'<svg class="plot" viewBox="0 0 {_WIDTH} {height:.0f}" role="img" aria-label="{title}">']
    top = 4.0
    for number, layer in enumerate(raster.layers):
        dots = "".join(
            f"M{_LEFT + (step - 0.5) * wide - dot / 2:.1f} {top + row * _ROW:.1f}h{dot:.1f}"
            for step, row in zip(layer.steps, layer.rows, strict=True)
        )
        bottom = top + layer.neurons * _ROW
        name = layer.name if len(layer.name) <= 12 else f"{layer.name[:11]}…"
        middle = (top + bottom) / 2 + 4
        parts.append(
            f'<text class="name" x="{_LEFT - 6}" y="{middle:.1f}" text-anchor="end">{escape(name)}</text>'
        )
        parts.append(f'<path class="spikes s{number % SERIES}" d="{dots}"/>')
        parts.append(f'<path class="rule" d="M{_LEFT} {bottom + 4:.1f}H{_WIDTH}"/>')
        top = bottom + 8
    parts.append(
        f'<text class="muted" x="{_LEFT}" y="{height - 8:.0f}">steps 1 to {raster.steps}</text></svg>'
    )
    return Plot("".join(parts), title, f"Modelled: at most {NEURONS} neurons of a layer, evenly spaced.")
