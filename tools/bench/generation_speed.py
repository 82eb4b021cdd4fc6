"""Tokens a second of `GenerativeSession.generate` against optimum's `ORTModelForCausalLM.generate`, in turn.

    python tools/bench/generation_speed.py MODEL WORK [--rounds 8] [--threads 2]

MODEL is a transformers folder or a GGUF file (dequantised by transformers). Into WORK go, once, our artifact
and optimum's own export of the same model. Four ways answer the same random prompts, in an order that is
shuffled anew every round: paring over the in-place cache, paring over the growing one, optimum with its own
export, and optimum with our model.onnx. A ratio is taken inside of its round; told are medians with 95 %
intervals. "step" is what a token after the first takes: (whole - first token) / (new tokens - 1).
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

import paring
import paring_runtimes
from paring_profiles.noise import Watch
from paring_profiles.statistics import median_ci95, paired_ratio
from paring_runtimes import GenerativeSession

Answer = Callable[[list[int], int], list[int]]  # a prompt, how many new tokens -> those tokens
OURS, GROWING, THEIRS, MIXED = "paring", "paring, growing", "optimum", "optimum, our file"
PROMPTS, NEW = (32, 512), 64


def prepare(model: Path, work: Path) -> tuple[Path, Path]:
    """Return our artifact and optimum's export, made where they are not there yet."""
    ours, theirs = work / "paring", work / "optimum"
    source = _dequantised(model, work / "source") if model.suffix == ".gguf" else model
    if not ours.exists():
        verify = {"batch_sizes": [1], "prompt_lengths": [32], "seeds": [0], "steps": 2}
        paring.convert(f"hf:{source}", ours, verify=verify)
    if not theirs.exists():
        from optimum.exporters.onnx import main_export

        main_export(str(source), theirs, task="text-generation-with-past", do_validation=False)
    return ours, theirs


def _dequantised(file: Path, folder: Path) -> Path:
    if not folder.exists():
        from transformers import AutoModelForCausalLM, AutoTokenizer

        told: dict[str, Any] = {"gguf_file": file.name}
        AutoTokenizer.from_pretrained(file.parent, **told).save_pretrained(folder)
        AutoModelForCausalLM.from_pretrained(file.parent, **told).float().save_pretrained(folder)
    return folder


def ways(ours: Path, theirs: Path, threads: int) -> dict[str, Answer]:
    """Return the four ways to answer; none of them ends at an end token."""
    session = paring_runtimes.load(ours, threads=threads)
    assert isinstance(session, GenerativeSession)
    session.model = replace(session.model, eos_token_ids=())
    return {
        OURS: _paring(session, "in_place"),
        GROWING: _paring(session, "concat"),
        THEIRS: _optimum(theirs, threads),
        MIXED: _optimum(ours, threads),
    }


def _paring(session: GenerativeSession, cache: str) -> Answer:
    def answer(prompt: list[int], count: int) -> list[int]:
        (found,) = session.generate(prompt, max_new_tokens=count, cache=cache)
        return list(found.token_ids)

    return answer


def _optimum(folder: Path, threads: int) -> Answer:
    import onnxruntime
    import torch
    from optimum.onnxruntime import ORTModelForCausalLM

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    model = ORTModelForCausalLM.from_pretrained(folder, file_name="model.onnx", session_options=options)
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0

    def answer(prompt: list[int], count: int) -> list[int]:
        ids = torch.tensor([prompt])
        mask = torch.ones_like(ids)
        found = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=count, do_sample=False)
        tokens: list[int] = found[0, len(prompt) :].tolist()
        return tokens

    return answer


def measure(
    answers: dict[str, Answer], prompt: list[int], new: int, rounds: int
) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, list[int]]]:
    """Return s by way, "first" and "whole" in each round, and what each way answered last."""
    times: dict[str, dict[str, list[float]]] = {name: {"first": [], "whole": []} for name in answers}
    said = {name: answer(prompt, 2) for name, answer in answers.items()}  # warms up
    for _ in range(rounds):
        for name in random.sample(list(answers), len(answers)):
            answers[name](prompt[:8], 4)  # while the threads of the way before go to sleep
            for part, count in (("first", 1), ("whole", new)):
                begin = perf_counter()
                said[name] = answers[name](prompt, count)
                times[name][part].append(perf_counter() - begin)
    return {n: {part: np.array(series) for part, series in own.items()} for n, own in times.items()}, said


def tell(times: dict[str, dict[str, np.ndarray]], said: dict[str, list[int]], length: int, new: int) -> None:
    """Print a line for each way, and its ratio to paring's."""
    print(f"\nprompt of {length} tokens, {new} new tokens, {len(times[OURS]['whole'])} rounds")
    steps = {name: (own["whole"] - own["first"]) / (new - 1) * 1e3 for name, own in times.items()}
    for name, own in times.items():
        pace, (low, high) = new / own["whole"], median_ci95(new / own["whole"], 0)
        line = f"{name:18} {np.median(pace):7.2f} tokens/s ({low:.2f} to {high:.2f})"
        line += (
            f", first token {np.median(own['first']) * 1e3:8.1f} ms, step {np.median(steps[name]):7.2f} ms"
        )
        if name != OURS:
            whole = _ratio(own["whole"], times[OURS]["whole"])
            line += f"; {name} / paring: time {whole}, step {_ratio(steps[name], steps[OURS])}"
            line += ", same tokens" if said[name] == said[OURS] else ", OTHER TOKENS"
        print(line, flush=True)


def _ratio(theirs: np.ndarray, ours: np.ndarray) -> str:
    value, (low, high) = paired_ratio(theirs, ours, 0)
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("work", type=Path, help="folder of the two exports; reused")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    ours, theirs = prepare(arguments.model, arguments.work)
    answers = ways(ours, theirs, arguments.threads)
    vocabulary = paring_runtimes.read_manifest(ours).graph["generation"]["vocab_size"]
    for length in PROMPTS:
        prompt = np.random.default_rng(length).integers(0, vocabulary, length).tolist()
        with Watch() as watch:
            times, said = measure(answers, prompt, NEW, arguments.rounds)
        tell(times, said, length, NEW)
        for sentence in watch.sentences(arguments.threads, arguments.threads):
            print(f"noise: {sentence}")


if __name__ == "__main__":
    main()
