"""`nir:FILE`: graphs of any simulator as models, and what is said of those that are none."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
h5py = pytest.importorskip("h5py")


from paring.sources import load_model  # noqa: E402
from paring_runtimes.errors import SourceError  # noqa: E402
from paring_runtimes.nir import Graph, write  # noqa: E402
from paring_runtimes.nir import nodes as nir  # noqa: E402

ONES = np.ones(3, np.float32)


def file(folder: Path, shape: tuple[int, ...] = (2,), **metadata: object) -> Path:
    """input -> linear -> IF -> output; images are flattened on the way."""
    size = int(np.prod(shape))
    nodes: dict[str, nir.Node] = {"input": nir.Input(shape)}
    if len(shape) > 1:
        nodes["flat"] = nir.Flatten(0, -1, shape)
    nodes |= {
        "linear": nir.Affine(np.full((3, size), 0.5, np.float32), np.array([0, 0.25, 0.5], np.float32)),
        "if": nir.IF(ONES, ONES),
        "output": nir.Output((3,)),
    }
    names = list(nodes)
    write(folder / "graph.nir", Graph(nodes, tuple(pairwise(names)), metadata))
    return folder / "graph.nir"


@pytest.mark.parametrize(
    ("shape", "images"), [((4,), (1, 1, 4)), ((2, 3), (2, 1, 3)), ((1, 2, 2), (1, 2, 2))]
)
def test_images_take_the_form_of_the_input(shape, images, tmp_path: Path) -> None:
    loaded = load_model(f"nir:{file(tmp_path, shape, steps=4)}")
    assert loaded.input_shape == images
    assert (loaded.input_name, loaded.output_names, loaded.name) == ("input", ("output",), "graph")
    assert loaded.source_files == (tmp_path / "graph.nir",)
    (x,) = loaded.example(2).values()
    assert loaded.model(x).shape == (2, 3)


def test_the_answer_is_the_mean_over_the_steps(tmp_path: Path) -> None:
    loaded = load_model(f"nir:{file(tmp_path, (1,))}?steps=8")
    answer = loaded.model(torch.ones(1, 1, 1, 1))
    # currents 0.5, 0.75, 1: strictly above 1 and reset to 0 every third, second and second step
    assert answer.tolist() == [[0.25, 0.5, 0.5]]


def test_what_a_file_does_not_say_is_told_behind_it(tmp_path: Path) -> None:
    place = file(tmp_path, (1,))
    soft = load_model(f"nir:{place}?steps=8&reset=subtract")
    assert soft.model(torch.ones(1, 1, 1, 1)).tolist() == [[0.375, 0.625, 0.875]]
    half = load_model(f"nir:{place}?steps=8&dt=0.5")
    assert half.model.dt == 0.5
    assert half.model(torch.ones(1, 1, 1, 1)).tolist() == [[0.125, 0.25, 0.25]]


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("", r"does not say over how many steps it runs: nir:FILE\?steps=32"),
        ("?stps=3", r"unknown 'stps' \(did you mean 'steps'\?\); known: steps, dt, reset"),
        ("?steps=many", "steps=many, expected a number"),
        ("?steps=0", "steps: 0, expected at least 1"),
        ("?steps=4&dt=0", "dt: 0.0, expected above 0"),
        ("?steps=4&reset=soft", "reset: 'soft', expected one of zero, subtract"),
    ],
)
def test_wrong_options_are_told(told: str, expected: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=expected) as refused:
        load_model(f"nir:{file(tmp_path)}{told}")
    assert "\n" not in str(refused.value)


def test_other_sizes_and_files_are_refused(tmp_path: Path) -> None:
    place = file(tmp_path, (1, 2, 2), steps=4)
    with pytest.raises(SourceError, match="takes inputs of 2x2 only"):
        load_model(f"nir:{place}", image_size=4)
    with pytest.raises(SourceError, match="no such file"):
        load_model(f"nir:{tmp_path / 'none.nir'}")
    with h5py.File(place, "r+") as opened:
        opened["node/nodes/linear/weight"][0, 0] = np.nan
    with pytest.raises(SourceError, match=r"graph\.nir: node linear \(Affine\): weight: nan at \[0, 0\]"):
        load_model(f"nir:{place}")


def test_graphs_with_several_inputs_are_no_models_of_images(tmp_path: Path) -> None:
    nodes = {"a": nir.Input((3,)), "b": nir.Input((3,)), "if": nir.IF(ONES, ONES), "out": nir.Output((3,))}
    write(tmp_path / "two.nir", Graph(nodes, (("a", "if"), ("b", "if"), ("if", "out")), {"steps": 2}))
    with pytest.raises(SourceError, match="Inputs a, b and Outputs out; one of each is needed"):
        load_model(f"nir:{tmp_path / 'two.nir'}")
