"""What a language model is asked: random ids of its vocabulary, or pieces of a text; random pixels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paring_profiles.result import Settings
from paring_runtimes.errors import InputError
from paring_runtimes.generation.image_input import prepare
from paring_runtimes.generation.language_model import LanguageModel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from paring_runtimes import GenerativeSession

IMAGE_AT = 5  # tokens of text before an image, as in "USER: <image>"


@dataclass(frozen=True)
class Asked:
    """Prompts of one length as token ids, and the pixels [B, 3, H, W] of their images."""

    prompts: list[list[int]]
    pixels: NDArray[np.float32] | None


def ask(session: GenerativeSession, batch: int, tokens: int, settings: Settings) -> Asked:
    """Return `batch` prompts of `tokens` tokens of text each, the same for every equal vocabulary.

    A vision-language model's prompts have an image as well.

    Raises:
        InputError: longer than the model reads, or a text that cannot be read.
        ArtifactError, MissingExtraError: a text is given, and there is no tokenizer.
    """
    model = session.model
    check(model, session.path, tokens, settings)
    ids = _random_ids(model, batch, tokens, settings.seed)
    if settings.text is not None:
        ids = _text_ids(session, settings.text, batch, tokens)
    if model.image is None:
        return Asked(ids.tolist(), None)
    image = model.image.token_id
    ids = np.where(ids == image, 0 if image else 1, ids)
    place = min(IMAGE_AT, tokens - 1)
    prompts = [[*row[:place], image, *row[place:]] for row in ids.tolist()]
    return Asked(prompts, _pixels(model, batch, settings))


def check(model: LanguageModel, path: Path, tokens: int, settings: Settings) -> None:
    """Check that a model can be asked; the arguments are those of `ask`.

    Raises:
        InputError: longer than the model reads, or a text that cannot be read.
    """
    seen = 0 if model.image is None else model.image.tokens
    most = model.max_positions - seen - settings.new_tokens + 1
    if tokens > most:
        raise InputError(
            f"{path}: prompts of {tokens} tokens were asked for, and with {settings.new_tokens} new tokens"
            f"{' and an image' if seen else ''} it reads {max(most, 0)} at most"
        )
    if settings.text is not None:
        _read(settings.text)


def _random_ids(model: LanguageModel, batch: int, tokens: int, seed: int) -> NDArray[np.int64]:
    rng = np.random.default_rng([seed, batch, tokens])
    return rng.integers(0, model.vocab_size, (batch, tokens), np.int64)


def _text_ids(session: GenerativeSession, file: str, batch: int, tokens: int) -> NDArray[np.int64]:
    """Pieces of the text one after the other; a text that is too short begins anew."""
    ids = session.tokenizer.encode(_read(file))
    if not ids:
        raise InputError(f"{file}: holds no text")
    return np.resize(np.array(ids, np.int64), (batch, tokens))


def _read(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: not a text that can be read ({error})") from None


def _pixels(model: LanguageModel, batch: int, settings: Settings) -> NDArray[np.float32]:
    assert model.image is not None
    images: list[Any] = [settings.image] * batch
    if settings.image is None:
        rng = np.random.default_rng([settings.seed, batch])
        images = list(rng.integers(0, 256, (batch, *model.image.size, 3), np.uint8))
    return prepare(images, model.image, batch)
