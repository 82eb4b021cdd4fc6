"""What a manifest says of a language model. Standard library only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paring_runtimes.errors import ArtifactError
from paring_runtimes.generation.image_facts import TASK as IMAGE_TASK
from paring_runtimes.generation.image_facts import ImageFacts, image_facts
from paring_runtimes.generation.state_facts import NO_LIMIT, StateFacts, state_facts
from paring_runtimes.manifest import FILE_NAME, Manifest

TASK = "text-generation"
TASKS = (TASK, IMAGE_TASK)
DTYPES = ("float32", "float16")


@dataclass(frozen=True)
class FilterModel:
    """`manifest.graph["generation"]["filter"]`: which tokens of a long prompt the model reads.

    Attributes:
        files: the graphs that choose them, one a layer.
        hidden_size: width of a token between them.
        k: how many tokens stay, unless a call says otherwise.
        layer: the layer whose attention scores them, counted from 0.
        pin_first: leading tokens that stay anyway, unless a call says otherwise.
        pin_last: last tokens that stay anyway, unless a call says otherwise.
    """

    files: tuple[str, ...]
    hidden_size: int
    k: int
    layer: int
    pin_first: int
    pin_last: int

    def parts(self, layer: int) -> tuple[str, ...]:
        """Which buffers a layer has: the one that scores needs no values."""
        return ("key",) if layer == self.layer else ("key", "value")


@dataclass(frozen=True)
class LanguageModel:
    """`manifest.graph["generation"]`.

    Attributes:
        layers: layers that keep keys and values, or a state.
        kv_heads: key-value heads of a layer; 0 where it keeps a state.
        head_dim: width of a head; 0 where it keeps a state.
        vocab_size: width of the logits.
        max_positions: the most tokens that prompt and answer may have together; `NO_LIMIT` where the manifest
            says null, as it may for a model with a state.
        eos_token_ids: any of these ends a generation.
        bos_token_id: first token of a text; the tokenizer puts it there.
        pad_token_id: what fills short rows of a batch; never seen by attention.
        in_place: file of the graph that writes into the cache, or None.
        dtype: of the cache, "float32" or "float16".
        filter: what shortens long prompts, or None.
        image: of a vision-language model.
        state: of a recurrent model, which keeps it instead of keys and values; or None.
    """

    layers: int
    kv_heads: int
    head_dim: int
    vocab_size: int
    max_positions: int
    eos_token_ids: tuple[int, ...]
    bos_token_id: int | None
    pad_token_id: int | None
    in_place: str | None
    dtype: str
    filter: FilterModel | None = None
    image: ImageFacts | None = None
    state: StateFacts | None = None

    @property
    def padding(self) -> int:
        """The id that fills short rows: any id that the embedding has."""
        return self.pad_token_id or 0

    @property
    def groups(self) -> tuple[int, ...]:
        """Each layer's group: layers of one group hold equally many rows."""
        return (0,) * self.layers if self.image is None else self.image.groups

    def slot_names(self) -> list[str]:
        """Return the in-place graph's inputs for slots: "slots", or "slots.0", "slots.1", ... by group."""
        count = max(self.groups) + 1
        return ["slots"] if count == 1 else [f"slots.{group}" for group in range(count)]

    def cache_names(self, prefix: str) -> list[str]:
        """Return "PREFIX.0.key", "PREFIX.0.value", "PREFIX.1.key", ..."""
        return [f"{prefix}.{i}.{kind}" for i in range(self.layers) for kind in ("key", "value")]

    def cache_shape(self, batch: int, rows: int) -> tuple[int, int, int, int]:
        """Return the shape of one layer's keys: [batch, kv_heads, rows, head_dim]."""
        return batch, self.kv_heads, rows, self.head_dim


def language_model(folder: Path, manifest: Manifest) -> LanguageModel:
    """Read and check what `manifest` says; end tokens of `generation_config.json` are added.

    Raises:
        ArtifactError: a key is missing or wrong, or the in-place graph is not among the files.
    """
    return language_model_of(folder, manifest.graph, manifest.files)


