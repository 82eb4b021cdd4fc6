"""How a layer's neurons lie in memory: blocks of channels side by side, see `kernels`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from paring_runtimes.spiking.kernels import LANES, ROW_LANES

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Layout:
    """Neurons of a shape (C, ...) as [blocks, positions, lanes]; a channel is block * lanes + lane."""

    shape: tuple[int, ...]
    lanes: int
    blocks: int

    @property
    def channels(self) -> int:
        """C."""
        return self.shape[0]

    @property
    def positions(self) -> int:
        """Places of one channel."""
        return int(np.prod(self.shape[1:], dtype=np.int64))

    @property
    def size(self) -> int:
        """Neurons with the padding of the last block."""
        return self.blocks * self.positions * self.lanes

    def blocked(self, flat: NDArray[Any], fill: float = 0.0) -> NDArray[np.float32]:
        """Return [..., C * positions] as [..., size], contiguous; what is no neuron holds `fill`."""
        lead = flat.shape[:-1]
        padded = np.full((*lead, self.blocks * self.lanes, self.positions), fill, np.float32)
        padded[..., : self.channels, :] = flat.reshape(*lead, self.channels, self.positions)
        split = padded.reshape(*lead, self.blocks, self.lanes, self.positions)
        return np.ascontiguousarray(np.swapaxes(split, -1, -2)).reshape(*lead, self.size)

    def flat(self, blocked: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return [..., size] as [..., C * positions], contiguous."""
        lead = blocked.shape[:-1]
        split = np.swapaxes(blocked.reshape(*lead, self.blocks, self.positions, self.lanes), -1, -2)
        whole = split.reshape(*lead, self.blocks * self.lanes, self.positions)
        return np.ascontiguousarray(whole[..., : self.channels, :]).reshape(*lead, -1)

    def places(self) -> NDArray[np.int64]:
        """Return where each neuron, in flat order, lies in the blocked form."""
        channel = np.arange(self.channels)[:, None]
        position = np.arange(self.positions)[None, :]
        block, lane = channel // self.lanes, channel % self.lanes
        return ((block * self.positions + position) * self.lanes + lane).reshape(-1)


def layout_of(shape: tuple[int, ...], one_block: bool = False) -> Layout:
    """Return the layout of neurons of a shape; `one_block` keeps all channels in one block."""
    channels = shape[0]
    alone = int(np.prod(shape[1:], dtype=np.int64)) == 1 and not one_block
    most = channels if one_block else min(ROW_LANES, channels)
    lanes = ROW_LANES if alone else -(-most // LANES) * LANES
    return Layout(shape, lanes, -(-channels // lanes))
