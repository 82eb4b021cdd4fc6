"""Stop strings: cut, never let out in part, whatever the pieces of text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paring_runtimes.generation.stop import StopMatcher

letters = st.text(alphabet="ab\n", max_size=12)


def through(pieces: list[str], stops: list[str]) -> tuple[list[str], str | None]:
    """Return what comes out after each piece (and at the end), and the stop string that was found."""
    matcher = StopMatcher(stops)
    out = [matcher.feed(piece) for piece in pieces]
    return [*out, matcher.finish()], matcher.found


@pytest.mark.parametrize(
    ("pieces", "stops", "out", "found"),
    [
        (["one\n", "\ntwo"], ["\n\n"], ["one", "", ""], "\n\n"),
        (["one\n", "two"], ["\n\n"], ["one", "\ntwo", ""], None),
        (["one\n"], ["\n\n"], ["one", "\n"], None),
        (["a", "b", "c", "d"], ["bcd"], ["a", "", "", "", ""], "bcd"),
        (["a", "b", "c", "e"], ["bcd"], ["a", "", "", "bce", ""], None),
        (["aab", "ab", "x"], ["abab"], ["a", "", "", ""], "abab"),
        (["xaa", "ab"], ["aab"], ["x", "a", ""], "aab"),
        (["abc"], ["abc", "b"], ["a", ""], "b"),
        (["xbc"], ["bc", "xbc"], ["", ""], "xbc"),
        (["plain"], [], ["plain", ""], None),
    ],
)
def test_what_gets_out(pieces: list[str], stops: list[str], out: list[str], found: str | None) -> None:
    assert through(pieces, stops) == (out, found)


@settings(max_examples=300, deadline=None)
@given(st.lists(letters, max_size=6), st.lists(letters.filter(bool), max_size=3))
def test_the_pieces_do_not_matter(pieces: list[str], stops: list[str]) -> None:
    text = "".join(pieces)
    out, found = through(pieces, stops)
    assert (["".join(out)], found) == (["".join(through(list(text), stops)[0])], through([text], stops)[1])
    ends = [(text.index(s) + len(s), text.index(s)) for s in stops if s in text]
    assert "".join(out) == (text[: min(ends)[1]] if ends else text)
    assert not any(stop in "".join(out) for stop in stops)


@settings(max_examples=200, deadline=None)
@given(letters, letters.filter(bool))
def test_nothing_that_is_certain_is_held_back(text: str, stop: str) -> None:
    matcher = StopMatcher([stop])
    out = "".join(matcher.feed(letter) for letter in text)
    if matcher.found is None:
        held = text[len(out) :]
        assert stop.startswith(held)
