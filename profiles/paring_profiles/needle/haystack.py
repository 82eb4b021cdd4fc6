"""Long prompts that hide facts, the needles, in a text and ask for them at the end.

A fact is a sentence of a place and a number. The number is drawn anew for every prompt, so that no model
knows it from its training; the hay around it is a window of the text given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Protocol

import numpy as np

from paring_runtimes.errors import InputError

FILLER = (
    "The river turns south below the old mill and is slow there. In spring the meadows are under water for a"
    " week or two, and nobody minds. The ferry has not run since the bridge was built. On market days the"
    " square fills before eight, and by noon the bread is gone. A bench by the church gives shade until four."
    " The school has two classes and one teacher, who also plays the organ. Trains stop twice a day,"
    " going north in the morning and coming back at dusk. Most houses have a garden and a view."
    " The winters are mild, but the wind from the pass can last for days. Letters take three days to arrive."
)
PLACES = ("Lisbon", "Oslo", "Nairobi", "Lima", "Kyoto", "Denver", "Cairo", "Perth", "Quito", "Riga")
LOWEST, ABOVE = 10_000, 99_999  # of the numbers
_SENTENCE = 64  # tokens that a needle moves forward at most, to stand after a full stop


class Tokenizer(Protocol):
    """Text to ids and back, without padding; `paring_runtimes`' tokenizer is one."""

    def encode(self, text: str, special: bool = True) -> list[int]:
        """Return the ids of a text, with the tokens that the model wants around it if `special`."""
        ...

    def decode(self, ids: list[int]) -> str:
        """Return the text of ids."""
        ...


@dataclass(frozen=True)
class Frame:
    """Ids before the text and behind the question. `sentence`: the model goes on with a sentence begun."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    sentence: bool = False


@dataclass(frozen=True)
class Fact:
    """One needle.

    Attributes:
        place: what is asked for.
        number: the answer.
        tokens: (start, stop) of its sentence in the prompt.
    """

    place: str
    number: int
    tokens: tuple[int, int]


@dataclass(frozen=True)
class Haystack:
    """One prompt.

    Attributes:
        ids: token ids, [S].
        facts: in the order in which they are asked for, which is that of the text.
        others: numbers that stand nowhere in the prompt.
        depth: where the first fact stands in the text, 0 to 1.
        seed: of the text's window, the places and the numbers.
        ends: tokens before the text, and those of the question and behind it.
    """

    ids: tuple[int, ...]
    facts: tuple[Fact, ...]
    others: tuple[int, ...]
    depth: float
    seed: int
    ends: tuple[int, int]


@dataclass(frozen=True)
class Plan:
    """Which prompts to make: one for every length, depth and seed.

    Attributes:
        lengths: tokens of a prompt.
        depths: of the first fact, 0 to 1; where there are several, the others follow evenly behind it.
        seeds: see `Haystack`.
        needles: facts of a prompt, 1 to 10.
        others: wrong numbers of a prompt.
    """

    lengths: Sequence[int]
    depths: Sequence[float]
    seeds: Sequence[int]
    needles: int = 1
    others: int = 0


def haystacks(tokenizer: Tokenizer, text: str, frame: Frame, plan: Plan) -> list[Haystack]:
    """Return the prompts, lengths first; a text too short for a length is repeated.

    Raises:
        InputError: a length that does not even hold the needles and the question.
    """
    hay = tokenizer.encode(text, special=False)
    ends = {token for token in set(hay) if tokenizer.decode([token]).endswith(".")}
    return [
        _haystack(tokenizer, hay, ends, frame, plan, *wanted)
        for wanted in product(plan.lengths, plan.depths, plan.seeds)
    ]


def statement(place: str, number: int) -> str:
    """Return a fact's sentence, without its blank and its full stop."""
    return f"The secret number of the {place} office is {number}"


def question(places: Sequence[str], sentence: bool) -> str:
    """Return what asks for the places' numbers: a question, or a sentence to go on with."""
    if len(places) == 1:
        of = f"secret number of the {places[0]} office"
        return f"\n\nThe {of} is" if sentence else f"\n\nWhat is the {of}? Answer with the number only."
    of = f"secret numbers of the {', '.join(places[:-1])} and {places[-1]} offices"
    return f"\n\nThe {of} are these:" if sentence else f"\n\nWhat are the {of}? Answer with the numbers only."


def _haystack(
    tokenizer: Tokenizer,
    hay: list[int],
    ends: set[int],
    frame: Frame,
    plan: Plan,
    length: int,
    depth: float,
    seed: int,
) -> Haystack:
    rng = np.random.default_rng((seed, length, round(depth * 1000)))
    first = int(rng.integers(len(PLACES)))
    places = [PLACES[(first + index) % len(PLACES)] for index in range(plan.needles)]
    numbers = [int(rng.integers(LOWEST, ABOVE)) for _ in places]
    needles = [
        tokenizer.encode(f" {statement(*fact)}.", special=False) for fact in zip(places, numbers, strict=True)
    ]
    asked = tokenizer.encode(question(places, frame.sentence), special=False) + list(frame.after)
    room = length - len(frame.before) - sum(map(len, needles)) - len(asked)
    if room < 1:
        raise InputError(f"length {length}: needle and question alone have {length - room} tokens")
    start = int(rng.integers(max(1, len(hay) - room)))
    body = (hay[start:] + hay * (room // len(hay) + 1))[:room]
    ids, spans = list(frame.before), []
    done = 0
    for index, needle in enumerate(needles):
        wanted = depth + (1 - depth) * index / plan.needles
        at = max(done, _sentence_end(body, int(wanted * room), ends))
        ids += body[done:at]
        spans.append((len(ids), len(ids) + len(needle)))
        ids += needle
        done = at
    facts = tuple(Fact(*fact) for fact in zip(places, numbers, spans, strict=True))
    ids += body[done:] + asked
    others = _others(rng, numbers, plan.others)
    return Haystack(tuple(ids), facts, others, depth, seed, (len(frame.before), len(asked)))


def _others(rng: np.random.Generator, numbers: Sequence[int], count: int) -> tuple[int, ...]:
    drawn = LOWEST + rng.choice(ABOVE - LOWEST, count + len(numbers), replace=False)
    return tuple(int(number) for number in drawn if number not in numbers)[:count]


def _sentence_end(body: list[int], at: int, ends: set[int]) -> int:
    """The first place from `at` on that follows a full stop; `at` where there is none near."""
    near = range(at, min(len(body), at + _SENTENCE))
    return next((place for place in near if place and body[place - 1] in ends), at)
