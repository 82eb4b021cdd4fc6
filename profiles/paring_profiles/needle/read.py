"""One reader reads one prompt: what it told, how long it took, what it kept."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from paring_profiles.needle.haystack import Haystack, statement
from paring_profiles.needle.result import Example, NeedleSettings, Piece, Reader, Reading
from paring_runtimes import Generation, GenerativeSession, Scores

ANSWER_TOKENS = 24  # a fact's sentence, whatever the tokenizer
_GROUPED = re.compile(r"(?<=\d)[,\u202f\u00a0](?=\d{3}\b)")  # 48,213


@dataclass(frozen=True)
class Told:
    """A reading with the places that were read; None for all."""

    reading: Reading
    kept: tuple[int, ...] | None
    kept_text: str | None


def read(
    session: GenerativeSession, reader: Reader, hay: Haystack, length: int, settings: NeedleSettings
) -> Told:
    """Read a prompt once and score what is told. `length` is that of the plan."""
    choose = _choice if settings.score == "choice" else _answer
    done, told, found, prompt_ms = choose(session, hay, reading_options(reader, hay, settings), settings)
    wanted = {place for fact in hay.facts for place in range(*fact.tokens)}
    stays = len(wanted) if done.kept is None else len(wanted.intersection(done.kept))
    reading = Reading(
        reader=reader.name,
        length=length,
        depth=hay.depth,
        seed=hay.seed,
        prompt_tokens=len(hay.ids),
        read_tokens=len(hay.ids) if done.kept is None else len(done.kept),
        found=found,
        prompt_ms=prompt_ms,
        filter_ms=done.filter_ms,
        expected=tuple(fact.number for fact in hay.facts),
        told=told,
        needle_kept=stays / len(wanted),
    )
    return Told(reading, done.kept, done.kept_text)


@dataclass(frozen=True)
class Options:
    """Of `GenerativeSession.score` and `generate`: how the prompt is read."""

    filter: bool
    filter_k: int | None = None
    pin_first: int | None = None
    pin_last: int | None = None


def reading_options(reader: Reader, hay: Haystack, settings: NeedleSettings) -> Options:
    """Return how a reader reads a prompt."""
    if reader.whole:
        return Options(False)
    k = reader.k if reader.reduction is None else max(1, len(hay.ids) // reader.reduction)
    first, last = hay.ends if settings.pin_ends else (None, None)
    return Options(True, k, first, last)


def _answer(
    session: GenerativeSession, hay: Haystack, options: Options, settings: NeedleSettings
) -> tuple[Generation, str, float, float]:
    """Generate greedily: the run, its text, the share of numbers in it, ms to the first token."""
    most = answer_tokens(settings)
    (done,) = session.generate(hay.ids, max_new_tokens=most, **vars(options))
    hits = [holds(done.text, fact.number) for fact in hay.facts]
    return done, done.text, sum(hits) / len(hits), done.first_token_ms


def _choice(
    session: GenerativeSession, hay: Haystack, options: Options, settings: NeedleSettings
) -> tuple[Scores, str, float, float]:
    """Score every number: the run, the likeliest numbers, the share of right ones, ms of the prompt."""
    numbers = [fact.number for fact in hay.facts]
    choices = [*numbers, *hay.others]
    lead = "" if settings.ask == "chat" else " "
    texts = []
    for fact in hay.facts:
        told = [str(one) if len(numbers) == 1 else statement(fact.place, one) for one in choices]
        texts += [lead + one for one in told]
    done = session.score(hay.ids, texts, **vars(options))
    likeliest = []
    for index in range(len(numbers)):
        own = done.log_likelihoods[index * len(choices) : (index + 1) * len(choices)]
        likeliest.append(choices[own.index(max(own))])
    hits = [own == right for own, right in zip(likeliest, numbers, strict=True)]
    return done, ", ".join(map(str, likeliest)), sum(hits) / len(hits), done.prompt_ms


def answer_tokens(settings: NeedleSettings) -> int:
    """Tokens that an answer may have: what `length` holds beside the prompt."""
    return ANSWER_TOKENS * settings.needles


def holds(text: str, number: int) -> bool:
    """Whether a text holds a number, as a number of its own; its thousands may be grouped."""
    return re.search(rf"(?<!\d){number}(?!\d)", _GROUPED.sub("", text)) is not None


def example(session: GenerativeSession, hay: Haystack, told: Told) -> Example:
    """Return what was kept of a prompt, as runs of text between what was left out."""
    kept = tuple(range(len(hay.ids))) if told.kept is None else told.kept
    needle = {place for fact in hay.facts for place in range(*fact.tokens)}
    pieces, before = [], -1
    for run in _runs(kept, needle):
        text = session.tokenizer.decode([hay.ids[place] for place in run])
        pieces.append(Piece(text, run[0] in needle, run[0] - before - 1))
        before = run[-1]
    whole = session.tokenizer.decode(list(hay.ids)) if told.kept_text is None else told.kept_text
    return Example(told.reading, tuple(pieces), len(hay.ids) - before - 1, whole)


def _runs(kept: Sequence[int], needle: set[int]) -> list[list[int]]:
    """Places cut where one is missing, and where a needle begins or ends."""
    marked = groupby(enumerate(kept), key=lambda pair: (pair[1] - pair[0], pair[1] in needle))
    return [[place for _, place in run] for _, run in marked]
