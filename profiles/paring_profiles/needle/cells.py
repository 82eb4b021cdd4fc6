"""Readings to cells of length and depth, and to one line a reader."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean, median

import numpy as np

from paring_profiles.needle.result import Cell, Reader, Reading, Summary
from paring_profiles.statistics import paired_ratio, wilson


def cells(readers: Sequence[Reader], readings: Sequence[Reading]) -> tuple[Cell, ...]:
    """Return a cell for every reader, length and depth that was read."""
    places = dict.fromkeys((one.length, one.depth) for one in readings)
    found = []
    for reader in readers:
        for length, depth in places:
            own = [
                one for one in readings if (one.reader, one.length, one.depth) == (reader.name, length, depth)
            ]
            if own:
                found.append(_cell(reader.name, length, depth, own))
    return tuple(found)


def _cell(reader: str, length: int, depth: float, own: Sequence[Reading]) -> Cell:
    share = fmean(one.found for one in own)
    return Cell(
        reader=reader,
        length=length,
        depth=depth,
        prompts=len(own),
        found=share,
        found_ci95=wilson(share, len(own)),
        needle_kept=fmean(one.needle_kept for one in own),
        prompt_tokens=max(one.prompt_tokens for one in own),
        read_tokens=max(one.read_tokens for one in own),
        prompt_ms=median(one.prompt_ms for one in own),
        filter_ms=_median(one.filter_ms for one in own),
    )


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def summaries(readers: Sequence[Reader], readings: Sequence[Reading]) -> tuple[Summary, ...]:
    """Return a line for every reader and length, and one over all lengths."""
    lengths = list(dict.fromkeys(one.length for one in readings))
    return tuple(
        _summary(reader, readers, readings, length) for reader in readers for length in (*lengths, None)
    )


def _summary(
    reader: Reader, readers: Sequence[Reader], readings: Sequence[Reading], length: int | None
) -> Summary:
    fitting = [one for one in readings if length in (None, one.length)]
    own = [one for one in fitting if one.reader == reader.name]
    share = fmean(one.found for one in own)
    whole = next((one.name for one in readers if one.artifact == reader.artifact and one.whole), None)
    ratio = None
    if not reader.whole and whole is not None:
        before = {(one.length, one.depth, one.seed): one.prompt_ms for one in fitting if one.reader == whole}
        base = np.array([before[one.length, one.depth, one.seed] for one in own])
        ratio = paired_ratio(base, np.array([one.prompt_ms for one in own]), seed=0)
    return Summary(
        reader=reader.name,
        length=length,
        prompts=len(own),
        found=share,
        found_ci95=wilson(share, len(own)),
        prompt_tokens=max(one.prompt_tokens for one in own),
        read_tokens=max(one.read_tokens for one in own),
        prompt_ms=median(one.prompt_ms for one in own),
        prefill_ratio=None if ratio is None else ratio[0],
        prefill_ratio_ci95=None if ratio is None else ratio[1],
    )
