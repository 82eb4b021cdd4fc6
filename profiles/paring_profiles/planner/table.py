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
        name: of the artifact, where it is one.
    """

    parameters: float
    tokens: int
    score: float
    latency_ms: float | None = None
    name: str = ""


@dataclass(frozen=True)
class Table:
    """Where the scores are from, the scores, and what the latencies were measured on ("" where not told)."""

    name: str
    rows: tuple[Measured, ...]
    device: str = ""

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
    rows = [_row(path, line, row) for line, row in read_rows(path, COLUMNS, (LATENCY,))]
    return Table(str(path), tuple(rows))


def read_rows(
    path: Path, needed: tuple[str, ...], optional: tuple[str, ...]
) -> list[tuple[int, dict[str, str | None]]]:
    """The rows of a CSV file, each with the number of its line.

    Raises:
        InputError: it cannot be read, lacks a column that is needed, or has an unknown one.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            names = reader.fieldnames or ()
            rows = list(enumerate(reader, 2))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a readable CSV file: {error}") from error
    if not set(needed) <= set(names) <= {*needed, *optional}:
        raise InputError(
            f"{path}, line 1: expected the columns {', '.join(needed)} and, where known,"
            f" {', '.join(optional)}; given {', '.join(names) or 'none'}"
        )
    return rows


def _row(path: Path, line: int, row: dict[str, str | None]) -> Measured:
    parameters = number(path, line, row, "parameters", 1.0, 1e15)
    tokens = number(path, line, row, "tokens", 1.0, 1e9)
    score = number(path, line, row, "score", 0.0, 0.999999)
    latency = number(path, line, row, LATENCY, 1e-9, 1e12) if row.get(LATENCY) else None
    return Measured(parameters, int(tokens), score, latency)


def number(path: Path, line: int, row: dict[str, str | None], name: str, low: float, high: float) -> float:
    """A cell of a row.

    Raises:
        InputError: it is no number from `low` to `high`.
    """
    text = row[name] or ""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise InputError(f"{path}, line {line}, {name}: expected {low:g} to {high:g}, given {text!r}")
    return value
