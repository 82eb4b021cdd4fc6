"""What of a transformer would spike, and what its spikes cause, by numbers counted by hand."""

from __future__ import annotations

import json

import pytest
import torch
from models import timm_vit
from torch import nn

from paring.cli import app
from paring.transforms import spike_transformer
from paring.transforms._spikes.bipolar import Neurons, SpikingTrunk, find
from paring.transforms._spikes.bipolar.coverage import transformer_coverage
from paring.transforms._spikes.bipolar.ledger import Counting, counted, merged
from paring.transforms._spikes.bipolar.settling import elsewhere
from paring.transforms._spikes.bipolar.time import Place

TOKENS, WIDTH, HEADS = 17, 48, 3
LINEAR = TOKENS * WIDTH * WIDTH
PRODUCT = TOKENS * TOKENS * WIDTH


def small(**options: object) -> nn.Module:
    torch.manual_seed(0)
    return timm_vit(depth=1, patch_size=8, **options).eval()


def counting(place: nn.Module, steps: int, images: int = 1) -> Counting:
    return Counting(steps, {place: "here"}, images)


def test_coverage_counts_linear_layers_and_both_products() -> None:
    found = transformer_coverage(small(), (3, 32, 32))
    assert found.convertible
    told = {row.path: row for row in found.rows}
    spiking = [row for row in found.rows if row.verdict == "spiking"]
    assert sum(row.macs for row in spiking) == 12 * LINEAR + 2 * PRODUCT
    assert told["blocks.0.mlp.fc1"].verdict == "spiking"
    norms = [row for row in found.rows if row.operation == "layer_norm" and "blocks.0" in row.path]
    assert {row.why for row in norms} == {"a function of all that came, by differences"}
    assert told["patch_embed.proj"].macs == 16 * WIDTH * 3 * 64
    assert told["patch_embed.proj"].verdict == told["head"].verdict == "exact float"
    assert any("two spike trains" in row.why for row in spiking)


def test_coverage_names_what_does_not_convert() -> None:
    from timm.layers import SwiGLU

    found = transformer_coverage(small(mlp_layer=SwiGLU), (3, 32, 32))
    assert not found.convertible
    assert "blocks.0.mlp" in found.rows[0].why


def test_a_spike_costs_the_weights_behind_it_that_are_not_zero() -> None:
    layer = nn.Linear(3, 4)
    with torch.no_grad():
        layer.weight.fill_(1)
        layer.weight[:2, 0] = 0  # input 0 reaches two outputs, the others four
    count = counting(layer, steps=2)
    spikes = torch.tensor([[[1.0, 0, 0]], [[-1.0, 1, 0]]])  # [T * B, N, K]
    count.weights(layer, spikes, torch.tensor(1.0))
    work = count.ledger.layers["here"]
    assert (work.synops, work.macs, work.dense_macs) == (2 + 2 + 4, 0, 10)
    count.weights(layer, spikes * 0.5, torch.tensor(1.0))
    assert (work.synops, work.macs) == (8, 2 * 10)  # halves are no spikes: every step multiplies


def test_a_product_costs_each_spike_that_meets_a_sum() -> None:
    place = Place()
    count = counting(place, steps=2)
    a = torch.tensor([[[1.0], [0]], [[0], [-1]]])  # [T * B, N, D]: a row fires, then the other
    b = torch.tensor([[[1.0, 0, 1]], [[0, 1, 0]]])  # [T * B, D, M]
    count.product(place, a, b)
    # Step 1: b's two spikes meet one sum of a. Step 2: b's spike meets two sums of a, a's two sums of b.
    assert count.ledger.layers["here"].synops == 2 * 1 + (1 * 2 + 1 * 2)
    assert count.ledger.layers["here"].dense_macs == 2 * 1 * 3


def test_functions_are_computed_for_rows_in_which_something_came() -> None:
    place = Place()
    count = counting(place, steps=3)
    x = torch.zeros(3, 4, 5)
    x[0, :2], x[2, 0, 0] = 1, 1
    count.function(place, torch.relu, x)
    assert count.ledger.layers["here"].function_values == (2 + 1) * 5


def test_the_ledger_of_a_network() -> None:
    config = spike_transformer.Config(steps=48, levels=8)
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    model = spike_transformer.calibrate(spike_transformer.apply(small(), config), [images]).double()
    images = images.double()
    whole, answers = counted(model, images)
    parts = merged([counted(model, one)[0] for one in images.split(1)])
    with torch.inference_mode():
        torch.testing.assert_close(answers, model(images))
    assert whole.total("dense_macs") == parts.total("dense_macs") == 12 * LINEAR + 2 * PRODUCT
    assert whole.total("macs") == 0  # every weight and product reads spikes
    assert whole.total("synops") == pytest.approx(parts.total("synops"))
    assert whole.last == parts.last
    assert 1 < max(whole.last) < 48
    assert 0 < whole.rate == pytest.approx(parts.rate)
    query = whole.spikes["blocks.0.neurons.normed1"] * WIDTH
    assert whole.layers["blocks.0.query"].synops == pytest.approx(query)  # no weight is zero
    assert "synaptic operations at T = 48 for each MAC" in whole.verdict


def test_neurons_that_end_elsewhere_are_counted() -> None:
    """None once all is settled; after one step nearly all whose code is beyond one spike."""
    model = spike_transformer.apply(small(), spike_transformer.Config(steps=48, levels=8)).double()
    trunk, x = find(model), torch.randn(2, TOKENS, WIDTH, dtype=torch.float64)
    assert isinstance(trunk, SpikingTrunk)
    neurons = 2 * TOKENS * (WIDTH * (1 + 3 + 1 + 1 + 1 + 4 + 1) + HEADS * TOKENS)
    assert elsewhere(trunk, x) == (0, neurons)
    wrong, count = elsewhere(SpikingTrunk(trunk.opened(), 1), x)
    assert count == neurons
    assert wrong > 0.2 * neurons


def test_counting_a_network_without_spikes_is_refused() -> None:
    with pytest.raises(ValueError, match="is no spiking transformer; spike_transformer makes one"):
        counted(small(), torch.zeros(1, 3, 32, 32))


def test_the_command_counts_what_images_cause(capsys: pytest.CaptureFixture[str]) -> None:
    line = "spike-coverage -m embedded -t spike_transformer --images 1 -s data.source=embedded -s"
    line += " calibration.source=embedded -s calibration.limit=4 -s spike_transformer.steps=4 --json"
    app()(line.split(), standalone_mode=False)
    found = json.loads(capsys.readouterr().out)
    assert found["method"] == "spike_transformer"
    assert found["convertible"]
    assert 0.99 < found["spiking_fraction"] < 1
    layers = found["counted"]["layers"]
    assert layers["blocks.0.scores"]["synops"] > 0
    assert sum(work["dense_macs"] for work in layers.values()) == pytest.approx(
        found["spiking_fraction"] * found["macs"]
    )


def test_counting_wants_a_spiking_recipe() -> None:
    from paring_runtimes.errors import RecipeError

    with pytest.raises(RecipeError, match="counting needs -t spike_transformer alone and data"):
        app()(["spike-coverage", "-m", "embedded", "--images", "1"], standalone_mode=False)


def test_neurons_show_their_threshold_and_codes() -> None:
    neurons = Neurons(8)
    neurons.set(torch.tensor(0.25), -1)
    assert repr(neurons) == "Neurons(threshold=0.25, codes=-1..6)"
