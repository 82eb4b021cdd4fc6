"""A spiking network against the network it stands for, at int8, on one 45 nm process. Modelled.

The dense network pays a multiply-accumulate for each of its connections, once. The spiking one pays for every
event at every connection, for the neurons it looks at, and a multiply-accumulate wherever what reaches the
weights is no event. Both read their operands from memory. The break-even spike rate is the mean share of a
step's connections that an event may cross before the spiking network costs more. arXiv 2409.08290 finds 5.7 %
at 5 steps with its own prices.
"""

from __future__ import annotations

from dataclasses import dataclass

from .chip import chip
from .load import Load
from .mapper import Placed
from .pricing import Range
from .reach import weight_connections

PROCESS = "generic_45nm"
FP32_MAC_PJ, FP32_ADD_PJ = 4.6, 0.9  # Horowitz 2014, multiplication 3.7 and addition 0.9, no memory


@dataclass(frozen=True)
class Rival:
    """Both networks, one inference. Energies in nJ, on `PROCESS`.

    Attributes:
        dense_macs: of the dense network.
        dense, spiking: their energies.
        ratio: spiking over dense; its ends take one network's constants low and the other's high.
        rate: events that crossed a connection, per connection and step.
        break_even: the rate at which both cost the same; below 0, no rate is low enough.
        printed_ratio: as papers often print it, 0.9 pJ an addition over 4.6 pJ a product in fp32, with no
            memory and no updates.
    """

    dense_macs: int
    dense: Range
    spiking: Range
    ratio: Range
    rate: float
    break_even: Range
    printed_ratio: float


def dense_macs(placed: Placed) -> int:
    """Multiply-accumulates of the network that the spiking one stands for, from its weights' shapes."""
    network = placed.network
    names = {path.weight for layer in network.layers.values() for path in layer.paths if path.weight}
    return sum(weight_connections(network, name) for name in names)


def against_dense(placed: Placed, load: Load) -> Rival:
    """Compare one inference of both networks."""
    prices = chip(PROCESS).energy
    synop, update, mac = prices.synaptic_operation_pj, prices.active_update_pj, prices.mac_pj
    assert synop is not None
    assert update is not None
    assert mac is not None
    macs, synops = dense_macs(placed), load.total_synops
    updates, real = sum(load.active.values()), load.total_macs
    crossings = load.steps * (sum(placed.connections.values()) - _real_connections(placed, load))

    def spiking(s: float, u: float, m: float) -> float:
        return (synops * s + updates * u + real * m) / 1e3

    def even(s: float, u: float, m: float) -> float:
        return ((macs - real) * m - updates * u) / (crossings * s) if crossings else 0.0

    dense = Range(*(macs * end / 1e3 for end in (mac.value, mac.low, mac.high)))
    spent = Range(
        spiking(synop.value, update.value, mac.value),
        spiking(synop.low, update.low, mac.low),
        spiking(synop.high, update.high, mac.high),
    )
    return Rival(
        dense_macs=macs,
        dense=dense,
        spiking=spent,
        ratio=Range(spent.value / dense.value, spent.low / dense.high, spent.high / dense.low),
        rate=synops / crossings if crossings else 0.0,
        break_even=Range(
            even(synop.value, update.value, mac.value),
            even(synop.high, update.high, mac.low),
            even(synop.low, update.low, mac.high),
        ),
        printed_ratio=(synops * FP32_ADD_PJ + real * FP32_MAC_PJ) / (macs * FP32_MAC_PJ),
    )


def _real_connections(placed: Placed, load: Load) -> int:
    """Connections whose input was real-valued: they carry no events."""
    total = 0
    for layer in placed.network.layers.values():
        weighted = [path for path in layer.paths if path.weight]
        if weighted and all(load.macs.get(path.weight) for path in weighted):
            total += placed.connections[layer.name]
    return total
