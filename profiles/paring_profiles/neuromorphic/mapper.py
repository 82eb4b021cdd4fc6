"""Places a network on a chip: each block of neurons on a core, and what every spike then has to travel.

Layers are cut from the last to the first, because how often a neuron must be held may depend on how many
cores it sends to. Blocks get cores of their own while there are enough, in the order of the layers along the
mesh; otherwise small blocks share. Inputs come in from outside and stand on no core.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paring_runtimes.nir import nodes as nir

from .chip import Chip
from .network import Layer, Network
from .reach import Reach, members, reaches, size, whole
from .refusal import ChipRefused, Reason
from .tiles import WORDS, Demand, Tile, cut

TRIES = 12  # halvings of blocks, to bring a core's destinations under their limit


@dataclass(frozen=True)
class Core:
    """A core in use: its place on the mesh, its blocks, and what they take."""

    router: tuple[int, int]  # column, row
    tiles: tuple[Tile, ...]
    demand: Demand


@dataclass(frozen=True)
class Routes:
    """What one spike of each neuron of a layer does, int64 [N] each.

    Attributes:
        messages: other cores that it is sent to.
        hops_x, hops_y: steps between routers, over all messages.
    """

    messages: NDArray[np.int64]
    hops_x: NDArray[np.int64]
    hops_y: NDArray[np.int64]


@dataclass(frozen=True)
class Placed:
    """A network on a chip.

    Attributes:
        chip, network: of it.
        cores: those in use.
        core_of: by layer, each neuron's core, int32 [N].
        copies: by layer, how often each neuron is held.
        routes: by layer that sends spikes.
        farthest: the longest way of a spike, in steps along x and y.
        shared: whether blocks of several layers share cores, for want of cores.
        fan_in: by layer, connections of the neuron that has most.
        connections: by layer, all of them.
    """

    chip: Chip
    network: Network
    cores: tuple[Core, ...]
    core_of: dict[str, NDArray[np.int32]]
    copies: dict[str, int]
    routes: dict[str, Routes]
    farthest: tuple[int, int]
    shared: bool
    fan_in: dict[str, int]
    connections: dict[str, int]


def place(network: Network, chip: Chip) -> Placed:
    """Place a network.

    Raises:
        ChipRefused: it does not fit, with every reason.
    """
    _check_whole(network, chip)
    found = reaches(network)
    caps: dict[str, int] = {}
    for _ in range(TRIES):
        tiles, copies = _cut_all(network, chip, found, caps)
        groups, shared = _on_cores(network, chip, tiles)
        core_of = _core_of(network, groups)
        sent = _sent(network, found, groups)
        over = _too_many_destinations(network, chip, core_of, sent)
        if not over:
            break
        for name, reason in over.items():
            now = max(size(tile.box) for tile in tiles[name])
            if now == 1:
                raise ChipRefused(chip.title, [reason])
            caps[name] = -(-now // 2)
    else:
        raise ChipRefused(chip.title, list(over.values()))
    cores = tuple(
        Core(_router(chip, number), tuple(group), _sum(group)) for number, group in enumerate(groups)
    )
    routes = {name: _routes(core_of[name], cores, masks) for name, masks in sent.items() if name in core_of}
    connections = {
        name: sum(one.connections(whole(layer.shape)) for one in _of(found, layer))
        for name, layer in network.layers.items()
    }
    return Placed(
        chip=chip,
        network=network,
        cores=cores,
        core_of=core_of,
        copies=copies,
        routes=routes,
        farthest=_farthest(core_of, cores, sent),
        shared=shared,
        fan_in={name: sum(r.fan_in() for r in _of(found, layer)) for name, layer in network.layers.items()},
        connections=connections,
    )


def _of(found: Mapping[tuple[str, int], Reach], layer: Layer) -> list[Reach]:
    return [found[layer.name, number] for number in range(len(layer.paths))]


def _check_whole(network: Network, chip: Chip) -> None:
    """Limits of the chip as a whole, and of single senders."""
    reasons: list[Reason | str] = []
    limits = chip.limits
    arriving = sum(int(np.prod(shape)) for shape in network.inputs.values())
    read = sum(layer.size for layer in network.layers.values() if not layer.spiking)
    for limit, needed, words in (
        (limits.inputs, arriving, "inputs of the chip"),
        (limits.outputs, read, "outputs of the chip"),
    ):
        if limit is not None and needed > limit.value:
            reasons.append(Reason("the network", words, needed, limit.value))
    if limits.fan_out is not None:
        for layer in network.layers.values():
            for path in layer.paths:
                needed = _fan_out(network, path.weight)
                if needed > limits.fan_out.value:
                    words = f"connections of one neuron of {path.source}"
                    reasons.append(Reason(path.weight, words, needed, limits.fan_out.value))
    if reasons:
        raise ChipRefused(chip.title, reasons)


def _fan_out(network: Network, weight: str) -> int:
    if not weight:
        return 1
    node = network.flat.nodes[weight]
    if isinstance(node, (nir.Linear, nir.Affine)):
        return int((node.weight != 0).sum(axis=0).max(initial=0))
    assert isinstance(node, (nir.Conv1d, nir.Conv2d))
    return int(np.prod(node.weight.shape) // max(1, node.weight.shape[1] * node.groups))


def _cut_all(
    network: Network, chip: Chip, found: Mapping[tuple[str, int], Reach], caps: Mapping[str, int]
) -> tuple[dict[str, list[Tile]], dict[str, int]]:
    """Every layer's blocks and copies. Raises ChipRefused."""
    tiles: dict[str, list[Tile]] = {}
    copies: dict[str, int] = {}
    reasons: list[Reason | str] = []
    few = chip.limits.destinations_per_neuron
    for layer in reversed(network.layers.values()):
        needed = 1 if few is None else -(-_targets(network, found, tiles, layer) // few.value)
        cut_up = cut(chip, layer, _of(found, layer), caps.get(layer.name), max(1, needed))
        copies[layer.name] = max(1, needed)
        if isinstance(cut_up[0], Reason):
            reasons += [one for one in cut_up if isinstance(one, Reason)]
        else:
            tiles[layer.name] = [one for one in cut_up if isinstance(one, Tile)]
    if reasons:
        raise ChipRefused(chip.title, reasons[::-1])
    return {name: tiles[name] for name in network.layers}, copies


def _targets(
    network: Network, found: Mapping[tuple[str, int], Reach], tiles: Mapping[str, list[Tile]], source: Layer
) -> int:
    """Blocks that the neuron with most of them sends to, of those that are cut already."""
    total = np.zeros(source.size, np.int64)
    for layer in network.layers.values():
        for number, path in enumerate(layer.paths):
            if path.source == source.name:
                for tile in tiles.get(layer.name, ()):
                    box = found[layer.name, number].senders(tile.box)
                    total[members(box, source.shape)] += 1
    return int(total.max(initial=0))


def _on_cores(network: Network, chip: Chip, tiles: Mapping[str, list[Tile]]) -> tuple[list[list[Tile]], bool]:
    """Blocks by core, and whether they had to share. Raises ChipRefused."""
    every = [tile for name in network.layers for tile in tiles[name]]
    available = chip.limits.cores.value
    if len(every) <= available:
        return [[tile] for tile in every], False
    groups: list[list[Tile]] = []
    for tile in sorted(every, key=lambda one: -one.demand.neurons):
        for group in groups:
            if _fits(chip, [*group, tile]):
                group.append(tile)
                break
        else:
            groups.append([tile])
    if len(groups) > available:
        largest = sorted(tiles.items(), key=lambda one: -len(one[1]))[:3]
        told = ", ".join(f"{name} {len(blocks)}" for name, blocks in largest)
        hint = f"most for {told}; {-(-len(groups) // available)} such chips would hold it"
        raise ChipRefused(chip.title, [Reason("the network", "cores", len(groups), available, hint)])
    place_of = {id(tile): number for number, tile in enumerate(every)}
    return sorted(groups, key=lambda group: min(place_of[id(tile)] for tile in group)), True


def _sum(group: list[Tile]) -> Demand:
    return Demand(*(sum(getattr(tile.demand, name) for tile in group) for name in WORDS))


def _fits(chip: Chip, group: list[Tile]) -> bool:
    need = _sum(group)
    return all(getattr(need, name) <= chip.limits.of(name, getattr(need, name)) for name in WORDS)


def _core_of(network: Network, groups: list[list[Tile]]) -> dict[str, NDArray[np.int32]]:
    found = {name: np.full(layer.size, -1, np.int32) for name, layer in network.layers.items()}
    for number, group in enumerate(groups):
        for tile in group:
            found[tile.layer][members(tile.box, network.layers[tile.layer].shape)] = number
    return found


def _sent(
    network: Network, found: Mapping[tuple[str, int], Reach], groups: list[list[Tile]]
) -> dict[str, dict[int, NDArray[np.bool_]]]:
    """By layer that sends: by core that hears it, which of its neurons it hears, bool [N]."""
    masks: dict[str, dict[int, NDArray[np.bool_]]] = defaultdict(dict)
    for number, group in enumerate(groups):
        for tile in group:
            for index, path in enumerate(network.layers[tile.layer].paths):
                if path.source not in network.layers:
                    continue
                sender = network.layers[path.source]
                mask = masks[path.source].setdefault(number, np.zeros(sender.size, np.bool_))
                mask[members(found[tile.layer, index].senders(tile.box), sender.shape)] = True
    return dict(masks)


def _too_many_destinations(
    network: Network,
    chip: Chip,
    core_of: Mapping[str, NDArray[np.int32]],
    sent: Mapping[str, Mapping[int, NDArray[np.bool_]]],
) -> dict[str, Reason]:
    """Layers with neurons on a core whose neurons send to too many others."""
    limit = chip.limits.destinations
    if limit is None:
        return {}
    found = {}
    for name, masks in sent.items():
        cores = core_of[name]
        counts = np.zeros(int(cores.max()) + 1, np.int64)
        for target, mask in masks.items():
            counts += np.bincount(cores[mask & (cores != target)], minlength=len(counts))
        if counts.max() > limit.value:
            words = "edges from neurons of a core to other cores"
            found[name] = Reason(name, words, int(counts.max()), limit.value)
    return found


def _router(chip: Chip, core: int) -> tuple[int, int]:
    """Column and row: along the rows, forth and back, so that cores in order are neighbours."""
    row, column = divmod(core // chip.mesh.cores_per_router, chip.mesh.columns)
    return (column if row % 2 == 0 else chip.mesh.columns - 1 - column), row


def _routes(
    cores: NDArray[np.int32], placed: tuple[Core, ...], masks: Mapping[int, NDArray[np.bool_]]
) -> Routes:
    x, y = (np.array([core.router[axis] for core in placed], np.int64)[cores] for axis in (0, 1))
    messages, hops_x, hops_y = (np.zeros(len(cores), np.int64) for _ in range(3))
    for target, mask in masks.items():
        away = mask & (cores != target)
        messages += away
        hops_x += away * np.abs(x - placed[target].router[0])
        hops_y += away * np.abs(y - placed[target].router[1])
    return Routes(messages, hops_x, hops_y)


def _farthest(
    core_of: Mapping[str, NDArray[np.int32]],
    placed: tuple[Core, ...],
    sent: Mapping[str, Mapping[int, NDArray[np.bool_]]],
) -> tuple[int, int]:
    longest = (0, 0)
    for name, masks in sent.items():
        for target, mask in masks.items():
            for core in np.unique(core_of[name][mask]):
                x, y = (abs(placed[core].router[axis] - placed[target].router[axis]) for axis in (0, 1))
                longest = max(longest, (x, y), key=sum)
    return longest
