"""Inputs for a graph from elsewhere: those given, or random ones of every size that is to be tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from paring_runtimes import TensorSpec
from paring_runtimes.errors import ExportError

from .graph import Feeds, GivenGraph


def read_feeds(file: Path, graph: GivenGraph) -> Feeds:
    """The arrays of an .npz, one for each input of the graph.

    Raises:
        ExportError: it cannot be read, or its names are not the inputs'.
    """
    try:
        with np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, BadZipFile, AttributeError, TypeError) as error:
        raise ExportError(f"verify.inputs: {file} is no .npz of arrays of numbers ({error})") from None
    missing = [spec.name for spec in graph.inputs if spec.name not in arrays]
    if missing:
        raise ExportError(
            f"verify.inputs: {file} has {', '.join(arrays) or 'nothing'}, and no {', '.join(missing)}"
        )
    return {spec.name: arrays[spec.name] for spec in graph.inputs}


def random_feeds(
    graph: GivenGraph, batches: Sequence[int], sizes: Mapping[str, Sequence[int]], seeds: Sequence[int]
) -> list[Feeds]:
    """Normal floats, zeros and ones for integers: of each batch, each size in turn, and each seed.

    Raises:
        ExportError: an open size that is neither the batch's nor in `sizes`.
    """
    tried = dict(sizes)
    batch = batch_name(graph.inputs)
    if batch is not None:
        tried.setdefault(batch, batches)
    _check_sizes(graph, tried, batch)
    chosen = [dict(zip(tried, row, strict=True)) for row in zip_longest(*tried.values())] or [{}]
    first = {name: values[0] for name, values in tried.items()}
    feeds = []
    for row in chosen:
        full = {name: first[name] if size is None else size for name, size in row.items()}
        feeds += [_random(graph.inputs, full, seed) for seed in seeds]
    return feeds


def batch_name(specs: Sequence[TensorSpec]) -> str | None:
    """The open first size of the first input that has one."""
    firsts = [spec.shape[0] for spec in specs if spec.shape]
    return next((size for size in firsts if isinstance(size, str)), None)


def _check_sizes(graph: GivenGraph, tried: Mapping[str, Sequence[int]], batch: str | None) -> None:
    there = {size: spec for spec in graph.inputs for size in spec.shape if isinstance(size, str)}
    for name in tried:
        if name not in there and name != batch:
            known = ", ".join(sorted(there)) or "none"
            raise ExportError(f"verify.sizes: {name!r} is no open size of {graph.file}; open are {known}")
    for name, spec in there.items():
        if name not in tried:
            raise ExportError(
                f"{graph.file}: input {spec.name!r} {list(spec.shape)} leaves {name!r} open: say what sizes"
                f" to try, verify.sizes={{{name!r}: [64, 96]}}, or fix it, onnx:{graph.file.name}?{name}=64"
            )


def _random(specs: Sequence[TensorSpec], sizes: Mapping[str, int], seed: int) -> Feeds:
    rng, feeds = np.random.default_rng(seed), Feeds()
    for spec in specs:
        shape = tuple(size if isinstance(size, int) else sizes[size] for size in spec.shape)
        kind = np.dtype(spec.dtype)
        if kind.kind == "f":
            feeds[spec.name] = np.asarray(rng.standard_normal(shape), kind)
        else:
            feeds[spec.name] = np.asarray(rng.integers(0, 2, shape), kind)
    return feeds
