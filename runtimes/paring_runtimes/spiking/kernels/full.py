"""Fully connected layers. Weights are flat [blocks, sources, 64]: a block's rows lie side by side."""

from __future__ import annotations

import numba
import numpy as np

from paring_runtimes.spiking.kernels.lanes import add_far_rows, add_to_rows, prefetch_row, size_of
from paring_runtimes.spiking.kernels.update import update_tile

_AHEAD = 6  # sources


@numba.njit(nogil=True, cache=True)
def by_source(start, index, sources):
    """Turn events around: the sources that fired, and the rows in which each did.

    Returns (source [S], begin [S + 1], row [events]), sources ascending.
    """
    counts = np.zeros(sources + 1, np.int64)
    for e in range(len(index)):
        counts[index[e] + 1] += 1
    fired = 0
    for source in range(sources):
        fired += counts[source + 1] > 0
    source_list, begin = np.empty(fired, np.int64), np.zeros(fired + 1, np.int64)
    slot, n = np.empty(sources, np.int64), 0
    for source in range(sources):
        if counts[source + 1] > 0:
            source_list[n] = source
            begin[n + 1] = begin[n] + counts[source + 1]
            slot[source] = begin[n]
            n += 1
    rows = np.empty(len(index), np.int32)
    for row in range(len(start) - 1):
        for e in range(start[row], start[row + 1]):
            source = index[e]
            rows[slot[source]] = row
            slot[source] += 1
    return source_list, begin, rows


@numba.njit(nogil=True, cache=True, inline="always")
def _add_sources(total, weight, base, source, begin, row):
    """Add each source's weights to the rows in which it fired: a row of weights is read once."""
    count = len(source)
    for k in range(count):
        if k + _AHEAD < count:
            prefetch_row(weight, base + source[k + _AHEAD] * 64)
        add_to_rows(total, weight, base + source[k] * 64, row, begin[k], begin[k + 1])


@numba.njit(nogil=True, cache=True)
def full_neurons(
    first, last, batch, start, index, value, source, begin, row, weight, sources, constant, constant_batch,
    membrane, synapse, leaky, always, parameters, bits, hot, seen, blocks,
):  # fmt: skip
    """Weights and the neurons behind them. Jobs: blocks of 64 neurons.

    `source`, `begin`, `row`: the events turned around, empty to go row by row instead. `constant`: flat
    [constant_batch, blocks, 64], the current of every step. `seen` [rows, blocks] is set where a block
    was updated: all of them with `always`, else where events or membranes at threshold ask for it.
    """
    rows = len(start) - 1
    total = np.empty(rows * 64, np.float32)
    turned = len(source) > 0
    for block in range(first, last):
        base = block * 64 * sources
        for r in range(rows):
            sample = (r % batch) if constant_batch > 1 else 0
            origin = (sample * blocks + block) * 64
            for lane in range(64):
                total[r * 64 + lane] = constant[origin + lane]
        if turned:
            _add_sources(total, weight, base, source, begin, row)
        for r in range(rows):
            sample = r % batch
            asked = always or start[r + 1] > start[r] or hot[sample * blocks + block]
            if asked:
                if not turned:
                    add_far_rows(total, r * 64, weight, base, 64, index, value, start[r], start[r + 1])
                hot[sample * blocks + block] = update_tile(
                    total, r * 64, membrane, synapse, (sample * blocks + block) * 64, leaky, parameters,
                    block * 512, 64, bits, (r * blocks + block) * 4,
                )  # fmt: skip
                seen[r * blocks + block] = 1


@numba.njit(nogil=True, cache=True)
def full_currents(first, last, start, index, value, weight, sources, total, blocks):
    """Add the weights of every event to `total`, flat [rows, blocks, 64]. Jobs: blocks."""
    for block in range(first, last):
        for r in range(len(start) - 1):
            if start[r + 1] > start[r]:
                at = (r * blocks + block) * 64
                base = block * 64 * sources
                add_far_rows(total, at, weight, base, 64, index, value, start[r], start[r + 1])


@numba.njit(nogil=True, cache=True)
def sparse_currents(first, last, start, index, value, begin, target, weight, total, size):
    """The same for a matrix of few weights, in rows by source. Jobs: rows of events.

    begin [sources + 1], target (a place in the blocked layout) and weight [connections].
    """
    for r in range(first, last):
        for e in range(start[r], start[r + 1]):
            by = size_of(value, e)
            for k in range(begin[index[e]], begin[index[e] + 1]):
                total[r * size + target[k]] += weight[k] * by
