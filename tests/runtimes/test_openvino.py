"""Engine openvino computes what ONNX Runtime does, from one artifact."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from paring_runtimes import EngineError, InputError, Session, load

pytest.importorskip("openvino")

Feeds = Callable[..., dict[str, np.ndarray]]
Scores = Callable[[dict[str, np.ndarray]], np.ndarray]


@pytest.fixture
def session(artifact: Path):
    with load(artifact, engine="openvino", threads=1) as opened:
        yield opened


@pytest.mark.parametrize(("batch", "count"), [(1, 1), (2, 5), (7, 2)])
def test_it_computes_the_model(
    session: Session, feeds: Feeds, scores: Scores, batch: int, count: int
) -> None:
    given = feeds(batch, count)
    found = session.run(given)
    assert list(found) == ["scores", "doubled"]
    np.testing.assert_allclose(found["scores"], scores(given), atol=1e-5)
    np.testing.assert_allclose(found["doubled"], 2 * scores(given), atol=1e-5)
    assert session.providers == ("CPU",)
    assert session.engine.startswith("openvino 20")


def test_results_outlive_the_next_run(session: Session, feeds: Feeds, scores: Scores) -> None:
    first, second = feeds(2, 3), feeds(2, 3, seed=1)
    kept = session.run(first, ["scores"])["scores"]
    session.run(second)
    np.testing.assert_allclose(kept, scores(first), atol=1e-5)


def test_bound_buffers_are_written_in_place(session: Session, feeds: Feeds, scores: Scores) -> None:
    bound = session.bind(feeds(2, 3))
    given = feeds(2, 3, seed=4)
    for name, value in given.items():
        bound.inputs[name][...] = value
    bound.run()
    np.testing.assert_allclose(bound.outputs["scores"], scores(given), atol=1e-5)


def test_threads_do_not_mix(session: Session, feeds: Feeds, scores: Scores) -> None:
    def one(seed: int) -> bool:
        given = feeds(1 + seed % 3, 4, seed=seed)
        return np.allclose(session.run(given)["scores"], scores(given), atol=1e-5)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(one, range(60)))


def test_onnxruntime_stays_the_one_that_is_taken(artifact: Path) -> None:
    with load(artifact) as session:
        assert session.engine.startswith("onnxruntime ")


def test_what_it_lacks_is_named(artifact: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no 'GPU.7' in engine openvino.*available: .*CPU"):
        load(artifact, engine="openvino", providers=["GPU.7"])
    with pytest.raises(InputError, match="writes no profile"):
        load(artifact, engine="openvino", profile_to=tmp_path / "p")
    with pytest.raises(EngineError, match=r"cannot compile it for CPU: .*NO_SUCH_KEY"):
        load(artifact, engine="openvino", provider_options={"cpu": {"NO_SUCH_KEY": 1}})
    broken = tmp_path / "broken.onnx"
    broken.write_bytes((artifact / "model.onnx").read_bytes()[:-40])
    with pytest.raises(EngineError, match="not a model that OpenVINO can read"):
        load(broken, engine="openvino")
