"""Small audio and video encoders with random weights, and inputs for them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from models import SMALL, Logits
from torch import nn

WIDTH = {name: SMALL[name] for name in ("hidden_size", "num_attention_heads", "intermediate_size")}


class Features(nn.Module):
    """A Whisper encoder that answers with its tokens."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, sound: torch.Tensor) -> torch.Tensor:
        return self.model(sound).last_hidden_state


def ast() -> nn.Module:
    from transformers import ASTConfig, ASTForAudioClassification

    options = {"num_hidden_layers": 4, "num_mel_bins": 32, "max_length": 78, "patch_size": 16}
    model = ASTForAudioClassification(ASTConfig(**WIDTH, **options, num_labels=7))
    nn.init.normal_(model.audio_spectrogram_transformer.embeddings.position_embeddings, std=0.1)
    return Logits(model)


def whisper_config() -> object:
    from transformers import WhisperConfig

    return WhisperConfig(
        d_model=48,
        encoder_layers=4,
        encoder_attention_heads=3,
        encoder_ffn_dim=96,
        decoder_layers=2,
        decoder_attention_heads=3,
        decoder_ffn_dim=96,
        num_mel_bins=16,
        max_source_positions=30,
        max_target_positions=20,
        vocab_size=60,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
        num_labels=7,
        classifier_proj_size=16,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )


def whisper() -> nn.Module:
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    return Features(WhisperEncoder(whisper_config()))


def whisper_classifier() -> nn.Module:
    from transformers import WhisperForAudioClassification

    return Logits(WhisperForAudioClassification(whisper_config()))


def videomae(**options: object) -> nn.Module:
    from transformers import VideoMAEConfig, VideoMAEForVideoClassification

    sizes = {"image_size": 24, "patch_size": 8, "num_frames": 8, "tubelet_size": 2, "num_labels": 7}
    config = VideoMAEConfig(**{**WIDTH, **sizes, "num_hidden_layers": 4, **options})
    model = VideoMAEForVideoClassification(config)
    for module in model.modules():
        if hasattr(module, "q_bias") and module.q_bias is not None:
            nn.init.normal_(module.q_bias, std=0.3)
            nn.init.normal_(module.v_bias, std=0.3)
    return Logits(model)


#: name -> builder, shape of one input, patches' grid, prefix tokens
ENCODERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], tuple[int, ...], int]] = {
    "AST": (ast, (78, 32), (2, 7), 2),
    "Whisper encoder": (whisper, (16, 60), (30,), 0),
    "Whisper classifier": (whisper_classifier, (16, 60), (30,), 0),
    "VideoMAE": (videomae, (8, 3, 24, 24), (4, 3, 3), 0),
    "VideoMAE, first token": (lambda: videomae(use_mean_pooling=False), (8, 3, 24, 24), (4, 3, 3), 0),
}


def build_encoder(name: str, seed: int = 0) -> nn.Module:
    """In eval mode, with weights large enough that tokens differ."""
    torch.manual_seed(seed)
    model = ENCODERS[name][0]().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(3)
    return model


def sample(name: str, batch: int, seed: int = 1) -> torch.Tensor:
    """An input for the encoder."""
    return torch.randn(batch, *ENCODERS[name][1], generator=torch.Generator().manual_seed(seed))
