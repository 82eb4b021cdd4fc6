"""Update one tile of neurons, and the kernel for layers whose currents are dense."""

from __future__ import annotations

import numba
import numpy as np

from paring_runtimes.spiking.kernels.lanes import leak16, update16


@numba.njit(nogil=True, cache=True, inline="always")
def update_tile(current, at, membrane, synapse, where, leaky, parameters, row, lanes, bits, word):
    """Update `lanes` neurons and write their spikes' bits, 16 a word; return whether one is at threshold.

    `current`, `membrane`, `synapse` are flat, the tile begins at `at` and `where`; `parameters` at `row`;
    `bits` at `word`. `leaky`: there is a second exponential, in `synapse`.
    """
    still = np.uint32(0)
    for first in range(0, lanes, 16):
        if leaky:
            leak16(current, at + first, synapse, where + first, parameters, row + first, lanes)
        told = update16(current, at + first, membrane, where + first, parameters, row + first, lanes)
        bits[word + first // 16] = np.uint16(told & np.uint32(0xFFFF))
        still |= told >> np.uint32(16)
    return still != np.uint32(0)


@numba.njit(nogil=True, cache=True)
def dense_neurons(
    first, last, steps, batch, current, positions, lanes, blocks, membrane, synapse, leaky, parameters,
    stride, bits, hot, keep_membrane,
):  # fmt: skip
    """Neurons whose currents were summed before. Jobs: sample * blocks + block.

    current: flat [T, B, blocks, positions, lanes]; with `keep_membrane` the membranes take its place.
    """
    tile = positions * lanes
    size = blocks * tile
    fields = 8 * lanes
    for job in range(first, last):
        sample, block = job // blocks, job % blocks
        for step in range(steps):
            base = (step * batch + sample) * size + block * tile
            for position in range(positions):
                at = base + position * lanes
                where = sample * size + block * tile + position * lanes
                row = (block * (positions if stride else 1) + (position if stride else 0)) * fields
                still = update_tile(
                    current, at, membrane, synapse, where, leaky, parameters, row, lanes, bits, at // 16
                )
                hot[(sample * blocks + block) * positions + position] = still
                if keep_membrane:
                    for lane in range(lanes):
                        current[at + lane] = membrane[where + lane]