def language_model_of(folder: Path, graph: Mapping[str, Any], files: Mapping[str, str]) -> LanguageModel:
    """As `language_model`, of a manifest's `graph` and `files`."""
    where = f"{folder / FILE_NAME}: graph.generation"
    told = graph.get("generation")
    if not isinstance(told, dict):
        raise ArtifactError(f"{where}: expected an object, as the task is {graph.get('task')}")
    state = state_facts(told.get("state"), f"{where}.state")
    least = {"layers": 1, "vocab_size": 1, "max_positions": 1, "kv_heads": 1, "head_dim": 1}
    if state is not None:
        most = told.get("max_positions")
        told = {**told, "kv_heads": 0, "head_dim": 0, "max_positions": NO_LIMIT if most is None else most}
        least |= {"kv_heads": 0, "head_dim": 0}
    numbers: dict[str, Any] = {
        key: _whole(told.get(key), low, f"{where}.{key}") for key, low in least.items()
    }
    for key in ("bos_token_id", "pad_token_id"):
        numbers[key] = _token(told.get(key), f"{where}.{key}")
    eos = _end_tokens(told.get("eos_token_ids", []), f"{where}.eos_token_ids")
    if told.get("dtype") not in DTYPES:
        raise ArtifactError(f"{where}.dtype: expected {' or '.join(DTYPES)}, given {told.get('dtype')!r}")
    in_place = told.get("in_place")
    if in_place is not None and in_place not in files:
        raise ArtifactError(f"{where}.in_place: expected null or one of the files, given {in_place!r}")
    image = None
    if graph.get("task") == IMAGE_TASK:
        image = image_facts(told.get("image"), files, numbers["layers"], f"{where}.image")
    return LanguageModel(
        **numbers,
        eos_token_ids=tuple(sorted(eos | _configured_end_tokens(folder))),
        in_place=in_place,
        dtype=told["dtype"],
        filter=_filter(told.get("filter"), files, f"{where}.filter"),
        image=image,
        state=state,
    )


def _filter(told: Any, files: Mapping[str, str], where: str) -> FilterModel | None:
    if told is None:
        return None
    if not isinstance(told, dict):
        raise ArtifactError(f"{where}: expected null or an object, given {told!r}")
    if "file" in told:
        raise ArtifactError(f"{where}: one graph for all layers, as older versions wrote it: convert again")
    least = {"hidden_size": 1, "k": 1, "layer": 0, "pin_first": 0, "pin_last": 0}
    numbers = {key: _whole(told.get(key), low, f"{where}.{key}") for key, low in least.items()}
    own, count = told.get("files"), numbers["layer"] + 1
    if not isinstance(own, list) or len(own) != count or not set(own) <= set(files):
        raise ArtifactError(f"{where}.files: expected {count} of the files, one a layer, given {own!r}")
    return FilterModel(tuple(own), **numbers)


def _configured_end_tokens(folder: Path) -> set[int]:
    path = folder / "generation_config.json"
    if not path.is_file():
        return set()
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ArtifactError(f"{path}: not JSON ({error})") from None
    if not isinstance(told, dict):
        raise ArtifactError(f"{path}: expected an object, given a {type(told).__name__}")
    eos = told.get("eos_token_id")
    eos = [] if eos is None else eos if isinstance(eos, list) else [eos]
    return _end_tokens(eos, f"{path}: eos_token_id")


def _end_tokens(value: Any, where: str) -> set[int]:
    if not isinstance(value, list):
        raise ArtifactError(f"{where}: expected a list of token ids, given {value!r}")
    return {_whole(item, 0, where) for item in value}


def _token(value: Any, where: str) -> int | None:
    return None if value is None else _whole(value, 0, where)


def _whole(value: Any, least: int, where: str) -> int:
    if type(value) is not int or value < least:
        raise ArtifactError(f"{where}: expected a whole number of at least {least}, given {value!r}")
    return value
