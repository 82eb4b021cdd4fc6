"""The compiled core (numba): rows of weights added for each event, neurons updated 16 at a time.

Importing a module of this package imports numba. Its functions are compiled when they are first called, some
seconds in all, and kept on disk for the next process (numba's cache, beside the source or in the user's cache
folder). They hold no lock of Python's: `paring_runtimes.spiking.workers` runs them on several threads.

Layout of a layer's neurons, "blocked": [blocks, positions, lanes], a channel's number being block * lanes +
lane. Lanes are channels side by side in memory, so that one event adds a contiguous row of weights to them.
Parameters are [blocks, positions or 1, FIELDS, lanes].
"""

from __future__ import annotations

# A neuron's parameters, in this order; see `lanes.update16`.
FIELDS = ("decay", "offset", "gain", "threshold", "keep", "after", "syn_decay", "syn_gain")
LANES = 16  # what one update takes; lanes of a block are a multiple of it
ROW_LANES = 64  # lanes of a block of a fully connected layer
