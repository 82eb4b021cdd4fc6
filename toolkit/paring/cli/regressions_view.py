"""What `paring compare --since` prints and writes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .output import console, table

if TYPE_CHECKING:
    from paring_profiles.history import Change, Findings


def as_plain(found: Findings) -> dict[str, Any]:
    """The findings as a JSON value."""
    return {
        **dataclasses.asdict(found),
        "regressions": len(found.regressions),
        "changes": [{**dataclasses.asdict(one), "title": one.title} for one in found.changes],
    }


def show(found: Findings) -> None:
    """One row a comparison, regressions first, and what it was judged by below."""
    from paring_profiles.history.changes import IMPROVEMENT, NOT_COMPARABLE, REGRESSION, TOLERATED
    from paring_profiles.history.sentences import amount

    order = [REGRESSION, TOLERATED, IMPROVEMENT]
    ranked = sorted(found.changes, key=lambda c: order.index(c.verdict) if c.verdict in order else 9)
    rows = [
        [
            one.title,
            one.machine,
            _value(one, one.before),
            _value(one, one.after),
            amount(one),
            "-" if one.q_value is None else f"{one.q_value:.2g}",
            one.verdict + (", noisy" if one.noise and one.verdict != NOT_COMPARABLE else ""),
            "; ".join([one.reason, *one.changed]),
        ]
        for one in ranked
    ]
    columns = ("what", "machine", "before", "now", "change (95 %)", "adjusted p", "verdict", "judged by")
    table(f"since {found.since}: {found.profiles} profiles", columns, rows)
    judged = sum(one.verdict != NOT_COMPARABLE for one in found.changes)
    console.print(
        f"{len(found.regressions)} regressions in {judged} comparisons; a change is shown where its p-value,"
        f" adjusted for all of them (Benjamini-Hochberg), is at most {found.level:g}",
        soft_wrap=True,
        highlight=False,
    )


def _value(change: Change, value: float | None) -> str:
    if value is None:
        return "-"
    if change.unit == "bytes":
        return f"{value / 1e6:,.3f} MB"
    return f"{value:.3f} ms" if change.unit == "ms" else f"{value:.4f}"


def share(text: str, option: str) -> float:
    """A share, from "3%" or "0.03"."""
    import typer

    number = text.removesuffix("%").strip()
    try:
        value = float(number) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise typer.BadParameter(f"{text}: a share is needed, 3% or 0.03", param_hint=f"'{option}'")
    return value


def write(found: Findings, junit: Path) -> None:
    """Write the JUnit file."""
    from paring_profiles.history.junit import write_junit
    from paring_runtimes.errors import OutputError

    try:
        write_junit(found, junit)
    except OSError as error:
        raise OutputError(f"{junit}: cannot be written ({error.strerror})") from error
