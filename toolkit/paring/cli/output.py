"""What every command prints: results on standard output, progress and errors on standard error."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

PIPED_WIDTH = 140  # columns where there is no terminal to ask
# Without markup, or "pip install 'paring[torch]'" would lose its extra.
console = Console(width=None if sys.stdout.isatty() else PIPED_WIDTH, markup=False, emoji=False)
errors = Console(stderr=True, markup=False, emoji=False)

Json = Annotated[bool, typer.Option("--json", help="print the result as JSON")]


def wants_json(arguments: Sequence[str]) -> bool:
    """Whether the command line asks for JSON."""
    return "--json" in arguments


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    print(json.dumps(value, default=_plain, indent=2))


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return str(value)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on standard output."""
    drawn = Table(*columns, title=title, title_justify="left", title_style="bold")
    for column in drawn.columns:
        column.overflow = "fold"
    for row in rows:
        drawn.add_row(*row)
    console.print(drawn)


@contextmanager
def stages(quiet: bool) -> Iterator[Callable[[str], None]]:
    """A spinner that names the stage, on standard error; where that is no terminal, a line a stage."""
    _hush()
    if quiet:
        yield lambda stage: None
        return
    if not errors.is_terminal:
        seen: list[str] = []

        def say(stage: str) -> None:
            kind = stage.split(": ")[0]
            if kind not in seen:
                seen.append(kind)
                errors.print(kind, highlight=False, soft_wrap=True)

        yield say
        return
    with errors.status("starting") as status:
        yield lambda stage: status.update(stage)


def _hush() -> None:
    """Keep other libraries' chatter out of the output; `PARING_VERBOSE=1` lets it through."""
    if os.environ.get("PARING_VERBOSE"):
        return
    warnings.filterwarnings("ignore")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    for name in ("torch", "transformers", "onnxscript", "optimum", "onnxslim"):
        logging.getLogger(name).setLevel(logging.ERROR)
