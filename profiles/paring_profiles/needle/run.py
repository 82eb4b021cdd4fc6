"""The run: artifacts one after the other, every reader on every prompt."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from pathlib import Path

import paring_runtimes
from paring_profiles import machine
from paring_profiles.needle.cells import cells, summaries
from paring_profiles.needle.frames import frame_of
from paring_profiles.needle.haystack import PLACES, Haystack, Plan, haystacks
from paring_profiles.needle.read import answer_tokens, example, read, reading_options
from paring_profiles.needle.result import (
    SCORES,
    Example,
    NeedleResult,
    NeedleSettings,
    Reader,
    Reading,
)
from paring_runtimes import GenerativeSession
from paring_runtimes.errors import InputError

Progress = Callable[[str, float], None]
_WARM_UP = 32  # tokens


def run(
    artifacts: Sequence[str | Path],
    settings: NeedleSettings,
    text: str,
    text_name: str,
    progress: Progress = lambda stage, share: None,
) -> NeedleResult:
    """Hide needles in `text` and let each artifact read: whole, and by its filter where it has one.

    Args:
        artifacts: folders of language models.
        settings: which prompts, and how they are scored.
        text: the hay.
        text_name: what the report calls it.
        progress: told each stage and the share that is done.

    Raises:
        InputError: settings out of range, no language model, a length that the model has no positions for
            or that does not hold needles and question, more pinned tokens than stay.
    """
    check(settings)
    paths = [Path(one) for one in artifacts]
    names = [one.name for one in paths] if len({one.name for one in paths}) == len(paths) else None
    readers: list[Reader] = []
    readings: list[Reading] = []
    examples: list[Example] = []
    for index, path in enumerate(paths):
        prefix = "" if len(paths) == 1 else f"{names[index] if names else path}, "
        begin = index / len(paths)
        progress(f"opening {path}", begin)
        with paring_runtimes.load(path, threads=settings.threads) as session:
            if not isinstance(session, GenerativeSession):
                raise InputError(f"{path}: not the artifact of a language model")
            own = readers_of(session, prefix, settings)
            prompts = prompts_of(session, settings, text)
            readers += own

            def tell(stage: str, share: float, begin: float = begin) -> None:
                progress(stage, begin + share / len(paths))

            _read_all(session, own, prompts, settings, (readings, examples), tell)
    if settings.reductions and all(reader.whole for reader in readers):
        raise InputError("reduce: none of these artifacts has a filter; convert with -t gem_filter")
    return NeedleResult(
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        machine=machine.describe(),
        tools=machine.tool_versions(),
        settings=settings,
        text=text_name,
        readers=tuple(readers),
        cells=cells(readers, readings),
        summaries=summaries(readers, readings),
        examples=tuple(examples),
        readings=tuple(readings),
        chance=1 / (settings.others + settings.needles) if settings.score == "choice" else 0.0,
    )


def check(settings: NeedleSettings) -> None:
    """Refuse settings out of range.

    Raises:
        InputError: says which.
    """
    wrong = {
        "lengths": not settings.lengths or min(settings.lengths) < 1,
        "depths": not settings.depths or not all(0 <= depth <= 1 for depth in settings.depths),
        "seeds": settings.seeds < 1,
        f"needles (1 to {len(PLACES)})": not 1 <= settings.needles <= len(PLACES),
        "reductions (2 and more)": any(one < 2 for one in settings.reductions),
        f"score ({' or '.join(SCORES)})": settings.score not in SCORES,
        "others (1 and more)": settings.score == "choice" and settings.others < 1,
    }
    for name, bad in wrong.items():
        if bad:
            raise InputError(f"{name}: given {getattr(settings, name.partition(' ')[0])!r}")


def readers_of(session: GenerativeSession, prefix: str, settings: NeedleSettings) -> list[Reader]:
    """Return the reader of whole prompts and, where there is a filter, those of parts."""
    path = str(session.path)
    readers = [Reader(f"{prefix}whole prompt", path)]
    model = session.model.filter
    if model is None:
        return readers
    if not settings.reductions:
        return [*readers, Reader(f"{prefix}{model.k} tokens", path, k=model.k)]
    return [*readers, *(Reader(f"{prefix}1/{one} of the prompt", path, one) for one in settings.reductions)]


def prompts_of(session: GenerativeSession, settings: NeedleSettings, text: str) -> list[tuple[int, Haystack]]:
    """Return each prompt with its length, which is that of prompt and answer together.

    Raises:
        InputError: the model has no positions for a length, or it does not hold needles and question.
    """
    most = session.model.max_positions
    too_long = [length for length in settings.lengths if length > most]
    if too_long:
        raise InputError(f"lengths: {too_long[0]} tokens, and {session.path} has positions for {most}")
    frame, found = frame_of(session, settings.ask), []
    for length in settings.lengths:
        size = length - answer_tokens(settings)
        plan = Plan([size], settings.depths, range(settings.seeds), settings.needles, settings.others)
        try:
            found += [(length, hay) for hay in haystacks(session.tokenizer, text, frame, plan)]
        except InputError as error:
            raise InputError(f"{error}; {length - size} more are left for the answer") from None
    return found


def _read_all(
    session: GenerativeSession,
    readers: Sequence[Reader],
    prompts: Sequence[tuple[int, Haystack]],
    settings: NeedleSettings,
    found: tuple[list[Reading], list[Example]],
    tell: Progress,
) -> None:
    """Read every prompt in every way, those of one prompt in turn, so that their times compare."""
    _check_pins(session, readers, prompts, settings)
    _warm_up(session, readers)
    work, done = sum(len(hay.ids) for _, hay in prompts) * len(readers), 0
    shown = _example_prompt(prompts)
    readings, examples = found
    for number, (length, hay) in enumerate(prompts):
        for reader in readers:
            tell(f"length {length}, depth {hay.depth:g}, seed {hay.seed}: {reader.name}", done / work)
            told = read(session, reader, hay, length, settings)
            readings.append(told.reading)
            if number == shown and not reader.whole:
                examples.append(example(session, hay, told))
            done += len(hay.ids)
    tell("done", 1.0)


def _check_pins(
    session: GenerativeSession,
    readers: Sequence[Reader],
    prompts: Sequence[tuple[int, Haystack]],
    settings: NeedleSettings,
) -> None:
    """Refuse before the first prompt is read what would be refused after hours."""
    model = session.model.filter
    for length, hay in prompts:
        for reader in readers:
            told = reading_options(reader, hay, settings)
            if not told.filter or told.filter_k is None or model is None:
                continue
            first = model.pin_first if told.pin_first is None else told.pin_first
            last = model.pin_last if told.pin_last is None else told.pin_last
            if first + last > told.filter_k:
                raise InputError(
                    f"length {length}, {reader.name}: {told.filter_k} tokens stay, and {first + last} are"
                    " pinned; reduce less, or pin less"
                )


def _warm_up(session: GenerativeSession, readers: Sequence[Reader]) -> None:
    """Open every graph and let it run once, so that no prompt pays for that."""
    ids = [session.model.padding] * min(_WARM_UP, session.model.max_positions)
    session.generate(ids, max_new_tokens=2, filter=False if session.model.filter else None)
    if not all(reader.whole for reader in readers):
        session.generate(ids, max_new_tokens=1, filter_k=len(ids) - 1, pin_first=0, pin_last=0)


def _example_prompt(prompts: Sequence[tuple[int, Haystack]]) -> int:
    """Which prompt the report shows: one of the shortest, with its needle near the middle."""
    order = range(len(prompts))
    return min(order, key=lambda i: (prompts[i][0], abs(prompts[i][1].depth - 0.5), i))
