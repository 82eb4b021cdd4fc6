"""Questions about images as token ids, of easy-VQA and of composed scenes."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fashion_mnist import read_split
from PIL import Image
from scenes import SIDE, ask, compose, draw

BEFORE, AFTER = "USER: ", "\n{question} ASSISTANT:"
SHAPES = ("circle", "rectangle", "triangle")


@dataclass(frozen=True)
class Row:
    """A question about the image at place `image` of its list."""

    image: int
    question: str
    answer: str
    kind: str


@dataclass(frozen=True)
class Batch:
    """Rows on a device, padded on the right.

    Attributes:
        image: [B] places of the images.
        after: [B, T] ids of the text behind the image, its answer and the end token.
        last: [B] place of the question's last token in `after`.
        asked: [B, T] bool, the answer and the end token.
    """

    image: torch.Tensor
    after: torch.Tensor
    last: torch.Tensor
    asked: torch.Tensor


class Rows:
    """Rows as ids; `tokenizer` is the language model's.

    Raises:
        ValueError: a text begins with the token for the beginning.
    """

    def __init__(self, rows: Sequence[Row], tokenizer: Any) -> None:
        def ids(texts: list[str]) -> list[list[int]]:
            return [list(own) for own in tokenizer(texts, add_special_tokens=False).input_ids]

        self.rows = list(rows)
        self.before = [tokenizer.bos_token_id, *ids([BEFORE])[0]]
        questions = ids([AFTER.format(question=row.question) for row in rows])
        answers = ids([" " + row.answer for row in rows])
        if any(own[0] == tokenizer.bos_token_id for own in questions):
            raise ValueError("the tokenizer puts its first token into the middle of a prompt")
        end = tokenizer.convert_tokens_to_ids("<|im_end|>")
        longest = max(len(q) + len(a) for q, a in zip(questions, answers, strict=True)) + 1
        self.after = torch.full((len(rows), longest), end)
        self.asked = torch.zeros(len(rows), longest, dtype=torch.bool)
        self.last = torch.tensor([len(own) - 1 for own in questions])
        for place, (question, answer) in enumerate(zip(questions, answers, strict=True)):
            own = [*question, *answer, end]
            self.after[place, : len(own)] = torch.tensor(own)
            self.asked[place, len(question) : len(own)] = True
        self.image = torch.tensor([row.image for row in rows])

    def __len__(self) -> int:
        return len(self.rows)

    def weighted(self, times: dict[str, int]) -> torch.Tensor:
        """Every row's place, as often as `times` says of its kind, or once."""
        often = torch.tensor([times.get(row.kind, 1) for row in self.rows])
        return torch.repeat_interleave(torch.arange(len(self.rows)), often)

    def batch(self, places: torch.Tensor, device: torch.device) -> Batch:
        """The rows at `places`, cut behind the longest."""
        asked = self.asked[places]
        width = int(asked.any(0).nonzero().max()) + 1
        return Batch(
            self.image[places].to(device, non_blocking=True),
            self.after[places, :width].to(device, non_blocking=True),
            self.last[places].to(device, non_blocking=True),
            asked[:, :width].to(device, non_blocking=True),
        )


def easy_vqa(wheel: Path, split: str, most: int) -> tuple[list[np.ndarray], list[Row]]:
    """Images [224, 224, 3] uint8 and questions of easy-VQA's `train` or `test`, of `most` images."""
    with zipfile.ZipFile(wheel) as archive:
        folder = f"easy_vqa/data/{split}"
        told = json.loads(archive.read(f"{folder}/questions.json"))
        names = sorted({image for *_, image in told})[:most]
        order = {image: place for place, image in enumerate(names)}
        rows = [
            Row(order[image], text, answer, "easy-" + _kind(answer))
            for text, answer, image in told
            if image in order
        ]
        images = []
        for image in order:
            opened = Image.open(io.BytesIO(archive.read(f"{folder}/images/{image}.png"))).convert("RGB")
            images.append(np.asarray(opened.resize((SIDE, SIDE), Image.Resampling.BICUBIC)))
    return images, rows


def _kind(answer: str) -> str:
    if answer in ("yes", "no"):
        return "yes-no"
    return "shape" if answer in SHAPES else "colour"


def scenes(split: str, seed: int, count: int, folder: Path) -> tuple[list[np.ndarray], list[Row]]:
    """Images and questions of `count` scenes, drawn by every core."""
    step = 250
    parts = [(split, seed * 1_000_000 + at, min(step, count - at), folder) for at in range(0, count, step)]
    with ProcessPoolExecutor() as pool:
        drawn = list(pool.map(_some, parts))
    images = [image for own, _ in drawn for image in own]
    rows = []
    for part, (_, own) in enumerate(drawn):
        rows += [Row(row.image + part * step, row.question, row.answer, row.kind) for row in own]
    return images, rows


def _some(part: tuple[str, int, int, Path]) -> tuple[list[np.ndarray], list[Row]]:
    split, first, count, folder = part
    pictures, labels = read_split(split, folder)
    images, rows = [], []
    for at in range(count):
        scene = compose(first + at, labels)
        images.append(np.asarray(draw(scene, pictures)))
        rows += [Row(at, own.text, own.answer, own.kind) for own in ask(scene, first + at)]
    return images, rows


def joined(parts: Sequence[tuple[list[np.ndarray], list[Row]]]) -> tuple[list[np.ndarray], list[Row]]:
    """Several sets of images and questions as one."""
    images: list[np.ndarray] = []
    rows: list[Row] = []
    for own_images, own_rows in parts:
        rows += [Row(row.image + len(images), row.question, row.answer, row.kind) for row in own_rows]
        images += own_images
    return images, rows


def places(rows: torch.Tensor, size: int, generator: torch.Generator) -> Iterator[torch.Tensor]:
    """Batches of `rows` [N], shuffled anew every time all have been seen; without an end."""
    count = len(rows)
    while True:
        order = rows[torch.randperm(count, generator=generator)]
        yield from order[: count // size * size].split(size)
