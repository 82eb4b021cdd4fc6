"""What a caller may ask of a generation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypedDict

from paring_runtimes.errors import InputError
from paring_runtimes.suggest import near_miss

CACHES = ("auto", "in_place", "concat")


@dataclass(frozen=True)
class Options:
    """How to generate. Processors act in the order in which transformers applies them.

    Attributes:
        max_new_tokens: the most tokens to generate for a prompt, at least 1.
        temperature: divides the logits; 0 takes the most likely token, the lower id at ties.
        top_k: sample among the k most likely tokens (and those level with the k-th); 0 for all.
        top_p: sample among the fewest tokens whose probability together is at least this, in (0, 1].
        min_p: sample among tokens at least this fraction as likely as the most likely, in [0, 1].
        repetition_penalty: logits of tokens in prompt or answer are divided by it when positive and
            multiplied when negative; 1 for none.
        seed: row i of a batch draws from `numpy.random.default_rng(seed + i)`, so that it does not
            depend on its batch mates; None for fresh randomness.
        stop: strings that end a row; the text is cut before them.
        cache: "in_place", "concat", or "auto" for the first that the artifact has.
        filter: whether the artifact's filter chooses the tokens that are read of a prompt longer than its
            k; None for yes where the artifact has a filter. True asks for one.
        filter_k: how many tokens the filter keeps, at least 1; None is the artifact's.
        pin_first: leading tokens that the filter keeps anyway (a system prompt); None is the artifact's.
        pin_last: last tokens that the filter keeps anyway (a question); None is the artifact's.
    """

    max_new_tokens: int = 128
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None
    stop: Sequence[str] = ()
    cache: str = "auto"
    filter: bool | None = None
    filter_k: int | None = None
    pin_first: int | None = None
    pin_last: int | None = None


class OptionArguments(TypedDict, total=False):
    """The fields of `Options` as keyword arguments."""

    max_new_tokens: int
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    repetition_penalty: float
    seed: int | None
    stop: Sequence[str]
    cache: str
    filter: bool | None
    filter_k: int | None
    pin_first: int | None
    pin_last: int | None


def options_of(arguments: OptionArguments) -> Options:
    """Check keyword arguments.

    Raises:
        InputError: an unknown name or a value out of range.
    """
    known = [field.name for field in fields(Options)]
    for name in arguments:
        if name not in known:
            raise InputError(f"no option {name!r}{near_miss(name, known)}; known: {', '.join(known)}")
    options = Options(**arguments)
    _check_numbers(options)
    stops = (options.stop,) if isinstance(options.stop, str) else tuple(options.stop)
    if not all(isinstance(stop, str) and stop for stop in stops):
        raise InputError(f"stop: expected non-empty strings, given {options.stop!r}")
    if options.cache not in CACHES:
        raise InputError(f"cache: expected one of {', '.join(CACHES)}, given {options.cache!r}")
    return replace(options, stop=stops)


def _check_numbers(options: Options) -> None:
    whole, number = _is_whole, _is_number
    checks: list[tuple[str, bool, str]] = [
        ("max_new_tokens", whole(options.max_new_tokens, 1), "a whole number of at least 1"),
        (
            "temperature",
            number(options.temperature) and options.temperature >= 0,
            "0 for the most likely token, or a finite number above it",
        ),
        ("top_k", whole(options.top_k, 0), "a whole number, 0 for no limit"),
        ("top_p", number(options.top_p) and 0 < options.top_p <= 1, "a number over 0 and at most 1"),
        ("min_p", number(options.min_p) and 0 <= options.min_p <= 1, "a number from 0 to 1"),
        (
            "repetition_penalty",
            number(options.repetition_penalty) and options.repetition_penalty > 0,
            "a number over 0, 1 for no penalty",
        ),
        (
            "filter_k",
            options.filter_k is None or whole(options.filter_k, 1),
            "None or a whole number of at least 1",
        ),
        ("filter", options.filter is None or isinstance(options.filter, bool), "None, True or False"),
        *(
            (name, value is None or whole(value, 0), "None or a whole number of at least 0")
            for name, value in (
                ("seed", options.seed),
                ("pin_first", options.pin_first),
                ("pin_last", options.pin_last),
            )
        ),
    ]
    for name, good, expected in checks:
        if not good:
            raise InputError(f"{name}: expected {expected}, given {getattr(options, name)!r}")


def _is_whole(value: Any, least: int) -> bool:
    return type(value) is int and value >= least


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
