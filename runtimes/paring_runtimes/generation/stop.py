"""Stop strings in a stream of text."""

from __future__ import annotations

from collections.abc import Sequence


class StopMatcher:
    """Lets text through up to the first stop string; no part of a stop string gets out.

    Text that could be the beginning of a stop string is held back until that is settled. The match
    that is complete first wins, the longest of those, so that the result does not depend on how the
    text is split into pieces.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.found: str | None = None

    def feed(self, piece: str) -> str:
        """Take a piece of text; return what is known to come before any stop string."""
        if self.found is not None:
            return ""
        text = self._held + piece
        matches = [(text.index(s) + len(s), text.index(s), s) for s in self._stops if s in text]
        if matches:
            _, begin, self.found = min(matches)
            self._held = ""
            return text[:begin]
        hold = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - hold :]
        return text[: len(text) - hold]

    def finish(self) -> str:
        """Return what was held back: the text ends here, so it begins no stop string."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Return the length of the longest proper beginning of `stop` that `text` ends with."""
    longest = min(len(stop) - 1, len(text))
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
