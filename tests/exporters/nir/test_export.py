"""Spiking networks become NIR files that fire spike for spike; what NIR cannot say is refused by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("h5py")

from spiking_networks import SHAPE, Residual, neurons, spiking  # noqa: E402
from torch import nn  # noqa: E402

from paring.sources import load_model  # noqa: E402
from paring.transforms._spikes import IntegrateFire  # noqa: E402
from paring.transforms._spikes.layers import Scale  # noqa: E402
from paring_exporters.formats import nir as exporter  # noqa: E402
from paring_exporters.nir_graph import export as exporting  # noqa: E402
from paring_exporters.nir_graph.lowering import lowered  # noqa: E402
from paring_exporters.request import Request  # noqa: E402
from paring_runtimes.errors import ExportError, ParityError  # noqa: E402
from paring_runtimes.nir import Graph, node_shapes, read  # noqa: E402
from paring_runtimes.nir import nodes as nir  # noqa: E402


def asked(shape=SHAPE, **changes) -> Request:
    generator = torch.Generator().manual_seed(1)
    return Request(torch.randn(2, *shape, generator=generator), input_name="image", **changes)


def exported(model: nn.Module, folder: Path, **how):
    found = exporter.export(spiking(model, **how), asked(how.get("shape", SHAPE)), folder)
    assert found.facts["spikes"]["differing"] == 0
    assert found.facts["spikes"]["spikes"] > 0
    return found


@pytest.mark.parametrize("initial", [0.0, 0.5, 0.3])
@pytest.mark.parametrize("reset", ["soft", "hard"])
@pytest.mark.parametrize("coding", ["constant", "rate", "latency"])
def test_what_is_read_back_gives_the_networks_answers(reset, initial, coding, tmp_path: Path) -> None:
    network = spiking(Residual(reset, initial), coding=coding)
    found = exporter.export(network, asked(), tmp_path)
    facts = found.facts["spikes"]
    assert facts["neurons"] == 8 * 64 * 2 + 6 * 16
    assert facts["compared"] == facts["neurons"] * 6 * 7
    assert 0 < facts["spikes"] < facts["compared"]
    loaded = load_model(f"nir:{found.entry}")
    assert loaded.input_shape == SHAPE
    assert (loaded.input_name, loaded.output_names) == ("image", ("logits",))
    x = torch.randn(3, *SHAPE)
    with torch.inference_mode():
        torch.testing.assert_close(
            loaded.model.double()(x.double()), network.double()(x.double()), atol=1e-9, rtol=0
        )


def test_the_manifest_says_what_is_where(tmp_path: Path) -> None:
    found = exported(Residual("soft", 0.5), tmp_path)
    assert [(s.name, s.dtype, s.shape) for s in found.inputs] == [("image", "float32", ("batch", *SHAPE))]
    assert [(s.name, s.shape) for s in found.outputs] == [("logits", ("batch", 5))]
    assert found.entry == tmp_path / "graph.nir"
    facts = found.facts
    assert (facts["steps"], facts["coding"], facts["dt"], facts["readout"]) == (6, "constant", 1.0, "mean")
    assert facts["neurons"] == {"block.0": "block_0", "join": "join", "last": "last"}
    assert facts["nodes"]["block.1"] == "block_1"
    assert facts["rewritten"]["join"] == [
        "soft reset: integrator, threshold and feedback",
        "initial membrane: counted from it",
    ]
    graph = read(found.entry)
    assert graph.metadata["steps"] == 6
    shapes = node_shapes(graph)
    assert all(node in shapes for node in facts["nodes"].values())
    assert set(graph.edges) >= {
        ("stem", "join_membrane"),
        ("block_1", "join_membrane"),
        ("join", "join_reset"),
    }


def test_hard_reset_without_an_initial_membrane_is_plain_if_that_every_release_reads(tmp_path: Path) -> None:
    package = pytest.importorskip("nir")
    found = exported(Residual("hard"), tmp_path)
    theirs = package.read(found.entry)
    assert isinstance(theirs.nodes["join"], package.IF)
    assert next(iter(theirs.nodes)) == "image"
    assert "join" not in found.facts["rewritten"]


def test_the_same_network_gives_the_same_bytes(tmp_path: Path) -> None:
    files = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        files.append(exported(Residual(), tmp_path / name).entry.read_bytes())
    assert files[0] == files[1]


class Chain(nn.Sequential):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__(nn.Conv2d(2, 4, 3, padding=1), neurons(4), *layers)


@pytest.mark.parametrize(
    ("layers", "kinds"),
    [
        ((nn.AvgPool2d(3, 2, 1, count_include_pad=False),), {"SumPool2d", "Scale"}),
        ((nn.AvgPool2d(2, divisor_override=3),), {"SumPool2d", "Scale"}),
        ((Scale(torch.tensor(-0.5)), neurons(4), Scale(torch.rand(4, 1, 1))), {"Scale"}),
        ((nn.AvgPool2d((2, 4), ceil_mode=True),), {"AvgPool2d"}),
        ((nn.BatchNorm2d(4).eval(), neurons(4)), {"Conv2d", "Threshold"}),
        ((nn.Conv2d(4, 8, 3, padding="valid", groups=2), nn.Dropout(), nn.Identity()), {"Conv2d"}),
        ((nn.Flatten(1, 2), nn.Conv1d(32, 4, 3, 2, 1, groups=4), neurons(4, rank=1)), {"Flatten", "Conv1d"}),
        ((nn.Flatten(2), nn.AvgPool1d(4, 2), neurons(4, rank=1)), {"Conv1d"}),
        (
            (nn.Flatten(), nn.Linear(256, 5, bias=False), nn.BatchNorm1d(5), neurons(5, rank=0)),
            {"Linear", "Affine"},
        ),
    ],
)
def test_layers_in_their_forms(layers, kinds, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Chain(*layers)
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            nn.init.uniform_(module.running_mean), nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight), nn.init.uniform_(module.bias)
    found = exported(model, tmp_path)
    assert kinds <= {type(node).__name__ for node in read(found.entry).nodes.values()}


class Sums(nn.Module):
    """Sums of sums, of the same value twice, and a value that is an answer too."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Conv2d(2, 4, 1) for _ in range(3))
        self.fire, self.end = neurons(4), neurons(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b, c = self.a(x), self.b(x), self.c(x)
        y = self.fire((a + b) + (c + c))
        z = torch.add(a, y) + (b + (c + a))
        return torch.flatten(self.end(z) + y, 1)


def test_sums_are_edges(tmp_path: Path) -> None:
    torch.manual_seed(0)
    found = exported(Sums(), tmp_path)
    graph = read(found.entry)
    assert ("a", "fire_membrane") in graph.edges
    assert [type(graph.nodes[a]).__name__ for a, b in graph.edges if b == "end_membrane"].count("Scale") == 2


class Named(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.stem, self.fire, self.bad = nn.Conv2d(2, 4, 3, padding=1), neurons(4), layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.bad(self.fire(self.stem(x)))


class Softmax(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(x, 1) + 1


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.MaxPool2d(2), "bad: NIR has no max pooling"),
        (nn.LayerNorm(8), "bad: NIR has no LayerNorm: its statistics depend on the input"),
        (nn.ReLU(), "bad: NIR has no ReLU; convert the network to spikes first"),
        (Softmax(), "softmax: NIR has no softmax; .*add: adds a number"),
        (nn.Linear(8, 3), r"bad: a linear layer over the last axis of \[4, 8, 8\]"),
        (
            nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
            "bad: padding_mode 'reflect': NIR pads with zeros",
        ),
        (nn.AvgPool2d(3, 2, ceil_mode=True), "bad: ceil_mode: a window beyond the edge"),
        (nn.Flatten(0), "bad: flattens the batch too"),
        (nn.BatchNorm2d(4, track_running_stats=False), "bad: batch norm by the batch's own statistics"),
        (nn.Upsample(scale_factor=2), "bad: NIR has no Upsample"),
    ],
)
def test_what_nir_cannot_say_is_refused_by_name(layer, expected, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=expected) as refused:
        exporter.export(spiking(Named(layer)), asked(), tmp_path)
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"precision": "fp16"}, "export.precision fp16"),
        ({"dynamic": ("batch", "image_size")}, "remove image_size"),
        ({"output_names": ("logits", "token_map")}, "a spiking network has one"),
    ],
)
def test_requests_that_nir_cannot_meet(changes, expected, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=expected):
        exporter.export(spiking(Residual()), asked(**changes), tmp_path)
    with pytest.raises(
        ExportError, match="Linear is no spiking network; convert it with the transform spike"
    ):
        exporter.export(nn.Linear(2, 2), asked(), tmp_path)
    assert not list(tmp_path.iterdir())


