"""Rows of language models: what each phase of an answer took, and what the cache held."""

from __future__ import annotations

from functools import partial

from paring_profiles.report import energy, quantities
from paring_profiles.report.rows import (
    Cell,
    Group,
    Row,
    Table,
    cases,
    cells,
    comparison,
    latency_at,
    mac_ratio,
    p50,
    realised,
    speed_up,
    tail,
    with_baseline,
)
from paring_profiles.result import Answered, Candidate, Latency, Profile

Place = tuple[int, int]  # batch size, tokens of a prompt

NAMES = {
    "first_token": "Time to first token",
    "encoder": "Vision encoder",
    "question": "Question, read for the compressor",
    "compressor": "Compressor",
    "filter": "Prompt filter",
    "prefill": "Prefill",
    "decode": "Decoding, a step",
}
STAGES_HEADER = ("Candidate", "Step", "Where", "Of", "Tokens before", "Tokens after")


def places(profile: Profile) -> list[Place]:
    """Every batch size and length of prompts, ascending."""
    return list(dict.fromkeys((size, tokens) for size, tokens, _ in cases(profile) if tokens is not None))


def title(place: Place) -> str:
    """A place in words."""
    return f"Batch {place[0]}, {place[1]:,} prompt tokens"


def groups(profile: Profile) -> list[Group]:
    """A group of rows for each batch size and length of prompts."""
    return [Group(title(place), tuple(_rows(profile, place))) for place in places(profile)]


def answered_at(candidate: Candidate, place: Place) -> Answered | None:
    """What the candidate read and held."""
    return next((a for a in candidate.answered if (a.batch_size, a.prompt_tokens) == place), None)


def _rows(profile: Profile, place: Place) -> list[Row]:
    found = [answered_at(candidate, place) for candidate in profile.candidates]
    timed = [row for phase in NAMES for row in _phase_rows(profile, place, phase)]
    return [
        *timed,
        Row("Tokens read of a prompt", "counted", cells(found, lambda one: Cell(f"{one.read_tokens:,}"))),
        Row("Key-value cache after the prompt", "measured", cells(found, _cache)),
        Row(
            "Buffers that hold it",
            "measured",
            cells(found, lambda a: Cell(quantities.in_bytes(a.buffer_bytes))),
        ),
        *_mac_rows(profile, place),
        *energy.measured_rows(profile, place),
    ]


def _phase_rows(profile: Profile, place: Place, phase: str) -> list[Row]:
    """Median and p90 of one phase, and the speed-up of those that all candidates have."""
    case = (*place, phase)
    found = [latency_at(candidate, case) for candidate in profile.candidates]
    if not any(found):
        return []
    name = NAMES[phase]
    rows = [
        Row(f"{name}, median", "measured", cells(found, p50)),
        Row(f"{name}, p90", "measured", cells(found, partial(tail, field="p90_ms"))),
    ]
    if phase == "decode":
        rows.append(Row("Tokens a second", "measured", cells(found, _pace)))
    against = [comparison(profile, candidate, case) for candidate in profile.candidates]
    if any(against):
        rows.append(Row(f"{name}, speed-up", "measured", with_baseline(against, speed_up)))
    return rows


def _pace(latency: Latency) -> Cell:
    return Cell(quantities.plain(latency.throughput_per_s))


def _cache(answered: Answered) -> Cell:
    rows = answered.cache_rows
    low, high = min(rows), max(rows)
    each = f"{high:,} tokens a layer" if low == high else f"{low:,} to {high:,} tokens a layer"
    return Cell(quantities.in_bytes(answered.cache_bytes), each)


def _mac_rows(profile: Profile, place: Place) -> list[Row]:
    """MACs of each phase; where there are comparisons, what they promise and what came of it."""
    rows = []
    for phase, name in NAMES.items():
        macs = [candidate.macs_of((*place, phase)) for candidate in profile.candidates]
        if any(macs):
            rows.append(Row(f"MACs: {name.lower()}", "counted", _mac_cells(profile, macs)))
    for phase in ("first_token", "prefill"):
        found = [comparison(profile, candidate, (*place, phase)) for candidate in profile.candidates]
        if any(found):
            name = NAMES[phase]
            rows.append(Row(f"{name}, ideal speed-up", "counted", with_baseline(found, mac_ratio)))
            rows.append(Row(f"{name}, realised / ideal", "derived", with_baseline(found, realised)))
    return rows


def _mac_cells(profile: Profile, macs: list[int | None]) -> tuple[Cell, ...]:
    made = []
    for candidate, count in zip(profile.candidates, macs, strict=True):
        unknown = ", ".join(candidate.macs_unknown)
        note = f"without {unknown}" if unknown and count is not None else ""
        made.append(Cell("–" if count is None else quantities.with_prefix(count), note))
    return tuple(made)


def stage_table(profile: Profile) -> Table:
    """Tokens before and after each step of each candidate, for the longest prompts."""
    every = places(profile)
    longest = max(every, key=lambda place: place[1], default=(0, 0))
    rows = [
        (one.name, stage.transform, stage.place, stage.tokens, f"{stage.before:,}", f"{stage.after:,}")
        for one in profile.candidates
        for stage in (answered_at(one, longest) or _NOTHING).stages
    ]
    return Table(STAGES_HEADER, tuple(rows))


_NOTHING = Answered(0, 0, 0, {}, [], 0, 0, [])


def kept_text(candidate: Candidate) -> str | None:
    """What the filter left of a prompt, of the longest."""
    texts = [(one.prompt_tokens, one.kept_text) for one in candidate.answered if one.kept_text]
    return max(texts)[1] if texts else None


def cache_table(profile: Profile) -> Table:
    """Tokens in each layer's cache after the longest prompts."""
    longest = max(places(profile), key=lambda place: place[1], default=(0, 0))
    found = [(one.name, answered_at(one, longest)) for one in profile.candidates]
    rows = [(name, " ".join(map(str, own.cache_rows))) for name, own in found if own]
    return Table(("Candidate", "Tokens in the cache, layer by layer"), tuple(rows))
