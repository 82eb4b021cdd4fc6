"""A session computes what its model says, refuses what does not fit, and works from many threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from paring_runtimes import EngineError, InputError, Manifest, Session, TensorSpec, load
from paring_runtimes.artifact import hash_files, write_manifest

Feeds = Callable[..., dict[str, np.ndarray]]
Scores = Callable[[dict[str, np.ndarray]], np.ndarray]


@pytest.fixture
def session(artifact: Path):
    with load(artifact, threads=1) as opened:
        yield opened


def save_graph(path: Path, node: onnx.NodeProto, inputs: dict, output: str) -> Path:
    values = [helper.make_tensor_value_info(n, kind, shape) for n, (kind, shape) in inputs.items()]
    out = helper.make_empty_tensor_value_info(output)
    graph = helper.make_graph([node], "g", values, [out])
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)
    return path


@pytest.mark.parametrize(("batch", "count"), [(1, 1), (2, 5), (0, 3), (7, 2)])
def test_it_computes_the_model(
    session: Session, feeds: Feeds, scores: Scores, batch: int, count: int
) -> None:
    given = feeds(batch, count)
    found = session.run(given)
    assert list(found) == ["scores", "doubled"]
    np.testing.assert_allclose(found["scores"], scores(given), atol=1e-5)
    np.testing.assert_allclose(found["doubled"], 2 * scores(given), atol=1e-5)


def test_outputs_can_be_chosen(session: Session, feeds: Feeds) -> None:
    assert list(session.run(feeds(1, 2), ["doubled"])) == ["doubled"]
    assert list(session.run(feeds(1, 2), "doubled")) == ["doubled"]
    with pytest.raises(InputError, match=r"no output 'score' \(did you mean 'scores'\?\)"):
        session.run(feeds(1, 2), ["score"])
    with pytest.raises(InputError, match="expected at least one name"):
        session.run(feeds(1, 2), [])


def test_arrays_of_any_layout_are_read_right(session: Session, feeds: Feeds, scores: Scores) -> None:
    given = feeds(2, 8)
    odd = {"tokens": given["tokens"][:, ::2], "bias": np.asfortranarray(given["bias"])}
    odd["tokens"].setflags(write=False)
    found = session.run(MappingProxyType(odd))["scores"]
    np.testing.assert_allclose(found, scores(odd), atol=1e-5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: f.pop("bias"), r"input 'bias' is missing; expected 'tokens' float32 \(batch,"),
        (lambda f: f.update(token=f.pop("tokens")), r"no input 'token' \(did you mean 'tokens'\?\)"),
        (lambda f: f.update(mask=f["bias"]), "no input 'mask'; expected 'tokens'"),
        (
            lambda f: f.update(bias=f["bias"].astype(np.float64)),
            r"input 'bias': expected float32, given float64; pass x.astype\(np.float32\)",
        ),
        (lambda f: f.update(bias=f["bias"].astype(">f4")), "expected float32, given >f4"),
        (
            lambda f: f.update(bias=[[[1.0] * 4]]),
            r"expected a numpy array of float32, given a list; pass np.asarray",
        ),
        (lambda f: f.update(bias=None), "given a NoneType"),
        (
            lambda f: f.update(tokens=f["tokens"][0]),
            r"\(batch, count, 3\), given \(5, 3\): 3 dimensions, not 2; pass x\[np.newaxis\]",
        ),
        (
            lambda f: f.update(tokens=f["tokens"][..., :2]),
            r"'tokens': expected shape \(batch, count, 3\), given \(2, 5, 2\): dimension 2 must be 3",
        ),
        (
            lambda f: f.update(bias=f["bias"][:1]),
            r"'bias'.* 'batch' must be one size: it is 2 in input 'tokens' and 1 in input 'bias'",
        ),
    ],
)
def test_wrong_feeds_say_what_was_expected(
    session: Session, feeds: Feeds, change: Callable[[dict], object], said: str
) -> None:
    given = feeds(2, 5)
    change(given)
    with pytest.raises(InputError, match=said):
        session.run(given)


def test_a_torn_order_of_dimensions_is_pointed_at(tmp_path: Path) -> None:
    inputs = {"image": (TensorProto.FLOAT, [1, 3, 8, 8])}
    node = helper.make_node("Relu", ["image"], ["out"])
    session = load(save_graph(tmp_path / "m.onnx", node, inputs, "out"), threads=1)
    with session, pytest.raises(InputError, match="dimensions may be in another order"):
        session.run({"image": np.zeros((1, 8, 8, 3), np.float32)})


def test_scalars_are_checked_once_a_manifest_says_so(tmp_path: Path) -> None:
    inputs = {"a": (TensorProto.FLOAT, [])}
    node = helper.make_node("Relu", ["a"], ["b"])
    save_graph(tmp_path / "model.onnx", node, inputs, "b")
    specs = (TensorSpec("a", "float32", ()),), (TensorSpec("b", "float32", ()),)
    write_manifest(tmp_path, Manifest("onnx", "model.onnx", *specs, hash_files(tmp_path)))
    with load(tmp_path, threads=1) as session:
        assert session.run({"a": np.array(2, np.float32)})["b"] == 2
        with pytest.raises(InputError, match=r"expected shape \(\), given \(1,\)"):
            session.run({"a": np.ones(1, np.float32)})


def test_a_failure_inside_the_engine_is_one_line_and_quiet(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    inputs = {"a": (TensorProto.FLOAT, ["n"]), "b": (TensorProto.FLOAT, ["m"])}
    node = helper.make_node("Add", ["a", "b"], ["c"])
    session = load(save_graph(tmp_path / "m.onnx", node, inputs, "c"), threads=1)
    with session, pytest.raises(EngineError, match=r"m\.onnx: the run failed: ") as caught:
        session.run({"a": np.zeros(2, np.float32), "b": np.zeros(3, np.float32)})
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_many_threads_share_a_session(session: Session, feeds: Feeds, scores: Scores) -> None:
    def work(seed: int) -> float:
        given = feeds(1 + seed % 4, 1 + seed % 7, seed)
        worst = [np.abs(session.run(given)["scores"] - scores(given)).max() for _ in range(50)]
        return float(max(worst))

    with ThreadPoolExecutor(8) as pool:
        assert max(pool.map(work, range(32))) < 1e-5


def test_an_engine_without_a_device_says_so(session: Session, feeds: Feeds) -> None:
    with pytest.raises(EngineError, match=r"onnxruntime .* has no device of its own: use run"):
        session.run_on_device(feeds)


def test_a_closed_session_raises(artifact: Path, feeds: Feeds) -> None:
    with load(artifact, threads=1) as session:
        bound = session.bind(feeds(1, 2))
        assert not session.closed
    session.close()
    assert session.closed
    assert "closed" in repr(session)
    for call in (
        lambda: session.run(feeds(1, 2)),
        lambda: session.bind(feeds(1, 2)),
        bound.run,
        session.end_profiling,
    ):
        with pytest.raises(EngineError, match="this session is closed"):
            call()


def test_a_bound_run_equals_a_run(session: Session, feeds: Feeds) -> None:
    bound = session.bind({"tokens": (2, 5, 3), "bias": (2, 1, 4)})
    buffers = dict(bound.outputs)
    for seed in range(3):
        given = feeds(2, 5, seed)
        for name, array in given.items():
            bound.inputs[name][...] = array
        found = bound.run()
        expected = session.run(given)
        for name in expected:
            assert found[name] is buffers[name] is bound.outputs[name]
            np.testing.assert_array_equal(found[name], expected[name])


def test_bound_examples_are_copied(session: Session, feeds: Feeds, scores: Scores) -> None:
    given = feeds(2, 5)
    expected = scores(given)
    bound = session.bind({**given, "bias": given["bias"].transpose(0, 1, 2)})
    given["tokens"][...] = 0
    np.testing.assert_allclose(bound.run()["scores"], expected, atol=1e-5)
    with pytest.raises(TypeError):
        bound.inputs["tokens"] = given["tokens"]  # type: ignore[index]


class CopyingBinding:
    """Takes its inputs' values when they are bound, as ONNX Runtime does for other providers."""

    def __init__(self, inner: object, sources: dict[int, np.ndarray]) -> None:
        self._wrapped = inner
        self._sources = sources
        self._copies: dict[str, np.ndarray] = {}

    def bind_input(self, name: str, device: str, index: int, dtype: type, shape: tuple, address: int) -> None:
        copy = self._copies[name] = self._sources[address].copy()
        self._wrapped.bind_input(name, device, index, dtype, shape, copy.ctypes.data)

    def __getattr__(self, name: str) -> object:
        return getattr(self._wrapped, name)


