"""`vqa:DIR`: questions on images with short answers, for a vision-language model's accuracy.

DIR holds either of

- `questions.jsonl`, a line a question: `{"image": "images/7.png", "question": "...", "answer": "..."}`, and
  `"type": "colour"` where accuracy is to be told by type. Images lie in DIR.
- `questions.json` and `images/N.png`, as easy-VQA (https://github.com/vzhou842/easy-VQA) lays them out:
  rows of `[question, answer, N]`. A question's type is that of its answer: yes/no, shape or colour.

Where DIR itself holds neither, `DIR/test` is read; `vqa:DIR,train` reads `DIR/train`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paring_runtimes.errors import SourceError

from ._images import evenly

HELP = "questions.jsonl beside its images (image, question, answer, type), or easy-VQA's folder"
LINES, ROWS = "questions.jsonl", "questions.json"
YES_NO, SHAPES = {"yes", "no"}, {"circle", "rectangle", "triangle"}  # of easy-VQA; its others are colours
UNTOLD = "other"  # the type of a question that names none


@dataclass(frozen=True)
class Question:
    """One question. `type` is "other" where the data tells none."""

    image: Path
    question: str
    answer: str
    type: str


@dataclass(frozen=True)
class QuestionData:
    """Questions on images.

    Attributes:
        questions: those that are asked.
        answers: every answer of the data, those that `limit` leaves out among them, sorted: the closed set.
        digest: SHA-256 over the questions, their answers and the bytes of their images, and over `answers`.
    """

    questions: tuple[Question, ...]
    answers: tuple[str, ...]
    digest: str


def load(target: str, limit: int | None, size: tuple[int, int] | None) -> QuestionData:
    """Read DIR. Images are decoded when the questions are asked, and prepared as the artifact says."""
    file = _file(target)
    found = list(_lines(file) if file.name == LINES else _rows(file))
    if not found:
        raise SourceError(f"{file}: holds no question")
    answers: dict[str, str] = {}
    for one in found:
        answers.setdefault(plain_answer(one.answer), one.answer)
    chosen = tuple(found[index] for index in evenly(len(found), limit))
    every = tuple(sorted(answers.values()))
    return QuestionData(chosen, every, _digest(chosen, every))


def plain_answer(text: str) -> str:
    """An answer as it is compared: without blanks around it, case, and a full stop at its end."""
    return text.strip().removesuffix(".").rstrip().casefold()


def _file(target: str) -> Path:
    whole, (name, _, split) = Path(target), target.rpartition(",")
    folders = [whole, whole / "test"] if whole.is_dir() or not name else [Path(name) / split.strip()]
    if not folders[0].is_dir():
        raise SourceError(f"{folders[0]}: no such folder")
    files = [folder / file for folder in folders for file in (LINES, ROWS)]
    found = next((file for file in files if file.is_file()), None)
    if found is None:
        raise SourceError(f"{folders[0]}: holds neither {LINES} nor {ROWS}")
    return found


def _lines(file: Path) -> Iterator[Question]:
    images = _Images(file.parent)
    for number, line in enumerate(_text(file).split("\n"), 1):
        if line.strip():
            where = f"{file}, line {number}"
            yield _question(_parsed(line, where), images, where)


def _question(told: Any, images: _Images, where: str) -> Question:
    if not isinstance(told, dict):
        raise SourceError(f'{where}: expected {{"image": PATH, "question": TEXT, "answer": TEXT}}')
    image, question, answer = (_word(told, key, where) for key in ("image", "question", "answer"))
    kind = _word(told, "type", where) if told.get("type") is not None else UNTOLD
    return Question(images.path(image, where), question, _checked(answer, where), kind)


def _word(told: dict[str, Any], key: str, where: str) -> str:
    if key not in told:
        raise SourceError(f"{where}: the key {key!r} is missing; it has {', '.join(map(repr, told))}")
    value = told[key]
    if not isinstance(value, str):
        raise SourceError(f"{where}: {key}: expected text, given {json.dumps(value)}")
    if not value.strip():
        raise SourceError(f"{where}: {key}: is empty")
    return value


def _rows(file: Path) -> Iterator[Question]:
    """easy-VQA's: [question, answer, number of the image]."""
    images, told = _Images(file.parent), _parsed(_text(file), str(file))
    if not isinstance(told, list):
        raise SourceError(f"{file}: expected a list of [question, answer, image number]")
    for number, row in enumerate(told, 1):
        where = f"{file}, row {number}"
        kinds = [type(part) for part in row] if isinstance(row, list) else None
        if kinds != [str, str, int]:
            raise SourceError(f"{where}: expected [question, answer, image number], given {json.dumps(row)}")
        question, answer, image = row
        if not question.strip():
            raise SourceError(f"{where}: question: is empty")
        path = images.path(f"images/{image}.png", where)
        yield Question(path, question, _checked(answer, where), _easy_type(answer))


def _easy_type(answer: str) -> str:
    if answer in YES_NO:
        return "yes/no"
    return "shape" if answer in SHAPES else "colour"


def _checked(answer: str, where: str) -> str:
    if not plain_answer(answer):
        raise SourceError(f"{where}: answer: is empty")
    return answer


class _Images:
    """Paths of images in a folder, each looked at once."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._root = folder, folder.resolve()
        self._known: dict[str, Path] = {}

    def path(self, name: str, where: str) -> Path:
        """The image's path.

        Raises:
            SourceError: it lies outside the folder, or is not there.
        """
        if name not in self._known:
            try:
                inside = (self._root / name).resolve().is_relative_to(self._root)
                there = inside and (self._folder / name).is_file()
            except (OSError, ValueError) as error:  # a name that no file can have
                raise SourceError(f"{where}: image: {name!r} is no path ({error})") from error
            if not inside:
                raise SourceError(f"{where}: image: {name!r} leads out of {self._folder}")
            if not there:
                raise SourceError(f"{where}: image: no such file: {self._folder / name}")
            self._known[name] = self._folder / name
        return self._known[name]


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SourceError(f"{file}: no UTF-8 text (byte {error.start})") from error


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{where}: no JSON ({error})") from error


def _digest(questions: tuple[Question, ...], answers: tuple[str, ...]) -> str:
    digest, images = hashlib.sha256(json.dumps(answers).encode()), dict[Path, str]()
    for one in questions:
        if one.image not in images:
            images[one.image] = hashlib.sha256(one.image.read_bytes()).hexdigest()
        digest.update(json.dumps([images[one.image], one.question, one.answer, one.type]).encode())
    return digest.hexdigest()
