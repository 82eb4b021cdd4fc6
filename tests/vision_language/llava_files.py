"""Small LLaVA checkpoints, random weights: CLIP, SigLIP or DINOv2 tower, then Llama, Qwen2 or Mistral."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch

from paring.transforms._vision_language import VisionLanguage, open_vision_language

LETTERS = "abcdefghijklmnopqrstuvwxyz.,:"
SPECIAL = ["<unk>", "<s>", "</s>", "<image>"]
SIDE, PATCH = 36, 6  # 6 x 6 patches: four windows of 3 x 3
TRAINED_SIDE = 60  # of DINOv2's positions
MEAN, STD = [0.48, 0.46, 0.41], [0.27, 0.26, 0.28]
TEXT = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
}
VISION = {
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "image_size": SIDE,
    "patch_size": PATCH,
}


def llava(tower: str = "clip_vision_model", text: str = "llama", **options: Any) -> Any:
    """A LlavaForConditionalGeneration in eval mode, with weights large enough that tokens differ.

    DINOv2's positions are those of larger images than `SIDE`.
    """
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    torch.manual_seed(0)
    extra = {"sliding_window": None} if text == "mistral" else {}
    trained = {"image_size": TRAINED_SIDE} if tower == "dinov2" else {}
    config = LlavaConfig(
        vision_config={"model_type": tower, **VISION, **trained},
        text_config={"model_type": text, **TEXT, **extra},
        image_token_id=SPECIAL.index("<image>"),
        architectures=["LlavaForConditionalGeneration"],
        **{"vision_feature_select_strategy": "full" if "siglip" in tower else "default", **options},
    )
    model = LlavaForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(
                    3 if "siglip" in tower else 5
                )  # SigLIP's tokens have no norm before its blocks
            else:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


CANVASES = [[24, 48], [48, 24], [48, 48], [24, 72]]  # of tiles of 24 pixels, 3 x 3 patches of 8 each
TILE, TILE_PATCH = 24, 8


def llava_next(tower: str = "clip_vision_model", **options: Any) -> Any:
    """A LlavaNextForConditionalGeneration in eval mode, in the manner of `llava`."""
    from transformers import LlavaNextConfig, LlavaNextForConditionalGeneration

    torch.manual_seed(0)
    vision = {**VISION, "image_size": TILE, "patch_size": TILE_PATCH}
    config = LlavaNextConfig(
        vision_config={"model_type": tower, **vision},
        text_config={"model_type": "llama", **TEXT},
        image_token_id=SPECIAL.index("<image>"),
        image_grid_pinpoints=CANVASES,
        architectures=["LlavaNextForConditionalGeneration"],
        **{"vision_feature_select_strategy": "default" if "clip" in tower else "full", **options},
    )
    model = LlavaNextForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(5 if "clip" in tower else 3)
            else:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def llava_next_folder(folder: Path) -> Path:
    """A checkpoint of `llava_next`, in the manner of `llava_folder`."""
    llava_next().save_pretrained(folder)
    next_processor().save_pretrained(folder)
    write_tokenizer(folder)
    return folder


def next_processor() -> Any:
    """transformers' own preparation of its images."""
    from transformers import LlavaNextImageProcessor

    return LlavaNextImageProcessor(
        size={"shortest_edge": TILE},
        crop_size={"height": TILE, "width": TILE},
        image_grid_pinpoints=CANVASES,
        image_mean=MEAN,
        image_std=STD,
    )


def llava_folder(folder: Path, **options: Any) -> Path:
    """A checkpoint with a tokenizer of letters and a description of the image's preparation."""
    from transformers import BitImageProcessor, CLIPImageProcessor, SiglipImageProcessor

    llava(**options).save_pretrained(folder)
    square = {"height": SIDE, "width": SIDE}
    if "siglip" in options.get("tower", ""):
        SiglipImageProcessor(size=square).save_pretrained(folder)
    else:
        made, edge = (
            (BitImageProcessor, 41) if "dino" in options.get("tower", "") else (CLIPImageProcessor, SIDE)
        )
        made(size={"shortest_edge": edge}, crop_size=square, image_mean=MEAN, image_std=STD).save_pretrained(
            folder
        )
    write_tokenizer(folder)
    return folder


def write_tokenizer(folder: Path) -> Any:
    """A tokenizer of single letters, with the image's token, in transformers' form."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = [*SPECIAL, "Ġ", *LETTERS]
    inner = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, [], unk_token="<unk>"))
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.ByteLevel(False), decoders.ByteLevel()
    inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="</s>",
        additional_special_tokens=["<image>"],
    )
    made.save_pretrained(folder)
    return made


def picture(seed: int, height: int = SIDE, width: int = SIDE) -> np.ndarray:
    """Smooth random colours, [H, W, 3] uint8."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (4, 4, 3)).astype(np.uint8)
    rows, columns = np.arange(height) * 4 // height, np.arange(width) * 4 // width
    noise = rng.integers(0, 20, (height, width, 3))
    return np.clip(coarse[rows][:, columns].astype(int) + noise, 0, 255).astype(np.uint8)


def pixels(batch: int = 2, seed: int = 0) -> torch.Tensor:
    """Prepared images, [B, 3, H, W]."""
    return torch.randn(batch, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


def opened(**options: Any) -> VisionLanguage:
    """`llava` as paring's parts."""
    return open_vision_language(llava(**options))


def changed(model: VisionLanguage, method: Any, config: Any) -> VisionLanguage:
    """A copy of `model` that a method has nothing against, changed by it."""
    assert method.check(model, config) == []
    found = method.apply(copy.deepcopy(model), config)
    assert isinstance(found, VisionLanguage)
    return found
