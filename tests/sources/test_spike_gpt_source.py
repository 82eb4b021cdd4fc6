"""`spikegpt:FILE`: what is read, and what is said of files that are none."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parents[1] / "transforms" / "spike_gpt"))
from spike_gpts import spike_gpt

from paring.sources import LoadedRecurrentModel, load_model
from paring.transforms._spike_gpt import SpikeGPT
from paring_runtimes.errors import SourceError


def loaded(path: Path, *allow: str) -> LoadedRecurrentModel:
    found = load_model(f"spikegpt:{path}", allow=frozenset(allow))
    assert isinstance(found, LoadedRecurrentModel)
    return found


@torch.inference_mode()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_checkpoint_gives_its_model_back(tmp_path: Path, dtype: torch.dtype) -> None:
    model, path = spike_gpt().to(dtype), tmp_path / "own.safetensors"
    save_file(dict(model.state_dict()), path)
    found = loaded(path)
    ids = torch.arange(30)[None]
    assert torch.equal(found.model(ids)[0], model.float()(ids)[0])
    assert found.name == "own"
    assert found.text_ids() is not None


def test_the_authors_form_is_read_where_pickles_are_allowed(tmp_path: Path) -> None:
    model, path = spike_gpt(vocabulary=77), tmp_path / "model.pth"
    torch.save(model.state_dict(), path)
    with pytest.raises(SourceError, match="is a pickle"):
        loaded(path)
    found = loaded(path, "pickle")
    assert torch.equal(found.model.head.weight, model.head.weight)
    assert found.text_ids() is None  # 77 characters, and no tokenizer beside them


class Evil:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('ran')",)


def test_a_pickle_of_more_than_tensors_is_never_run(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    torch.save({"emb.weight": Evil()}, path)
    with pytest.raises(SourceError, match="more than weights"):
        loaded(path, "pickle")


@pytest.mark.parametrize(
    ("drop", "add", "words"),
    [
        ("blocks.1.att.key.weight", {}, "1 missing: blocks.1.att.key.weight"),
        ("", {"pos_emb_x": torch.zeros(3)}, "1 unexpected: pos_emb_x"),
        ("", {"head.weight": torch.zeros(7, 32)}, r"head.weight is \[7, 32\] and should be \[256, 32\]"),
        ("emb.weight", {}, "emb.weight"),
        ("", {"blocks.0.ffnPre.key.weight": torch.zeros(2, 2)}, "ffnPre"),
    ],
)
def test_tensors_that_do_not_fit_are_named(
    tmp_path: Path, drop: str, add: dict[str, torch.Tensor], words: str
) -> None:
    weights = {name: one for name, one in spike_gpt().state_dict().items() if name != drop}
    path = tmp_path / "own.safetensors"
    save_file({**weights, **add}, path)
    with pytest.raises(SourceError, match=words):
        loaded(path)


def test_what_a_language_model_does_not_take_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    save_file(dict(spike_gpt().state_dict()), path)
    with pytest.raises(SourceError, match="token ids"):
        load_model(f"spikegpt:{path}", image_size=28)
    with pytest.raises(SourceError, match="its own weights"):
        load_model(f"spikegpt:{path}", weights=path)
    with pytest.raises(SourceError, match="no such file"):
        load_model(f"spikegpt:{tmp_path / 'none.safetensors'}")


def test_embeddings_are_spikes_but_for_the_authors_large_vocabulary(tmp_path: Path) -> None:
    for vocabulary, binary in ((256, True), (50277, False)):
        path = tmp_path / f"{vocabulary}.safetensors"
        save_file(dict(spike_gpt(8, 1, vocabulary).state_dict()), path)
        found = loaded(path)
        assert isinstance(found.model, SpikeGPT)
        assert found.model.config.binary_embedding is binary
        assert found.facts == {"binary_embedding": binary}
