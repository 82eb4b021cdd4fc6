"""The report's rows of accuracy by type of question."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from paring_profiles.report import html, markdown, questions
from paring_profiles.report.headline import headline, others
from paring_profiles.result import Profile

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")


def figures(before: float, after: float) -> dict[str, Any]:
    drop = before - after
    return {
        "before": before,
        "before_ci95": [before - 0.03, before + 0.03],
        "after": after,
        "after_ci95": [after - 0.03, after + 0.03],
        "drop": drop,
        "drop_ci95": [drop - 0.02, drop + 0.02],
    }


def alone(of: dict[str, Any]) -> dict[str, Any]:
    """A baseline's form."""
    return {"after": of["before"], "after_ci95": of["before_ci95"]}


@pytest.fixture
def asked(recorded: Profile) -> Profile:
    whole, by_type = figures(0.8, 0.75), {"colour": figures(0.7, 0.5), "yes/no": figures(0.9, 0.9)}
    shared = {"metric": "VQA accuracy", "samples": 500, "judge": "generate"}
    after = [{"type": name, "samples": 250, **one} for name, one in by_type.items()]
    before = [{"type": name, "samples": 250, **alone(one)} for name, one in by_type.items()]
    first, second, *rest = recorded.candidates
    held = [
        replace(first, quality={**shared, **alone(whole), "types": before}),
        replace(second, quality={**shared, **whole, "types": after}),
        *(replace(one, quality=None) for one in rest),
    ]
    return replace(recorded, candidates=held)


def test_each_type_has_its_rows(asked: Profile) -> None:
    group = questions.before_after(asked)[-1]
    assert group.title == "By type of question"
    assert [row.label for row in group.rows] == [
        "Accuracy, colour",
        "Drop, colour",
        "Accuracy, yes/no",
        "Drop, yes/no",
    ]
    cells = [[(cell.text, cell.note) for cell in row.cells[:2]] for row in group.rows[:2]]
    assert cells[0] == [
        ("70.0 %", "67.0 to 73.0; 250 questions"),
        ("50.0 %", "47.0 to 53.0; 250 questions"),
    ]
    assert cells[1] == [("baseline", ""), ("20.0 points", "18.0 to 22.0; from 70.0 %")]


def test_page_and_markdown_show_it_beside_the_speed(asked: Profile) -> None:
    for shown in (html.render(asked), markdown.render(asked)):
        assert "VQA accuracy" in shown
        assert "Accuracy, yes/no" in shown
        assert "18.0 to 22.0; from 70.0 %" in shown
        assert "500 questions" in shown


def test_the_headline_tells_the_drop(asked: Profile) -> None:
    told = [headline(asked), *others(asked)]
    assert any("5.0 points less accurate" in sentence for sentence in told)


def test_what_was_not_measured_is_not_shown(recorded: Profile) -> None:
    assert all(group.title != "By type of question" for group in questions.before_after(recorded))
