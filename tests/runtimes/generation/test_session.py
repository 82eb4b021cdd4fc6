"""Generation is the model's own, the same in both forms, in a batch and alone, and from two threads."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
from tiny_lm import EOS, POSITIONS, VOCAB, byte_tokenizer

from paring_runtimes import EngineError, GenerativeSession, InputError, MissingExtraError, load
from paring_runtimes.generation.options import OptionArguments, Options

FORMS = ("in_place", "concat")
PROMPTS = ["hello", "a longer prompt here", "x", "zwölf Boxkämpfer"]
SAMPLED = {"temperature": 1.0, "top_k": 40, "top_p": 0.95, "seed": 5}


def recomputed(session: GenerativeSession, prompt: list[int], count: int) -> list[int]:
    """Greedy ids without any cache: the whole sequence through the graph for every token."""
    ids = list(prompt)
    while len(ids) < len(prompt) + count:
        row = np.array([ids])
        feeds = {
            "input_ids": row,
            "attention_mask": np.ones_like(row),
            "position_ids": np.arange(row.size)[None],
        }
        feeds |= {
            spec.name: np.zeros((1, spec.shape[1], 0, spec.shape[3]), np.float32)
            for spec in session.inputs
            if spec.name.startswith("past")
        }
        ids.append(int(session.run(feeds, ["logits"])["logits"][0, -1].argmax()))
        if ids[-1] == EOS:
            break
    return ids[len(prompt) :]


@pytest.mark.parametrize("form", FORMS)
def test_it_is_what_the_model_says_without_a_cache(session: GenerativeSession, form: str) -> None:
    for prompt in PROMPTS:
        ids = session.tokenizer.encode(prompt)
        (found,) = session.generate(prompt, max_new_tokens=24, cache=form)
        assert list(found.token_ids) == recomputed(session, ids, 24)
        assert found.prompt_length == len(ids)


@pytest.mark.parametrize("options", [{}, SAMPLED], ids=["greedy", "sampled"])
@pytest.mark.parametrize("form", FORMS)
def test_a_batch_of_unequal_prompts_is_each_alone(
    session: GenerativeSession, form: str, options: OptionArguments
) -> None:
    together = session.generate(PROMPTS, max_new_tokens=40, cache=form, **options)
    assert len({row.token_ids for row in together}) == len(PROMPTS)
    for index, prompt in enumerate(PROMPTS):
        seed = {"seed": SAMPLED["seed"] + index} if options else {}
        (alone,) = session.generate(prompt, max_new_tokens=40, cache=form, **{**options, **seed})
        assert alone.token_ids == together[index].token_ids
        assert alone.text == together[index].text
        assert alone.finish_reason == together[index].finish_reason


@pytest.mark.parametrize("options", [{}, SAMPLED], ids=["greedy", "sampled"])
def test_both_forms_give_the_same_ids(session: GenerativeSession, options: OptionArguments) -> None:
    a, b = (session.generate(PROMPTS, max_new_tokens=100, cache=form, **options) for form in FORMS)
    assert [row.token_ids for row in a] == [row.token_ids for row in b]
    assert max(len(row.token_ids) for row in a) > 64  # past the first buffer


def test_half_precision_gives_the_same_in_both_forms(new_artifact: Callable[..., Path]) -> None:
    with load(new_artifact(dtype="float16"), threads=1) as session:
        a, b = (session.generate(PROMPTS[:2], max_new_tokens=8, cache=form) for form in FORMS)
    assert [row.token_ids for row in a] == [row.token_ids for row in b]


def test_the_same_again_from_a_clean_state(session: GenerativeSession) -> None:
    first = session.generate(PROMPTS[0], max_new_tokens=30, **SAMPLED)[0].token_ids
    assert session.generate(PROMPTS[1], max_new_tokens=30, **SAMPLED)[0].token_ids != first
    assert session.generate(PROMPTS[0], max_new_tokens=30, **SAMPLED)[0].token_ids == first
    other = session.generate(PROMPTS[0], max_new_tokens=30, **{**SAMPLED, "seed": 6})
    assert other[0].token_ids != first


@pytest.mark.parametrize("form", FORMS)
def test_two_threads_at_once(session: GenerativeSession, form: str) -> None:
    alone = [session.generate(p, max_new_tokens=60, cache=form, **SAMPLED)[0].token_ids for p in PROMPTS]
    start = Barrier(len(PROMPTS))

    def task(prompt: str) -> list[tuple[int, ...]]:
        start.wait()
        return [
            session.generate(prompt, max_new_tokens=60, cache=form, **SAMPLED)[0].token_ids for _ in range(5)
        ]

    with ThreadPoolExecutor(len(PROMPTS)) as pool:
        for expected, found in zip(alone, pool.map(task, PROMPTS), strict=True):
            assert found == [expected] * 5


def test_streams_that_take_turns(session: GenerativeSession) -> None:
    texts = [session.generate(prompt, max_new_tokens=20)[0].text for prompt in PROMPTS[:2]]
    streams = [session.stream(prompt, max_new_tokens=20) for prompt in PROMPTS[:2]]
    out = ["", ""]
    while streams[0] or streams[1]:
        for index, stream in enumerate(streams):
            piece = next(stream, None) if stream else None
            if piece is None:
                streams[index] = None
            else:
                out[index] += piece
    assert out == texts


def test_a_stream_returns_its_result(session: GenerativeSession) -> None:
    stream, pieces = session.stream("hello", max_new_tokens=30, **SAMPLED), []
    while True:
        try:
            pieces.append(next(stream))
        except StopIteration as end:
            result = end.value
            break
    (whole,) = session.generate("hello", max_new_tokens=30, **SAMPLED)
    assert all(pieces)
    assert "".join(pieces) == result.text == whole.text
    assert result.token_ids == whole.token_ids


def test_prompts_are_texts_or_ids(session: GenerativeSession) -> None:
    ids = byte_tokenizer().encode("hello").ids
    expected = session.generate("hello", max_new_tokens=9)[0].token_ids
    for prompts in (ids, tuple(ids), np.array(ids), [ids], ["hello"], [np.array(ids)], np.array([ids])):
        assert [row.token_ids for row in session.generate(prompts, max_new_tokens=9)] == [expected]
    both = session.generate(["hello", ids], max_new_tokens=9)
    assert [row.token_ids for row in both] == [expected, expected]


def test_an_end_token_ends_it(session: GenerativeSession, new_artifact: Callable[..., Path]) -> None:
    (free,) = session.generate("x", max_new_tokens=12)
    end = free.token_ids[5]
    with load(new_artifact(told={"eos_token_ids": [end]}), threads=1) as own:
        (found,) = own.generate("x", max_new_tokens=12)
    assert found.token_ids == free.token_ids[: free.token_ids.index(end) + 1]
    assert found.finish_reason == "eos"
    assert found.text == session.tokenizer.decode(list(found.token_ids[:-1])).rstrip("\ufffd")


@pytest.mark.parametrize("form", FORMS)
def test_stop_strings_are_cut_in_text_and_stream(session: GenerativeSession, form: str) -> None:
    options: OptionArguments = {"max_new_tokens": 60, "temperature": 1.0, "seed": 3, "cache": form}
    (free,) = session.generate("hello", **options)
    stop = free.text[12:15]
    begin = free.text.index(stop)
    stream = session.stream("hello", stop=[stop, "nowhere in it"], **options)
    streamed = "".join(stream)
    (found,) = session.generate("hello", stop=stop, **options)
    assert streamed == found.text == free.text[:begin]
    assert found.finish_reason == "stop"
    assert free.token_ids[: len(found.token_ids)] == found.token_ids


def test_rows_of_a_batch_end_for_reasons_of_their_own(session: GenerativeSession) -> None:
    (free,) = session.generate("x", max_new_tokens=30)
    stop = free.text[4]
    rows = session.generate(["x", "hello"], max_new_tokens=30, stop=[stop])
    assert rows[0].finish_reason == "stop"
    assert len(rows[0].token_ids) < 30
    assert rows[1].token_ids == session.generate("hello", max_new_tokens=30, stop=[stop])[0].token_ids


@pytest.mark.parametrize("form", FORMS)
def test_positions_run_out(session: GenerativeSession, form: str) -> None:
    ids = [7] * (POSITIONS - 3)
    long, short = session.generate([ids, [9]], max_new_tokens=500, cache=form, temperature=3.0, seed=1)
    assert (long.finish_reason, len(long.token_ids)) == ("length", 4)
    assert short.finish_reason in ("length", "eos")
    (last,) = session.generate([7] * POSITIONS, max_new_tokens=5, cache=form, temperature=3.0, seed=1)
    assert len(last.token_ids) == 1
    with pytest.raises(InputError, match="129 tokens, and the model has positions for 128"):
        session.generate([7] * (POSITIONS + 1))


def test_times_are_measured(session: GenerativeSession) -> None:
    (one,) = session.generate("hello", max_new_tokens=1)
    assert one.decode_ms_per_token is None
    assert one.first_token_ms > 0
    (more,) = session.generate("hello", max_new_tokens=5)
    assert 0 < more.decode_ms_per_token < 1000


@pytest.mark.parametrize(
    ("prompts", "said"),
    [
        ("", "prompt: empty"),
        ([], "at least one"),
        (["a", ""], r"prompts\[1\]: empty"),
        ([[1], []], r"prompts\[1\]: empty"),
        ([1, VOCAB], f"prompt: token id {VOCAB} is not among"),
        ([-1], "token id -1"),
        ([1.5], r"prompts\[0\]: expected a text or a list"),
        ([None], r"prompts\[0\]: expected a text or a list"),
        (None, "prompts: expected a text, token ids, or a list of those, given a NoneType"),
        (b"hello", "given a bytes"),
        ([b"hello"], r"prompts\[0\]: expected a text or a list"),
        ([True], r"prompts\[0\]: expected a text or a list"),
    ],
)
def test_wrong_prompts_are_refused(session: GenerativeSession, prompts: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        session.generate(prompts)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"temperature": -0.1}, "temperature: expected 0"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 0.0}, "top_p: expected a number over 0"),
        ({"top_p": 1.1}, "top_p"),
        ({"top_k": -1}, "top_k"),
        ({"top_k": 2.0}, "top_k"),
        ({"min_p": 2}, "min_p"),
        ({"repetition_penalty": 0}, "repetition_penalty"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"seed": -1}, "seed"),
        ({"stop": [""]}, "stop: expected non-empty"),
        ({"stop": [3]}, "stop"),
        ({"cache": "paged"}, "cache: expected one of"),
        ({"temprature": 1.0}, r"no option 'temprature' \(did you mean 'temperature'\?\)"),
    ],
)
def test_wrong_options_are_refused_before_anything_runs(
    session: GenerativeSession, options: dict, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        session.generate("a", **options)
    with pytest.raises(InputError, match=said):
        session.stream("a", **options)  # not only when the first piece is asked for


def test_option_arguments_are_the_fields() -> None:
    assert list(OptionArguments.__annotations__) == list(Options.__dataclass_fields__)


def test_a_stream_is_of_one_prompt(session: GenerativeSession) -> None:
    with pytest.raises(InputError, match="expected one prompt, given 2"):
        session.stream(["a", "b"])


def test_a_closed_session_refuses(artifact: Path) -> None:
    session = load(artifact, threads=1)
    stream = session.stream("hello", max_new_tokens=50)
    next(stream)
    session.close()
    assert "".join(stream)  # what runs already finishes
    for call in (session.generate, session.stream):
        with pytest.raises(EngineError, match="closed"):
            call("a")
    assert "GenerativeSession" in repr(session)


@pytest.mark.parametrize("name", ["tokenizers", "jinja2"])
def test_a_missing_library_names_the_extra(
    artifact: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with load(artifact, threads=1) as session, pytest.raises(MissingExtraError, match=r"'paring\[llm\]'"):
        session.chat([{"role": "user", "content": "hi"}])
