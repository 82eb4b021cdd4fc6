"""A prompt filter's graphs: each reads the whole prompt before the next one is opened."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paring_runtimes.engines import Engine, NativeSession, Options
from paring_runtimes.generation.graph_check import check_graph
from paring_runtimes.generation.in_place_cache import lengthened, reading_plan
from paring_runtimes.generation.language_model import FilterModel, LanguageModel

if TYPE_CHECKING:
    from numpy.typing import NDArray


class FilterLayers:
    """Where the graphs are and what opens them. Threads may share it.

    Args:
        folder: the artifact's.
        model: its facts, those of a filter among them.
        engine: what computes.
        options: how to open.
    """

    def __init__(self, folder: Path, model: LanguageModel, engine: Engine, options: Options) -> None:
        assert model.filter is not None
        self.model = model
        self.facts: FilterModel = model.filter
        self._folder, self._engine = folder, engine
        self._options = replace(options, brief=True, profile_to=None)

    def open(self, layer: int) -> NativeSession:
        """Open one graph and check that it takes and gives what a layer does.

        Raises:
            ArtifactError: a name, dtype or size differs.
            EngineError: the engine cannot open it.
        """
        path = self._folder / self.facts.files[layer]
        native = self._engine.open_session(path, self._options)
        caches = [f"cache.{part}" for part in self.facts.parts(layer)]
        inputs = {"hidden" if layer else "input_ids", "positions", "length", *caches}
        outputs = [self.output(layer), *(f"updated.{part}" for part in self.facts.parts(layer))]
        kind = f"layer {layer} of a prompt filter that reads layer by layer"
        check_graph(path, native, self.model, inputs, outputs, caches, kind)
        return native

    def output(self, layer: int) -> str:
        """What a layer gives."""
        return "scores" if layer == self.facts.layer else "updated"


def read_scores(layers: FilterLayers, ids: NDArray[Any]) -> NDArray[np.float32]:
    """Read prompts of one length; return their tokens' scores.

    What is held meanwhile are the weights and the buffers of one layer, one chunk's activations, and a
    hidden state a token.

    Args:
        layers: the filter's graphs.
        ids: [batch, length] int64.

    Returns:
        [batch, length] fp32.
    """
    chunks = [ids[:, start : start + tokens].copy() for start, tokens, _ in reading_plan(ids.shape[1], 1)]
    for layer in range(layers.facts.layer + 1):
        read_layer(layers, layer, chunks, ids.shape[1])
    return chunks[-1][:, : ids.shape[1]]


def read_layer(layers: FilterLayers, layer: int, chunks: list[NDArray[Any]], length: int) -> None:
    """Replace the chunks that a layer reads by what it gives, one after another.

    Args:
        layers: the filter's graphs.
        layer: which one.
        chunks: of prompts of `length` tokens, cut as `reading_plan` has it: ids, or hidden states.
        length: of the prompts.
    """
    native, model, batch = layers.open(layer), layers.model, len(chunks[0])
    buffers: dict[str, NDArray[Any]] = {}
    for number, (start, tokens, capacity) in enumerate(reading_plan(length, 1)):
        for part in layers.facts.parts(layer):
            old = buffers.get(part)
            if old is None or old.shape[2] < capacity:
                buffers[part] = lengthened(old, model, batch, capacity)
        feeds = {
            "hidden" if layer else "input_ids": chunks[number],
            "positions": np.tile(np.arange(start, start + tokens), (batch, 1)),
            "length": np.full(batch, length),
        }
        given = _room(layers, layer, (batch, tokens, capacity))
        native.bind(
            {**feeds, **{f"cache.{part}": buffer for part, buffer in buffers.items()}},
            {layers.output(layer): given, **{f"updated.{part}": buffer for part, buffer in buffers.items()}},
        )()
        chunks[number] = given


def _room(layers: FilterLayers, layer: int, sizes: tuple[int, int, int]) -> NDArray[Any]:
    batch, tokens, capacity = sizes
    if layer == layers.facts.layer:
        return np.zeros((batch, capacity), np.float32)
    return np.zeros((batch, tokens, layers.facts.hidden_size), layers.model.dtype)
