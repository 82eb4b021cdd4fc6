"""Prompts as callers give them, to token ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from paring_runtimes.errors import InputError
from paring_runtimes.generation.language_model import LanguageModel

if TYPE_CHECKING:
    from numpy.typing import NDArray


def prompts_to_ids(
    prompts: str | Sequence[Any] | NDArray[Any], encode: Callable[[str], list[int]], model: LanguageModel
) -> list[list[int]]:
    """Return the ids of every prompt.

    Args:
        prompts: a text, token ids, or a list of those.
        encode: text to ids.
        model: for its vocabulary and its positions.

    Raises:
        InputError: nothing given, a prompt that is empty or too long, an id out of range.
    """
    if not isinstance(prompts, str) and not _is_list(prompts):
        kind = type(prompts).__name__
        raise InputError(f"prompts: expected a text, token ids, or a list of those, given a {kind}")
    single = isinstance(prompts, str) or (len(prompts) > 0 and all(map(_is_id, prompts)))
    given: Sequence[Any] = [prompts] if single else list(prompts)
    if not given:
        raise InputError("prompts: expected at least one text or list of token ids, given none")
    return [
        ids_of(prompt, encode, model, "prompt" if single else f"prompts[{index}]")
        for index, prompt in enumerate(given)
    ]


def ids_of(prompt: Any, encode: Callable[[str], list[int]], model: LanguageModel, where: str) -> list[int]:
    """Return the ids of one text, or of a list of ids, which are checked.

    Raises:
        InputError: as `prompts_to_ids`; `where` is what the message calls it.
    """
    if isinstance(prompt, str):
        ids = encode(prompt) if prompt else []
    elif _is_list(prompt) and all(map(_is_id, prompt)):
        ids = [int(token) for token in prompt]
    else:
        raise InputError(f"{where}: expected a text or a list of token ids, given {prompt!r}")
    if not ids:
        raise InputError(f"{where}: empty; give at least one token, such as the begin-of-text token's id")
    wrong = next((token for token in ids if not 0 <= token < model.vocab_size), None)
    if wrong is not None:
        raise InputError(f"{where}: token id {wrong} is not among the model's {model.vocab_size}")
    if len(ids) > model.max_positions:
        raise InputError(
            f"{where}: {len(ids)} tokens, and the model has positions for {model.max_positions}; shorten it"
        )
    return ids


def _is_list(value: Any) -> bool:
    return isinstance(value, (Sequence, np.ndarray)) and not isinstance(value, bytes)


def _is_id(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)
