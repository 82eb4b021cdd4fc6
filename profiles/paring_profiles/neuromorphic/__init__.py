"""Neuromorphic chips, modelled: which network fits on which, what it takes there, and how well it answers.

A chip is one data file in `chips/`, every constant with its source. A network is placed on its cores, its
weights are rounded to the chip's bits, a run is counted event by event, and the counts are priced. Nothing
here is measured on a chip: every figure is labelled modelled, with the spread of the chip's constants.
"""

from __future__ import annotations
