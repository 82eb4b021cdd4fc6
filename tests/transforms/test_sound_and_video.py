"""Audio and video encoders: opening them changes no answer, and they are refused where they must be."""

from __future__ import annotations

import copy

import pytest
import torch
from models import timm_vit
from sound_and_video import ENCODERS, Features, build_encoder, sample, videomae, whisper_config

from paring.transforms import token_merge, token_pool
from paring.transforms._encoder import find, open_encoder, why_not


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("batch", [1, 3])
def test_an_opened_encoder_computes_what_the_model_computed(name: str, batch: int) -> None:
    model, x = build_encoder(name), sample(name, batch)
    opened = copy.deepcopy(model)
    trunk = open_encoder(opened)
    with torch.inference_mode():
        expected, found = model(x), opened(x)
    assert (trunk.grid, trunk.prefix) == ENCODERS[name][2:]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert expected.std() > 1e-3  # an answer that is constant would agree with anything


@pytest.mark.parametrize("name", ENCODERS)
def test_tome_works_on_every_one(name: str) -> None:
    model = token_merge.apply(build_encoder(name), token_merge.Config(r=2))
    with torch.inference_mode():
        assert torch.isfinite(model(sample(name, 2))).all()


def test_whisper_transcribes_from_fewer_tokens() -> None:
    """The decoder's cross-attention takes any number of encoder tokens."""
    from transformers import WhisperForConditionalGeneration

    torch.manual_seed(0)
    model = WhisperForConditionalGeneration(whisper_config()).eval()
    token_pool.apply(model, token_pool.Config(window=(2,), block=2))
    sound, ids = sample("Whisper encoder", 2), torch.tensor([[1, 5], [1, 9]])
    with torch.inference_mode():
        answer = model(input_features=sound, decoder_input_ids=ids)
    assert answer.encoder_last_hidden_state.shape == (2, 15, 48)
    assert answer.logits.shape == (2, 2, 60)


def test_whisper_with_layerdrop_is_refused() -> None:
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    config = whisper_config()
    config.encoder_layerdrop = 0.1
    assert "encoder_layerdrop" in why_not(Features(WhisperEncoder(config)))[0]


def test_whisper_with_a_weighted_layer_sum_is_refused() -> None:
    from transformers import WhisperForAudioClassification

    config = whisper_config()
    config.use_weighted_layer_sum = True
    assert "every layer" in why_not(WhisperForAudioClassification(config))[0]


def test_whisper_gives_no_attentions_once_opened() -> None:
    model = build_encoder("Whisper encoder")
    open_encoder(model)
    with pytest.raises(ValueError, match="attentions"):
        model.model(sample("Whisper encoder", 1), output_attentions=True)


def test_videomae_for_pretraining_is_refused() -> None:
    from transformers import VideoMAEForPreTraining

    config = videomae().model.config
    assert "rebuilds every tube" in why_not(VideoMAEForPreTraining(config))[0]


@pytest.mark.parametrize("kind", ["VideoMAE", "timm ViT with average pooling"])
def test_the_mean_over_merged_tokens_is_the_mean_over_all(kind: str) -> None:
    """Uneven windows pooled behind the last block leave the answer of a mean-pooled model as it is."""
    torch.manual_seed(0)
    if kind == "VideoMAE":
        model, x = build_encoder(kind), sample(kind, 2)
    else:
        model, x = timm_vit(global_pool="avg", reg_tokens=2).eval(), torch.randn(2, 3, 32, 32)
    pooled = copy.deepcopy(model)
    last = len(open_encoder(copy.deepcopy(model)).blocks)
    token_pool.apply(pooled, token_pool.Config(window=(2, 3), block=last))
    trunk = find(pooled)
    assert trunk is not None
    assert trunk.mean_follows
    with torch.inference_mode():
        torch.testing.assert_close(pooled(x), model(x), atol=1e-5, rtol=1e-4)
        trunk.mean_follows = False
        assert not torch.allclose(pooled(x), model(x), atol=1e-3)
