"""Streams of ids become the text that the tokenizer gives for all of them, without half characters."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tiny_lm import byte_tokenizer, fallback_tokenizer

from paring_runtimes.generation.detokenizer import Detokenizer

BYTES = byte_tokenizer()
FALLBACK = fallback_tokenizer()
LETTERS = "aé€😀 👩‍👩‍👧\n"


def pieces_of(tokenizer, ids: list[int], prompt: list[int] = []) -> list[str]:  # noqa: B006 - read only
    detokenizer = Detokenizer(tokenizer.decode, prompt)
    return [detokenizer.add(token) for token in ids]


@settings(max_examples=200, deadline=None)
@given(st.text(), st.text(alphabet=LETTERS))
@example("", "👩‍👩‍👧 naïve 日本語 🏳️‍🌈")
@example("日本", "語")
def test_bytes_become_the_text(before: str, text: str) -> None:
    prompt, ids = BYTES.encode(before).ids, BYTES.encode(text).ids
    pieces = pieces_of(BYTES, ids, prompt)
    assert "".join(pieces) == text
    assert "\ufffd" not in "".join(pieces)


def test_a_character_comes_out_with_its_last_byte() -> None:
    assert pieces_of(BYTES, BYTES.encode("é😀!").ids) == ["", "é", "", "", "", "😀", "!"]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(0, 258), max_size=30))
def test_any_bytes_become_what_the_tokenizer_gives(ids: list[int]) -> None:
    text = "".join(pieces_of(BYTES, ids))
    assert text == BYTES.decode(ids).rstrip("\ufffd")


def test_broken_bytes_inside_are_marked_and_at_the_end_dropped() -> None:
    half = BYTES.encode("😀").ids[:2]
    a = BYTES.encode("a").ids
    assert "".join(pieces_of(BYTES, [*a, *half, *a])) == "a\ufffda"
    assert "".join(pieces_of(BYTES, [*a, *half])) == "a"


def test_special_tokens_have_no_text() -> None:
    assert pieces_of(BYTES, [257, *BYTES.encode("ab").ids, 258]) == ["", "a", "b", ""]


def fallback_ids(text: str) -> list[int]:
    return [FALLBACK.token_to_id(f"<0x{byte:02X}>") for byte in text.encode()]


def test_the_space_of_the_first_new_word_is_kept() -> None:
    hello, world = FALLBACK.token_to_id("▁hello"), FALLBACK.token_to_id("▁world")
    assert pieces_of(FALLBACK, [world, hello], [hello]) == [" world", " hello"]
    assert pieces_of(FALLBACK, [hello, world]) == ["hello", " world"]  # as the tokenizer begins a text
    space = FALLBACK.token_to_id("▁")
    assert "".join(pieces_of(FALLBACK, [hello, space, space, world])) == "hello   world"


@pytest.mark.parametrize("text", ["é", "日本語", "😀👩‍👧", "a😀b"])
def test_fallback_bytes_become_the_text(text: str) -> None:
    hello = FALLBACK.token_to_id("▁hello")
    ids = [hello, *fallback_ids(text), hello]
    assert "".join(pieces_of(FALLBACK, ids)) == f"hello{text} hello" == FALLBACK.decode(ids)


def test_fallback_bytes_that_break_off_do_not_take_text_back() -> None:
    hello = FALLBACK.token_to_id("hello")
    ids = [*fallback_ids("é"), fallback_ids("é")[0], hello]
    assert "".join(pieces_of(FALLBACK, ids)) == "é\ufffdhello"
    ids = [*fallback_ids("日本語"), *fallback_ids("日")[:2], hello]
    assert "".join(pieces_of(FALLBACK, ids)) == "日本語\ufffd\ufffdhello"


def test_a_prompt_that_ends_inside_a_character() -> None:
    ids = BYTES.encode("😀ab").ids
    assert "".join(pieces_of(BYTES, ids[3:], ids[:3])) == "\ufffdab"
