"""The spikes that the runtime computes of a written graph, for a comparison with PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from ..request import Exported

Spikes = Callable[[Mapping[str, np.ndarray]], list[np.ndarray]]


@contextmanager
def shown_spikes(exported: Exported, count: int) -> Iterator[Spikes | None]:
    """What runs the graph and gives the spikes of its layers of neurons, [T, B, C, ...] each, in their order.

    None where the graph was not written from a network of `count` such layers.
    """
    from paring_runtimes.spiking import encode, open_spiking

    nodes = list(exported.facts.get("neurons", {}).values())
    if not count or len(nodes) != count:
        yield None
        return
    with open_spiking(exported.entry) as session:
        told, steps = session.told, session.steps

        def spikes(feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
            assert steps is not None  # the exporter writes them
            coded = {name: encode(x, told.coding, steps, told.scale, told.seed) for name, x in feeds.items()}
            found = session.run(coded, steps, trace=nodes).traces
            return [found[node].dense() for node in nodes]

        yield spikes
