"""Convolutions. An event reaches a few positions, and at each adds a contiguous row of channels.

Which positions is computed from the event's own, through two small tables: `reach`, for every place along an
axis, the pairs (output place, place in the kernel) that it belongs to. Stride, padding and dilation are in
the tables; nothing is unrolled in memory.
"""

from __future__ import annotations

import numba
import numpy as np

from paring_runtimes.spiking.kernels.lanes import add16
from paring_runtimes.spiking.kernels.update import update_tile


@numba.njit(nogil=True, cache=True)
def _scatter(
    e, index, value, block, lanes, shape, y_begin, y_pairs, x_begin, x_pairs, weight, total, base, touched,
    reached, n,
):  # fmt: skip
    """Add the weights of event e; note the positions that it reaches first. Returns how many are noted now.

    shape: (channels in, height in, width in, kernel height, kernel width, width out, groups,
    channels out of a group).
    """
    channels, height, width, tall, wide, out_width, groups, group_out = shape
    event = index[e]
    channel = event // (height * width)
    y = event // width % height
    x = event % width
    for a in range(y_begin[y], y_begin[y + 1]):
        for b in range(x_begin[x], x_begin[x + 1]):
            position = y_pairs[a, 0] * out_width + x_pairs[b, 0]
            if touched[position] == 0:
                touched[position] = 1
                reached[n] = position
                n += 1
            at = base + position * lanes
            if groups == 1:
                row = (((block * channels + channel) * tall + y_pairs[a, 1]) * wide + x_pairs[b, 1]) * lanes
                for lane in range(0, lanes, 16):
                    add16(total, at + lane, weight, row + lane, value, e)
            else:  # one block holds all channels; the event reaches those of its group
                row = ((channel * tall + y_pairs[a, 1]) * wide + x_pairs[b, 1]) * group_out
                at += channel // (channels // groups) * group_out
                by = np.float32(1) if value is None else value[e]
                for lane in range(group_out):
                    total[at + lane] += weight[row + lane] * by
    return n


@numba.njit(nogil=True, cache=True)
def convolution_neurons(
    first, last, batch, start, index, value, shape, y_begin, y_pairs, x_begin, x_pairs, weight, positions,
    lanes, blocks, constant, constant_batch, constant_stride, membrane, synapse, leaky, always, parameters,
    stride, bits, hot, seen,
):  # fmt: skip
    """Weights and the neurons behind them. Jobs: sample * blocks + block.

    constant: flat [constant_batch, blocks, positions (or 1 where constant_stride is 0), lanes]. See
    `full.full_neurons` for the rest.
    """
    tile = positions * lanes
    total = np.empty(tile, np.float32)
    touched, reached = np.zeros(positions, np.uint8), np.empty(positions, np.int64)
    steps = (len(start) - 1) // batch
    for job in range(first, last):
        sample, block = job // blocks, job % blocks
        chosen = sample if constant_batch > 1 else 0
        origin = (chosen * blocks + block) * (tile if constant_stride else lanes)
        for position in range(positions):
            for lane in range(lanes):
                at = origin + position * constant_stride + lane
                total[position * lanes + lane] = constant[at]
        for step in range(steps):
            r = step * batch + sample
            n = 0
            if always:
                n = positions
                for position in range(positions):
                    touched[position] = 1
                    reached[position] = position
            else:
                for position in range(positions):
                    if hot[job * positions + position]:
                        touched[position] = 1
                        reached[n] = position
                        n += 1
            for e in range(start[r], start[r + 1]):
                n = _scatter(
                    e, index, value, block, lanes, shape, y_begin, y_pairs,
                    x_begin, x_pairs, weight, total, 0, touched, reached, n,
                )  # fmt: skip
            for k in range(n):
                position = reached[k]
                at = position * lanes
                row = (block * (positions if stride else 1) + (position if stride else 0)) * 8 * lanes
                word = ((r * blocks + block) * positions + position) * (lanes // 16)
                where = job * tile + at
                still = update_tile(
                    total, at, membrane, synapse, where, leaky, parameters, row, lanes, bits, word
                )
                hot[job * positions + position] = still
                seen[(r * blocks + block) * positions + position] = 1
                touched[position] = 0
                source = origin + position * constant_stride
                for lane in range(lanes):
                    total[at + lane] = constant[source + lane]


@numba.njit(nogil=True, cache=True)
def convolution_currents(
    first, last, batch, start, index, value, shape, y_begin, y_pairs, x_begin, x_pairs, weight, positions,
    lanes, blocks, total,
):  # fmt: skip
    """Add the weights of every event to `total`, flat [T, B, blocks, positions, lanes]. Jobs as above."""
    touched, reached = np.ones(positions, np.uint8), np.empty(0, np.int64)
    steps = (len(start) - 1) // batch
    for job in range(first, last):
        sample, block = job // blocks, job % blocks
        for step in range(steps):
            r = step * batch + sample
            base = (r * blocks + block) * positions * lanes
            for e in range(start[r], start[r + 1]):
                _scatter(
                    e, index, value, block, lanes, shape, y_begin, y_pairs,
                    x_begin, x_pairs, weight, total, base, touched, reached, 0,
                )  # fmt: skip
