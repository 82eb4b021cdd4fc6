"""SpikeGPT at once and token by token; its names; what it counts."""

from __future__ import annotations

import pytest
import torch
from spike_gpts import spike_gpt

from paring.transforms._spike_gpt import Config, SpikeGPT, from_weights
from paring.transforms._spike_gpt.counting import counted, is_binary


def ids_of(batch: int, length: int, vocabulary: int = 256) -> torch.Tensor:
    return torch.randint(vocabulary, (batch, length), generator=torch.Generator().manual_seed(0))


@torch.inference_mode()
@pytest.mark.parametrize(("seed", "length"), [(0, 1200), (1, 200), (2, 200)])
def test_a_long_sequence_at_once_is_its_tokens_one_by_one(seed: int, length: int) -> None:
    model, ids = spike_gpt(seed=seed), ids_of(2, length)
    at_once, last = model(ids)
    state, each = None, []
    for column in ids.unbind(1):
        logits, state = model.step(column, state)
        each.append(logits)
    torch.testing.assert_close(at_once, torch.stack(each, 1), rtol=0, atol=1e-4)
    assert state is not None
    membranes = zip(last[-2:], state[-2:], strict=True)
    assert all(torch.allclose(ours, theirs, rtol=0, atol=1e-4) for ours, theirs in membranes)


@torch.inference_mode()
@pytest.mark.parametrize("chunk", [7, 100, 256, 999])
def test_the_state_is_carried_across_the_borders_of_chunks(chunk: int) -> None:
    model, ids = spike_gpt(), ids_of(2, 700)
    at_once, _ = model(ids)
    state, each = None, []
    for part in ids.split(chunk, 1):
        logits, state = model(part, state)
        each.append(logits)
    torch.testing.assert_close(at_once, torch.cat(each, 1), rtol=0, atol=1e-4)


@torch.inference_mode()
def test_a_state_is_a_value_from_which_two_texts_go_on_alike() -> None:
    model, ids = spike_gpt(), ids_of(1, 40)
    _, state = model(ids[:, :20])
    kept = [one.clone() for one in state]
    first, _ = model(ids[:, 20:], state)
    second, _ = model(ids[:, 20:], state)
    assert torch.equal(first, second)
    assert all(torch.equal(*pair) for pair in zip(kept, state, strict=True))
    assert not torch.equal(first, model(ids[:, 20:])[0])


def test_neurons_fire_and_not_always() -> None:
    rates = counted(spike_gpt(), ids_of(2, 300)).rates
    assert sorted(rates) == [f"blocks.{layer}.lif{one}" for layer in range(2) for one in (1, 2)]
    assert all(0.005 < rate < 0.9 for rate in rates.values())


def test_every_matrix_is_tested_and_none_reads_spikes() -> None:
    model = spike_gpt()
    found = counted(model, ids_of(2, 100))
    weights = {name: one for name, one in model.named_parameters() if one.dim() == 2}
    del weights["emb.weight"]
    assert {f"{name}.weight": one.dense for name, one in found.products.items()} == {
        name: weight.numel() for name, weight in weights.items()
    }
    assert found.macs == found.dense
    assert found.synops == 0
    # A squared ReLU gives zeros, but what is not zero is no spike.
    mixing = found.products["blocks.0.ffn.value"]
    assert 0 < mixing.active < mixing.dense
    assert not mixing.binary


def test_a_matrix_that_does_read_spikes_is_counted_as_such() -> None:
    model = spike_gpt()
    model.ln_out = torch.nn.Identity()  # type: ignore[assignment]
    model.blocks[1].register_forward_hook(lambda _m, _g, made: ((made[0] > 1.0).float(), made[1]))
    found = counted(model, ids_of(1, 50))
    head = found.products["head"]
    assert head.binary
    assert found.synops == head.active
    assert found.macs == found.dense - head.dense
    assert 0 < head.active < head.dense


@pytest.mark.parametrize(
    ("values", "binary"), [([0.0, 1.0], True), ([0.0, 0.5], False), ([2.0, 0.0], False), ([-0.0, 1.0], True)]
)
def test_binary_is_what_holds_zeros_and_ones_only(values: list[float], binary: bool) -> None:
    assert is_binary(torch.tensor(values)) is binary


def test_every_parameter_learns() -> None:
    model = spike_gpt().train()
    ids = ids_of(4, 33)
    logits, _ = model(ids[:, :-1])
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()).backward()
    still = [name for name, one in model.named_parameters() if one.grad is None or not one.grad.any()]
    assert still == []


def test_a_fresh_model_starts_as_nothing_but_its_embedding() -> None:
    torch.manual_seed(0)
    found = counted(SpikeGPT(Config(64, 16, 3)), ids_of(1, 30, 64))
    assert found.spikes == 0


def test_parameters_are_named_and_shaped_as_the_authors_are() -> None:
    shapes = {name: tuple(one.shape) for name, one in spike_gpt(width=8, layers=2).named_parameters()}
    assert shapes["blocks.0.ln0.weight"] == (8,)
    assert shapes["blocks.1.att.time_mix_r"] == (1, 1, 8)
    assert shapes["blocks.1.att.time_decay"] == shapes["blocks.1.att.time_first"] == (8,)
    assert shapes["blocks.0.ffn.key.weight"] == (32, 8)
    assert shapes["blocks.0.ffn.value.weight"] == (8, 32)
    assert shapes["head.weight"] == shapes["emb.weight"] == (256, 8)
    assert "blocks.1.ln0.weight" not in shapes


def test_sizes_are_read_off_a_checkpoint() -> None:
    weights = spike_gpt(width=8, layers=3, vocabulary=20).state_dict()
    assert from_weights(weights) == Config(20, 8, 3)
    with pytest.raises(ValueError, match=r"emb\.weight"):
        from_weights({"head.weight": weights["head.weight"]})
    with pytest.raises(ValueError, match="ffnPre"):
        from_weights({**weights, "blocks.0.ffnPre.key.weight": weights["head.weight"]})


@pytest.mark.parametrize("wrong", [{"vocabulary": 0}, {"width": 0}, {"layers": 0}, {"dropout": 1.0}])
def test_sizes_that_no_model_has_are_refused(wrong: dict[str, float]) -> None:
    sizes = {"vocabulary": 5, "width": 4, "layers": 1, **wrong}
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Config(**sizes)  # type: ignore[arg-type]
