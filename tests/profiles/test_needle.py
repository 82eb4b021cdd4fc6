"""Needles stand where they are said to, and what is told of them is what the session did."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tokenizers")
pytest.importorskip("jinja2")
sys.path.insert(0, str(Path(__file__).parents[1] / "runtimes" / "generation"))

import tiny_lm

from paring_profiles.needle import FILLER, NeedleSettings, run
from paring_profiles.needle.frames import ASKS, frame_of
from paring_profiles.needle.haystack import PLACES, Plan, haystacks, statement
from paring_profiles.needle.prose import read_prose
from paring_profiles.needle.read import Options, holds, read, reading_options
from paring_profiles.needle.result import NeedleResult, Reader
from paring_profiles.report import needle as report
from paring_profiles.report import needle_tables
from paring_profiles.statistics import wilson
from paring_runtimes import Generation, GenerativeSession, InputError, load

SETTINGS = NeedleSettings((260, 400), (0.0, 1.0), seeds=2, reductions=(2, 8), threads=1)
WHOLE = Reader("whole", "x")


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A tiny model with 512 positions whose filter keeps the highest ids."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny_lm, "POSITIONS", 512)
        yield tiny_lm.save_artifact(tmp_path_factory.mktemp("needle") / "lm", filter_k=60)


@pytest.fixture(scope="module")
def session(artifact: Path) -> Iterator[GenerativeSession]:
    with load(artifact, threads=1) as opened:
        assert isinstance(opened, GenerativeSession)
        yield opened


@pytest.fixture(scope="module")
def result(artifact: Path) -> NeedleResult:
    return run([artifact], SETTINGS, FILLER, "filler")


@pytest.mark.parametrize("ask", ASKS)
@pytest.mark.parametrize("needles", [1, 3])
def test_facts_stand_where_they_are_said_to(session: GenerativeSession, ask: str, needles: int) -> None:
    frame = frame_of(session, ask)
    plan = Plan([480, 505], [0.0, 0.4, 1.0], [0, 1], needles, 9)
    found = haystacks(session.tokenizer, FILLER, frame, plan)
    assert len(found) == 12
    for hay in found:
        assert len(hay.ids) in (480, 505)
        text = [session.tokenizer.decode([token]) for token in hay.ids]
        for fact in hay.facts:
            start, stop = fact.tokens
            assert "".join(text[start:stop]) == f" {statement(fact.place, fact.number)}."
        first, last = hay.ends
        room = len(hay.ids) - first - last - sum(f.tokens[1] - f.tokens[0] for f in hay.facts)
        at = (hay.facts[0].tokens[0] - first) / room
        assert hay.depth <= at + 1 / room
        assert at <= hay.depth + 64 / room
        assert len({fact.place for fact in hay.facts}) == needles
        assert len({*hay.others, *(fact.number for fact in hay.facts)}) == 9 + needles
        asked = "".join(text[len(text) - last :])
        assert all(fact.place in asked for fact in hay.facts)
        assert not any(str(fact.number) in asked for fact in hay.facts)
    assert found == haystacks(session.tokenizer, FILLER, frame, plan)
    assert len({hay.facts[0].number for hay in found}) > 6


def test_later_facts_follow_evenly(session: GenerativeSession) -> None:
    frame = frame_of(session, "sentence")
    hay = haystacks(session.tokenizer, "a " * 400, frame, Plan([480], [0.2], [0], 4))[0]
    starts = np.array([fact.tokens[0] for fact in hay.facts])
    text = np.diff(starts) - [fact.tokens[1] - fact.tokens[0] for fact in hay.facts[:-1]]
    assert text.min() > 0
    assert text.max() - text.min() <= 1  # no full stop to wait for: every gap is a fifth of the room


def test_a_fact_stands_behind_a_full_stop(session: GenerativeSession) -> None:
    plan = Plan([480], [0.1, 0.4, 0.9], [0, 1], 2)
    for hay in haystacks(session.tokenizer, "Rain fell. " * 50, frame_of(session, "sentence"), plan):
        before = [hay.ids[fact.tokens[0] - 1] for fact in hay.facts]
        assert session.tokenizer.decode(before) == ".."


def test_each_way_to_ask_ends_as_it_says(session: GenerativeSession) -> None:
    ends = {}
    for ask in ASKS:
        plan = Plan([200], [0.5], [0])
        hay = haystacks(session.tokenizer, FILLER, frame_of(session, ask), plan)[0]
        ends[ask] = session.tokenizer._inner.decode(list(hay.ids), skip_special_tokens=False)
    assert ends["sentence"].endswith(" office is")
    assert ends["question"].endswith("Answer with the number only.\nAnswer:")
    assert ends["chat"].endswith("number only.<|im_end|>\n<|im_start|>assistant\n")
    assert ends["chat"].startswith("<|im_start|>user\n")
    with pytest.raises(InputError, match="expected one of sentence, question, chat"):
        frame_of(session, "nicely")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("It is 48213.", True),
        ("48,213", True),
        ("148213", False),
        ("482130", False),
        ("4821 3", False),
        ("12, 48213, 7", True),
        ("", False),
    ],
)
def test_a_number_is_held_as_a_whole(text: str, found: bool) -> None:
    assert holds(text, 48213) == found


def test_an_answer_counts_each_fact(session: GenerativeSession) -> None:
    settings = replace(SETTINGS, needles=4)
    plan = Plan([450], [0.1], [0], 4, 9)
    hay = haystacks(session.tokenizer, FILLER, frame_of(session, "question"), plan)[0]
    start, stop = hay.facts[1].tokens
    kept = (0, *range(start, stop), len(hay.ids) - 1)
    asked: dict[str, Any] = {}

    def generate(ids: tuple[int, ...], **options: Any) -> list[Generation]:
        asked.update(options, ids=ids)
        text = f"{hay.facts[0].number} and {hay.facts[2].number}1 or {hay.facts[3].number}"
        return [Generation(text, (1,), "eos", len(ids), 50.0, None, kept, "kept", 20.0)]

    reader = Reader("part", "x", 8)
    told = read(SimpleNamespace(generate=generate), reader, hay, 500, settings)  # type: ignore[arg-type]
    assert told.reading.found == 0.5
    assert (told.reading.prompt_ms, told.reading.filter_ms) == (50.0, 20.0)
    assert (told.reading.prompt_tokens, told.reading.read_tokens) == (450, len(kept))
    every = sum(fact.tokens[1] - fact.tokens[0] for fact in hay.facts)
    assert told.reading.needle_kept == (stop - start) / every
    assert asked["filter_k"] == 450 // 8
    assert asked["max_new_tokens"] == 96
    assert asked["ids"] == hay.ids


@pytest.mark.parametrize("needles", [1, 2])
def test_a_choice_is_the_likeliest_number(session: GenerativeSession, needles: int) -> None:
    settings = replace(SETTINGS, score="choice", needles=needles, others=3)
    plan = Plan([300], [0.5], range(4), needles, 3)
    for hay in haystacks(session.tokenizer, FILLER, frame_of(session, "sentence"), plan):
        numbers = [fact.number for fact in hay.facts]
        hits = 0
        for fact in hay.facts:
            choices = [*numbers, *hay.others]
            texts = [f" {n}" if needles == 1 else f" {statement(fact.place, n)}" for n in choices]
            values = session.score(hay.ids, texts, filter=False).log_likelihoods
            hits += choices[int(np.argmax(values))] == fact.number
        told = read(session, WHOLE, hay, 324, settings)
        assert told.reading.found == hits / needles
        assert told.reading.needle_kept == 1
        assert told.reading.filter_ms is None


def test_a_reader_reads_as_it_says(session: GenerativeSession) -> None:
    hay = haystacks(session.tokenizer, FILLER, frame_of(session, "sentence"), Plan([200], [0.5], [0]))[0]
    assert reading_options(WHOLE, hay, SETTINGS) == Options(False)
    assert reading_options(Reader("r", "x", 8), hay, SETTINGS) == Options(True, 25)
    assert reading_options(Reader("r", "x", k=60), hay, SETTINGS) == Options(True, 60)
    pinned = reading_options(Reader("r", "x", 2), hay, replace(SETTINGS, pin_ends=True))
    assert pinned == Options(True, 100, 0, hay.ends[1])


def test_a_run_reads_every_prompt_in_every_way(result: NeedleResult, session: GenerativeSession) -> None:
    names = ["whole prompt", "1/2 of the prompt", "1/8 of the prompt"]
    assert [reader.name for reader in result.readers] == names
    assert len(result.readings) == 2 * 2 * 2 * 3
    assert len(result.cells) == 2 * 2 * 3
    for cell in result.cells:
        own = [
            one
            for one in result.readings
            if (one.reader, one.length, one.depth) == (cell.reader, cell.length, cell.depth)
        ]
        assert cell.prompts == len(own) == 2
        assert cell.prompt_tokens == cell.length - 24
        share = {"whole prompt": 1, "1/2 of the prompt": 2, "1/8 of the prompt": 8}[cell.reader]
        assert cell.read_tokens == cell.prompt_tokens // share
        assert cell.prompt_ms == median(one.prompt_ms for one in own)
        assert cell.found_ci95 == wilson(cell.found, 2)
        assert (cell.filter_ms is None) == (share == 1)
    plan = Plan([260 - 24], [1.0], [1])
    hay = haystacks(session.tokenizer, FILLER, frame_of(session, "sentence"), plan)[0]
    (generated,) = session.generate(hay.ids, max_new_tokens=24, filter_k=len(hay.ids) // 8)
    reading = next(
        one
        for one in result.readings
        if (one.reader, one.length, one.depth, one.seed) == ("1/8 of the prompt", 260, 1.0, 1)
    )
    start, stop = hay.facts[0].tokens
    assert reading.told == generated.text
    assert reading.needle_kept == sum(start <= place < stop for place in generated.kept) / (stop - start)


def test_prefill_ratios_pair_prompts(result: NeedleResult) -> None:
    for line in result.summaries:
        fitting = [one for one in result.readings if line.length in (None, one.length)]
        own = {(o.length, o.depth, o.seed): o.prompt_ms for o in fitting if o.reader == line.reader}
        whole = {(o.length, o.depth, o.seed): o.prompt_ms for o in fitting if o.reader == "whole prompt"}
        assert line.prompts == len(own) == (8 if line.length is None else 4)
        if line.reader == "whole prompt":
            assert line.prefill_ratio is None
        else:
            expected = np.median([whole[key] / own[key] for key in own])
            assert line.prefill_ratio == pytest.approx(expected)


def test_an_example_is_the_kept_text(result: NeedleResult) -> None:
    assert [one.reading.reader for one in result.examples] == ["1/2 of the prompt", "1/8 of the prompt"]
    for one in result.examples:
        assert "".join(piece.text for piece in one.pieces) == one.kept_text
        left_out = sum(piece.skipped for piece in one.pieces) + one.skipped_after
        assert left_out == one.reading.prompt_tokens - one.reading.read_tokens
        needle = sum(len(piece.text) for piece in one.pieces if piece.needle)
        whole = len(f" {statement(PLACES[0], 10000)}.")
        assert abs(needle - one.reading.needle_kept * whole) <= 3  # places differ in length
        assert one.reading.length == 260


def test_without_reductions_the_artifact_s_k_is_taken(artifact: Path, tmp_path: Path) -> None:
    settings = NeedleSettings((200,), (0.5,), score="choice", threads=1)
    other = tiny_lm.save_artifact(tmp_path / "other", told={"max_positions": 512}, in_place=False)
    found = run([artifact, other], settings, FILLER, "filler")
    assert [one.name for one in found.readers] == [
        "lm, whole prompt",
        "lm, 60 tokens",
        "other, whole prompt",
    ]
    assert [one.read_tokens for one in found.readings] == [176, 60, 176]
    assert found.chance == pytest.approx(0.1)
    assert "A guess is right in 10 %" in needle_tables.sentences(found)[-1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lengths": (513,)}, "513 tokens, and .* has positions for 512"),
        ({"lengths": (100,)}, "needle and question alone have"),
        ({"lengths": ()}, "lengths: given"),
        ({"depths": (1.5,)}, "depths: given"),
        ({"needles": 11}, r"needles \(1 to 10\): given 11"),
        ({"reductions": (1,)}, r"reductions \(2 and more\)"),
        ({"score": "taste"}, r"score \(answer or choice\): given 'taste'"),
        ({"ask": "nicely"}, "ask: expected one of"),
        ({"pin_ends": True}, "1/8 of the prompt: 29 tokens stay, and 4[0-9] are pinned"),
    ],
)
def test_what_does_not_fit_is_refused(artifact: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run([artifact], replace(SETTINGS, **changes), FILLER, "filler")


def test_a_reduction_needs_a_filter(tmp_path: Path) -> None:
    plain = tiny_lm.save_artifact(tmp_path / "plain", told={"max_positions": 512})
    with pytest.raises(InputError, match="none of these artifacts has a filter"):
        run([plain], replace(SETTINGS, lengths=(200,), seeds=1), FILLER, "filler")


def test_the_report_says_what_was_found(result: NeedleResult, tmp_path: Path) -> None:
    paths = report.write(result, tmp_path / "out")
    told = json.loads(paths.json.read_text(encoding="utf-8"))
    assert [one["told"] for one in told["readings"]] == [one.told for one in result.readings]
    assert told["settings"]["reductions"] == [2, 8]
    page, words = (path.read_text(encoding="utf-8") for path in (paths.html, paths.markdown))
    assert not re.search(r"""(src|href)=["'](?!#|data:)|@import|url\((?!#)|<script""", page)
    assert page.count('<table class="heat"') == 3
    assert page.count("--share: ") == 3 * 4
    assert "<mark>" in page
    for text in (page, words):
        for name in ("whole prompt", "1/2 of the prompt", "1/8 of the prompt"):
            assert name in text
    table = needle_tables.cell_table(result)
    first = result.cells[0]
    assert table.rows[0][4] == needle_tables.percent(first.found)
    assert table.rows[0][5] == needle_tables.between(wilson(first.found, 2))
    assert all(len(row) == len(table.header) for row in table.rows)


