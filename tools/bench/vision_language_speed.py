"""What MustDrop saves in a LLaVA of real shape, stage by stage: MACs, time and key-value cache, in turn.

    python tools/bench/vision_language_speed.py WORK --convert    # once: some minutes an artifact, 3.3 GB
    python tools/bench/vision_language_speed.py WORK [--rounds 8] [--threads 2]

CLIP ViT-L/14 at 336 pixels (576 image tokens) before a language model of Qwen2-0.5B's shape, weights random:
the time is real, the choice of tokens is not. Text is 64 tokens, 5 of them before the image. Variants are
named by how many image tokens a layer of the language model works on, on average. Each group of
artifacts is measured in turn with the untransformed one; encoder and prefill are timed apart. `--group N`
measures one.
"""

from __future__ import annotations

import argparse
import random
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

import paring
import paring_runtimes
from paring_profiles import macs
from paring_profiles.noise import Watch
from paring_profiles.statistics import paired_ratio
from paring_runtimes import Session

VISION = {
    "model_type": "clip_vision_model", "hidden_size": 1024, "intermediate_size": 4096,
    "num_hidden_layers": 24, "num_attention_heads": 16, "image_size": 336, "patch_size": 14,
    "projection_dim": 768,
}  # fmt: skip
TEXT = {
    "model_type": "qwen2", "vocab_size": 151936, "hidden_size": 896, "intermediate_size": 4864,
    "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2, "rope_theta": 1e6,
    "max_position_embeddings": 4096, "tie_word_embeddings": True, "bos_token_id": 151643,
    "eos_token_id": 151645,
}  # fmt: skip
IMAGE_TOKEN, LAYERS, IMAGE = 151646, 24, 576
AFTER = (2, 6, 10, 14)  # MustDrop's layers
PROMPT, BEFORE = 64, 5
BASELINE = "baseline"
GROUPS = (
    (BASELINE, "all-192", "all-128", "all-64"),
    (BASELINE, "windows-192", "text-192", "text-cache-192"),
    (BASELINE, "windows-128", "text-128", "text-cache-128"),
    (BASELINE, "windows-64"),  # the text stage alone cannot: layers 0 to 2 read 576 tokens, 72 on average
)


def budgets(image: int, average: float, layers: int = LAYERS, after: tuple[int, ...] = AFTER) -> list[int]:
    """Image tokens left after each stage, in geometric decline, so that a layer has `average` on average."""
    ends = [layer + 1 for layer in after]
    spans = [b - a for a, b in zip(ends, [*ends[1:], layers], strict=True)]
    low, high = 0.0, 1.0
    for _ in range(60):
        ratio = (low + high) / 2
        total = image * (ends[0] + sum(span * ratio ** (i + 1) for i, span in enumerate(spans)))
        low, high = (ratio, high) if total < average * layers else (low, ratio)
    return [max(1, round(image * low ** (i + 1))) for i in range(len(after))]


