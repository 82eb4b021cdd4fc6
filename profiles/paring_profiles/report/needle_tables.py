"""What a needle report says, as sentences, maps and tables, the same for HTML and Markdown."""

from __future__ import annotations

from dataclasses import dataclass

from paring_profiles.needle.result import Cell, NeedleResult, NeedleSettings, Reader, Summary
from paring_profiles.report import quantities
from paring_profiles.report.tables import ABSENT, Table

METHOD = (
    "Facts of a random number each are hidden in the text, and asked for at its end; length is that of "
    "prompt and answer together, in the model's own tokens. Every reader reads a prompt in turn, in one "
    "process, after a warm-up. Prefill is the time until the first token is known, the filter's part in it; "
    "the prefill ratio is the median over prompts of the whole prompt's time over the reader's. Intervals of "
    "shares are Wilson's over prompts; those of ratios are a bootstrap's, or the extremes below 6 prompts."
)


@dataclass(frozen=True)
class HeatCell:
    """`share` is 0 to 1, None where nothing was read."""

    text: str
    share: float | None


@dataclass(frozen=True)
class HeatMap:
    """Rows of depths over columns of lengths."""

    title: str
    note: str
    lengths: tuple[str, ...]
    rows: tuple[tuple[str, tuple[HeatCell, ...]], ...]


def headline(result: NeedleResult) -> str:
    """How much every reader found."""
    parts = [f"{reader.name} {percent(total(result, reader).found)}" for reader in result.readers]
    what = "a needle" if result.settings.needles == 1 else f"{result.settings.needles} needles"
    return f"Asked for {what} in a haystack, found: {', '.join(parts)}"


def sentences(result: NeedleResult) -> list[str]:
    """How fast the filtered readers were, and what a guess would find."""
    found = []
    for reader in result.readers:
        line = total(result, reader)
        if line.prefill_ratio is not None:
            found.append(f"{reader.name}: prefill {_ratio(line)} as fast as the whole prompt, all lengths")
    if result.chance:
        found.append(f"A guess is right in {percent(result.chance)} of the choices.")
    return found


def total(result: NeedleResult, reader: Reader) -> Summary:
    """The line of a reader over all lengths."""
    return next(one for one in result.summaries if one.reader == reader.name and one.length is None)


def maps(result: NeedleResult) -> list[HeatMap]:
    """One map a reader."""
    lengths, depths = sorted(set(result.settings.lengths)), sorted(set(result.settings.depths))
    cells = {(one.reader, one.length, one.depth): one for one in result.cells}
    found = []
    for reader in result.readers:
        rows = tuple(
            (percent(depth), tuple(_heat(cells.get((reader.name, length, depth))) for length in lengths))
            for depth in depths
        )
        line = total(result, reader)
        note = f"{percent(line.found)} of {line.prompts} prompts ({between(line.found_ci95)})"
        found.append(HeatMap(reader.name, note, tuple(f"{length:,}" for length in lengths), rows))
    return found


def _heat(cell: Cell | None) -> HeatCell:
    if cell is None:
        return HeatCell(ABSENT, None)
    whole = round(100 * cell.found)
    if 0 < cell.found < 1:  # what is not all, or not nothing, must not look like it
        whole = min(99, max(1, whole))
    return HeatCell(f"{whole} %", cell.found)


def summary_table(result: NeedleResult) -> Table:
    """One row for each reader and length."""
    header = (
        "Reader", "Length", "Prompts", "Found (95 %)", "Prompt tokens", "Read", "Prefill, median",
        "Prefill ratio (95 %)",
    )  # fmt: skip
    rows = [
        (
            one.reader,
            "all" if one.length is None else f"{one.length:,}",
            str(one.prompts),
            f"{percent(one.found)} ({between(one.found_ci95)})",
            f"{one.prompt_tokens:,}" if one.length else ABSENT,
            f"{one.read_tokens:,}" if one.length else ABSENT,
            milliseconds(one.prompt_ms) if one.length else ABSENT,
            _ratio(one),
        )
        for one in result.summaries
    ]
    return Table(header, tuple(rows))


def _ratio(one: Summary) -> str:
    if one.prefill_ratio is None or one.prefill_ratio_ci95 is None:
        return ABSENT
    low, high = one.prefill_ratio_ci95
    between = f"{quantities.fixed(low, 2)} to {quantities.fixed(high, 2)}"
    return f"{quantities.ratio(one.prefill_ratio)} ({between})"


def cell_table(result: NeedleResult) -> Table:
    """One row for each cell of every map."""
    header = (
        "Reader", "Length", "Depth", "Prompts", "Found", "95 % interval", "Needle tokens read",
        "Prompt tokens", "Read", "Prefill, median", "Filter, median",
    )  # fmt: skip
    rows = [
        (
            one.reader,
            f"{one.length:,}",
            percent(one.depth),
            str(one.prompts),
            percent(one.found),
            between(one.found_ci95),
            percent(one.needle_kept),
            f"{one.prompt_tokens:,}",
            f"{one.read_tokens:,}",
            milliseconds(one.prompt_ms),
            ABSENT if one.filter_ms is None else milliseconds(one.filter_ms),
        )
        for one in result.cells
    ]
    return Table(header, tuple(rows))


def settings_rows(result: NeedleResult) -> list[tuple[str, str]]:
    """What was asked, in words."""
    own = result.settings
    return [
        ("Artifacts", ", ".join(dict.fromkeys(reader.artifact for reader in result.readers))),
        ("Text", result.text),
        ("Lengths", ", ".join(f"{one:,}" for one in own.lengths)),
        ("Depths", ", ".join(percent(one) for one in own.depths)),
        ("Seeds", str(own.seeds)),
        ("Needles", str(own.needles)),
        ("Asked by", own.ask),
        ("Scored by", scoring(own)),
        ("Template and question stay", "yes" if own.pin_ends else "no more than the artifact says"),
        ("Threads", "the engine's choice" if own.threads is None else str(own.threads)),
    ]


def scoring(settings: NeedleSettings) -> str:
    """What counts as found."""
    if settings.score == "answer":
        return "the greedy answer holds the number"
    return "the right number is likelier than every other"


def percent(share: float) -> str:
    """A share of 1, without decimals where there is nothing behind them."""
    value = 100 * share
    return f"{quantities.fixed(value, 0 if abs(value - round(value)) < 0.05 else 1)} %"


def between(bounds: tuple[float, float]) -> str:
    """An interval of shares, in percent."""
    return f"{quantities.fixed(100 * bounds[0], 0)} to {quantities.fixed(100 * bounds[1], 0)}"


def milliseconds(value: float) -> str:
    """A time."""
    return f"{quantities.plain(value)} ms"