def _with(graph: Graph, **nodes: nir.Node) -> Graph:
    return replace(graph, nodes={**graph.nodes, **nodes})


def _raised(graph: Graph) -> Graph:
    """The thresholds of one channel of eight, higher by a hundredth."""
    levels = graph.nodes["join"].threshold.copy()
    levels[0] *= 1.01
    return _with(graph, join=nir.Threshold(levels))


def _undone(graph: Graph) -> Graph:
    back = graph.nodes["last_reset"].scale
    return _with(graph, last_reset=nir.Scale(back * np.float32(0.5)))


def _shifted(graph: Graph) -> Graph:
    head = graph.nodes["head"]
    return _with(graph, head=nir.Affine(head.weight, head.bias + np.float32(1e-3)))


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (
            _raised,
            r"input '\w+', step \d: \d+ of \d+ neurons of join \(node join\) do not fire as in PyTorch",
        ),
        (_undone, r"neurons of last \(node last\) do not fire"),
        (_shifted, r"input 'example', step 1: the output differs by 0.001"),
    ],
)
def test_a_file_that_fires_otherwise_stops_the_export(spoil, expected, tmp_path: Path, monkeypatch) -> None:
    def wrong(network, *names):
        found = lowered(network, *names)
        return replace(found, graph=spoil(found.graph))

    monkeypatch.setattr(exporting, "lowered", wrong)
    with pytest.raises(ParityError, match=expected):
        exporter.export(spiking(Residual()), asked(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_imported_graph_is_written_again(tmp_path: Path) -> None:
    first = exported(Residual("soft", 0.5), tmp_path)
    loaded = load_model(f"nir:{first.entry}")
    (tmp_path / "again").mkdir()
    again = exporter.export(loaded.model, asked(), tmp_path / "again")
    assert again.entry.read_bytes() == first.entry.read_bytes()
    assert again.facts["spikes"]["differing"] == 0
    assert again.facts["steps"] == 6
    assert (again.inputs, again.outputs) == (first.inputs, first.outputs)


def test_thresholds_are_those_of_the_network(tmp_path: Path) -> None:
    model = Residual("soft", 0.5)
    found = exported(model, tmp_path)
    graph = read(found.entry)
    threshold = model.join.threshold.expand(8, 8, 8).numpy()
    assert isinstance(model.join, IntegrateFire)
    assert np.array_equal(np.nextafter(graph.nodes["join"].threshold, np.float32(np.inf)), threshold / 2)
    assert np.array_equal(graph.nodes["join_reset"].scale, -threshold)