def variants() -> dict[str, list[dict[str, Any]]]:
    """The steps of each artifact."""

    def all_stages(average: int, windows: int) -> list[dict[str, Any]]:
        left = IMAGE - 8 * windows
        drop = {
            "layers": list(AFTER),
            "budgets": budgets(left, average),
            "key_share": 0.08,
            "trim_cache": True,
        }
        return [{"window_merge": {"r": windows}}, {"must_drop": drop}]

    def text(average: int, trim: bool = False) -> list[dict[str, Any]]:
        drop = {"layers": list(AFTER), "budgets": budgets(IMAGE, average), "trim_cache": trim}
        return [{"must_drop": drop}]

    return {
        BASELINE: [],
        "all-192": all_stages(192, 24),
        "all-128": all_stages(128, 32),
        "all-64": all_stages(64, 48),
        **{f"windows-{left}": [{"window_merge": {"r": (IMAGE - left) // 8}}] for left in (192, 128, 64)},
        **{f"text-{average}": text(average) for average in (192, 128)},
        **{f"text-cache-{average}": text(average, trim=True) for average in (192, 128)},
    }


def build(folder: Path, vision: dict[str, Any], text: dict[str, Any], image_token: int) -> Path:
    """Write a LLaVA with random weights as transformers does."""
    import torch
    from transformers import CLIPImageProcessor, LlavaConfig, LlavaForConditionalGeneration

    if not folder.exists():
        torch.manual_seed(0)
        names = ["LlavaForConditionalGeneration"]
        config = LlavaConfig(
            vision_config=vision, text_config=text, image_token_id=image_token, architectures=names,
            tie_word_embeddings=bool(text.get("tie_word_embeddings")),
        )  # fmt: skip
        LlavaForConditionalGeneration(config).save_pretrained(folder)
        side = vision["image_size"]
        cut = {"height": side, "width": side}
        CLIPImageProcessor(size={"shortest_edge": side}, crop_size=cut).save_pretrained(folder)
    return folder


def convert(work: Path, source: Path, steps: dict[str, list[dict[str, Any]]], prompt: int = PROMPT) -> None:
    """Make the artifacts that are not there yet."""
    verify = {"batch_sizes": [1], "prompt_lengths": [prompt], "seeds": [0], "steps": 1}
    for name, transforms in steps.items():
        if (work / name).exists():
            continue
        begin = time.perf_counter()
        export = {"baseline": False}
        paring.convert(f"hf:{source}", work / name, transforms=transforms, export=export, verify=verify)
        print(f"{name} converted in {time.perf_counter() - begin:.0f} s", flush=True)


@dataclass
class Case:
    """One artifact: its two graphs with their feeds, and what was measured."""

    name: str
    folder: Path
    encoder: Session
    prefill: Session
    feeds: dict[str, np.ndarray] = field(default_factory=dict)
    encoder_s: list[float] = field(default_factory=list)
    prefill_s: list[float] = field(default_factory=list)
    cache_bytes: int = 0
    macs: tuple[int, int] = (0, 0)

    def run(self, pixels: np.ndarray) -> None:
        """Encode and read once; the two times are kept."""
        begin = time.perf_counter()
        found = self.encoder.run({"pixel_values": pixels})
        middle = time.perf_counter()
        made = self.prefill.run({**self.feeds, **found})
        end = time.perf_counter()
        self.encoder_s.append(middle - begin)
        self.prefill_s.append(end - middle)
        self.cache_bytes = sum(value.nbytes for name, value in made.items() if name.startswith("present"))

    def count(self, pixels: np.ndarray) -> None:
        """Multiply-accumulates of encoder and prefill."""
        found = self.encoder.run({"pixel_values": pixels})
        feeds = {**self.feeds, **found}
        encoder = macs.count(self.folder / "encoder.onnx", {"pixel_values": pixels.shape})
        read = macs.count(self.folder / "prefill.onnx", {n: a.shape for n, a in feeds.items()}, feeds)
        assert not encoder.unknown + read.unknown
        self.macs = encoder.total, read.total


def open_cases(stack: ExitStack, work: Path, names: tuple[str, ...], threads: int, prompt: int) -> list[Case]:
    """Open the graphs that read a prompt; encoders that are the same file are opened once."""
    encoders: dict[str, Session] = {}
    cases = []
    for name in names:
        folder = work / name
        mark = sha256((folder / "encoder.onnx").read_bytes()).hexdigest()
        if mark not in encoders:
            opened = paring_runtimes.load(folder / "encoder.onnx", threads=threads)
            encoders[mark] = stack.enter_context(opened)
        prefill = stack.enter_context(paring_runtimes.load(folder / "prefill.onnx", threads=threads))
        cases.append(Case(name, folder, encoders[mark], prefill))
    with paring_runtimes.load(work / names[0] / "embed.onnx", threads=threads) as embed:
        vocabulary = paring_runtimes.read_manifest(work / names[0]).graph["generation"]["vocab_size"]
        ids = np.random.default_rng(0).integers(0, vocabulary, (1, prompt))
        embedded = embed.run({"input_ids": ids})["inputs_embeds"]
    for case in cases:
        case.feeds = {"before": embedded[:, :BEFORE], "after": embedded[:, BEFORE:]}
    return cases


def measure(cases: list[Case], pixels: np.ndarray, rounds: int) -> None:
    """Warm up, then time in rounds of random order."""
    for case in cases:
        case.run(pixels)
        case.encoder_s.clear()
        case.prefill_s.clear()
    for _ in range(rounds):
        for case in random.sample(cases, len(cases)):
            time.sleep(0.15)  # the threads of the one before go to sleep
            case.run(pixels)


def tell(cases: list[Case]) -> None:
    """Print a line for each artifact, against the first."""
    base = cases[0]
    for case in cases:
        image = paring_runtimes.read_manifest(case.folder).graph["generation"]["image"]
        middle = [float(np.median(series)) * 1e3 for series in (case.encoder_s, case.prefill_s)]
        print(
            f"{case.name:15} encoder {middle[0]:8.1f} ms, prefill {middle[1]:8.1f} ms; {image['tokens']}"
            f" image tokens enter; {case.macs[0] / 1e9:.1f} + {case.macs[1] / 1e9:.1f} GMACs; cache"
            f" {case.cache_bytes / 1e6:.2f} MB"
        )
        if case is not base:
            print(f"{'':15} {_against(base, case)}", flush=True)


def _against(base: Case, case: Case) -> str:
    both = [np.array(one.encoder_s) + np.array(one.prefill_s) for one in (base, case)]
    series = {
        "prefill": (np.array(base.prefill_s), np.array(case.prefill_s)),
        "encoder + prefill": tuple(both),
    }
    ideals = {"prefill": base.macs[1] / case.macs[1], "encoder + prefill": sum(base.macs) / sum(case.macs)}
    parts = []
    for what, (theirs, ours) in series.items():
        value, (low, high) = paired_ratio(theirs, ours, 0)
        ideal = ideals[what]
        parts.append(
            f"{what}: MACs off {1 - 1 / ideal:.1%}, {value:.3f} times as fast ({low:.3f} to {high:.3f}),"
            f" ideal {ideal:.3f}, realised / ideal {value / ideal:.2f}"
        )
    return "; ".join([*parts, f"cache off {1 - case.cache_bytes / base.cache_bytes:.1%}"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path, help="folder of the artifacts")
    parser.add_argument("--convert", action="store_true", help="make what is missing, and end")
    parser.add_argument("--group", type=int, choices=range(1, len(GROUPS) + 1), help="measure only this one")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    if arguments.convert:
        convert(arguments.work, build(arguments.work / "source", VISION, TEXT, IMAGE_TOKEN), variants())
        return
    pixels = np.random.default_rng(0).standard_normal((1, 3, 336, 336)).astype(np.float32)
    wanted = GROUPS if arguments.group is None else GROUPS[arguments.group - 1 :][:1]
    for names in wanted:
        with ExitStack() as stack:
            cases = open_cases(stack, arguments.work, names, arguments.threads, PROMPT)
            with Watch() as watch:
                measure(cases, pixels, arguments.rounds)
            for case in cases:
                case.count(pixels)
        tell(cases)
        for sentence in watch.sentences(arguments.threads, arguments.threads):
            print(f"noise: {sentence}")


if __name__ == "__main__":
    main()
