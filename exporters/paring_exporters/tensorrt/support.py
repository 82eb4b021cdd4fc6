"""Which operators, types and opsets a release of TensorRT takes: its own tables, kept as data."""

from __future__ import annotations

import functools
import json
from pathlib import Path

from paring_runtimes.errors import InputError

from .table import Table

FOLDER = Path(__file__).parent / "releases"
NEWEST = "11.1"


def releases() -> tuple[str, ...]:
    """The releases that there are tables of, oldest first."""
    found = (path.stem.removeprefix("operators-") for path in FOLDER.glob("operators-*.json"))
    return tuple(sorted(found, key=_number))


@functools.cache
def support(release: str = NEWEST) -> Table:
    """The table of `release`, or of the newest before it ("11.4" gets 11.1's, "10" the newest 10.x).

    Raises:
        InputError: no release of that name, or one older than every table.
    """
    try:
        wanted = _number(release) if "." in release else (int(release), 1 << 30)
    except ValueError:
        raise InputError(f"release: expected a number such as 10.16 or 11, given {release!r}") from None
    fitting = [name for name in releases() if _number(name) <= wanted and _number(name)[0] == wanted[0]]
    if not fitting:
        raise InputError(f"release: no table of TensorRT {release}; there are {', '.join(releases())}")
    return read(FOLDER / f"operators-{fitting[-1]}.json")


def read(path: Path) -> Table:
    """Read a kept table."""
    data = json.loads(path.read_text(encoding="utf-8"))
    operators = {name: None if types is None else tuple(types) for name, types in data["operators"].items()}
    first, last = data["opsets"]
    return Table(data["release"], (first, last), operators, data["restricted"])


def written(table: Table, source: str) -> str:
    """The text that is kept of a table, one operator a line."""
    head = {"release": table.release, "source": source, "opsets": list(table.opsets)}
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
    for key, rows in (("operators", table.operators), ("restricted", table.restricted)):
        inner = [f"    {json.dumps(name)}: {json.dumps(value)}" for name, value in rows.items()]
        lines.append(f'  "{key}": {{\n' + ",\n".join(inner) + "\n  }")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _number(release: str) -> tuple[int, int]:
    major, _, rest = release.partition(".")
    return int(major), int(rest.partition(".")[0])