def test_maps_show_each_share_where_it_belongs(result: NeedleResult) -> None:
    cells = tuple(
        replace(one, found=one.depth / 2 + one.length / 1000) for one in result.cells if one.depth or
        one.length == 400
    )  # fmt: skip
    found = needle_tables.maps(replace(result, cells=cells))[1]
    assert found.lengths == ("260", "400")
    assert [depth for depth, _ in found.rows] == ["0 %", "100 %"]
    assert [[cell.text for cell in row] for _, row in found.rows] == [["–", "40 %"], ["76 %", "90 %"]]


@pytest.mark.parametrize(
    ("found", "shown"), [(0, "0 %"), (0.001, "1 %"), (1 / 3, "33 %"), (0.999, "99 %"), (1.0, "100 %")]
)
def test_a_map_never_rounds_to_all_or_nothing(result: NeedleResult, found: float, shown: str) -> None:
    cells = tuple(replace(one, found=found) for one in result.cells)
    (_, row), _ = needle_tables.maps(replace(result, cells=cells))[0].rows
    assert {cell.text for cell in row} == {shown}


def test_markup_in_text_and_names_is_shown_as_it_is(result: NeedleResult) -> None:
    first = result.examples[0]
    wild = replace(first, reading=replace(first.reading, told="<b>|`x`"), kept_text="a```b")
    changed = replace(result, examples=(wild,), text="<i>&|")
    page, words = report.render(changed), report.markdown(changed)
    assert "&lt;b&gt;|`x`" in page
    assert "<b>" not in page
    assert r"\<b\>\|\`x\`" in words
    assert "````text" in words


def test_prose_is_a_file_or_a_folder_without_its_markup(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    page = (
        "<html><head><title>no</title><style>p{}</style></head><body><nav>menu</nav><h1>One</h1>"
        "<p>Two &amp; <b>three</b>.</p><script>no()</script><pre>listing</pre><p>Four.</p>"
    )
    (tmp_path / "b" / "page.HTML").write_text(page, encoding="utf-8")
    (tmp_path / "a.txt").write_text("First\n  line.\n", encoding="utf-8")
    (tmp_path / "z.md").write_text("no", encoding="utf-8")
    assert read_prose(tmp_path / "a.txt") == "First line."
    assert read_prose(tmp_path) == "First line. One Two & three. Four."


def test_prose_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "blank.txt").write_text(" \n")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    for name, message in (
        ("empty", "no .txt, .html, .htm files"),
        ("blank.txt", "no text in it"),
        ("latin.txt", "no UTF-8 text"),
        ("none", "no such file or folder"),
    ):
        with pytest.raises(InputError, match=message):
            read_prose(tmp_path / name)
