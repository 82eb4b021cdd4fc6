"""Convolutions. An event reaches a few positions, and at each adds a contiguous row of channels.

Which positions is computed from the event's own, through two small tables an axis: for every place, the
pairs (output place, place in the kernel) that it belongs to. Stride, padding and dilation are in the tables;
nothing is unrolled in memory. Threads share out samples, blocks of channels, and bands of output rows.

Where events are many, it goes the other way round: sorted by place, they are gathered at each position, whose
sums then stay in registers.
"""

from __future__ import annotations

import numba
import numpy as np

from paring_runtimes.spiking.kernels.lanes import (
    add16,
    add32,
    add64,
    add_rows16,
    add_rows32,
    add_rows64,
    size_of,
)
from paring_runtimes.spiking.kernels.update import update_tile


@numba.njit(nogil=True, cache=True, inline="always")
def _scatter(
    e, index, value, block, lanes, shape, y_begin, y_pairs, x_begin, x_pairs, weight, total, base, low, high,
    touched, reached, n,
):  # fmt: skip
    """Add the weights of event e to output rows low, ..., high - 1; note which positions are reached first.

    shape: (channels in, height in, width in, kernel height, kernel width, width out, groups, channels out of
    a group). `base`: where position 0 would lie in `total`. Returns how many positions are noted now.
    """
    channels, height, width, tall, wide, out_width, groups, group_out = shape
    area = height * width
    channel = index[e] // area
    place = index[e] - channel * area
    y = place // width
    x = place - y * width
    begin, end = x_begin[x], x_begin[x + 1]
    for a in range(y_begin[y], y_begin[y + 1]):
        row_out = y_pairs[a, 0]
        if row_out < low or row_out >= high:
            continue
        for b in range(begin, end):
            position = row_out * out_width + x_pairs[b, 0]
            if touched[position] == 0:
                touched[position] = 1
                reached[n] = position
                n += 1
            at = base + position * lanes
            if groups == 1:
                row = (((block * channels + channel) * tall + y_pairs[a, 1]) * wide + x_pairs[b, 1]) * lanes
                if lanes == 64:
                    add64(total, at, weight, row, value, e)
                elif lanes == 32:
                    add32(total, at, weight, row, value, e)
                else:
                    for lane in range(0, lanes, 16):
                        add16(total, at + lane, weight, row + lane, value, e)
            else:  # one block holds all channels; the event reaches those of its group
                row = ((channel * tall + y_pairs[a, 1]) * wide + x_pairs[b, 1]) * group_out
                at += channel // (channels // groups) * group_out
                by = size_of(value, e)
                for lane in range(group_out):
                    total[at + lane] += weight[row + lane] * by
    return n


@numba.njit(nogil=True, cache=True)
def sort_by_place(first, last, start, index, value, area, begin, channel, size):
    """Sort each row's events by their place in the image. Jobs: rows.

    begin [rows * area + 1]: where each place's events begin in `channel`, and in `size`, their sizes. The
    last entry is left to the caller.
    """
    slot = np.empty(area, np.int64)
    for r in range(first, last):
        slot[:] = 0
        for e in range(start[r], start[r + 1]):
            slot[index[e] % area] += 1
        n = start[r]
        for place in range(area):
            begin[r * area + place] = n
            count = slot[place]
            slot[place] = n
            n += count
        for e in range(start[r], start[r + 1]):
            of = index[e] // area
            place = index[e] - of * area
            channel[slot[place]] = of
            if value is not None:
                size[slot[place]] = value[e]
            slot[place] += 1


@numba.njit(nogil=True, cache=True, inline="always")
def _gather(
    r, row_out, column, block, lanes, shape, y_from, y_back, x_from, x_back, weight, begin, channel, size,
    total, at,
):  # fmt: skip
    """Add all that reaches one position; return whether anything does."""
    channels, height, width, tall, wide = shape[0], shape[1], shape[2], shape[3], shape[4]
    any_there = False
    stride = tall * wide * lanes
    for a in range(y_from[row_out], y_from[row_out + 1]):
        line = r * height * width + y_back[a, 0] * width
        for b in range(x_from[column], x_from[column + 1]):
            place = line + x_back[b, 0]
            low, high = begin[place], begin[place + 1]
            if low < high:
                any_there = True
                base = ((block * channels * tall + y_back[a, 1]) * wide + x_back[b, 1]) * lanes
                if lanes == 64:
                    add_rows64(total, at, weight, base, stride, channel, size, low, high)
                elif lanes == 32:
                    add_rows32(total, at, weight, base, stride, channel, size, low, high)
                else:
                    for lane in range(0, lanes, 16):
                        add_rows16(total, at + lane, weight, base + lane, stride, channel, size, low, high)
    return any_there


