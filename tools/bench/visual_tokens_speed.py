"""Time to the first token by how many visual tokens QueCC makes of 576, stage by stage, at real shape.

    python tools/bench/visual_tokens_speed.py WORK --export    # once: some minutes, 4 GB on disk
    python tools/bench/visual_tokens_speed.py WORK [--tokens 144 64 36] [--rounds 4] [--threads 2]

CLIP ViT-L/14 at 336 pixels before a language model of Qwen2-0.5B's shape, weights random: the time is real,
the answers are not. The graphs are those that `paring convert` writes, over one file of weights. Each number
of visual tokens is measured in turn with all 576, by both ways: "prompt", where the language model reads the
question once more for the compressor, and "constant", where the compressor is in the encoder's graph. An
image that is encoded already leaves the encoder out ("again").
"""

from __future__ import annotations

import argparse
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
WAYS = ("prompt", "constant")


def real_shape() -> Any:
    """The model in parts, weights random, and text that reads as ids."""
    import torch
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    from paring.transforms._vision_language import open_vision_language

    torch.manual_seed(0)
    config = LlavaConfig(
        vision_config=VISION, text_config=TEXT, image_token_id=IMAGE_TOKEN, tie_word_embeddings=True
    )
    model = open_vision_language(LlavaForConditionalGeneration(config).eval().requires_grad_(False))
    model.text_ids = lambda text: [ord(letter) for letter in text]
    return model


def export(work: Path) -> None:
    """Write every graph once: those of 576 tokens, then the compressors', one stride after the other."""
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
        save(f"encoder-{IMAGE}", graphs.encoder(model))
        save(f"prefill-{IMAGE}", graphs.prefill(model))
        for tokens, stride in STRIDES.items():
            for way in WAYS:
                prompt = "what is in the picture?" if way == "constant" else None
                config = query_compressor.Config(stride, text=way, prompt=prompt)
                model.compressor, model.projector, model.prompt_state = None, projector, None
                assert not query_compressor.check(model, config)
                query_compressor.apply(model, config)
                assert model.image_tokens == tokens
                if way == "constant":
                    save(f"encoder-constant-{tokens}", graphs.encoder(model))
                    continue
                if not (work / "question.onnx").exists():  # the same whatever the stride
                    save("question", compressing.question(model))
                    save("encoder-prompt", graphs.encoder(model))
                save(f"compressor-{tokens}", compressing.compressor(model))
                save(f"prefill-{tokens}", graphs.prefill(model))


@dataclass
class Chain:
    """One way to the first token: graphs in order, each taking what those before it gave."""

    name: str
    stages: dict[str, Session]
    spent_s: dict[str, list[float]] = field(default_factory=dict)
    macs: dict[str, int] = field(default_factory=dict)

    def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Everything that was fed and given; the stages' times are kept."""
        held = dict(feeds)
        for stage, session in self.stages.items():
            own = {spec.name: held[spec.name] for spec in session.inputs}
            begin = time.perf_counter()
            held |= session.run(own)
            self.spent_s.setdefault(stage, []).append(time.perf_counter() - begin)
        return held

    def count(self, feeds: dict[str, np.ndarray]) -> None:
        """Multiply-accumulates of each stage."""
        held = self.run(feeds)
        for stage, session in self.stages.items():
            own = {spec.name: held[spec.name] for spec in session.inputs}
            found = macs.count(session.path, {name: value.shape for name, value in own.items()}, own)
            assert not found.unknown
            self.macs[stage] = found.total

    def total_s(self, without: str = "") -> np.ndarray:
        """Each round's time to the first token."""
        series = [np.array(spent) for stage, spent in self.spent_s.items() if stage != without]
        return np.sum(series, axis=0)

    def total_macs(self, without: str = "") -> int:
        """Of all stages."""
        return sum(count for stage, count in self.macs.items() if stage != without)


def chains(stack: ExitStack, work: Path, tokens: int, threads: int) -> list[Chain]:
    """All 576 tokens, then both ways to `tokens` of them; graphs in common are opened once."""

    def opened(name: str) -> Session:
        return stack.enter_context(paring_runtimes.load(work / f"{name}.onnx", threads=threads))

    prefill = opened(f"prefill-{tokens}")
    asking = {
        "encoder": opened("encoder-prompt"),
        "question": opened("question"),
        "compressor": opened(f"compressor-{tokens}"),
        "prefill": prefill,
    }
    whole = {"encoder": opened(f"encoder-{IMAGE}"), "prefill": opened(f"prefill-{IMAGE}")}
    constant = {"encoder": opened(f"encoder-constant-{tokens}"), "prefill": prefill}
    return [
        Chain(f"{IMAGE} tokens", whole),
        Chain(f"{tokens} tokens, prompt", asking),
        Chain(f"{tokens} tokens, constant", constant),
    ]


