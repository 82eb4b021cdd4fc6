"""Text to token ids and back, from an artifact's `tokenizer.json`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from paring_runtimes.errors import ArtifactError, MissingExtraError

FILE = "tokenizer.json"


class TextTokenizer:
    """A tokenizer of the `tokenizers` library, without padding and truncation.

    Raises:
        MissingExtraError: `tokenizers` is not installed.
        ArtifactError: there is no `tokenizer.json`, or it cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / FILE
        library = _library()
        if not path.is_file():
            raise ArtifactError(f"{path}: missing; text needs the model's tokenizer")
        try:
            self._inner = library.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exceptions
            raise ArtifactError(f"{path}: not a tokenizer that can be read: {error}") from error
        self._inner.no_padding()
        self._inner.no_truncation()

    def encode(self, text: str, special: bool = True) -> list[int]:
        """Return the ids of a text, with the tokens that the model wants around it if `special`."""
        ids: list[int] = self._inner.encode(text, add_special_tokens=special).ids
        return ids

    def decode(self, ids: list[int]) -> str:
        """Return the text of ids, without special tokens."""
        text: str = self._inner.decode(ids, skip_special_tokens=True)
        return text


def _library() -> Any:
    try:
        import tokenizers
    except ImportError as error:
        raise MissingExtraError("generating text", "llm") from error
    return tokenizers