@numba.njit(nogil=True, cache=True)
def convolution_neurons(
    first, last, batch, start, index, value, shape, y_begin, y_pairs, x_begin, x_pairs, y_from, y_back,
    x_from, x_back, begins, channel, size, weight, rows, columns, lanes, blocks, bands, constant,
    constant_batch, constant_stride, membrane, synapse, leaky, always, parameters, stride, bits, hot, seen,
):  # fmt: skip
    """Weights and the neurons behind them. Jobs: (sample * blocks + block) * bands + band.

    begins, channel, size: the events sorted by place, empty to scatter them instead; y_from, y_back, x_from,
    x_back: for every output place, the pairs (place, place in the kernel) that reach it. constant: flat
    [constant_batch, blocks, positions (or 1 where constant_stride is 0), lanes]. See `full.full_neurons` for
    the rest.
    """
    positions = rows * columns
    tile = positions * lanes
    touched, reached = np.zeros(positions, np.uint8), np.empty(positions, np.int64)
    steps = (len(start) - 1) // batch
    total = np.empty(((rows - 1) // bands + 1) * columns * lanes, np.float32)
    for job in range(first, last):
        band, cell = job % bands, job // bands
        sample, block = cell // blocks, cell % blocks
        low, high = rows * band // bands, rows * (band + 1) // bands
        begin, end = low * columns, high * columns
        base = -begin * lanes
        chosen = sample if constant_batch > 1 else 0
        origin = (chosen * blocks + block) * (tile if constant_stride else lanes)
        for position in range(begin, end):
            for lane in range(lanes):
                total[base + position * lanes + lane] = constant[origin + position * constant_stride + lane]
        for step in range(steps):
            r = step * batch + sample
            n = 0
            for position in range(begin, end):
                if always or hot[cell * positions + position]:
                    touched[position] = 1
                    reached[n] = position
                    n += 1
            if len(begins) > 0:
                n = 0
                for position in range(begin, end):
                    row_out = position // columns
                    there = _gather(
                        r, row_out, position - row_out * columns, block, lanes, shape, y_from, y_back, x_from,
                        x_back, weight, begins, channel, size, total, base + position * lanes,
                    )  # fmt: skip
                    if there or touched[position]:
                        reached[n] = position
                        n += 1
            else:
                for e in range(start[r], start[r + 1]):
                    n = _scatter(
                        e, index, value, block, lanes, shape, y_begin, y_pairs, x_begin, x_pairs, weight,
                        total, base, low, high, touched, reached, n,
                    )  # fmt: skip
            for k in range(n):
                position = reached[k]
                at = base + position * lanes
                row = (block * (positions if stride else 1) + (position if stride else 0)) * 8 * lanes
                word = ((r * blocks + block) * positions + position) * (lanes // 16)
                where = cell * tile + position * lanes
                still = update_tile(
                    total, at, membrane, synapse, where, leaky, parameters, row, lanes, bits, word
                )
                hot[cell * positions + position] = still
                seen[(r * blocks + block) * positions + position] = 1
                touched[position] = 0
                source = origin + position * constant_stride
                for lane in range(lanes):
                    total[at + lane] = constant[source + lane]


@numba.njit(nogil=True, cache=True)
def convolution_currents(
    first, last, batch, start, index, value, shape, y_begin, y_pairs, x_begin, x_pairs, weight, rows, columns,
    lanes, blocks, bands, total,
):  # fmt: skip
    """Add the weights of every event to `total`, flat [T, B, blocks, positions, lanes]. Jobs as above."""
    positions = rows * columns
    touched, reached = np.ones(positions, np.uint8), np.empty(0, np.int64)
    steps = (len(start) - 1) // batch
    for job in range(first, last):
        band, cell = job % bands, job // bands
        sample, block = cell // blocks, cell % blocks
        low, high = rows * band // bands, rows * (band + 1) // bands
        for step in range(steps):
            r = step * batch + sample
            base = (r * blocks + block) * positions * lanes
            for e in range(start[r], start[r + 1]):
                _scatter(
                    e, index, value, block, lanes, shape, y_begin, y_pairs, x_begin, x_pairs, weight, total,
                    base, low, high, touched, reached, 0,
                )  # fmt: skip
