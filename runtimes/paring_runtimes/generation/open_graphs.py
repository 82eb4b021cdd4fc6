"""The graphs of a language model that is open, for callers that run them one by one."""

from __future__ import annotations

from dataclasses import dataclass

from paring_runtimes.engines import NativeSession
from paring_runtimes.generation.filter_layers import FilterLayers
from paring_runtimes.generation.image_graphs import ImageGraphs


@dataclass(frozen=True)
class OpenGraphs:
    """What a `GenerativeSession` holds; graphs that are opened when they are needed among them.

    Attributes:
        entry: the manifest's entry.
        in_place: the graph that writes into the cache, or None.
        chooser: the prompt's filter, or None.
        image: what reads prompts with an image, or None.
    """

    entry: NativeSession
    in_place: NativeSession | None
    chooser: FilterLayers | None
    image: ImageGraphs | None
