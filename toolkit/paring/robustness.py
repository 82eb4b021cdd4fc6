"""Accuracy under corruptions of the images, before and after, for each corruption and severity."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from paring_runtimes import Session
from paring_runtimes.errors import MissingExtraError

from .corruptions import Corrupt, corruption, strengths_for
from .data import ImageData, Preprocess
from .quality import correct, paired_interval
from .recipe import Robustness

Images = npt.NDArray[np.uint8]
Shares = npt.NDArray[Any]


@dataclass(frozen=True)
class Conditions:
    """What the images go through: each corruption at each severity, at one set of strengths.

    Images larger than the model's input are brought to its size first, so that a corruption has the
    strength that the network sees, as in ImageNet-C.
    """

    wanted: Robustness
    size: tuple[int, int]  # of the corrupted images, (height, width) in pixels

    @classmethod
    def of(cls, wanted: Robustness, data: ImageData, preprocess: Preprocess) -> Conditions:
        """The conditions for these images before this model."""
        height, width = data.images.shape[1:3]
        seen = preprocess.size
        too_large = seen is not None and (height > seen[0] or width > seen[1])
        return cls(wanted, seen if seen is not None and too_large else (height, width))

    @property
    def strengths(self) -> str:
        """The set of strengths: "CIFAR-10-C", "Tiny ImageNet-C" or "ImageNet-C"."""
        return strengths_for(*self.size)

    @property
    def pairs(self) -> list[tuple[str, int]]:
        """Each corruption and severity, in the order of the answers."""
        return [(name, severity) for name in self.wanted.corruptions for severity in self.wanted.severities]

    def answers(
        self,
        session: Session,
        data: ImageData,
        preprocess: Preprocess,
        progress: Callable[[str], None],
    ) -> npt.NDArray[np.bool_]:
        """[conditions, N]: is the largest value of the session's first output at the label?"""
        found = []
        for name, severity in self.pairs:
            progress(f"{name} at severity {severity}")
            change = self._sized_then(corruption(name, severity, self.strengths, self.wanted.seed))
            found.append(correct(session, data, preprocess, corrupt=change))
        return np.stack(found)

    def _sized_then(self, change: Corrupt) -> Corrupt:
        return lambda images: change(self._sized(images))

    def _sized(self, images: Images) -> Images:
        if images.shape[1:3] == self.size:
            return images
        try:
            from PIL import Image
        except ModuleNotFoundError as error:
            raise MissingExtraError("resizing images", "torch") from error
        height, width = self.size
        planes = images.transpose(0, 3, 1, 2)
        resized = [
            [Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR) for plane in image]
            for image in np.ascontiguousarray(planes)
        ]
        stacked = [np.stack([np.asarray(plane) for plane in image], axis=-1) for image in resized]
        return np.stack(stacked)


def robustness(before: Shares, after: Shares, conditions: Conditions) -> dict[str, Any]:
    """The manifest's `quality.robustness`.

    Args:
        before, after: [conditions, N] bool, right or wrong, on the same images.
        conditions: what the rows stand for.

    Returns:
        `cells`, one a corruption and severity; `corruptions`, the mean of each over its severities; and
        `mean`, over all. Each has `before`, `after`, `drop` (shares) and `drop_ci95`.
    """
    pairs, wanted = conditions.pairs, conditions.wanted
    cells = [
        {"corruption": name, "severity": severity, **_compared(before[row], after[row])}
        for row, (name, severity) in enumerate(pairs)
    ]
    by_corruption = []
    for name in wanted.corruptions:
        rows = [row for row, pair in enumerate(pairs) if pair[0] == name]
        means = _compared(before[rows].mean(axis=0), after[rows].mean(axis=0))
        by_corruption.append({"corruption": name, **means})
    return {
        "strengths": conditions.strengths,
        "image_size": list(conditions.size),
        "seed": wanted.seed,
        "mean": _compared(before.mean(axis=0), after.mean(axis=0)),
        "corruptions": by_corruption,
        "cells": cells,
    }


def _compared(before: Shares, after: Shares) -> dict[str, Any]:
    return {
        "before": float(before.mean()),
        "after": float(after.mean()),
        "drop": float(before.mean() - after.mean()),
        "drop_ci95": paired_interval(before, after),
    }
