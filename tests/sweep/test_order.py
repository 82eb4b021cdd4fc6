"""Which point is next, with Optuna's journal on the disk and trials made by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from paring.sweep.book import Book
from paring.sweep.plan import Plan, check
from paring.sweep.points import Candidate, Points
from paring.sweep.study import JOURNAL, Study, repair
from paring_profiles.sweep import Measure, Trial
from paring_runtimes.errors import OutputError

pytest.importorskip("optuna")
TWO_BY_TWO = """
keys:
  export.precision: {choices: [fp32, int8]}
  export.opset: {choices: [18, 20]}
engine: [onnxruntime]
"""


def opened(plan: Plan) -> tuple[Book, Points]:
    plan.output.mkdir(exist_ok=True)
    objectives = check(plan)
    book = Book(plan, objectives, "")
    book.open()
    points = Points(plan, Study(plan, objectives), book)
    points.open()
    return book, points


def ended(book: Book, points: Points, candidate: Candidate, state: str = "complete") -> Trial:
    value = float(candidate.number)
    figure = Measure(value, value, value, "", "measured", "given")
    measures = {"latency_relative": figure, "drop": figure} if state == "complete" else {}
    trial = dataclasses.replace(candidate.trial(state, "", "done"), measures=measures)
    book.put(trial)
    points.tell(candidate, trial)
    return trial


@pytest.mark.parametrize("sampler", ["grid", "random", "tpe", "nsga2"])
def test_every_point_comes_once_and_a_space_that_is_used_up_ends(
    plan: Callable[..., Plan], sampler: str
) -> None:
    book, points = opened(plan(TWO_BY_TWO, sampler=sampler, trials=10))
    seen = []
    while (candidate := points.next(set())) is not None:
        seen.append((candidate.point["export.precision"], candidate.point["export.opset"]))
        ended(book, points, candidate)
    assert sorted(seen) == [("fp32", 18), ("fp32", 20), ("int8", 18), ("int8", 20)]


def test_what_was_begun_goes_first_and_keeps_its_number(plan: Callable[..., Plan]) -> None:
    made = plan(TWO_BY_TWO, trials=10)
    book, points = opened(made)
    first, second = points.next(set()), points.next(set())
    assert first is not None
    assert second is not None
    ended(book, points, first)
    book.put(second.trial("running", "", "convert"))
    third = points.next(set())  # killed before it was written down
    assert third is not None

    _, again = opened(made)
    resumed = again.next(set())
    assert resumed is not None
    assert (resumed.number, resumed.point, resumed.attempts) == (second.number, second.point, 2)
    following = again.next(set())
    assert following is not None
    assert (following.number, following.point) == (third.number, third.point)


def test_a_journal_with_half_a_line_and_a_lock_opens_again(plan: Callable[..., Plan]) -> None:
    made = plan(TWO_BY_TWO, trials=10)
    book, points = opened(made)
    first = points.next(set())
    assert first is not None
    ended(book, points, first)
    journal = made.output / JOURNAL
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code": 4, "wor')
    (made.output / f"{JOURNAL}.lock").symlink_to(journal)
    repair(journal)
    assert journal.read_bytes() == whole
    _, again = opened(made)
    second = again.next(set())
    assert second is not None
    assert second.point != first.point


def test_trials_that_share_an_artifact_wait_for_it(plan: Callable[..., Plan]) -> None:
    pytest.importorskip("openvino")
    space = "keys: {export.opset: {choices: [18, 20]}}\nengine: [onnxruntime, openvino]"
    _, points = opened(plan(space, trials=10))
    first = points.next(set())
    assert first is not None
    second = points.next({first.digest})
    assert second is not None
    assert second.digest != first.digest
    assert points.next({first.digest, second.digest}) is None
    later = points.next({second.digest})
    assert later is not None
    assert (later.digest, later.engine != first.engine) == (first.digest, True)


def test_a_changed_space_is_refused_with_what_changed_or_gone_on_in(plan: Callable[..., Plan]) -> None:
    made = plan(TWO_BY_TWO, trials=10)
    book, points = opened(made)
    first = points.next(set())
    assert first is not None
    ended(book, points, first)
    wider = TWO_BY_TWO.replace("[18, 20]", "[18, 19, 20]")
    with pytest.raises(OutputError) as caught:
        opened(plan(wider, trials=10))
    assert "--extend" in str(caught.value)
    assert "space.keys.export.opset.choices: [18, 20] -> [18, 19, 20]" in str(caught.value)
    book, points = opened(plan(wider, trials=10, extend=True))
    while (candidate := points.next(set())) is not None:
        assert candidate.point != first.point
        ended(book, points, candidate)
    assert len(book.trials) == 6


def test_another_recipe_is_refused_even_so(plan: Callable[..., Plan]) -> None:
    opened(plan(TWO_BY_TWO))
    with pytest.raises(OutputError, match=r"give another --output\. Changed:\n  recipe\.model"):
        opened(plan(TWO_BY_TWO, model="vit", extend=True))


@pytest.mark.parametrize("sampler", ["grid", "random", "tpe", "nsga2"])
def test_points_that_a_format_cannot_take_are_none_of_those_asked_for(
    plan: Callable[..., Plan], sampler: str
) -> None:
    pytest.importorskip("tvm")
    space = "keys: {export.precision: {choices: [fp32, int8, int4, fp16]}}\nengine: [tvm, onnxruntime]"
    book, points = opened(plan(space, sampler=sampler, trials=5))
    while (candidate := points.next(set())) is not None:
        possible = candidate.engine == "onnxruntime" or candidate.point["export.precision"] == "fp32"
        assert possible == (candidate.reason == "")
        assert possible or "is not computed on CPUs" in candidate.reason
        ended(book, points, candidate, "complete" if possible else "impossible")
    assert book.counted() == 5
    assert all(
        f"export.threads={points.plan.threads}" in t.overrides
        for t in book.trials.values()
        if t.engine == "tvm"
    )


def test_a_space_without_end_that_cannot_be_comes_to_an_end(plan: Callable[..., Plan]) -> None:
    pytest.importorskip("tvm")
    space = """
keys:
  export.tune.seconds: {range: [1.0, 2.0]}
  export.precision: {choices: [int8]}
engine: [tvm]
"""
    book, points = opened(plan(space, sampler="random", trials=5))
    while (candidate := points.next(set())) is not None:
        ended(book, points, candidate, "impossible")
    assert book.counted() == 0
    assert any("in a row that cannot be: stopped" in sentence for sentence in book.notes)


@pytest.mark.parametrize(
    ("engine", "key", "value", "says"),
    [
        ("onnxruntime", "export.format", "tvm", "engine onnxruntime runs onnx, not tvm"),
        ("tvm", "export.shift", "dequantize", "tvm: export.shift is float or integer here"),
    ],
)
def test_an_engine_and_what_its_format_is_not_make_no_point(
    plan: Callable[..., Plan], engine: str, key: str, value: str, says: str
) -> None:
    pytest.importorskip("tvm")
    _, points = opened(plan(f"keys: {{{key}: {{choices: [{value}]}}}}\nengine: [{engine}]"))
    candidate = points.next(set())
    assert candidate is not None
    assert candidate.reason.startswith(says)
