"""`vqa:DIR`: questions on images, in both layouts, and what is said of wrong ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from paring.data import QuestionData, load_data
from paring.data.vqa import plain_answer
from paring_runtimes.errors import SourceError

ROW = {"image": "images/0.png", "question": "what colour is it?", "answer": "red", "type": "colour"}


def images(folder: Path, count: int = 3) -> Path:
    (folder / "images").mkdir(parents=True)
    for index in range(count):
        Image.new("RGB", (4, 4), (index, 0, 0)).save(folder / "images" / f"{index}.png")
    return folder


def lines(folder: Path, rows: list[Any]) -> Path:
    images(folder)
    text = "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows)
    (folder / "questions.jsonl").write_text(text)
    return folder


def easy(folder: Path, rows: Any) -> Path:
    images(folder)
    (folder / "questions.json").write_text(json.dumps(rows))
    return folder


def load(folder: Path, limit: int | None = None, split: str = "") -> QuestionData:
    data = load_data(f"vqa:{folder}{split}", limit=limit)
    assert isinstance(data, QuestionData)
    return data


def test_lines_are_questions(tmp_path: Path) -> None:
    untyped = {key: value for key, value in ROW.items() if key != "type"}
    data = load(lines(tmp_path / "a", [ROW, "", {**untyped, "image": "images/2.png", "answer": "Yes."}]))
    first, second = data.questions
    assert first.image == tmp_path / "a" / "images" / "0.png"
    assert (first.question, first.answer, first.type) == ("what colour is it?", "red", "colour")
    assert (second.answer, second.type) == ("Yes.", "other")
    assert data.answers == ("Yes.", "red")


def test_the_limit_is_spread_but_the_answers_stay_all(tmp_path: Path) -> None:
    rows = [{**ROW, "question": f"{index}?", "answer": f"a{index % 4}"} for index in range(12)]
    folder = lines(tmp_path / "a", rows)
    some, every = load(folder, limit=3), load(folder)
    assert [one.question for one in some.questions] == ["0?", "4?", "8?"]
    assert some.answers == every.answers == ("a0", "a1", "a2", "a3")
    assert some.digest != every.digest


def test_answers_that_are_compared_as_one_are_one(tmp_path: Path) -> None:
    rows = [{**ROW, "answer": answer} for answer in ("red", " Red. ", "RED", "blue")]
    assert load(lines(tmp_path / "a", rows)).answers == ("blue", "red")
    assert plain_answer("\n A Cat . ") == "a cat"
    assert plain_answer("1.5") == "1.5"


def test_the_digest_tells_another_image(tmp_path: Path) -> None:
    folder = lines(tmp_path / "a", [ROW])
    before = load(folder).digest
    assert before == load(folder).digest
    Image.new("RGB", (4, 4), (9, 9, 9)).save(folder / "images" / "0.png")
    assert load(folder).digest != before


def test_easy_vqa_s_folders(tmp_path: Path) -> None:
    rows = [["is it a circle?", "yes", 0], ["what is it?", "circle", 1], ["what colour is it?", "teal", 2]]
    easy(tmp_path / "test", rows)
    easy(tmp_path / "train", rows[:1])
    data = load(tmp_path)
    assert [one.type for one in data.questions] == ["yes/no", "shape", "colour"]
    assert data.questions[2].image == tmp_path / "test" / "images" / "2.png"
    assert data.digest == load(tmp_path / "test").digest
    assert len(load(tmp_path, split=",train").questions) == 1


WRONG_LINES: list[tuple[Any, str]] = [
    ({"image": "images/0.png", "question": "a?"}, "line 2: the key 'answer' is missing"),
    ({"question": "a?", "answer": "b"}, "line 2: the key 'image' is missing"),
    ({**ROW, "image": "images/9.png"}, "line 2: image: no such file: .*9.png"),
    ({**ROW, "image": "../secret.png"}, "line 2: image: '../secret.png' leads out of"),
    ({**ROW, "image": "/etc/hostname"}, "line 2: image: '/etc/hostname' leads out of"),
    ({**ROW, "image": "outside.png"}, "line 2: image: 'outside.png' leads out of"),
    ({**ROW, "image": "a\0b"}, "line 2: image: .* is no path"),
    ({**ROW, "answer": " "}, "line 2: answer: is empty"),
    ({**ROW, "answer": " . "}, "line 2: answer: is empty"),
    ({**ROW, "question": ""}, "line 2: question: is empty"),
    ({**ROW, "answer": 3}, "line 2: answer: expected text, given 3"),
    ({**ROW, "type": ["a"]}, "line 2: type: expected text"),
    ([1], "line 2: expected {"),
    ("{", "line 2: no JSON"),
]


@pytest.mark.parametrize(("row", "message"), WRONG_LINES)
def test_a_wrong_line_is_named(tmp_path: Path, row: Any, message: str) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "secret.png")
    folder = lines(tmp_path / "a", [ROW, row])
    (folder / "outside.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(SourceError, match=f"questions.jsonl, {message}"):
        load(folder)


WRONG_ROWS: list[tuple[Any, str]] = [
    ({"a": 1}, "expected a list"),
    ([["a?", "yes", 0], ["a?", "yes"]], r"row 2: expected \[question, answer, image number\]"),
    ([["a?", "yes", "0"]], "row 1: expected"),
    ([["a?", "yes", True]], "row 1: expected"),
    ([["a?", "yes", 7]], "row 1: image: no such file"),
    ([["a?", "", 0]], "row 1: answer: is empty"),
    ([[" ", "yes", 0]], "row 1: question: is empty"),
    ([], "holds no question"),
]


@pytest.mark.parametrize(("rows", "message"), WRONG_ROWS)
def test_a_wrong_row_is_named(tmp_path: Path, rows: Any, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        load(easy(tmp_path / "a", rows))


def _latin(folder: Path) -> None:
    folder.mkdir()
    (folder / "questions.jsonl").write_bytes(b"\xff")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: None, "no such folder"),
        (lambda folder: folder.mkdir(), "holds neither questions.jsonl nor questions.json"),
        (lambda folder: lines(folder, [""]), "holds no question"),
        (_latin, "no UTF-8 text"),
    ],
)
def test_what_is_no_such_folder_is_said(tmp_path: Path, make: Callable[[Path], object], message: str) -> None:
    make(tmp_path / "a")
    with pytest.raises(SourceError, match=message):
        load(tmp_path / "a")
