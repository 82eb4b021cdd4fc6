"""`text:FILE`: plain text, UTF-8, for a language model's perplexity."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from paring_runtimes.errors import SourceError

HELP = "a UTF-8 text file, for perplexity"


@dataclass(frozen=True)
class TextData:
    """A text. `limit` is how many chunks of it are used at most; `digest` is the SHA-256 of its bytes."""

    text: str
    limit: int | None
    digest: str


def load(target: str, limit: int | None, size: tuple[int, int] | None) -> TextData:
    """Read FILE. A text has no image size."""
    file = Path(target)
    if size is not None:
        raise SourceError(f"data 'text:{target}': a text has no image size")
    if not file.is_file():
        raise SourceError(f"{file}: no such file")
    content = file.read_bytes()
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SourceError(f"{file}: no UTF-8 text (byte {error.start})") from error
    if not text.strip():
        raise SourceError(f"{file}: is empty")
    return TextData(text, limit, hashlib.sha256(content).hexdigest())
