"""The task metric from exported artifacts, before and after, each with its 95 % interval."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from paring_runtimes import Session

from .corruptions import Corrupt
from .data import ImageData, Preprocess

Z = 1.959963984540054  # the normal distribution's 97.5 % quantile


@dataclass(frozen=True)
class Quality:
    """Top-1 accuracy of two artifacts on the same images.

    `drop` is before minus after, a share; its interval is that of paired proportions (Bonett and
    Price 2012), those of `before` and `after` are Wilson's. `robustness` is the same under corruptions
    of the images, where the recipe asks for it; see `paring.robustness`.
    """

    metric: str
    before: float
    before_ci95: tuple[float, float]
    after: float
    after_ci95: tuple[float, float]
    drop: float
    drop_ci95: tuple[float, float]
    samples: int
    data: str
    data_digest: str
    provenance: str = "measured"
    robustness: dict[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        """JSON form, for the manifest."""
        return asdict(self)

    def of_baseline(self) -> dict[str, Any]:
        """JSON form for the baseline's manifest: its accuracy, and nothing that it lost."""
        shared = {
            key: asdict(self)[key] for key in ("metric", "samples", "data", "data_digest", "provenance")
        }
        robust = None if self.robustness is None else _of_baseline(self.robustness)
        return {**shared, "after": self.before, "after_ci95": self.before_ci95, "robustness": robust}


def _of_baseline(robustness: dict[str, Any]) -> dict[str, Any]:
    def own(compared: dict[str, Any]) -> dict[str, Any]:
        kept = {key: value for key, value in compared.items() if key in ("corruption", "severity")}
        return {**kept, "after": compared["before"]}

    parts = {key: [own(one) for one in robustness[key]] for key in ("corruptions", "cells")}
    return {**robustness, "mean": own(robustness["mean"]), **parts}


def correct(
    session: Session,
    data: ImageData,
    preprocess: Preprocess,
    batch_size: int = 50,
    corrupt: Corrupt = lambda images: images,
) -> np.ndarray:
    """[N] bool: is the largest value of the session's first output at the label?

    `corrupt` changes each batch of uint8 images before it is preprocessed. A session of a fixed batch gets
    that many images at a time, the last of them repeated where they run out.
    """
    name, output = session.inputs[0].name, session.outputs[0].name
    fixed = session.inputs[0].shape[0]
    size = fixed if isinstance(fixed, int) else batch_size
    right = []
    for start in range(0, len(data.images), size):
        chosen = slice(start, start + size)
        pixels, labels = preprocess.apply(corrupt(data.images[chosen])), data.labels[chosen]
        if isinstance(fixed, int) and len(labels) < fixed:
            pixels = np.concatenate([pixels, np.repeat(pixels[-1:], fixed - len(labels), axis=0)])
        scores = session.run({name: pixels}, [output])[output][: len(labels)]
        right.append(scores.argmax(axis=-1) == labels)
    return np.concatenate(right)


def quality(before: np.ndarray, after: np.ndarray, data: ImageData, name: str) -> Quality:
    """Compare two arrays of right and wrong answers to the same questions."""
    return Quality(
        metric="top-1 accuracy",
        before=float(before.mean()),
        before_ci95=wilson_interval(before),
        after=float(after.mean()),
        after_ci95=wilson_interval(after),
        drop=float(before.mean() - after.mean()),
        drop_ci95=paired_interval(before, after),
        samples=len(before),
        data=name,
        data_digest=data.digest,
    )


def wilson_interval(right: np.ndarray) -> tuple[float, float]:
    """95 % interval of the share of right answers, [N] bool."""
    from scipy.stats import binomtest

    found = binomtest(int(right.sum()), len(right)).proportion_ci(method="wilson")
    return float(found.low), float(found.high)


def paired_interval(before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
    """95 % interval of the mean difference of two paired [N] arrays of right (1) and wrong (0).

    Bonett and Price 2012, who add one image that was lost and one that was won. Shares between 0 and 1
    (each image's mean over several conditions) are taken the same way, an image being one observation.
    """
    lost = np.concatenate([before.astype(np.float64) - after.astype(np.float64), [1.0, -1.0]])
    centre, half = float(lost.mean()), Z * math.sqrt(float(lost.var()) / len(lost))
    return centre - half, centre + half
