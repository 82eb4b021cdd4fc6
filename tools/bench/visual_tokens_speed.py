"""Time to the first token by how many visual tokens QueCC makes of 576, stage by stage, at real shape.

    python tools/bench/visual_tokens_speed.py WORK --export    # once: some minutes, 4 GB on disk
    python tools/bench/visual_tokens_speed.py WORK [--rounds 8] [--threads 2] [--tokens 1 16]

CLIP ViT-L/14 at 336 pixels before a language model of Qwen2-0.5B's shape, weights random: the time is real,
the answers are not. The graphs are those that `paring convert` writes, except that one prefill graph takes
every number of image tokens, so that all are measured in turn over the same weights in memory.

In each round every stage runs once: of the untransformed model encoder and prefill; of the compressed ones
the encoder, the question's pass, and compressor and prefill by number of tokens. "prompt" is their sum;
"constant", whose question is known, is the sum without the question's pass (`paring convert` puts its
compressor into the encoder's graph). "again" is a further question about an image that is encoded already.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from vision_language_speed import IMAGE, IMAGE_TOKEN, TEXT, VISION

import paring_runtimes
from paring_profiles import macs
from paring_profiles.noise import Watch
from paring_profiles.statistics import paired_ratio
from paring_runtimes import Session

STRIDES = {144: 2, 64: 3, 36: 4, 16: 6, 4: 12, 1: 24}  # of 24 x 24 patches
BEFORE, QUESTION = 5, 50
Feeds = dict[str, np.ndarray]


def real_shape() -> Any:
    """The model in parts, weights random."""
    import torch
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    from paring.transforms._vision_language import open_vision_language

    torch.manual_seed(0)
    config = LlavaConfig(
        vision_config=VISION, text_config=TEXT, image_token_id=IMAGE_TOKEN, tie_word_embeddings=True
    )
    return open_vision_language(LlavaForConditionalGeneration(config).eval().requires_grad_(False))


def export(work: Path) -> None:
    """Write every graph, over one file of weights."""
    import torch

    from paring.transforms import query_compressor
    from paring_exporters.language import DATA, write
    from paring_exporters.onnx_graph.shared_data import SharedData
    from paring_exporters.request import DEFAULT_OPSET
    from paring_exporters.vision_language import compressing, graphs

    model = real_shape()
    projector = model.projector
    with SharedData(work / DATA) as data, torch.no_grad():

        def save(name: str, graph: Any) -> None:
            begin = time.perf_counter()
            write(graph, DEFAULT_OPSET, work / f"{name}.onnx", data)
            print(f"{name} exported in {time.perf_counter() - begin:.0f} s", flush=True)

        save("embed", graphs.embed(model))
        reading = graphs.prefill(model)
        reading.shapes[1][1] = "image_length"
        save("prefill", reading)
        save("encoder-whole", graphs.encoder(model))
        for tokens, stride in STRIDES.items():
            model.compressor, model.projector = None, projector
            query_compressor.apply(model, query_compressor.Config(stride))
            assert model.image_tokens == tokens
            if stride == min(STRIDES.values()):  # the same whatever the stride
                save("question", compressing.question(model))
                save("encoder", graphs.encoder(model))
            save(f"compressor-{tokens}", compressing.compressor(model))


@dataclass
class Step:
    """A graph with what it is fed: its times over the rounds and its multiply-accumulates."""

    session: Session
    feeds: Feeds
    spent_s: list[float] = field(default_factory=list)
    macs: int = 0

    def run(self) -> Feeds:
        """Once, timed."""
        begin = time.perf_counter()
        found = self.session.run(self.feeds)
        self.spent_s.append(time.perf_counter() - begin)
        return found

    def count(self) -> Feeds:
        """Multiply-accumulates; what it gives."""
        shapes = {name: value.shape for name, value in self.feeds.items()}
        found = macs.count(self.session.path, shapes, self.feeds)
        assert not found.unknown
        self.macs = found.total
        return self.session.run(self.feeds)


def steps(stack: ExitStack, work: Path, threads: int, counts: list[int]) -> dict[str, Step]:
    """Every stage by name, each fed what the one before it gives."""

    def opened(name: str) -> Session:
        return stack.enter_context(paring_runtimes.load(work / f"{name}.onnx", threads=threads))

    rng = np.random.default_rng(0)
    ids = rng.integers(0, TEXT["vocab_size"], (1, BEFORE + QUESTION))
    side = VISION["image_size"]
    pixels = {"pixel_values": rng.standard_normal((1, 3, side, side)).astype(np.float32)}
    with paring_runtimes.load(work / "embed.onnx", threads=threads) as embed:
        embedded = embed.run({"input_ids": ids})["inputs_embeds"]
    text = {"before": embedded[:, :BEFORE], "after": embedded[:, BEFORE:]}
    found = {
        "encoder, whole": Step(opened("encoder-whole"), pixels),
        "encoder": Step(opened("encoder"), pixels),
        "question": Step(opened("question"), {"input_ids": ids[:, BEFORE:]}),
    }
    whole, patches, asked = (step.count() for step in found.values())
    prefill = opened("prefill")
    found[f"prefill {IMAGE}"] = Step(prefill, {**text, **whole})
    for tokens in counts:
        compressor = found[f"compressor {tokens}"] = Step(
            opened(f"compressor-{tokens}"), {**patches, **asked}
        )
        found[f"prefill {tokens}"] = Step(prefill, {**text, **compressor.count()})
    for name, step in found.items():
        if name.startswith("prefill"):
            step.count()
    return found


def measure(found: dict[str, Step], rounds: int) -> None:
    """Warm up, then time in rounds of random order."""
    for step in found.values():
        step.run()
        step.spent_s.clear()
    for _ in range(rounds):
        for step in random.sample(list(found.values()), len(found)):
            time.sleep(0.05)  # the threads of the one before go to sleep
            step.run()


def tell(found: dict[str, Step], counts: list[int]) -> None:
    """Print each stage with its spread, then every number of tokens against all of them."""
    for name, step in found.items():
        low, middle, high = (value * 1e3 for value in np.quantile(step.spent_s, (0, 0.5, 1)))
        spread = f"{middle:8.1f} ms ({low:.1f} to {high:.1f})"
        print(f"{name:15} {spread}, {step.macs / 1e9:.2f} GMACs")
    for tokens in counts:
        print(f"{tokens} visual tokens: {'; '.join(_gains(found, tokens))}", flush=True)


def _gains(found: dict[str, Step], tokens: int) -> Iterator[str]:
    compressor, prefill, base = f"compressor {tokens}", f"prefill {tokens}", f"prefill {IMAGE}"
    ways = {
        "prefill": ([base], [prefill]),
        "first token, prompt": (["encoder, whole", base], ["encoder", "question", compressor, prefill]),
        "first token, constant": (["encoder, whole", base], ["encoder", compressor, prefill]),
        "again, prompt": ([base], ["question", compressor, prefill]),
        "again, constant": ([base], [prefill]),
    }
    for what, sides in ways.items():
        theirs, ours = (np.sum([found[name].spent_s for name in side], axis=0) for side in sides)
        ideal = np.divide(*(sum(found[name].macs for name in side) for side in sides))
        value, (low, high) = paired_ratio(theirs, ours, 0)
        yield (
            f"{what} {np.median(ours) * 1e3:.0f} ms, {value:.2f} times as fast ({low:.2f} to {high:.2f}),"
            f" ideal {ideal:.2f}, realised / ideal {value / ideal:.2f}"
        )
    share = np.divide(found[compressor].spent_s, found[prefill].spent_s)
    yield f"the compressor is {np.median(share):.1%} ({share.min():.1%} to {share.max():.1%}) of its prefill"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path, help="folder of the graphs")
    parser.add_argument("--export", action="store_true", help="write them, and end")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tokens", type=int, nargs="+", choices=STRIDES, default=list(STRIDES))
    arguments = parser.parse_args()
    if arguments.export:
        arguments.work.mkdir(parents=True, exist_ok=True)
        export(arguments.work)
        return
    random.seed(0)
    with ExitStack() as stack:
        found = steps(stack, arguments.work, arguments.threads, arguments.tokens)
        with Watch() as watch:
            measure(found, arguments.rounds)
    print(f"random weights; {BEFORE} + {QUESTION} tokens of text; {arguments.threads} threads")
    tell(found, arguments.tokens)
    for sentence in watch.sentences(arguments.threads, arguments.threads):
        print(f"noise: {sentence}")


if __name__ == "__main__":
    main()
