"""What a manifest says of a vision-language model's image. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from paring_runtimes.errors import ArtifactError

TASK = "image-text-to-text"
Reusable = Literal["tokens", "encoder"]


@dataclass(frozen=True)
class Tiles:
    """Of a model that sees an image whole and in tiles.

    Attributes:
        grid: rows and columns of tiles.
        image: (height, width) of the images that it was converted for; only their ratio matters.
    """

    grid: tuple[int, int]
    image: tuple[int, int]


@dataclass(frozen=True)
class ImageFacts:
    """`manifest.graph["generation"]["image"]`.

    Attributes:
        encoder: file of the graph from pixels to features, projector included.
        embed: file of the graph from token ids to embeddings.
        prefill: file of the graph that reads a prompt with an image.
        token_id: the id in a prompt that the image stands in for.
        tokens: how many tokens an image is.
        keys: how many of them are never dropped, by the encoder's word; 0 for no such output.
        size: (height, width) of the encoder's input.
        shortest_edge: an image's shorter side is resized to this, and its centre cut out; None resizes it
            to `size` as it is.
        mean, std: of each channel, on the scale 0 to 1.
        rows: how many rows of each layer's cache an image has after a prompt. Layers of differing rows have
            slots of their own.
        tiles: where an image is seen in tiles too; then `shortest_edge` is None.
        question: file of the graph from the text after the image to what the compressor takes of it, where
            image tokens depend on it (QueCC).
        compressor: then, file of the graph from what the encoder gives, and that, to image tokens.
    """

    encoder: str
    embed: str
    prefill: str
    token_id: int
    tokens: int
    keys: int
    size: tuple[int, int]
    shortest_edge: int | None
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    rows: tuple[int, ...]
    tiles: Tiles | None = None
    question: str | None = None
    compressor: str | None = None

    @property
    def encoded(self) -> tuple[str, ...]:
        """Names of what the encoder gives."""
        if self.compressor is not None:
            return ("image_queries", "image_keys", "image_values")
        return ("image_features", "keys") if self.keys else ("image_features",)

    @property
    def reusable(self) -> Reusable:
        """What of an image serves every question: its "tokens", or only the "encoder"'s output."""
        return "tokens" if self.compressor is None else "encoder"

    @property
    def pixel_shape(self) -> tuple[int, ...]:
        """Of one image that is prepared: [3, H, W], or [views, 3, H, W], the whole image first."""
        if self.tiles is None:
            return (3, *self.size)
        return (1 + self.tiles.grid[0] * self.tiles.grid[1], 3, *self.size)

    @property
    def groups(self) -> tuple[int, ...]:
        """Each layer's group of equally long caches: 0, 1, ... in order of the layers."""
        order = list(dict.fromkeys(self.rows))
        return tuple(order.index(own) for own in self.rows)


def image_facts(told: Any, files: Mapping[str, str], layers: int, where: str) -> ImageFacts:
    """Check what a manifest tells of the image.

    Args:
        told: the entry.
        files: the artifact's files.
        layers: of the language model.
        where: the entry's place, for messages.

    Raises:
        ArtifactError: a key is missing or wrong.
    """
    if not isinstance(told, dict):
        raise ArtifactError(f"{where}: expected an object, as the task is {TASK}")
    for key in ("encoder", "embed", "prefill"):
        if told.get(key) not in files:
            raise ArtifactError(f"{where}.{key}: expected one of the files, given {told.get(key)!r}")
    for key, least in (("token_id", 0), ("tokens", 1), ("keys", 0)):
        if not _whole(told.get(key), least):
            raise ArtifactError(
                f"{where}.{key}: expected a whole number of at least {least}, given {told.get(key)!r}"
            )
    _check_compressor(told, files, where)
    edge = told.get("shortest_edge")
    if edge is not None and not _whole(edge, 1):
        raise ArtifactError(f"{where}.shortest_edge: expected null or a number of pixels, given {edge!r}")
    return ImageFacts(
        encoder=told["encoder"],
        embed=told["embed"],
        prefill=told["prefill"],
        token_id=told["token_id"],
        tokens=told["tokens"],
        keys=told["keys"],
        size=_numbers(told, "size", int, 2, where),
        shortest_edge=edge,
        mean=_numbers(told, "mean", float, 3, where),
        std=_numbers(told, "std", float, 3, where),
        rows=_numbers(told, "rows", int, layers, where),
        tiles=_tiles(told.get("tiles"), f"{where}.tiles"),
        question=told.get("question"),
        compressor=told.get("compressor"),
    )


def _check_compressor(told: Mapping[str, Any], files: Mapping[str, str], where: str) -> None:
    """Both graphs or neither; then the encoder's output is no tokens yet."""
    pair = ("question", "compressor")
    given = [key for key in pair if told.get(key) is not None]
    if not given:
        return
    for key in pair:
        if told.get(key) not in files:
            raise ArtifactError(
                f"{where}.{key}: {' and '.join(pair)} are files together, given {told.get(key)!r}"
            )
    for key in ("keys", "tiles"):
        if told.get(key):
            raise ArtifactError(f"{where}.{key}: there are none where a question makes the image's tokens")


def _tiles(told: Any, where: str) -> Tiles | None:
    if told is None:
        return None
    if not isinstance(told, dict):
        raise ArtifactError(f"{where}: expected null or an object, given {told!r}")
    return Tiles(_numbers(told, "grid", int, 2, where), _numbers(told, "image", int, 2, where))


def _whole(value: Any, least: int) -> bool:
    return type(value) is int and value >= least


def _numbers(told: dict[str, Any], key: str, kind: type, count: int, where: str) -> Any:
    values = told.get(key)
    good = isinstance(values, list) and len(values) == count
    checked: list[Any] = values if isinstance(values, list) else []
    least = min((value for value in checked if type(value) in (int, kind)), default=0)
    if not good or any(type(value) not in (int, kind) for value in checked) or (key != "mean" and least <= 0):
        raise ArtifactError(f"{where}.{key}: expected {count} numbers above 0, given {values!r}")
    return tuple(kind(value) for value in checked)
