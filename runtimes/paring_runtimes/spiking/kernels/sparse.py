"""Lists of events: from the bits of a layer's spikes, through pooling, and counted."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(nogil=True, cache=True)
def count_bits(first, last, bits, words, counts):
    """counts[r] = spikes of row r, whose bits are `words` words of 16. Jobs: rows."""
    for r in range(first, last):
        n = 0
        for k in range(r * words, (r + 1) * words):
            word = bits[k]
            while word:
                word &= np.uint16(word - np.uint16(1))
                n += 1
        counts[r] = n


@numba.njit(nogil=True, cache=True)
def list_bits(first, last, bits, blocks, positions, lanes, start, index):
    """Write the flat (channel, position) number of every spike. Jobs: rows; bits [rows, blocks, ...]."""
    words = blocks * positions * (lanes // 16)
    for r in range(first, last):
        n = start[r]
        for k in range(words):
            word = np.uint32(bits[r * words + k])
            if word:
                group = k % (lanes // 16)
                place = k // (lanes // 16)
                channel = place // positions * lanes + group * 16
                position = place % positions
                while word:
                    low = word & (~word + np.uint32(1))
                    lane = 0
                    while low >> np.uint32(lane) != np.uint32(1):
                        lane += 1
                    index[n] = (channel + lane) * positions + position
                    n += 1
                    word ^= low


@numba.njit(nogil=True, cache=True)
def count_pooled(first, last, start, index, height, width, y_begin, x_begin, counts):
    """counts[r] = places that the events of row r go to. Jobs: rows; see `convolution` for the tables."""
    for r in range(first, last):
        n = 0
        for e in range(start[r], start[r + 1]):
            line = index[e] // width
            y, x = line % height, index[e] - line * width
            n += (y_begin[y + 1] - y_begin[y]) * (x_begin[x + 1] - x_begin[x])
        counts[r] = n


@numba.njit(nogil=True, cache=True)
def pool_events(
    first, last, start, index, value, height, width, y_begin, y_pairs, x_begin, x_pairs, out_height,
    out_width, new_start, new_index, new_value,
):  # fmt: skip
    """Write the places of every event's pooling windows. Jobs: rows; `new_value` only with a `value`."""
    for r in range(first, last):
        n = new_start[r]
        for e in range(start[r], start[r + 1]):
            line = index[e] // width
            channel, x = line // height, index[e] - line * width
            y = line - channel * height
            for a in range(y_begin[y], y_begin[y + 1]):
                base = (channel * out_height + y_pairs[a, 0]) * out_width
                for b in range(x_begin[x], x_begin[x + 1]):
                    new_index[n] = base + x_pairs[b, 0]
                    if value is not None:
                        new_value[n] = value[e]
                    n += 1


@numba.njit(nogil=True, cache=True)
def sum_by_row(start, index, table):
    """Return, for each row, the sum of table[index] over its events."""
    sums = np.zeros(len(start) - 1, np.int64)
    for r in range(len(sums)):
        for e in range(start[r], start[r + 1]):
            sums[r] += table[index[e]]
    return sums


@numba.njit(nogil=True, cache=True)
def sum_by_core(start, index, batch, begin, core, count, sums):
    """Add to sums [T, cores] what each event does on each core: pairs core, count from begin[index]."""
    for r in range(len(start) - 1):
        for e in range(start[r], start[r + 1]):
            for k in range(begin[index[e]], begin[index[e] + 1]):
                sums[r // batch, core[k]] += count[k]


@numba.njit(nogil=True, cache=True)
def seen_by_core(seen, batch, blocks, positions, lanes, channels, core, sums):
    """Add to sums [T, cores] the neurons updated: seen [rows, blocks, positions], core [C * positions]."""
    rows = len(seen) // (blocks * positions)
    for r in range(rows):
        for block in range(blocks):
            for position in range(positions):
                if seen[(r * blocks + block) * positions + position]:
                    for channel in range(block * lanes, min(channels, (block + 1) * lanes)):
                        sums[r // batch, core[channel * positions + position]] += 1
