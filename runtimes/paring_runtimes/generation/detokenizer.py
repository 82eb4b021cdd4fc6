"""Token ids to text, one id at a time, without half characters."""

from __future__ import annotations

from collections.abc import Callable, Sequence

_BROKEN = "\N{REPLACEMENT CHARACTER}"  # what a decoder gives for bytes that are not (yet) a character
_CONTEXT = 6  # tokens of the prompt that may decide how the first new one is written


class Detokenizer:
    """Decodes a growing list of ids in a short window, which begins before the last complete character.

    A decoder may write a token otherwise at the start of a text (SentencePiece drops its space), so
    the window begins with tokens whose text is out already, and only what comes after is new. Bytes
    that no later token completes are never written.

    Args:
        decode: from token ids to text.
        prompt: the ids before the first new one; its text is not repeated.
    """

    def __init__(self, decode: Callable[[list[int]], str], prompt: Sequence[int] = ()) -> None:
        self._decode = decode
        self._window = list(prompt[-_CONTEXT:])
        self._settled = len(self._window)  # ids of the window whose text is out
        self._out = decode(self._window)  # the window's text so far
        if self._out.endswith(_BROKEN):
            self._window, self._settled, self._out = [], 0, ""

    def whole(self, ids: Sequence[int]) -> str:
        """Return the text of ids by themselves."""
        return self._decode(list(ids))

    def add(self, token: int) -> str:
        """Take the next id; return the text that it completes, often none."""
        self._window.append(token)
        text = self._decode(self._window)
        if not text.startswith(self._out):
            if text.endswith(_BROKEN):
                return ""
            # A decoder that judges a run of bytes as a whole (byte fallback) took back what is out.
            self._window, self._settled, self._out = self._window[self._settled :], 0, ""
            text = self._decode(self._window)
        whole = text.rstrip(_BROKEN)
        new = whole[len(self._out) :]
        if new:
            self._out = whole
        if new and whole == text:
            self._slide()
        return new

    def _slide(self) -> None:
        """Let the window begin with the tokens whose text came out last."""
        self._window = self._window[self._settled :]
        self._settled = len(self._window)
        self._out = self._decode(self._window)
