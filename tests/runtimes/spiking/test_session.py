"""Sessions: steps, state, streams, what they refuse; the same through `paring_runtimes.load`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest
from spiking_graphs import chain, convolution, fires, flatten, given, graph, pool, soft_reset, taken

import paring_runtimes
from paring_runtimes import EngineError, InputError, Manifest, TensorSpec
from paring_runtimes.artifact import hash_files, write_manifest
from paring_runtimes.spiking import EventStream, Sensor, binned, from_dense, latency, open_spiking, rate

Draw, Write = Callable[..., np.ndarray], Callable[..., Path]
SHAPE = (2, 8, 9)


@pytest.fixture
def network(draw: Draw) -> Any:
    """Every kind of state: soft reset by a loop, a synaptic current, a delay, a recurrent edge."""
    n = 20
    cuba = nir.CubaLIF(
        tau_syn=np.full(n, 2.0), tau_mem=np.full(n, 4.0), r=np.full(n, 4.0), v_leak=np.zeros(n),
        v_threshold=np.full(n, 0.6), w_in=np.full(n, 2.0),
    )  # fmt: skip
    first = soft_reset(SHAPE, convolution(draw(6, 2, 3, 3), draw(6, by=0.1), padding=1), 0.5, (6, 8, 9))
    nodes = {name: node for name, node in first.nodes.items() if name != "output"} | {
        "pool": pool(nir.AvgPool2d, 2, 2), "flat": flatten(6, 4, 4), "wait": nir.Delay(np.full(96, 2.0)),
        "dense": nir.Linear(draw(n, 96)), "cuba": cuba, "again": nir.Linear(draw(n, n, by=0.1)),
        "head": nir.Affine(draw(4, n), draw(4)), "output": taken(4),
    }  # fmt: skip
    edges = [edge for edge in first.edges if "output" not in edge]
    edges += [("spike", "pool"), ("pool", "flat"), ("flat", "wait"), ("wait", "dense"), ("dense", "cuba")]
    edges += [("cuba", "again"), ("again", "cuba"), ("cuba", "head"), ("head", "output")]
    return graph(nodes, edges)


def spikes(steps: int, batch: int, *shape: int, seed: int = 0, share: float = 0.3) -> np.ndarray:
    return (np.random.default_rng(seed).random((steps, batch, *shape)) < share).astype(np.float32)


@pytest.mark.parametrize("fused", [True, False])
def test_steps_are_a_run_bit_for_bit(fused: bool, network: Any, write: Write) -> None:
    inputs = spikes(15, 3, *SHAPE)
    with open_spiking(write(network), threads=2, fuse_resets=fused) as session:
        whole = session.run(inputs, trace=["spike", "cuba"])
        session.reset()
        steps = np.stack([session.step(x)["output"] for x in inputs])
        np.testing.assert_array_equal(steps, whole.outputs["output"])
        halves = [session.run(inputs[:7]), session.run(inputs[7:], keep_state=True)]
        joined = np.concatenate([half.outputs["output"] for half in halves])
        np.testing.assert_array_equal(joined, whole.outputs["output"])
        assert whole.traces["spike"].count > 100
        assert whole.traces["cuba"].count > 10


@pytest.mark.parametrize("fused", [True, False])
def test_two_runs_from_one_saved_state_are_identical(fused: bool, network: Any, write: Write) -> None:
    inputs = spikes(12, 2, *SHAPE)
    with open_spiking(write(network), threads=2, fuse_resets=fused) as session:
        session.run(inputs[:5])
        state = session.save()
        first = session.run(inputs[5:], keep_state=True, trace=["spike", "cuba"])
        session.restore(state)
        again = session.run(inputs[5:], keep_state=True, trace=["spike", "cuba"])
        fresh = session.run(inputs[5:])
    np.testing.assert_array_equal(first.outputs["output"], again.outputs["output"])
    for name in ("spike", "cuba"):
        np.testing.assert_array_equal(first.traces[name].index, again.traces[name].index)
    assert not np.array_equal(first.outputs["output"], fresh.outputs["output"])


def test_samples_of_a_batch_do_not_touch_each_other(network: Any, write: Write) -> None:
    inputs = spikes(10, 5, *SHAPE)
    with open_spiking(write(network), threads=2) as session:
        together = session.run(inputs).outputs["output"]
        for sample in range(5):
            alone = session.run(inputs[:, sample : sample + 1]).outputs["output"]
            np.testing.assert_array_equal(together[:, sample : sample + 1], alone)


def test_long_runs_in_chunks_give_what_short_ones_give(network: Any, write: Write) -> None:
    """256 rows are a chunk: 300 steps of 2 samples are three of them."""
    inputs = spikes(300, 2, *SHAPE, share=0.05)
    with open_spiking(write(network), threads=2) as session:
        whole = session.run(inputs)
        session.reset()
        for step in (0, 128, 255, 299):
            session.run(inputs[: step + 1], count=False)
            np.testing.assert_array_equal(session.save().membranes["cuba"].shape, (2, 20))
        np.testing.assert_array_equal(
            session.run(inputs[:200]).outputs["output"], whole.outputs["output"][:200]
        )
    assert whole.counts.spikes["spike"].shape == (300,)


def test_an_untouched_network_stays_still(draw: Draw, write: Write) -> None:
    path = write(chain(given(4), nir.Linear(draw(130, 4)), fires(130), nir.Linear(draw(3, 130)), taken(3)))
    with open_spiking(path) as session:
        result = session.run(np.zeros((20, 2, 4), np.float32))
    assert result.counts.neuron_updates["n2"].sum() == 0
    assert not result.outputs["n4"].any()


def test_a_stream_of_events_is_the_binned_run(write: Write, draw: Draw) -> None:
    sensor = Sensor(8, 9)
    rng = np.random.default_rng(0)
    t = np.sort(rng.integers(5_000, 25_000, 600))
    x, y, p = rng.integers(0, 9, 600), rng.integers(0, 8, 600), rng.integers(0, 2, 600)
    network = chain(
        given(2, 8, 9), convolution(draw(6, 2, 3, 3), padding=1), fires(6, 8, 9), flatten(6, 8, 9),
        nir.Linear(draw(3, 432)), taken(3),
    )  # fmt: skip
    with open_spiking(write(network)) as session:
        whole = session.run(binned({"t": t, "x": x, "y": y, "p": p}, sensor, 1000)).outputs["n5"]
        session.reset()
        stream = EventStream(session, sensor, 1000)
        found = []
        for part in np.array_split(np.arange(600), 7):
            found += stream.push(t[part], x[part], y[part], p[part])
        found += stream.flush()
        np.testing.assert_array_equal(np.stack([one["n5"] for one in found]), whole[:, 0])
        assert stream.steps == len(whole) == 20
        with pytest.raises(InputError, match="everything before"):
            stream.push(t[:1], x[:1], y[:1], p[:1])
        with pytest.raises(InputError, match="the network takes"):
            EventStream(session, Sensor(8, 8), 1000)


@pytest.mark.parametrize(
    ("inputs", "match"),
    [
        (np.zeros((3, 2, 8, 8), np.float32), r"samples \(2, 8, 9\), given"),
        (np.zeros((2, 2, 8, 9), np.complex64), "expected numbers"),
        (np.full((2, 2, 8, 9), np.nan, np.float32), "NaN"),
        (np.zeros((0, 2, 8, 9), np.float32), "expected"),
        (np.zeros((1, 2, 8, 9), np.float32), "how many"),
        ({"inptu": np.zeros((3, 1, 2, 8, 9), np.float32)}, "did you mean 'input'"),
        ({}, "missing"),
        (from_dense(np.zeros((3, 1, 2, 8, 8), np.float32)), "events of samples"),
    ],
)
def test_wrong_inputs_are_refused(inputs: Any, match: str, network: Any, write: Write) -> None:
    with open_spiking(write(network)) as session, pytest.raises(InputError, match=match):
        session.run(inputs)


def test_other_wrong_calls_are_refused(network: Any, write: Write, tmp_path: Path) -> None:
    path = write(network)
    session = open_spiking(path)
    inputs = spikes(3, 2, *SHAPE)
    with pytest.raises(EngineError, match="nothing to save"):
        session.save()
    session.run(inputs)
    state = session.save()
    with pytest.raises(InputError, match=r"call reset\(\)"):
        session.step(np.zeros((3, *SHAPE), np.float32))
    with pytest.raises(InputError, match="did you mean 'spike'"):
        session.run(inputs, trace=["spikes"])
    with pytest.raises(InputError, match="speak of"):
        session.run(inputs, 4)
    state.membranes["cuba"] = np.zeros((2, 7), np.float32)
    with pytest.raises(InputError, match="another network"):
        session.restore(state)
    session.close()
    with pytest.raises(EngineError, match="closed"):
        session.run(inputs)
    with pytest.raises(InputError, match="threads"):
        open_spiking(path, threads=0)
    with pytest.raises(EngineError, match="no such file"):
        open_spiking(tmp_path / "nothing.nir")


def _break(path: Path, change: Callable[[Any], None]) -> Path:
    with h5py.File(path, "r+") as file:
        change(file["node/nodes"])
    return path


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda nodes: nodes["dense/weight"].__setitem__((0, 3), np.nan), "node dense.*nan"),
        (lambda nodes: nodes["cuba/tau_mem"].__setitem__(0, 0.5), "node cuba: tau_mem is 0.5, shorter"),
        (lambda nodes: nodes["wait/delay"].__setitem__(0, 1.5), "node wait: a delay is no whole number"),
    ],
)
def test_a_wrong_file_is_told_with_its_node(change: Any, match: str, network: Any, write: Write) -> None:
    path = _break(write(network), change)
    options = {"dt": 1.0} if "shorter" in match else {}
    with pytest.raises(EngineError, match=match) as caught:
        open_spiking(path, **options)
    assert str(path) in str(caught.value)


def test_an_unknown_node_is_named(network: Any, write: Write) -> None:
    def rename(nodes: Any) -> None:
        del nodes["pool/type"]
        nodes["pool"].create_dataset("type", data="MaxPool2d")

    with pytest.raises(EngineError, match=r"pool.*'MaxPool2d'"):
        open_spiking(_break(write(network), rename))


def test_integrators_that_count_in_seconds_ask_for_their_step(write: Write) -> None:
    cell = nir.IF(r=np.full(3, 1e4), v_threshold=np.ones(3))
    path = write(chain(given(3), cell, taken(3)))
    with pytest.raises(EngineError, match=r"dt=0.0001"):
        open_spiking(path)
    with open_spiking(path, dt=1e-4) as session:
        current = np.full((1, 3), 0.6, np.float32)
        assert session.run(current, 4).outputs["n2"][:, 0, 0].tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("coding", ["constant", "rate", "latency"])
def test_an_artifact_answers_with_means_over_its_steps(coding: str, draw: Draw, tmp_path: Path) -> None:
    network = chain(
        given(2, 8, 9), convolution(draw(6, 2, 3, 3), padding=1), fires(6, 8, 9), flatten(6, 8, 9),
        nir.Linear(draw(3, 432)), taken(3),
    )  # fmt: skip
    network.metadata = {"steps": 10, "coding": coding, "dt": 1.0, "scale": 2.0, "seed": 3}
    nir.write(str(tmp_path / "graph.nir"), network)
    specs = [
        (TensorSpec(name, "float32", ("batch", *shape)),) for name, shape in (("n0", SHAPE), ("n5", (3,)))
    ]
    write_manifest(tmp_path, Manifest("nir", "graph.nir", *specs, hash_files(tmp_path)))
    images = np.random.default_rng(0).standard_normal((4, *SHAPE)).astype(np.float32)
    coded = {"constant": images, "rate": rate(images, 10, 2.0, 3), "latency": latency(images, 10, 2.0)}
    with open_spiking(tmp_path) as spiking:
        told = spiking.run(coded[coding], 10).outputs["n5"].mean(0)
    assert told.any()
    with paring_runtimes.load(tmp_path, threads=2) as session:
        assert session.engine.startswith("nir")
        np.testing.assert_array_equal(session.run({"n0": images})["n5"], told)
        bound = session.bind({"n0": images})
        np.testing.assert_array_equal(bound.run()["n5"], told)
    with paring_runtimes.load(tmp_path / "graph.nir") as bare:
        np.testing.assert_array_equal(bare.run({"n0": images})["n5"], told)


def test_without_steps_the_engine_says_what_to_do(write: Write, draw: Draw) -> None:
    path = write(chain(given(3), nir.Linear(draw(4, 3)), fires(4), taken(4)))
    with paring_runtimes.load(path) as session, pytest.raises(EngineError, match="how many steps"):
        session.run({"n0": np.zeros((1, 3), np.float32)})


def test_warming_up_keeps_the_state(network: Any, write: Write) -> None:
    with open_spiking(write(network)) as session:
        session.run(spikes(4, 2, *SHAPE))
        before = session.save()
        session.warm_up()
        np.testing.assert_array_equal(session.save().membranes["cuba"], before.membranes["cuba"])