def test_bound_inputs_reach_providers_that_copy_them(
    session: Session, feeds: Feeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    native = session._native
    inner = native._inner
    buffers = feeds(1, 2, 0)
    binding = CopyingBinding(inner.io_binding(), {a.ctypes.data: a for a in buffers.values()})
    monkeypatch.setattr(inner, "io_binding", lambda: binding)
    native.providers = ("OtherExecutionProvider", "CPUExecutionProvider")
    outputs = {name: np.zeros((1, 2, 4), np.float32) for name in ("scores", "doubled")}
    execute = native.bind(buffers, outputs)
    second = feeds(1, 2, 1)
    for name, array in second.items():
        buffers[name][...] = array
    execute()
    np.testing.assert_array_equal(outputs["scores"], session.run(second)["scores"])


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        ({"tokens": (2, 5, 3)}, "input 'bias' is missing"),
        ({"tokens": (2, 5, 3), "bais": (2, 1, 4)}, "did you mean 'bias'"),
        ({"tokens": (2, 5, 4), "bias": (2, 1, 4)}, "dimension 2 must be 3"),
        ({"tokens": (2, 5, 3), "bias": (1, 1, 4)}, "'batch' must be one size"),
        ({"tokens": ("batch", 5, 3), "bias": (1, 1, 4)}, "a shape of whole numbers"),
        ({"tokens": (-1, 5, 3), "bias": (1, 1, 4)}, "a shape of whole numbers"),
        ({"tokens": np.zeros((2, 5, 3)), "bias": (2, 1, 4)}, "expected float32, given float64"),
    ],
)
def test_wrong_shapes_to_bind_are_refused(session: Session, shapes: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        session.bind(shapes)


def test_an_output_sized_by_values_does_not_overflow_its_buffer(tmp_path: Path) -> None:
    inputs = {"a": (TensorProto.FLOAT, ["n"])}
    node = helper.make_node("NonZero", ["a"], ["where"])
    with load(save_graph(tmp_path / "m.onnx", node, inputs, "where"), threads=1) as session:
        bound = session.bind({"a": np.array([1, 0, 0], np.float32)})
        assert bound.run()["where"].tolist() == [[0]]
        bound.inputs["a"][...] = 1
        with pytest.raises(EngineError, match="the run failed"):
            bound.run()
