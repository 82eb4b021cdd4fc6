"""Measured scores of models with different counts of visual tokens: the published ones, or a user's."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from paring_runtimes.errors import InputError

COLUMNS = ("parameters", "tokens", "score")
LATENCY = "latency_ms"
TASKS = ("reasoning", "ocr")


@dataclass(frozen=True)
class Measured:
    """One model with one count of visual tokens.

    Attributes:
        parameters: of the language model.
        tokens: visual tokens that it reads.
        score: share of 1; the error is 1 - score.
        latency_ms: measured time to the first token, where known.
    """

    parameters: float
    tokens: int
    score: float
    latency_ms: float | None = None


@dataclass(frozen=True)
class Table:
    """Where the scores are from, and the scores."""

    name: str
    rows: tuple[Measured, ...]

    @property
    def has_latency(self) -> bool:
        """Whether every row was timed."""
        return all(row.latency_ms is not None for row in self.rows)


def _published() -> dict[str, Any]:
    read: dict[str, Any] = YAML(typ="safe").load(Path(__file__).with_name("inference_optimal.yaml"))
    return read


def published() -> Table:
    """The table that the paper's figure is drawn from."""
    read = _published()
    rows = [
        Measured(float(parameters), tokens, score)
        for parameters, scores in read["scores"].items()
        for tokens, score in zip(read["tokens"], scores, strict=True)
    ]
    return Table(read["name"], tuple(rows))


def published_exponents(task: str) -> tuple[float, float]:
    """alpha and beta of a task ("reasoning", "ocr") as the paper gives them."""
    found = _published()["published"][task]
    return found["alpha"], found["beta"]


def read_table(path: Path) -> Table:
    """A CSV file with the columns `parameters`, `tokens`, `score` and, if timed, `latency_ms`.

    Raises:
        InputError: with the line and the column that are wrong.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            _check_header(path, reader.fieldnames or ())
            rows = [_row(path, number, row) for number, row in enumerate(reader, 2)]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a readable CSV file: {error}") from error
    return Table(str(path), tuple(rows))


def _check_header(path: Path, names: Any) -> None:
    missing = [name for name in COLUMNS if name not in names]
    unknown = [name for name in names if name not in (*COLUMNS, LATENCY)]
    if missing or unknown:
        raise InputError(
            f"{path}, line 1: expected the columns {', '.join(COLUMNS)} and, if timed, {LATENCY}; given"
            f" {', '.join(names) or 'none'}"
        )


def _row(path: Path, number: int, row: dict[str, str | None]) -> Measured:
    parameters = _number(path, number, row, "parameters", 1.0, 1e15)
    tokens = _number(path, number, row, "tokens", 1.0, 1e9)
    score = _number(path, number, row, "score", 0.0, 0.999999)
    timed = row.get(LATENCY)
    latency = None if timed in (None, "") else _number(path, number, row, LATENCY, 1e-9, 1e12)
    return Measured(parameters, int(tokens), score, latency)


def _number(path: Path, number: int, row: dict[str, str | None], name: str, low: float, high: float) -> float:
    text = row[name] or ""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise InputError(f"{path}, line {number}, {name}: expected {low:g} to {high:g}, given {text!r}")
    return value
