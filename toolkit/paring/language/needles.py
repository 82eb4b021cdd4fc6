"""Long prompts that hide one sentence, the needle, in a text and ask for it at the end.

They are those of `paring needle`, made with the tokenizer of the model itself: what scores the tokens is the
last token of a prompt, so that a layer must be judged by prompts that end as in use.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from paring_profiles.needle.frames import ASKS, chat_frame, message, plain_frame
from paring_profiles.needle.haystack import FILLER, Frame, Plan, haystacks
from paring_runtimes.errors import InputError, RecipeError

__all__ = ["FILLER", "NeedlePrompt", "needle_prompts"]


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
    ask: str = "chat",
) -> list[NeedlePrompt]:
    """A prompt for every length (tokens), depth and seed; a text too short for a length is repeated.

    Args:
        tokenizer: of transformers.
        text: the hay.
        lengths: tokens of a prompt.
        depths: 0 to 1.
        seeds: see `NeedlePrompt`.
        ask: "sentence", "question" or "chat", as in `paring_profiles.needle.frames`; "chat" is "question"
            where there is no chat template.

    Raises:
        RecipeError: another `ask`; a length that does not even hold needle and question.
    """
    if ask not in ASKS:
        raise RecipeError(f"ask: expected one of {', '.join(ASKS)}, given {ask!r}")
    own = _Tokenizer(tokenizer)
    try:
        found = haystacks(own, text, _frame(own, ask), Plan(lengths, depths, seeds))
    except InputError as error:
        raise RecipeError(str(error)) from error
    return [
        NeedlePrompt(one.ids, one.facts[0].tokens, str(one.facts[0].number), one.depth, one.seed)
        for one in found
    ]


class _Tokenizer:
    """A tokenizer of transformers, called as that of the runtime is."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def encode(self, text: str, special: bool = True) -> list[int]:
        ids: list[int] = self.inner(text, add_special_tokens=special).input_ids
        return ids

    def decode(self, ids: list[int]) -> str:
        text: str = self.inner.decode(ids)
        return text


def _frame(tokenizer: _Tokenizer, ask: str) -> Frame:
    inner = tokenizer.inner
    if ask == "chat" and inner.chat_template:
        whole = inner.apply_chat_template([message()], tokenize=False, add_generation_prompt=True)
        found = chat_frame(tokenizer, whole)
        if found is not None:
            return found
    return plain_frame(tokenizer, tokenizer.encode("")[:1] == [inner.bos_token_id], ask == "sentence")
