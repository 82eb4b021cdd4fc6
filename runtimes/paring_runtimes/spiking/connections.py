"""Weight nodes: laid out for the kernels, added to currents, and their connections counted."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from paring_runtimes.spiking.layout import Layout
from paring_runtimes.spiking.windows import Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from paring_runtimes.spiking.events import Events
    from paring_runtimes.spiking.workers import Workers

# Fewer weights than this share are kept one by one: below it, adding one by one is faster than whole rows.
SPARSE_BELOW = 0.05
_JOBS_A_THREAD = 2  # of a convolution; each looks at every event once, so few


class Connection(Protocol):
    """Weights between neurons of one shape and those of another."""

    layout: Layout  # of the neurons behind

    def add(self, events: Events, total: NDArray[np.float32], workers: Workers) -> None:
        """Add the weights of every event to `total` [T, B, layout.size]."""
        ...

    @property
    def fan_out(self) -> NDArray[np.int64]:
        """How many connections each source has: weights that are not zero, [sources]."""
        ...

    def by_core(self, core: NDArray[np.int32]) -> CoreRows:
        """Return on which cores each source's connections end; `core` by target, flat."""
        ...


@dataclass(frozen=True)
class CoreRows:
    """For source s the pairs core[k], count[k] with k from begin[s] to begin[s + 1]."""

    begin: NDArray[np.int64]
    core: NDArray[np.int32]
    count: NDArray[np.int64]


class Full:
    """Every source to every target. weight [targets, sources]; kept as [blocks, sources, 64]."""

    def __init__(self, weight: NDArray[Any], layout: Layout) -> None:
        self.layout = layout
        self.sources = weight.shape[1]
        self._targets = weight.shape[0]
        padded = np.zeros((layout.blocks * layout.lanes, self.sources), np.float32)
        padded[: self._targets] = weight
        split = padded.reshape(layout.blocks, layout.lanes, self.sources).transpose(0, 2, 1)
        self.weight = np.ascontiguousarray(split).reshape(-1)

    def add(self, events: Events, total: NDArray[np.float32], workers: Workers) -> None:
        """See `Connection.add`."""
        from paring_runtimes.spiking.kernels.full import full_currents

        workers.run(
            full_currents, self.layout.blocks, events.count * self.layout.size // 16,
            events.start, events.index, events.value, self.weight, self.sources, total.reshape(-1),
            self.layout.blocks,
        )  # fmt: skip

    def _there(self) -> NDArray[np.bool_]:
        """Return [targets, sources]: whether there is a weight."""
        blocks = self.weight.reshape(self.layout.blocks, self.sources, self.layout.lanes)
        there: NDArray[np.bool_] = np.not_equal(blocks, 0).transpose(0, 2, 1).reshape(-1, self.sources)
        return there[: self._targets]

    @functools.cached_property
    def fan_out(self) -> NDArray[np.int64]:
        """See `Connection.fan_out`."""
        return np.asarray(self._there().sum(0), np.int64)

    def by_core(self, core: NDArray[np.int32]) -> CoreRows:
        """See `Connection.by_core`."""
        there = self._there()
        used = np.unique(core)
        counts = np.stack([there[core == one].sum(0) for one in used], 1)  # [sources, used]
        source, which = np.nonzero(counts)
        return _rows(source, used[which], counts[source, which], self.sources)


class Sparse:
    """A matrix of few weights [targets, sources], by source."""

    def __init__(self, weight: NDArray[Any], layout: Layout) -> None:
        self.layout = layout
        self.sources = weight.shape[1]
        source, target = np.nonzero(weight.T)
        self.begin = _begins(source, self.sources)
        self.target = target
        self.place = layout.places()[target]
        self.weight = weight[target, source].astype(np.float32)

    def add(self, events: Events, total: NDArray[np.float32], workers: Workers) -> None:
        """See `Connection.add`."""
        from paring_runtimes.spiking.kernels.full import sparse_currents

        work = events.count * len(self.weight) // max(1, self.sources)
        workers.run(
            sparse_currents, len(events.start) - 1, work,
            events.start, events.index, events.value, self.begin, self.place, self.weight,
            total.reshape(-1), self.layout.size,
        )  # fmt: skip

    @functools.cached_property
    def fan_out(self) -> NDArray[np.int64]:
        """See `Connection.fan_out`."""
        return np.diff(self.begin)

    def by_core(self, core: NDArray[np.int32]) -> CoreRows:
        """See `Connection.by_core`."""
        source = np.repeat(np.arange(self.sources), np.diff(self.begin))
        return _count_pairs(source, core[self.target], self.sources)


