"""The report in a real browser: clicks, sorting, filters, keys, a phone's width, dark mode, no request."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from paring_profiles.imports import Results
from paring_profiles.report.pareto import Report, from_sweep, with_imported, write
from paring_profiles.sweep import Sweep, recommend

sys.path.insert(0, str(Path(__file__).parents[2]))
from browser import Browser

pytestmark = pytest.mark.timeout(180)
OPEN = "document.querySelector('.variant:target details').open"
NUMBERS = (
    "[...document.querySelectorAll('#ranked tbody tr')].filter((r) => !r.hidden).map((r) => r.dataset.key)"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    made = Browser(tmp_path_factory.mktemp("chromium"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def page(report: Report, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(report, tmp_path_factory.mktemp("report")).html.as_uri()


def values(browser: Browser, column: int) -> list[float]:
    """What a column of the ranked table is sorted by, from top to bottom."""
    cells = (
        f"[...document.querySelectorAll('#ranked tbody tr')].map((r) => r.children[{column}].dataset.sort)"
    )
    return [float(value) for value in browser.run(cells)]


def test_the_page_asks_for_nothing_and_complains_of_nothing(browser: Browser, page: str) -> None:
    browser.open(page)
    assert browser.run("document.documentElement.classList.contains('scripted')"), "the script did not run"
    assert [url for url in browser.requests() if url != page] == []
    assert browser.complaints() == []


def test_a_click_on_a_point_opens_its_section(browser: Browser, page: str) -> None:
    browser.open(page)
    browser.click("a.point.on .hit")
    key = browser.run("document.querySelector('a.point.on').dataset.key")
    browser.until(f"location.hash === '#variant-{key}'")
    browser.until(OPEN)
    top = browser.run("document.querySelector('.variant:target').getBoundingClientRect().top")
    assert -1 <= top < 60, "the section is scrolled to"
    browser.click("a[href='#variant-21']")
    browser.until(f"location.hash === '#variant-21' && {OPEN}")
    assert "no class token" in browser.run("document.querySelector('.variant:target').innerText")


def test_hovering_shows_both_figures_with_their_intervals(
    browser: Browser, page: str, report: Report
) -> None:
    browser.open(page)
    assert browser.run("document.querySelector('#tip').hidden")
    browser.move("a.point.on .hit")
    browser.until("!document.querySelector('#tip').hidden")
    said = browser.run("document.querySelector('#tip').innerText")
    key = browser.run("document.querySelector('a.point.on').dataset.key")
    own = next(one for one in report.variants if one.key == key).figures
    for name, digits in (("latency_relative", 3), ("drop", 2)):
        for end in (own[name].value, own[name].low, own[name].high):
            assert f"{abs(end):.{digits}f}" in said
    assert "on the front" in said


def test_arrow_keys_go_from_point_to_point_and_enter_opens(browser: Browser, page: str) -> None:
    browser.open(page)
    assert browser.run("document.querySelectorAll('a.point[tabindex=\"0\"]').length") == 1
    browser.run("document.querySelector('a.point[tabindex=\"0\"]').focus()")
    place = "(() => { const b = document.activeElement.querySelector('.mark').getBoundingClientRect();"
    place += " return [b.x + b.width / 2, b.y + b.height / 2]; })()"
    before = browser.run(place)
    steps = {"ArrowRight": (0, 1), "ArrowLeft": (0, -1), "ArrowUp": (1, -1), "ArrowDown": (1, 1)}
    moved = 0
    for key, (axis, way) in steps.items():
        browser.press(key)
        after = browser.run(place)
        assert after == before or way * (after[axis] - before[axis]) > 0, key
        moved, before = moved + (after != before), after
    assert moved >= 2
    key = browser.run("document.activeElement.dataset.key")
    assert browser.run("document.querySelectorAll('a.point[tabindex=\"0\"]')[0].dataset.key") == key
    browser.press("Enter")
    browser.until(f"location.hash === '#variant-{key}' && {OPEN}")
    assert browser.run("document.activeElement.id") == f"variant-{key}"


def test_other_axes_move_the_points(browser: Browser, page: str, report: Report) -> None:
    browser.open(page)
    browser.run(
        "(() => { const s = document.querySelector('#axes select[name=x]'); s.value = 'energy_modelled_uj';"
        " s.dispatchEvent(new Event('change', {bubbles: true})); })()"
    )
    assert "modelled" in browser.run("document.querySelector('text.title[data-axis=x]').textContent")
    drawn = browser.run(
        "Object.fromEntries([...document.querySelectorAll('a.point')].map((p) =>"
        " [p.dataset.key, p.transform.baseVal[0].matrix.e]))"
    )
    energy = {v.key: v.figures["energy_modelled_uj"].value for v in report.variants if v.key in drawn}
    assert sorted(drawn, key=lambda k: (drawn[k], k)) == sorted(energy, key=lambda k: (energy[k], k))
    assert drawn.keys() == energy.keys()


def test_heads_sort_by_number_up_and_down(browser: Browser, page: str) -> None:
    browser.open(page)
    button = "#ranked thead th:nth-child(5) button"
    browser.click(button)
    assert values(browser, 4) == sorted(values(browser, 4))
    assert browser.run("document.querySelector('#ranked th:nth-child(5)').ariaSort") == "ascending"
    browser.run(f"document.querySelector('{button}').focus()")
    browser.press("Enter")
    assert values(browser, 4) == sorted(values(browser, 4), reverse=True)
    assert browser.run("[...document.querySelectorAll('#ranked th[aria-sort]')].map((h) => h.ariaSort)") == [
        "descending"
    ]


def test_filters_narrow_the_table_and_the_scatter(browser: Browser, page: str, report: Report) -> None:
    browser.open(page)
    browser.run("document.querySelector('#filters input').focus()")
    browser.type("precision int8")
    wanted = {one.key for one in report.variants if one.precision == "int8" and one.state == "complete"}
    assert len(wanted) > 3
    assert set(browser.run(NUMBERS)) == wanted
    seen = "[...document.querySelectorAll('a.point')].filter((p) => p.style.display !== 'none')"
    assert set(browser.run(f"{seen}.map((p) => p.dataset.key)")) == wanted
    browser.run(
        "(() => { const s = document.querySelector('select[data-field=Engine]'); s.value = 'openvino';"
        " s.dispatchEvent(new Event('input', {bubbles: true})); })()"
    )
    fewer = {one.key for one in report.variants if one.key in wanted and one.engine == "openvino"}
    assert set(browser.run(NUMBERS)) == fewer
    assert browser.run("document.querySelector('#count').textContent") == f"{len(fewer)} of 22 shown"
    browser.click("#filters button[type=reset]")
    browser.until("document.querySelector('#count').textContent === '22 of 22 shown'")


def test_a_phone_scrolls_down_and_never_sideways(browser: Browser, page: str) -> None:
    browser.open(page, width=390, height=844)
    browser.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    browser.settle()
    assert browser.run("document.documentElement.scrollWidth") == 390
    size = "document.querySelector('#scatter .grid text').getBoundingClientRect().height"
    assert browser.run(size) >= 11, "text of the scatter is not scaled down"
    browser.click("a.point.on .hit")
    browser.until(OPEN)
    assert browser.complaints() == []


def test_dark_mode_turns_paper_and_points(browser: Browser, page: str) -> None:
    look = (
        "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color,"
        " getComputedStyle(document.querySelector('a.point.on .mark')).fill].map((c) =>"
        " c.match(/\\d+/g).slice(0, 3).reduce((sum, one) => sum + Number(one), 0) / 3)"
    )
    browser.open(page)
    paper, ink, mark = browser.run(look)
    assert paper > 240
    assert ink < 60
    browser.open(page, dark=True)
    dark_paper, dark_ink, dark_mark = browser.run(look)
    assert dark_paper < 40
    assert dark_ink > 200
    assert dark_mark > mark


def test_names_of_html_are_only_text(browser: Browser, hostile: Callable[[], Report], tmp_path: Path) -> None:
    browser.open(write(hostile(), tmp_path).html.as_uri())
    assert browser.run("document.title !== 'owned' && document.querySelectorAll('img[src=x]').length === 0")
    assert browser.run("document.documentElement.classList.contains('scripted')")
    browser.move("a.point.on .hit")
    browser.until("!document.querySelector('#tip').hidden")
    assert "<img src=x" in browser.run("document.querySelector('#tip').innerText")
    assert browser.run("document.querySelectorAll('#tip img').length") == 0
    assert browser.requests()[1:] == []
    assert browser.complaints() == []


def test_without_script_figures_links_and_reasons_are_there(browser: Browser, page: str) -> None:
    browser.send("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(page)
        assert browser.run("document.querySelectorAll('a.point title').length") == 22
        assert browser.run("document.querySelectorAll('#ranked tbody tr').length") == 22
        assert browser.run("document.querySelector('#filters').hidden")
        assert "out of memory" in browser.run("document.querySelector('#unfinished').parentNode.innerText")
    finally:
        browser.send("Emulation.setScriptExecutionDisabled", value=False)


def test_a_recommendation_is_on_top_and_ringed(browser: Browser, sweep: Sweep, tmp_path: Path) -> None:
    chosen = recommend(sweep, ["drop<=2pp", "size<=8MB"])
    browser.open(write(from_sweep(sweep, tmp_path, chosen), tmp_path).html.as_uri())
    told: dict[str, Any] = json.loads((tmp_path / "report.json").read_text())["advice"]
    assert told["variant"] == str(chosen.trial)
    first = browser.run("document.querySelector('main section').innerText")
    assert all(sentence in first for sentence in chosen.sentences)
    rings = browser.run(
        "[...document.querySelectorAll('a.point .ring')].map((r) => r.parentNode.dataset.key)"
    )
    assert set(rings) == {str(chosen.trial), str(chosen.runner_up)}
    assert browser.run("document.querySelector('#ranked tr.taken').dataset.key") == str(chosen.trial)


def test_figures_of_other_tools_stand_apart(
    browser: Browser, report: Report, imported: list[Results], tmp_path: Path
) -> None:
    browser.open(write(with_imported(report, imported), tmp_path).html.as_uri(), width=390, height=844)
    rows = browser.run("[...document.querySelectorAll('.theirs tbody tr')].map((r) => r.innerText)")
    assert len(rows) == 5
    assert all("theirs" in row for row in rows)
    assert all(word in rows[0] for word in ("trtexec", "times.json", "2.77 ms", "not told"))
    assert "not measured by paring" in browser.run("document.querySelector('.theirs').innerText")
    ours = "['#scatter', '#ranked', '#report-data'].map((s) => document.querySelector(s).textContent).join()"
    assert "trtexec" not in browser.run(ours)
    assert browser.run("document.querySelectorAll('a.point').length") == 22
    assert browser.run("document.documentElement.scrollWidth") == 390
    assert browser.complaints() == []


def test_a_recipe_is_copied_whole(browser: Browser, page: str, report: Report) -> None:
    browser.permit("clipboard-write", True)
    browser.permit("clipboard-read", True)
    browser.send("Emulation.setFocusEmulationEnabled", enabled=True)
    browser.open(f"{page}#variant-14")
    browser.until(OPEN)
    button = "#variant-14 button.copy"
    assert browser.run(f"document.querySelector('{button}').innerText") == "Copy"
    browser.click(button)
    browser.until(f"document.querySelector('{button}').innerText === 'Copied'")
    own = next(one for one in report.variants if one.key == "14")
    assert browser.run("navigator.clipboard.readText()") == own.recipe
    assert browser.complaints() == []


def test_a_recipe_that_may_not_be_copied_is_selected(browser: Browser, page: str, report: Report) -> None:
    browser.permit("clipboard-write", False)
    browser.open(f"{page}#variant-14")
    browser.until(OPEN)
    browser.run("document.querySelector('#variant-14 button.copy').focus()")
    browser.press("Enter")
    browser.until("document.querySelector('#variant-14 button.copy').innerText.startsWith('Selected')")
    own = next(one for one in report.variants if one.key == "14")
    assert browser.run("getSelection().toString().trim()") == own.recipe.strip()
    assert browser.complaints() == []
