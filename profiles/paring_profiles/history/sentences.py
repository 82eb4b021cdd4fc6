"""A change in one sentence, for terminals, build servers and logs."""

from __future__ import annotations

from paring_profiles.history.changes import NOT_COMPARABLE, Change

_WORDS = {  # worse, better
    "latency": ("slower", "faster"),
    "peak memory": ("more", "less"),
    "size": ("larger", "smaller"),
    "quality": ("lower", "higher"),
    "perplexity": ("higher", "lower"),
}


def sentence(change: Change) -> str:
    """Return "vit, batch 1: latency 4.1 % slower (3.0 to 5.2 %): regression"."""
    if change.verdict == NOT_COMPARABLE:
        return f"{change.title} not comparable: {change.reason}"
    return f"{change.title} {amount(change)}: {change.verdict}"


def amount(change: Change) -> str:
    """Return how much it changed, with the 95 % interval: "4.1 % slower (3.0 to 5.2 %)"."""
    if change.change is None:
        return "-"
    unit = "points" if change.figure == "quality" else "%"
    if change.change == 0 and change.change_ci95 is None:
        return "the same"
    # Turned around where it got better, so that the interval reads in the direction of the word.
    sign = -1 if change.change < 0 else 1
    word = _WORDS[change.figure][sign < 0]
    text = f"{100 * abs(change.change):.2f} {unit} {word}"
    if change.change_ci95 is None:
        return text
    low, high = sorted(100 * sign * end for end in change.change_ci95)
    return f"{text} ({low:.2f} to {high:.2f})"