class Convolution:
    """weight [channels out, channels in / groups, height, width] over a window."""

    def __init__(self, weight: NDArray[Any], window: Window, groups: int, layout: Layout) -> None:
        self.layout, self.window, self.groups = layout, window, groups
        self._weight = np.asarray(weight, np.float32)
        out, inner, tall, wide = weight.shape
        self.channels = inner * groups
        self.sources = self.channels * window.size[0] * window.size[1]
        self.shape = (self.channels, *window.size, tall, wide, window.out[1], groups, out // groups)
        self.tables, self.tables_back = window.tables(), window.tables_back()
        if groups == 1:
            padded = np.zeros((layout.blocks * layout.lanes, inner, tall, wide), np.float32)
            padded[:out] = weight
            split = padded.reshape(layout.blocks, layout.lanes, inner, tall, wide)
            rows = split.transpose(0, 2, 3, 4, 1)  # a block's rows [channel in, y, x, lanes]
        else:  # [channel in, y, x, channels out of its group]
            split = self._weight.reshape(groups, out // groups, inner, tall, wide)
            rows = split.transpose(0, 2, 3, 4, 1)
        self.weight = np.ascontiguousarray(rows).reshape(-1)

    def add(self, events: Events, total: NDArray[np.float32], workers: Workers) -> None:
        """See `Connection.add`."""
        from paring_runtimes.spiking.kernels.convolution import convolution_currents

        shape, bands = self.layout, self.bands(events, workers)
        workers.run(
            convolution_currents, events.batch * shape.blocks * bands, self.work(events),
            events.batch, events.start, events.index, events.value, self.shape, *self.tables, self.weight,
            *self.window.out, shape.lanes, shape.blocks, bands, total.reshape(-1),
        )  # fmt: skip

    def bands(self, events: Events, workers: Workers) -> int:
        """Return into how many bands of output rows the work is cut, so that every thread has some."""
        cells = events.batch * self.layout.blocks
        return min(self.window.out[0], -(-_JOBS_A_THREAD * workers.threads // cells))

    def work(self, events: Events) -> int:
        """Return about how many vector additions the events need."""
        _, _, tall, wide = self._weight.shape
        return int(events.count * tall * wide * self.layout.blocks * self.layout.lanes // 16)

    @functools.cached_property
    def fan_out(self) -> NDArray[np.int64]:
        """See `Connection.fan_out`."""
        out, inner, tall, wide = self._weight.shape
        split = (self._weight != 0).reshape(self.groups, out // self.groups, inner, tall, wide)
        there = split.sum(1).reshape(self.channels, tall, wide)
        y, x = (self._reached(axis) for axis in (0, 1))
        return np.asarray(np.einsum("yk,ckl,xl->cyx", y, there, x, optimize=True), np.int64).reshape(-1)

    def _reached(self, axis: int) -> NDArray[np.int64]:
        """Return [size, kernel]: how often a place meets each place of the kernel."""
        begin, pairs = self.tables[2 * axis], self.tables[2 * axis + 1]
        counts = np.zeros((self.window.size[axis], self.window.kernel[axis]), np.int64)
        np.add.at(counts, (np.repeat(np.arange(len(begin) - 1), np.diff(begin)), pairs[:, 1]), 1)
        return counts

    def by_core(self, core: NDArray[np.int32]) -> CoreRows:
        """See `Connection.by_core`."""
        out, inner = self._weight.shape[:2]
        group_out = out // self.groups
        cores = core.reshape(out, *self.window.out)
        y_begin, y_pairs, x_begin, x_pairs = self.tables
        of_y = np.repeat(np.arange(len(y_begin) - 1), np.diff(y_begin))
        of_x = np.repeat(np.arange(len(x_begin) - 1), np.diff(x_begin))
        found: list[CoreRows] = []
        for channel in range(self.channels):
            group, place = channel // inner, channel % inner
            mine = slice(group * group_out, (group + 1) * group_out)
            there = self._weight[mine, place][:, y_pairs[:, 1]][:, :, x_pairs[:, 1]] != 0
            ends = cores[mine][:, y_pairs[:, 0]][:, :, x_pairs[:, 0]]
            source = np.broadcast_to(of_y[:, None] * self.window.size[1] + of_x, there.shape)
            area = self.window.size[0] * self.window.size[1]
            found.append(_count_pairs(source[there], ends[there], area))
        sizes = np.concatenate([np.diff(rows.begin) for rows in found])
        return CoreRows(
            np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            np.concatenate([rows.core for rows in found]),
            np.concatenate([rows.count for rows in found]),
        )


def matrix(weight: NDArray[Any], layout: Layout) -> Full | Sparse:
    """Return the connection of a matrix [targets, sources], whole or one by one."""
    few = np.count_nonzero(weight) < SPARSE_BELOW * weight.size
    return Sparse(weight, layout) if few or layout.positions > 1 else Full(weight, layout)


def _begins(sorted_keys: NDArray[Any], count: int) -> NDArray[np.int64]:
    """Return where each key's run begins, and the end."""
    return np.searchsorted(sorted_keys, np.arange(count + 1)).astype(np.int64)


def _rows(source: NDArray[Any], core: NDArray[Any], count: NDArray[Any], sources: int) -> CoreRows:
    return CoreRows(_begins(source, sources), core.astype(np.int32), count.astype(np.int64))


def _count_pairs(source: NDArray[Any], core: NDArray[Any], sources: int) -> CoreRows:
    """Count how often each pair (source, core) occurs."""
    width = int(core.max(initial=0)) + 1
    keys, counts = np.unique(source.astype(np.int64) * width + core, return_counts=True)
    return _rows(keys // width, keys % width, counts, sources)
