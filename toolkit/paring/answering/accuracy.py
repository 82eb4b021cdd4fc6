"""Shares of right answers, before and after, overall and by type of question, each with its 95 % interval."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..data import QuestionData
from ..quality import Quality, paired_interval, wilson_interval
from .asking import Asking

METRIC = "VQA accuracy"


@dataclass(frozen=True, kw_only=True)
class AnswerQuality(Quality):
    """Accuracy of two artifacts on the same questions.

    Attributes:
        judge: how answers were judged, "generate" or "choice"; see `asking`.
        prompt: in which questions were put.
        images: that the questions are on. Questions on one image resemble each other, which the intervals
            leave out of account: they are those of as many independent questions.
        types: for each type of question, in order of name: `type`, `samples`, and the same figures as those
            of all questions.
    """

    judge: str
    prompt: str
    images: int
    types: tuple[dict[str, Any], ...]

    def of_baseline(self) -> dict[str, Any]:
        """JSON form for the baseline's manifest: its accuracy, and nothing that it lost."""
        shared = {key: asdict(self)[key] for key in ("judge", "prompt", "images")}
        own = [
            {
                "type": one["type"],
                "samples": one["samples"],
                "after": one["before"],
                "after_ci95": one["before_ci95"],
            }
            for one in self.types
        ]
        return {**super().of_baseline(), **shared, "types": own}


def answer_quality(
    before: np.ndarray, after: np.ndarray, data: QuestionData, name: str, asking: Asking
) -> AnswerQuality:
    """Compare two [N] bool arrays of right answers to the same questions; `name` is the data's."""
    kinds = np.array([one.type for one in data.questions])
    types = [
        {"type": str(kind), "samples": int((kinds == kind).sum()), **_figures(before[own], after[own])}
        for kind in np.unique(kinds)
        for own in [kinds == kind]
    ]
    return AnswerQuality(
        metric=METRIC,
        **_figures(before, after),
        samples=len(before),
        data=name,
        data_digest=data.digest,
        judge=asking.judge,
        prompt=asking.prompt,
        images=len({one.image for one in data.questions}),
        types=tuple(types),
    )


def alone(right: np.ndarray, data: QuestionData, name: str, asking: Asking) -> dict[str, Any]:
    """JSON form of one artifact's accuracy, compared with nothing."""
    return answer_quality(right, right, data, name, asking).of_baseline()


def _figures(before: np.ndarray, after: np.ndarray) -> dict[str, Any]:
    return {
        "before": float(before.mean()),
        "before_ci95": wilson_interval(before),
        "after": float(after.mean()),
        "after_ci95": wilson_interval(after),
        "drop": float(before.mean() - after.mean()),
        "drop_ci95": paired_interval(before, after),
    }
