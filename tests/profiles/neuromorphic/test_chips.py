"""Chips are data: every figure has a source, and a wrong file says what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from paring_profiles.neuromorphic.chip import FOLDER, chip, chips, read_chip
from paring_runtimes.errors import InputError


def test_the_chips_that_there_are() -> None:
    assert chips() == ["generic_45nm", "loihi", "loihi2", "spinnaker2", "truenorth", "xylo_audio3"]


@pytest.mark.parametrize("name", chips())
def test_every_figure_says_where_it_is_from(name: str) -> None:
    found = chip(name)
    assert found.figures()
    for path, figure in found.figures().items():
        source = found.sources[figure.source]
        assert source.title, path
        assert 2000 < source.year < 2100, path
        assert figure.where, path
        assert figure.checked, path
        if figure.checked.startswith("not verified") and figure.basis != "assumed":
            assert name == "loihi2", f"{path}: a stated figure that nobody checked"


@pytest.mark.parametrize("name", chips())
def test_ranges_hold_their_values(name: str) -> None:
    for path, constant in chip(name).constants().items():
        assert constant.low <= constant.value <= constant.high, path


def test_what_is_not_published_is_missing() -> None:
    assert chip("loihi2").constants() == {}
    assert chip("spinnaker2").energy.synaptic_operation_pj is None
    assert chip("truenorth").energy.hop_x_pj is None


def test_an_unknown_chip_gets_the_known_ones() -> None:
    with pytest.raises(
        InputError, match=r"no chip 'loihi3' \(did you mean 'loihi'\?\); known: generic_45nm, loihi,"
    ):
        chip("loihi3")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("low: 23.6", "low: 24.6"), r"energy\.synaptic_operation_pj: .*24\.6 <= value 23\.6"),
        (("source: frady2020", "source: frady2021"), r"source 'frady2021' is none of davies2018"),
        (("columns: 8", "columns: 7"), r"mesh: 112 places for 128 cores"),
        (("shared_convolution: true", "shared_convolutions: true"), r"shared_convolutions: Extra inputs"),
        (("title: Loihi\n", "title: [\n"), r"cannot be read"),
    ],
)
def test_a_wrong_file_is_told(tmp_path: Path, change: tuple[str, str], told: str) -> None:
    text = (FOLDER / "loihi.yaml").read_text()
    assert change[0] in text
    file = tmp_path / "mine.yaml"
    file.write_text(text.replace(*change, 1))
    with pytest.raises(InputError, match=rf"mine\.yaml: .*{told}"):
        read_chip(file)


def test_a_chip_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text((FOLDER / "truenorth.yaml").read_text().replace("value: 4096", "value: 100"))
    assert read_chip(file).limits.cores.value == 100
    assert read_chip(file).name == "mine"
