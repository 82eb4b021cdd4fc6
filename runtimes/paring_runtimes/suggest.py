"""Name the near miss: what a misspelt name was probably meant to be."""

from __future__ import annotations

from collections.abc import Iterable


def near_miss(name: object, choices: Iterable[str]) -> str:
    """Return " (did you mean 'pixels'?)", or "" when nothing among `choices` is close."""
    import difflib  # only on the way to an error: it is not free to import

    close = difflib.get_close_matches(str(name), list(choices), n=1, cutoff=0.6)
    return f" (did you mean {close[0]!r}?)" if close else ""