def prompt(work: Path, threads: int) -> dict[str, np.ndarray]:
    """Pixels and a text of random ids."""
    rng = np.random.default_rng(0)
    ids = rng.integers(0, TEXT["vocab_size"], (1, BEFORE + QUESTION))
    with paring_runtimes.load(work / "embed.onnx", threads=threads) as embed:
        embedded = embed.run({"input_ids": ids})["inputs_embeds"]
    pixels = rng.standard_normal((1, 3, VISION["image_size"], VISION["image_size"])).astype(np.float32)
    text = {"before": embedded[:, :BEFORE], "after": embedded[:, BEFORE:]}
    return {"pixel_values": pixels, "input_ids": ids[:, BEFORE:], **text}


def measure(every: list[Chain], feeds: dict[str, np.ndarray], rounds: int) -> None:
    """Count and warm up, then time in rounds, the order turned in each."""
    for chain in every:
        chain.count(feeds)
        chain.spent_s.clear()
    for number in range(rounds):
        for chain in every[number % len(every) :] + every[: number % len(every)]:
            time.sleep(0.15)  # the threads of the one before go to sleep
            chain.run(feeds)


def tell(every: list[Chain]) -> None:
    """Print each chain's stages with their spread, and the gain against the first."""
    base, *others = every
    for chain in every:
        print(f"{chain.name}: {'; '.join(_stages(chain))}", flush=True)
    for chain in others:
        print(f"  {chain.name}: {'; '.join(_gains(base, chain))}", flush=True)


def _stages(chain: Chain) -> Iterator[str]:
    for stage, spent in chain.spent_s.items():
        low, middle, high = (float(value) * 1e3 for value in np.quantile(spent, (0, 0.5, 1)))
        yield f"{stage} {middle:.1f} ms ({low:.1f} to {high:.1f}), {chain.macs[stage] / 1e9:.2f} GMACs"
    yield f"first token {float(np.median(chain.total_s())) * 1e3:.0f} ms"


def _gains(base: Chain, chain: Chain) -> Iterator[str]:
    whole, own = (np.array(one.spent_s["prefill"]) for one in (base, chain))
    yield _gain("prefill", whole, own, base.macs["prefill"] / chain.macs["prefill"])
    yield _gain("first token", base.total_s(), chain.total_s(), base.total_macs() / chain.total_macs())
    kept = "encoder"
    ideal = base.total_macs(kept) / chain.total_macs(kept)
    yield _gain("first token again", base.total_s(kept), chain.total_s(kept), ideal)
    if "compressor" in chain.spent_s:
        share = np.median(np.array(chain.spent_s["compressor"]) / own)
        asked = np.median(np.array(chain.spent_s["question"]) / own)
        yield f"compressor {share:.1%} and question {asked:.1%} of its prefill"


def _gain(what: str, theirs: np.ndarray, ours: np.ndarray, ideal: float) -> str:
    value, (low, high) = paired_ratio(theirs, ours, 0)
    return (
        f"{what} {value:.2f} times as fast ({low:.2f} to {high:.2f}), ideal by MACs {ideal:.2f},"
        f" realised / ideal {value / ideal:.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path, help="folder of the graphs")
    parser.add_argument("--export", action="store_true", help="write them, and end")
    parser.add_argument("--tokens", type=int, nargs="+", choices=tuple(STRIDES), default=list(STRIDES))
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    if arguments.export:
        arguments.work.mkdir(parents=True, exist_ok=True)
        export(arguments.work)
        return
    feeds = prompt(arguments.work, arguments.threads)
    print(f"random weights; {BEFORE} + {QUESTION} tokens of text; {arguments.threads} threads")
    for tokens in arguments.tokens:
        with ExitStack() as stack, Watch() as watch:
            every = chains(stack, arguments.work, tokens, arguments.threads)
            measure(every, feeds, arguments.rounds)
        tell(every)
        for sentence in watch.sentences(arguments.threads, arguments.threads):
            print(f"noise: {sentence}")


if __name__ == "__main__":
    main()
