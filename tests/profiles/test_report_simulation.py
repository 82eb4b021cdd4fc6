"""The report of a simulation: what it says, that it loads nothing, and that it hides no bad news."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from paring_profiles.neuromorphic.chip import chip
from paring_profiles.neuromorphic.pricing import Range
from paring_profiles.neuromorphic.simulate import Coding, Simulation, simulate
from paring_profiles.report import simulation, simulation_plots, simulation_tables
from paring_profiles.report.simulation_tables import Told
from paring_runtimes.nir import Graph, write
from paring_runtimes.nir import nodes as nir

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")


@pytest.fixture(scope="module")
def graph_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers of weights with neurons between them."""
    rng = np.random.default_rng(0)
    nodes = {
        "input": nir.Input((12,)),
        "first": nir.Linear(rng.normal(size=(20, 12)).astype(np.float32)),
        "hidden": nir.IF(np.ones(20, np.float32), np.ones(20, np.float32)),
        "last": nir.Linear(rng.normal(size=(4, 20)).astype(np.float32)),
        "output": nir.Output((4,)),
    }
    names = list(nodes)
    file = tmp_path_factory.mktemp("graph") / "graph.nir"
    write(file, Graph(nodes, tuple(pairwise(names))))
    return file


def simulated(graph_file: Path, name: str) -> Told:
    rng = np.random.default_rng(1)
    images, labels = rng.random((30, 12)).astype(np.float32), rng.integers(0, 4, 30)
    found = simulate(graph_file, chip(name), images, labels, [2, 8], Coding(), threads=1)
    return Told(found, "out", "npz:here", 0.9, "2026-11-28T00:00:00Z", {"paring": "0.1.0"})


@pytest.fixture(scope="module")
def told(graph_file: Path) -> Told:
    return simulated(graph_file, "loihi")


def test_three_files_that_agree(told: Told, tmp_path: Path) -> None:
    paths = simulation.write(told, tmp_path / "report")
    page, words = paths.html.read_text(), paths.markdown.read_text()
    headline = simulation_tables.headline(told)
    assert headline.startswith("Loihi, modelled: ")
    assert headline in words
    assert headline in page.replace("\N{NO-BREAK SPACE}", " ")
    data = json.loads(paths.json.read_text())
    assert data["provenance"] == "modelled"
    assert [point["steps"] for point in data["points"]] == [2, 8]
    point = told.simulation.points[1]
    assert data["points"][1]["counts"]["synops"] == point.load.synops
    assert data["points"][1]["energy_nj"]["parts"].keys() == point.energy.parts.keys()
    assert data["chip"]["energy"]["synaptic_operation_pj"]["source"] == "davies2018"
    assert len(data["cores"]) == len(told.simulation.placed.cores)


def test_the_page_loads_nothing(told: Told) -> None:
    page = simulation.render(told)
    assert "<script" not in page
    assert not re.search(r'(src|xlink:href|url\()\s*=?\s*"?https?:', page)
    assert page.count("<svg") == 6
    for source in told.simulation.chip.sources.values():
        assert source.title in page.replace("&#39;", "'").replace("&amp;", "&")


def test_it_says_that_spikes_cost_more(told: Told) -> None:
    point = simulation_tables.chosen(told.simulation)
    dear = replace(
        point, rival=replace(point.rival, ratio=Range(3.2, 1.5, 9.0), break_even=Range(0.012, 0, 0.1))
    )
    line = simulation_tables.rival_sentence(dear)
    assert "costs more than the same network at int8: 3.20 times its energy (1.50 to 9.00) at" in line
    assert "it would break even at 1.20 %" in line
    open_ended = replace(dear, rival=replace(dear.rival, ratio=Range(3.2, 0.5, 9.0)))
    assert "the constants' range leaves it open" in simulation_tables.rival_sentence(open_ended)
    never = replace(dear, rival=replace(dear.rival, break_even=Range(-0.01, -0.1, 0.1)))
    assert "no rate is low enough" in simulation_tables.rival_sentence(never)
    cheap = replace(dear, rival=replace(dear.rival, ratio=Range(0.4, 0.2, 0.8)))
    assert "costs less than the same network at int8: 0.400 times" in simulation_tables.rival_sentence(cheap)


def test_what_is_not_published_is_not_modelled(graph_file: Path) -> None:
    found = simulated(graph_file, "loihi2")
    assert "energy not modelled" in simulation_tables.headline(found)
    assert simulation_plots.parts(found.simulation) is None
    rows = simulation_tables.point_table(found.simulation).rows
    assert {row[-2:] for row in rows} == {("not modelled", "not modelled")}
    assert any("left out: synaptic operations" in line for line in simulation_tables.sentences(found))
    assert "not modelled" in simulation.markdown(found)


def test_fewest_steps_that_lose_no_more_than_a_point(told: Told) -> None:
    found = told.simulation

    def scored(*accuracies: float) -> Simulation:
        points = [replace(found.points[0], steps=2**k, accuracy=a) for k, a in enumerate(accuracies)]
        return replace(found, points=tuple(points))

    assert simulation_tables.chosen(scored(0.80, 0.92, 0.925, 0.90)).steps == 2
    assert simulation_tables.chosen(scored(0.80, 0.91, 0.925, 0.90)).steps == 4


def test_units_and_shares() -> None:
    assert simulation_tables.joules(Range(0.0021, 0.001, 0.01)) == "2.10 pJ"
    assert simulation_tables.joules(Range(1.5e6, 1e6, 2e6), ranged=True) == "1.50 mJ (1.00 to 2.00)"
    assert simulation_tables.joules(Range(12.0, 12.0, 12.0), at_least=True, ranged=True) == "at least 12.0 nJ"
    assert simulation_tables.percent(0.0767) == "7.67 %"
    assert simulation_tables.percent(0.5) == "50.0 %"


def test_membranes_that_outgrow_the_chip_are_told(told: Told) -> None:
    found = told.simulation
    layers = {name: replace(one, needs_bits=30) for name, one in found.rounding.layers.items()}
    wide = replace(found, rounding=replace(found.rounding, layers=layers), seen_bits={"hidden": 12})
    lines = simulation_tables.sentences(replace(told, simulation=wide))
    assert "could saturate if all senders spiked at once; 12 bits were the most seen" in lines[-1]
    outgrown = replace(wide, seen_bits={"hidden": 25})
    lines = simulation_tables.sentences(replace(told, simulation=outgrown))
    assert lines[-1] == "Membranes outgrew the chip's 24 bits, which is not simulated: hidden 25 bits."
    many_steps = replace(found, seen_bits={"hidden": 25})  # one step needs fewer: they added up
    assert simulation_tables.sentences(replace(told, simulation=many_steps))[-1] == lines[-1]
    assert not any("Membranes" in line for line in simulation_tables.sentences(told))
