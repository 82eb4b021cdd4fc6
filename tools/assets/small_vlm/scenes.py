"""Scenes of Fashion-MNIST items on a coloured canvas with a small printed number, and questions about them.

    python tools/assets/small_vlm/scenes.py OUT --split t10k --count 500 --seed 7

writes OUT/images/*.png and OUT/questions.jsonl, which `vqa:OUT` reads. A scene is drawn from its seed alone.
Questions with yes or no have either answer half of the time; reading the number needs detail that a few
visual tokens do not carry.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from fashion_mnist import FOLDER, read_split

SIDE, CELL, ITEM, DIGITS = 224, 74, 64, 22  # pixels: canvas, cell of the 3 x 3 places, item, height of digits
KINDS = (
    "T-shirt",
    "pair of trousers",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "boot",
)
PLACES = (
    "top left", "top", "top right", "left", "centre", "right", "bottom left", "bottom", "bottom right",
)  # fmt: skip
COLOURS = {
    "white": (255, 255, 255), "red": (230, 50, 50), "green": (60, 200, 70), "blue": (80, 120, 255),
    "yellow": (240, 220, 60), "purple": (190, 80, 220), "orange": (250, 150, 40),
}  # fmt: skip
COUNTS = ("one", "two", "three", "four")


@dataclass(frozen=True)
class Item:
    """One thing in a scene: its image's index, its kind, place and colour."""

    index: int
    kind: int
    place: int
    colour: str


@dataclass(frozen=True)
class Scene:
    """What is drawn. `jitter` shifts items and number, in pixels; `background` is (red, green, blue)."""

    items: tuple[Item, ...]
    number: int
    number_place: int
    jitter: tuple[tuple[int, int], ...]
    background: tuple[int, int, int]


@dataclass(frozen=True)
class Question:
    """A question with its answer and the kind of thing it asks."""

    text: str
    answer: str
    kind: str


def compose(seed: int, labels: np.ndarray) -> Scene:
    """The scene of a seed. Every second scene of two and more items shows one kind twice."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 5))
    kinds = rng.permutation(len(KINDS))[:count]
    if count > 1 and rng.random() < 0.5:
        kinds[1] = kinds[0]
    places = rng.permutation(len(PLACES))[: count + 1]
    names = list(COLOURS)
    items = tuple(
        Item(
            int(rng.choice(np.flatnonzero(labels == kind))),
            int(kind),
            int(place),
            names[int(rng.integers(len(names)))],
        )
        for kind, place in zip(kinds, places[1:], strict=True)
    )
    jitter = tuple((int(x), int(y)) for x, y in rng.integers(-4, 5, (count + 1, 2)))
    background = tuple(int(value) for value in rng.integers(0, 70, 3))
    return Scene(items, int(rng.integers(10, 100)), int(places[0]), jitter, background)  # type: ignore[arg-type]


def draw(scene: Scene, images: np.ndarray) -> Image.Image:
    """The scene as an RGB image of 224 x 224."""
    canvas = np.empty((SIDE, SIDE, 3), np.float32)
    canvas[:] = scene.background
    for item, shift in zip(scene.items, scene.jitter[1:], strict=True):
        sized = Image.fromarray(images[item.index]).resize((ITEM, ITEM), Image.Resampling.BILINEAR)
        alpha = np.asarray(sized, np.float32)[:, :, None] / 255
        x, y = _corner(item.place, shift)
        under = canvas[y : y + ITEM, x : x + ITEM]
        under[:] = under * (1 - alpha) + np.array(COLOURS[item.colour], np.float32) * alpha
    image = Image.fromarray(canvas.astype(np.uint8))
    x, y = _corner(scene.number_place, scene.jitter[0])
    font = ImageFont.load_default(DIGITS)
    ImageDraw.Draw(image).text((x + 18, y + 18), str(scene.number), (255, 255, 255), font)
    return image


def _corner(place: int, shift: tuple[int, int]) -> tuple[int, int]:
    row, column = divmod(place, 3)
    return 5 + column * CELL + shift[0], 5 + row * CELL + shift[1]


def ask(scene: Scene, seed: int) -> Iterator[Question]:
    """The questions about a scene: at most one of each kind."""
    rng = np.random.default_rng((seed, 1))
    kinds = [item.kind for item in scene.items]
    yield Question("What number is printed?", str(scene.number), "number")
    yield Question("How many items are there?", COUNTS[len(kinds) - 1], "count")
    item = scene.items[int(rng.integers(len(kinds)))]
    yield Question(f"What is at the {PLACES[item.place]}?", KINDS[item.kind], "class")
    absent = [kind for kind in range(len(KINDS)) if kind not in kinds]
    there = bool(rng.random() < 0.5)
    kind = int(rng.choice(kinds if there else absent))
    yield Question(f"Is there a {KINDS[kind]}?", "yes" if there else "no", "exists")
    alone = [item for item in scene.items if kinds.count(item.kind) == 1]
    if alone:
        item = alone[int(rng.integers(len(alone)))]
        yield Question(f"Where is the {KINDS[item.kind]}?", PLACES[item.place], "position")
        yield Question(f"What colour is the {KINDS[item.kind]}?", item.colour, "colour")
    if len(kinds) > 1:  # the first two are of one kind in every second scene
        first, second = (PLACES[item.place] for item in scene.items[:2])
        same = "yes" if kinds[0] == kinds[1] else "no"
        yield Question(f"Are the items at the {first} and the {second} of the same kind?", same, "same")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--split", choices=("train", "t10k"), default="t10k")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--fashion-mnist", type=Path, default=FOLDER)
    arguments = parser.parse_args()
    images, labels = read_split(arguments.split, arguments.fashion_mnist)
    (arguments.output / "images").mkdir(parents=True)
    lines = []
    for index in range(arguments.count):
        seed = arguments.seed * 1_000_000 + index
        scene = compose(seed, labels)
        draw(scene, images).save(arguments.output / f"images/{index}.png")
        for asked in ask(scene, seed):
            told = {"image": f"images/{index}.png", "question": asked.text}
            lines.append(json.dumps(told | {"answer": asked.answer, "type": asked.kind}))
    (arguments.output / "questions.jsonl").write_text("\n".join(lines) + "\n")
    print(f"{arguments.output}: {arguments.count} scenes, {len(lines)} questions")


if __name__ == "__main__":
    main()
