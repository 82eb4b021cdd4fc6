"""The small VLM while it is trained: cached features, a language model with adapters, what reads patches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from rows import Batch
from torch import nn
from torch.nn import functional as F

from paring.recover._loss import divergence
from paring.transforms._query_compressor import QueryCompressor, Regions, Widths

LEVELS = (6, 8, 10, 11)  # hidden states of the tower that keys and values are made of; the last is also x
GRID = (16, 16)
STRIDES = {1: 16, 4: 8, 16: 4, 36: 3}  # visual tokens: patches a side of a region
INNER, RANK = 256, 8
ADAPTED = ("q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def dtype_on(device: torch.device) -> torch.dtype:
    """Of frozen weights and of what is computed with them."""
    return torch.float32 if device.type == "cpu" else torch.bfloat16


@torch.inference_mode()
def features(folder: Path, images: list[np.ndarray], device: torch.device) -> torch.Tensor:
    """What the frozen tower makes of the images: [images, 256, 4 * 384], the levels side by side, bf16."""
    from transformers import Dinov2Model

    dtype = dtype_on(device)
    tower = Dinov2Model.from_pretrained(folder).to(device, dtype).eval()
    mean, std = (torch.tensor(own, device=device).view(3, 1, 1) for own in (MEAN, STD))
    found = torch.empty(len(images), 256, len(LEVELS) * 384, dtype=torch.bfloat16, device=device)
    for at in range(0, len(images), 64):
        pixels = torch.from_numpy(np.stack(images[at : at + 64])).to(device).permute(0, 3, 1, 2) / 255
        hidden = tower(((pixels - mean) / std).to(dtype), output_hidden_states=True).hidden_states
        found[at : at + 64] = torch.cat([hidden[level][:, 1:] for level in LEVELS], -1)
    return found


def language_model(folder: Path, device: torch.device) -> Any:
    """SmolLM2 with low-rank adapters; its own weights are frozen, in bf16 on a GPU."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    packed = next(folder.glob("*.gguf"), None)
    told = {} if packed is None else {"gguf_file": packed.name}
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype_on(device), **told).to(device)
    config = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=list(ADAPTED), bias="none")
    return get_peft_model(model, config)


class Parts(nn.Module):
    """What is trained beside the adapters: a projector of single patches, a compressor of regions.

    One compressor serves every count of tokens; only the convolution that makes the queries is each its own.
    """

    def __init__(self, width: int = 384, output: int = 576) -> None:
        super().__init__()
        self.width = width
        self.projector = nn.Sequential(nn.Linear(width, output), nn.GELU(), nn.Linear(output, output))
        widths = Widths(width, len(LEVELS) * width, output, INNER, output)
        self.compressors = nn.ModuleDict()
        for tokens, stride in STRIDES.items():
            own = QueryCompressor(widths, Regions(GRID, stride))
            first = next(iter(self.compressors.values()), None)
            if first is not None:
                for name, module in first.named_children():
                    if name != "down":
                        setattr(own, name, module)
            self.compressors[str(tokens)] = own

    def forward(self, levels: torch.Tensor, tokens: int, state: torch.Tensor | None) -> torch.Tensor:
        """levels [B, 256, L * C], state [B, 1, C_text] -> [B, tokens, C_text]; 256 tokens need no state."""
        x = levels[..., -self.width :]
        if tokens == GRID[0] * GRID[1]:
            projected: torch.Tensor = self.projector(x)
            return projected
        compressed: torch.Tensor = self.compressors[str(tokens)](x, levels, state)
        return compressed

    def region_mean(self, levels: torch.Tensor, tokens: int) -> torch.Tensor:
        """The training-free way to `tokens` tokens: each region's mean through the projector."""
        regions = Regions(GRID, STRIDES[tokens])
        real = regions.real().to(levels.device, levels.dtype)[None, :, :, None]
        x = regions.split(levels[..., -self.width :])
        mean: torch.Tensor = self.projector((x * real).sum(2) / real.sum(2))
        return mean


def question_state(lm: Any, batch: Batch) -> torch.Tensor:
    """The language model's last hidden state after the question alone, [B, 1, C]; no gradient."""
    with torch.no_grad():
        hidden = lm.base_model.model.model(input_ids=batch.after, use_cache=False).last_hidden_state
    return hidden[torch.arange(len(hidden), device=hidden.device), batch.last][:, None]


def answer_logits(lm: Any, before: torch.Tensor, image: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Logits [answer tokens of all rows, V] where the next token is of an answer."""
    embed = lm.get_input_embeddings()
    rows = len(batch.after)
    text = embed(batch.after)
    given = torch.cat([embed(before).expand(rows, -1, -1), image.to(text.dtype), text], 1)
    hidden = lm.base_model.model.model(inputs_embeds=given, use_cache=False).last_hidden_state
    ahead = hidden[:, len(before) + image.shape[1] - 1 : -1]  # what stands before each token of `after`
    logits: torch.Tensor = lm.base_model.model.lm_head(ahead[batch.asked])
    return logits


def loss_of(logits: torch.Tensor, batch: Batch, teacher: torch.Tensor | None = None) -> torch.Tensor:
    """Cross-entropy of the answers, and with a teacher's logits the divergence from it."""
    loss = F.cross_entropy(logits.float(), batch.after[batch.asked])
    if teacher is None:
        return loss
    return loss + divergence(logits.float(), teacher.detach().float(), 1.0)
