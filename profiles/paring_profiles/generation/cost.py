"""Multiply-accumulates of each phase of an answer, from the graphs that ran and the shapes that they had."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paring_profiles import inputs, macs
from paring_profiles.generation.run import Answer, AnswerRun
from paring_profiles.result import PHASES
from paring_runtimes.generation.image_facts import ImageFacts
from paring_runtimes.generation.in_place_cache import reading_plan
from paring_runtimes.generation.language_model import LanguageModel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from paring_runtimes.manifest import TensorSpec

    Feeds = dict[str, NDArray[Any]]


@dataclass
class Cost:
    """MACs by phase, for the whole batch, and operators that no formula covers."""

    macs: Counter[str] = field(default_factory=Counter)
    unknown: set[str] = field(default_factory=set)

    def add(self, phase: str, path: Path, feeds: Feeds, times: int) -> None:
        """Count a graph that ran `times` times with inputs like `feeds`."""
        found = macs.count(path, {name: value.shape for name, value in feeds.items()}, feeds)
        self.macs[phase] += found.total * times
        self.unknown |= set(found.unknown)


def count(run: AnswerRun, answer: Answer) -> Cost:
    """Count every phase of an answer. "first_token" is the sum of what comes before it.

    The cost of a batch is that of one row, as often: every graph works row by row.

    Raises:
        ArtifactError, EngineError, MissingExtraError: see `macs.count`.
    """
    cost, model, folder, batch = Cost(), run.model, run.session.path, run.batch
    if answer.kept is not None and model.filter is not None:
        for _, length, capacity in reading_plan(len(run.asked.prompts[0]), 1):
            for layer, name in enumerate(model.filter.files):
                cost.add("filter", folder / name, filtering(model, layer, length, capacity), batch)
    if model.state is not None:
        feeds, entry = one_token(model), folder / _entry(run)
        cost.add("prefill", entry, feeds, batch * len(answer.read[0]))
        cost.add("decode", entry, feeds, batch)
    elif model.in_place is None or run.graphs.in_place is None:
        entry = folder / _entry(run)
        length = len(answer.read[0])
        cost.add("prefill", entry, growing(run, length, 0), batch)
        cost.add("decode", entry, growing(run, 1, length), batch)
    else:
        if model.image is None:
            for _, length, capacity in reading_plan(len(answer.read[0]), run.new_tokens):
                feeds = in_place(model, length, [capacity] * model.layers)
                cost.add("prefill", folder / model.in_place, feeds, batch)
        else:
            pixels = run.asked.pixels
            assert pixels is not None
            cost.add("encoder", folder / model.image.encoder, {"pixel_values": pixels[:1]}, batch)
            _compressing(cost, run, model.image)
            cost.add("prefill", folder / model.image.prefill, with_image(run), batch)
        cost.add("decode", folder / model.in_place, in_place(model, 1, answer.at_end.capacity), batch)
    first = [phase for phase in PHASES if phase not in ("first_token", "decode")]
    cost.macs["first_token"] = sum(cost.macs[phase] for phase in first)
    return cost


def _compressing(cost: Cost, run: AnswerRun, image: ImageFacts) -> None:
    """Count what makes image tokens by the question, where something does."""
    graphs, folder = run.graphs.image, run.session.path
    if image.question is None or image.compressor is None or graphs is None or graphs.compressor is None:
        return
    prompt = run.asked.prompts[0]
    after = len(prompt) - 1 - prompt.index(image.token_id)
    cost.add("question", folder / image.question, {"input_ids": np.zeros((1, after), np.int64)}, run.batch)
    feeds = {
        spec.name: inputs.fill(spec, (1, *_fixed(spec)), np.random.default_rng(number))
        for number, spec in enumerate(graphs.compressor.inputs)
    }
    cost.add("compressor", folder / image.compressor, feeds, run.batch)


def _fixed(spec: TensorSpec) -> tuple[int, ...]:
    """A shape without its batch."""
    return tuple(size for size in spec.shape[1:] if isinstance(size, int))


def _entry(run: AnswerRun) -> str:
    assert run.session.manifest is not None
    return run.session.manifest.entry


def growing(run: AnswerRun, length: int, past: int) -> Feeds:
    """Feeds of `model.onnx`: `length` tokens behind `past` others."""
    model = run.model
    feeds: Feeds = {
        "input_ids": np.zeros((1, length), np.int64),
        "attention_mask": np.ones((1, past + length), np.int64),
        "position_ids": past + np.arange(length)[None],
    }
    empty = np.zeros(model.cache_shape(1, past), model.dtype)
    feeds |= dict.fromkeys(model.cache_names("past_key_values"), empty)
    taken = {spec.name for spec in run.graphs.entry.inputs}
    return {name: value for name, value in feeds.items() if name in taken}


def one_token(model: LanguageModel) -> Feeds:
    """Feeds of the graph of a model that keeps a state."""
    assert model.state is not None
    empty = np.zeros((model.layers, 1, model.state.width), model.dtype)
    return {"input_ids": np.zeros(1, np.int64), **dict.fromkeys(model.state.names("state"), empty)}


def in_place(model: LanguageModel, length: int, capacity: list[int]) -> Feeds:
    """Feeds of `in_place.onnx`: `length` tokens into the first rows of buffers of these capacities."""
    places = np.arange(length)[None]
    feeds: Feeds = {
        "input_ids": np.zeros((1, length), np.int64),
        "positions": places,
        "last": np.array([length - 1]),
        **dict.fromkeys(model.slot_names(), places),
    }
    rows = [size for size in capacity for _ in ("key", "value")]
    for name, size in zip(model.cache_names("cache"), rows, strict=True):
        feeds[name] = np.zeros(model.cache_shape(1, size), model.dtype)
    return feeds


def filtering(model: LanguageModel, layer: int, length: int, capacity: int) -> Feeds:
    """Feeds of a filter's layer: `length` tokens into the first rows of buffers of this capacity."""
    assert model.filter is not None
    feeds: Feeds = {"positions": np.arange(length)[None], "length": np.array([length])}
    if layer == 0:
        feeds["input_ids"] = np.zeros((1, length), np.int64)
    else:
        feeds["hidden"] = np.zeros((1, length, model.filter.hidden_size), model.dtype)
    for part in model.filter.parts(layer):
        feeds[f"cache.{part}"] = np.zeros(model.cache_shape(1, capacity), model.dtype)
    return feeds


def with_image(run: AnswerRun) -> Feeds:
    """Feeds of `prefill.onnx`: random embeddings before, of and after the image; its first tokens as keys."""
    image, graphs = run.model.image, run.graphs.image
    assert image is not None
    assert graphs is not None
    prompt = run.asked.prompts[0]
    place = prompt.index(image.token_id)
    lengths = {"before": place, "image_features": image.tokens, "after": len(prompt) - place - 1}
    feeds: Feeds = {}
    for number, spec in enumerate(graphs.prefill.inputs):
        if spec.name == "keys":
            feeds["keys"] = np.arange(image.keys, dtype=np.int64)[None]
        else:
            feeds[spec.name] = _random(spec, lengths[spec.name], number)
    return feeds


def _random(spec: TensorSpec, length: int, seed: int) -> NDArray[Any]:
    width = spec.shape[-1]
    assert isinstance(width, int)
    return inputs.fill(spec, (1, length, width), np.random.default_rng(seed))
