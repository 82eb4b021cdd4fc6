"""A recovery on a GPU: near the CPU's, and the same bits again after it was stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from stopping import Stopped, stop_at

from paring.recipe import build_recipe
from paring.recover import recover
from paring.recover._devices import repeatable

pytestmark = pytest.mark.gpu
Values = dict[str, Any]
# Methods whose backward passes use different operators: gathers, straight-through codes, routers.
METHODS: dict[str, list[dict[str, Any]]] = {
    "token_prune": [{"token_prune": {"keep_ratio": 0.25, "blocks": [1]}}],
    "additive and shift": [{"additive_attention": {}}, {"shift_linear": {"layers": ["mlp"]}}],
    "mixture": [{"primitive_mixture": {}}],
}


@pytest.mark.parametrize("name", METHODS)
def test_it_goes_on_to_the_same_bits(name: str, values: Values, tmp_path: Path) -> None:
    values["transforms"] = METHODS[name]
    values["recover"] |= {"steps": 12, "checkpoint_seconds": 0, "augment": ["shift"]}
    recipe, said = build_recipe(values), list[str]()
    whole = recover(recipe, tmp_path / "whole", device="cuda")
    assert whole.record["device"].startswith("cuda")
    with pytest.raises(Stopped):
        recover(recipe, tmp_path / "out", device="cuda", watch=stop_at(7))
    recover(recipe, tmp_path / "out", device="cuda", progress=said.append)
    assert "going on after step 6 of 12" in said
    written = [(tmp_path / folder / "weights.safetensors").read_bytes() for folder in ("whole", "out")]
    assert written[0] == written[1]


def test_it_is_near_the_cpus(values: Values, tmp_path: Path) -> None:
    """Steps of fp32 in other orders: losses within 5 %, accuracies within 5 of 200 images."""
    from accelerate.state import AcceleratorState

    values["recover"]["steps"] = 40
    records = []
    for device in ("cpu", "cuda"):
        AcceleratorState._reset_state(reset_partial_state=True)  # else a process keeps its first device
        records.append(recover(build_recipe(values), tmp_path / device, device=device).record)
    first, last = [[one["losses"][at]["loss"] for one in records] for at in (0, -1)]
    assert first[1] == pytest.approx(first[0], rel=1e-4)
    assert last[1] == pytest.approx(last[0], rel=0.05)
    for model in ("original", "transformed", "recovered"):
        here, there = (one["accuracy"][model]["top1"] for one in records)
        assert there == pytest.approx(here, abs=0.025)
    assert records[1]["accuracy"]["gain"]["top1"] > 0.05


def test_what_makes_it_repeatable_is_put_back() -> None:
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.deterministic
    with repeatable(torch.device("cuda")):
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.backends.cudnn.deterministic
    assert (torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.deterministic) == before
