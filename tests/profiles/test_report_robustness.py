"""The report's tables of accuracy under corruptions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from paring_profiles.report import html, markdown, robustness
from paring_profiles.result import Profile

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")


def compared(drop: float, **names: Any) -> dict[str, Any]:
    return {
        **names,
        "before": 0.8,
        "after": 0.8 - drop,
        "drop": drop,
        "drop_ci95": [drop - 0.01, drop + 0.01],
    }


def quality(*, baseline: bool) -> dict[str, Any]:
    noise = [compared(0.02, corruption="gaussian_noise", severity=1)]
    noise.append(compared(0.06, corruption="gaussian_noise", severity=5))
    found: dict[str, Any] = {
        "strengths": "CIFAR-10-C",
        "image_size": [28, 28],
        "seed": 0,
        "mean": compared(0.04),
        "corruptions": [compared(0.04, corruption="gaussian_noise")],
        "cells": noise,
    }
    if baseline:
        found["mean"] = {"after": 0.8}
        found["corruptions"] = [{"corruption": "gaussian_noise", "after": 0.8}]
        found["cells"] = [{"corruption": "gaussian_noise", "severity": s, "after": 0.8} for s in (1, 5)]
    return {"metric": "top-1 accuracy", "after": 0.9, "samples": 2000, "robustness": found}


@pytest.fixture
def corrupted(recorded: Profile) -> Profile:
    first, second = recorded.candidates[:2]
    held = [replace(first, quality=quality(baseline=True)), replace(second, quality=quality(baseline=False))]
    return replace(recorded, candidates=held)


def test_the_main_table_has_the_robust_accuracy(corrupted: Profile) -> None:
    group = robustness.before_after(corrupted)[-1]
    assert group.title == "Under corruptions"
    assert [row.label for row in group.rows] == ["Robust accuracy, mean", "Under gaussian noise"]
    before, after = group.rows[0].cells
    assert (before.text, before.note) == ("80.0 %", "")
    assert (after.text, after.note) == ("76.0 %", "drop 4.0 points; 3.0 to 5.0")


def test_each_corruption_and_severity_has_its_row(corrupted: Profile) -> None:
    ((title, table),) = robustness.robustness_tables(corrupted)
    assert title.endswith("corrupted images, CIFAR-10-C at 28 × 28 pixels")
    assert table.rows == (
        ("gaussian noise", "1", "80.0 %", "78.0 %", "2.0", "1.0 to 3.0"),
        ("gaussian noise", "5", "80.0 %", "74.0 %", "6.0", "5.0 to 7.0"),
        ("mean", "–", "80.0 %", "76.0 %", "4.0", "3.0 to 5.0"),
    )


def test_page_and_markdown_show_it(corrupted: Profile) -> None:
    page, text = html.render(corrupted), markdown.render(corrupted)
    for shown in (page, text):
        assert "Robust accuracy, mean" in shown
        assert "CIFAR-10-C at 28 × 28 pixels" in shown
    assert "| gaussian noise | 5 | 80.0 % | 74.0 % | 6.0 | 5.0 to 7.0 |" in text
    assert "Accuracy on corrupted images" in page


def test_what_was_not_measured_is_not_shown(corrupted: Profile) -> None:
    first, second = corrupted.candidates
    half = replace(corrupted, candidates=[replace(first, quality=None), second])
    assert robustness.before_after(half)[-1].rows[0].cells[0].text == "not measured"
    none = replace(corrupted, candidates=[replace(first, quality=None), replace(second, quality=None)])
    assert robustness.robustness_tables(none) == []
    assert "orrupt" not in html.render(none) + markdown.render(none)
