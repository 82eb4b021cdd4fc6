"""Spiking networks: an event-driven runtime for NIR graphs, without PyTorch.

::

    from paring_runtimes.spiking import open_spiking

    with open_spiking("network.nir", threads=2) as session:
        result = session.run(image[np.newaxis], steps=32)  # a constant current
        print(result.outputs["output"].mean(0), result.counts.total_synops)
"""

from __future__ import annotations

from paring_runtimes.spiking.aer import Sensor, binned
from paring_runtimes.spiking.counts import Counts, Placement, SpikingResult
from paring_runtimes.spiking.encoders import encode, latency, rate
from paring_runtimes.spiking.events import Events, from_dense
from paring_runtimes.spiking.session import SpikingSession, State, open_spiking
from paring_runtimes.spiking.stream import EventStream

__all__ = [
    "Counts",
    "EventStream",
    "Events",
    "Placement",
    "Sensor",
    "SpikingResult",
    "SpikingSession",
    "State",
    "binned",
    "encode",
    "from_dense",
    "latency",
    "open_spiking",
    "rate",
]
