"""Train the small VLM: a frozen ViT-S/14, a projector or QueCC's compressor, SmolLM2-135M with adapters.

    python tools/assets/small_vlm/train.py OUT --vit FOLDER --llm FOLDER --easy-vqa WHEEL [--minutes 7]
        [--scenes 10000] [--batch 128] [--device cuda] [--init FILE] [--whole 0.4] [--more number=3]
        [--alone] [--compile]

Every step reads a batch of easy-VQA and of composed scenes with all 256 patches (cross-entropy of the
answers) and, behind the share `--whole` of the time, with two smaller counts of visual tokens, whose
compressor also learns from the logits at 256. First projector and compressor learn alone, then with the
adapters. `--alone` trains the compressors by themselves, all counts in a step. The schedule follows the time
that is given, so that a slower device makes fewer steps. OUT gets `small_vlm.safetensors`, fp16: what was
trained, and `small_vlm.json`: accuracy on images that were not seen in training, by kind and by count.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import defaultdict
from contextlib import AbstractContextManager
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from peft import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import rows as data
from fashion_mnist import FOLDER
from parts import (
    GRID,
    STRIDES,
    Parts,
    answer_logits,
    dtype_on,
    features,
    language_model,
    loss_of,
    question_state,
)
from trained import compressor_of, part
from transformers import AutoTokenizer

WHOLE = GRID[0] * GRID[1]
ALONE = 0.12  # share of the time in which the adapters rest
RATES = {"parts": 1e-3, "adapters": 8e-4}
WARM_UP = 0.03


def rate(share: float, begin: float = 0.0) -> float:
    """The factor of a learning rate: warm-up, then half a cosine. `share` of the time has passed."""
    if share < begin:
        return 0.0
    own = (share - begin) / (1 - begin)
    return min(own / WARM_UP, 0.5 * (1 + math.cos(math.pi * min(own, 1.0))))


def weight(told: str) -> tuple[str, int]:
    """`number=3` as a kind of question and how often it is read."""
    kind, _, times = told.partition("=")
    return kind, int(times)


def adapters_of(lm: Any) -> list[torch.nn.Parameter]:
    """What is trained of the language model."""
    return [own for own in lm.parameters() if own.requires_grad]


class Trainer:
    """The loop's state."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.device = torch.device(arguments.device)
        torch.manual_seed(arguments.seed)
        packed = next(arguments.llm.glob("*.gguf"), None)
        told = {} if packed is None else {"gguf_file": packed.name}
        tokenizer = AutoTokenizer.from_pretrained(arguments.llm, **told)
        mnist = arguments.fashion_mnist
        sets = {
            "train": [
                data.easy_vqa(arguments.easy_vqa, "train", arguments.easy_images),
                data.scenes("train", 1, arguments.scenes, mnist),
            ],
            "test": [
                data.easy_vqa(arguments.easy_vqa, "test", arguments.easy_images // 4),
                data.scenes("t10k", 7, arguments.scenes // 20, mnist),
            ],
        }
        self.images, self.rows = {}, {}
        for name, parts in sets.items():
            images, rows = data.joined(parts)
            self.rows[name] = data.Rows(rows, tokenizer)
            self.images[name] = features(arguments.vit, images, self.device)
            print(f"{name}: {len(images)} images, {len(rows)} questions", flush=True)
        self.lm = language_model(arguments.llm, self.device)
        self.parts = Parts().to(self.device)
        if arguments.compile:  # eager, the memory's speed limits the small layers
            for layer in self.lm.base_model.model.model.layers:
                layer.compile(dynamic=True)
        self.before = torch.tensor(self.rows["train"].before, device=self.device)
        self.groups = {"parts": list(self.parts.parameters()), "adapters": adapters_of(self.lm)}
        if arguments.alone:
            self.groups = {"parts": list(self.parts.compressors.parameters()), "adapters": []}
            for resting in (*adapters_of(self.lm), *self.parts.projector.parameters()):
                resting.requires_grad_(False)
        self.optimizer = torch.optim.AdamW(
            [{"params": own, "name": name} for name, own in self.groups.items()], weight_decay=0.01
        )

    def autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.device.type != "cpu", cache_enabled=False
        )

    def step(self, places: torch.Tensor, counts: tuple[int, ...]) -> dict[int, torch.Tensor]:
        """One step; the losses by count of tokens."""
        batch = self.rows["train"].batch(places, self.device)
        with self.autocast():
            levels = self.images["train"][batch.image].to(dtype_on(self.device))
            teacher = answer_logits(self.lm, self.before, self.parts(levels, WHOLE, None), batch)
            losses = {WHOLE: loss_of(teacher, batch)}
            losses[WHOLE].backward()
            state = question_state(self.lm, batch) if counts else None
            for tokens in counts:
                logits = answer_logits(self.lm, self.before, self.parts(levels, tokens, state), batch)
                losses[tokens] = loss_of(logits, batch, teacher)
                losses[tokens].backward()
        self.update()
        return {tokens: loss.detach() for tokens, loss in losses.items()}

    def step_alone(self, places: torch.Tensor) -> dict[int, torch.Tensor]:
        """One step of the compressors by themselves, every count; projector and adapters rest."""
        batch = self.rows["train"].batch(places, self.device)
        losses = {}
        with self.autocast():
            levels = self.images["train"][batch.image].to(dtype_on(self.device))
            state = question_state(self.lm, batch)
            for tokens in STRIDES:
                logits = answer_logits(self.lm, self.before, self.parts(levels, tokens, state), batch)
                losses[tokens] = loss_of(logits, batch)
                losses[tokens].backward()
        self.update()
        return {tokens: loss.detach() for tokens, loss in losses.items()}

    def update(self) -> None:
        """The optimizer's step; gradients are clipped together and forgotten."""
        learning = [own for group in self.groups.values() for own in group if own.grad is not None]
        torch.nn.utils.clip_grad_norm_(learning, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def train(self, arguments: argparse.Namespace) -> int:
        """Steps until the time is over; how many they were."""
        begin, step = monotonic(), 0
        rows = self.rows["train"].weighted(dict(arguments.more))
        stream = data.places(rows, arguments.batch, torch.Generator().manual_seed(arguments.seed))
        alone = ALONE if arguments.init is None else 0.0
        while (share := (monotonic() - begin) / (60 * arguments.minutes)) < 1:
            for group in self.optimizer.param_groups:
                after = alone if group["name"] == "adapters" else 0.0
                group["lr"] = RATES[group["name"]] * rate(share, after)
            places = next(stream)
            counts = () if share < arguments.whole else ((1, 16), (4, 36))[step % 2]
            losses = self.step_alone(places) if arguments.alone else self.step(places, counts)
            step += 1
            if step % 50 == 0:
                told = ", ".join(f"{tokens}: {loss:.3f}" for tokens, loss in losses.items())
                print(f"step {step}, {monotonic() - begin:.0f} s, loss {told}", flush=True)
        return step

    @torch.inference_mode()
    def accuracy(self, tokens: int, most: int, size: int, mean: bool = False) -> dict[str, Any]:
        """Share of held-out questions whose whole answer is the likeliest, token by token."""
        rows = self.rows["test"]
        right: dict[str, list[bool]] = defaultdict(list)
        chosen = torch.linspace(0, len(rows) - 1, min(most, len(rows))).long()
        for places in chosen.split(size):
            batch = rows.batch(places, self.device)
            with self.autocast():
                levels = self.images["test"][batch.image].to(dtype_on(self.device))
                state = None if mean or tokens == WHOLE else question_state(self.lm, batch)
                image = self.parts.region_mean(levels, tokens) if mean else self.parts(levels, tokens, state)
                logits = answer_logits(self.lm, self.before, image, batch)
            wrong = torch.zeros_like(batch.asked, dtype=torch.int64)
            wrong[batch.asked] = (logits.argmax(-1) != batch.after[batch.asked]).long()
            for place, fault in zip(places.tolist(), wrong.sum(1).tolist(), strict=True):
                right[rows.rows[place].kind].append(fault == 0)
        every = [own for kind in right.values() for own in kind]
        told = {kind: round(sum(own) / len(own), 4) for kind, own in sorted(right.items())}
        return {"all": round(sum(every) / len(every), 4), "questions": len(every), "kinds": told}

    def load(self, file: Path) -> None:
        """What `save` wrote."""
        state = {name: own.float() for name, own in load_file(file).items()}
        set_peft_model_state_dict(self.lm, part(state, "adapters."))
        self.parts.projector.load_state_dict(part(state, "projector."))
        for tokens in STRIDES:
            self.parts.compressors[str(tokens)].load_state_dict(compressor_of(state, tokens))

    def save(self, folder: Path) -> None:
        """What was trained, once each, fp16."""
        state = {f"adapters.{name}": own for name, own in get_peft_model_state_dict(self.lm).items()}
        state |= {f"projector.{name}": own for name, own in self.parts.projector.state_dict().items()}
        for tokens in STRIDES:
            for name, own in self.parts.compressors[str(tokens)].state_dict().items():
                state[f"down.{tokens}.{name[5:]}" if name.startswith("down.") else f"compressor.{name}"] = own
        halves = {name: own.detach().to("cpu", torch.float16).contiguous() for name, own in state.items()}
        save_file(halves, folder / "small_vlm.safetensors")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--vit", type=Path, required=True)
    parser.add_argument("--llm", type=Path, required=True)
    parser.add_argument("--easy-vqa", type=Path, required=True)
    parser.add_argument("--fashion-mnist", type=Path, default=FOLDER)
    parser.add_argument("--minutes", type=float, default=7.0)
    parser.add_argument("--scenes", type=int, default=10_000)
    parser.add_argument("--easy-images", type=int, default=4000)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--held-out", type=int, default=4000, help="questions to measure by")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--init", type=Path, help="go on from a small_vlm.safetensors, with new rates")
    parser.add_argument("--whole", type=float, default=0.0, help="share of the time with 256 tokens only")
    parser.add_argument("--more", type=weight, nargs="*", default=[], help="KIND=N: its questions N times")
    parser.add_argument("--alone", action="store_true", help="the compressors learn by themselves")
    parser.add_argument("--compile", action="store_true")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(arguments)
    if arguments.init is not None:
        trainer.load(arguments.init)
    steps = trainer.train(arguments)
    trainer.save(arguments.output)
    told: dict[str, Any] = {"steps": steps, "batch": arguments.batch, "trained": {}, "region_mean": {}}
    for tokens in (WHOLE, *STRIDES):
        told["trained"][tokens] = trainer.accuracy(tokens, arguments.held_out, arguments.batch)
        if tokens != WHOLE:
            told["region_mean"][tokens] = trainer.accuracy(
                tokens, arguments.held_out, arguments.batch, mean=True
            )
        print(tokens, told["trained"][tokens], told["region_mean"].get(tokens), flush=True)
        (arguments.output / "small_vlm.json").write_text(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    main()
