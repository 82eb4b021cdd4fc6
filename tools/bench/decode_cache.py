"""What copying the key-value cache costs: ms a token in place against concatenated.

    python tools/bench/decode_cache.py ARTIFACT [--prompt 512] [--tokens 32] [--rounds 9] [--batch 1]

In every round each form reads the same random prompt and decodes greedily, in an order that is shuffled
anew; a round's figure is the median of its steps, and the ratio is taken inside the round. Prints
medians over the rounds with quartiles, and whether both forms gave the same tokens.
"""

from __future__ import annotations

import argparse
import random
import statistics
from time import perf_counter_ns

import numpy as np

import paring_runtimes
from paring_runtimes import GenerativeSession

FORMS = ("in_place", "concat")


def decode(
    session: GenerativeSession, form: str, prompts: list[list[int]], count: int
) -> tuple[float, float, list[list[int]]]:
    """Return ms of the prefill, median ms of a step, and the tokens of each step."""
    cache = session._cache_maker(form)(len(prompts))
    begin = perf_counter_ns()
    logits = cache.prefill(prompts)
    prefill_ms = (perf_counter_ns() - begin) / 1e6
    steps_ms, tokens = [], []
    for _ in range(count):
        tokens.append(logits.argmax(axis=1).tolist())
        begin = perf_counter_ns()
        logits = cache.step(tokens[-1])
        steps_ms.append((perf_counter_ns() - begin) / 1e6)
    return prefill_ms, statistics.median(steps_ms), tokens


def told(values: list[float], unit: str) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:9.3f} {unit:3} quartiles {low:.3f} to {high:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("artifact")
    parser.add_argument("--prompt", type=int, default=512, help="tokens of the prompt")
    parser.add_argument("--tokens", type=int, default=32, help="tokens to decode in a round")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    with paring_runtimes.load(arguments.artifact, threads=arguments.threads) as session:
        if not isinstance(session, GenerativeSession) or session.cache != "in_place":
            parser.error(f"{arguments.artifact}: needs a language model with an in-place graph")
        shape = (arguments.batch, arguments.prompt)
        prompts = np.random.default_rng(0).integers(0, session.model.vocab_size, shape).tolist()
        for form in FORMS:  # opens the graph, warms it up
            decode(session, form, prompts, 2)
        prefills: dict[str, list[float]] = {form: [] for form in FORMS}
        steps: dict[str, list[float]] = {form: [] for form in FORMS}
        found = {}
        for _ in range(arguments.rounds):
            for form in random.sample(FORMS, len(FORMS)):
                prefill_ms, step_ms, found[form] = decode(session, form, prompts, arguments.tokens)
                prefills[form].append(prefill_ms)
                steps[form].append(step_ms)
    print(f"{session!r}\nprompt {arguments.prompt}, batch {arguments.batch}, {arguments.tokens} tokens")
    for form in FORMS:
        print(f"prefill {form:9} {told(prefills[form], 'ms')}")
    for form in FORMS:
        print(f"step    {form:9} {told(steps[form], 'ms')}")
    ratios = [b / a for a, b in zip(steps["in_place"], steps["concat"], strict=True)]
    print(f"concat over in place {told(ratios, '')}   {arguments.rounds} rounds")
    print(f"same tokens: {found['in_place'] == found['concat']}")


if __name__ == "__main__":
    main()
