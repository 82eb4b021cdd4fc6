"""Long prompts that hide one sentence, the needle, in a text and ask for it at the end.

Where a tokenizer has a chat template the prompt is laid out by it, as a user's message: what scores the
tokens is then the token after which the assistant speaks, as in use.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from paring_runtimes.errors import RecipeError

FILLER = (
    "The river turns south below the old mill and is slow there. In spring the meadows are under water for a"
    " week or two, and nobody minds. The ferry has not run since the bridge was built. On market days the"
    " square fills before eight, and by noon the bread is gone. A bench by the church gives shade until four."
    " The school has two classes and one teacher, who also plays the organ. Trains stop twice a day,"
    " going north in the morning and coming back at dusk. Most houses have a garden and a view."
    " The winters are mild, but the wind from the pass can last for days. Letters take three days to arrive."
)
PLACES = ("Lisbon", "Oslo", "Nairobi", "Lima", "Kyoto", "Denver", "Cairo", "Perth", "Quito", "Riga")
_MARK = "\N{WHITE SQUARE}text\N{WHITE SQUARE}"  # stands for the message while a template is read
_SENTENCE = 64  # tokens that a needle moves forward at most, to stand after a full stop


@dataclass(frozen=True)
class NeedlePrompt:
    """One prompt.

    Attributes:
        ids: token ids, [S].
        needle: (start, stop) of the needle's tokens.
        answer: what the question asks for.
        depth: where the needle stands in the text, 0 to 1.
        seed: of the text's window, the place and the number.
    """

    ids: tuple[int, ...]
    needle: tuple[int, int]
    answer: str
    depth: float
    seed: int


def needle_prompts(
    tokenizer: Any,
    text: str,
    lengths: Sequence[int],
    depths: Sequence[float],
    seeds: Sequence[int],
    chat: bool = True,
) -> list[NeedlePrompt]:
    """A prompt for every length (tokens), depth and seed; a text too short for a length is repeated.

    Raises:
        RecipeError: a length that does not even hold needle and question.
    """
    hay = encoded(tokenizer, text)
    ends = {token for token in set(hay) if tokenizer.decode([token]).endswith(".")}
    return [
        _prompt(tokenizer, hay, ends, length, depth, seed, chat)
        for length, depth, seed in product(lengths, depths, seeds)
    ]


def encoded(tokenizer: Any, text: str) -> list[int]:
    """Ids of a text alone."""
    ids: list[int] = tokenizer(text, add_special_tokens=False).input_ids
    return ids


def _prompt(
    tokenizer: Any, hay: list[int], ends: set[int], length: int, depth: float, seed: int, chat: bool
) -> NeedlePrompt:
    rng = np.random.default_rng((seed, length, round(depth * 1000)))
    place, number = PLACES[rng.integers(len(PLACES))], int(rng.integers(10000, 99999))
    needle = encoded(tokenizer, f" The secret number of the {place} office is {number}.")
    before, after = _layout(tokenizer, chat)
    question = f"\n\nWhat is the secret number of the {place} office? Answer with the number only."
    asked = encoded(tokenizer, question) + after
    room = length - len(before) - len(needle) - len(asked)
    if room < 1:
        raise RecipeError(f"length {length}: needle and question alone have {length - room} tokens")
    start = int(rng.integers(max(1, len(hay) - room)))
    body = (hay[start:] + hay * (room // len(hay) + 1))[:room]
    at = _sentence_end(body, int(depth * room), ends)
    ids = [*before, *body[:at], *needle, *body[at:], *asked]
    begin = len(before) + at
    return NeedlePrompt(tuple(ids), (begin, begin + len(needle)), str(number), depth, seed)


def _sentence_end(body: list[int], at: int, ends: set[int]) -> int:
    """The first place from `at` on that follows a full stop; `at` where there is none near."""
    near = range(at, min(len(body), at + _SENTENCE))
    return next((place for place in near if place and body[place - 1] in ends), at)


def _layout(tokenizer: Any, chat: bool) -> tuple[list[int], list[int]]:
    """Ids before and after the text."""
    if chat and tokenizer.chat_template:
        message = [{"role": "user", "content": _MARK}]
        whole = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
        before, found, after = whole.partition(_MARK)
        if found:
            return encoded(tokenizer, before), encoded(tokenizer, after)
    first = tokenizer("").input_ids[:1]
    return first if first == [tokenizer.bos_token_id] else [], encoded(tokenizer, "\nAnswer:")
