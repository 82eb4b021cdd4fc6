"""The small VLM with few visual tokens, by method: accuracy from exported artifacts, one table.

    python tools/assets/small_vlm/methods.py SMALL SCENES WORK [--tokens 1 4 16 36] [--methods ...]

SMALL is the folder of `folder.py`, SCENES that of `scenes.py`. Every method is converted, asked the same
questions, and its artifact deleted; WORK keeps each one's answers, so that a stopped run goes on. A method
makes its tokens at the end of the tower, but ToMe, which merges them from block to block, and MustDrop, which
reads all 256 and keeps so many behind the language model's layer 2. The differences are those of pairs.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

import paring
import paring_runtimes
from paring.answering import Asking, ask
from paring.data import QuestionData, load_data
from paring.quality import paired_interval, wilson_interval
from paring.recipe import Data

STRIDES = {1: 16, 4: 8, 16: 4, 36: 3}  # visual tokens: patches a side of a region
MERGED = {  # in each of the tower's 11 blocks; a block can merge half of what comes at most
    36: [20] * 11,
    16: [23] * 10 + [10],
    4: [28] * 8 + [16, 8, 4],
    1: [40] * 5 + [28, 14, 7, 4, 2, 1],
}
WHOLE = "whole"
METHODS = ("query_compressor", "token_pool", "attention_mean", "k_medoids", "must_drop", "token_merge")


def step(method: str, tokens: int, small: Path) -> dict[str, Any]:
    """The recipe's step by which `method` leaves so many tokens."""
    stride = STRIDES[tokens]
    weights = str(small / f"compressor-{tokens}.safetensors")
    config = {
        "query_compressor": {"stride": stride, "levels": [6, 8, 10, 11], "inner": 256, "weights": weights},
        "token_pool": {"window": [stride, stride], "block": 11},
        "attention_mean": {"stride": stride},
        "k_medoids": {"tokens": tokens},
        "must_drop": {"layers": [2], "budgets": [tokens]},
        "token_merge": {"schedule": MERGED[tokens]},
    }
    return {method: config[method]}


def answers(
    name: str, steps: list[dict[str, Any]], told: argparse.Namespace, data: QuestionData
) -> np.ndarray:
    """[N] bool, right answers of one artifact; those that are known already are read."""
    file = told.work / f"{name}.json"
    if not file.is_file():
        folder = told.work / name
        paring.convert(
            f"hf:{told.small}",
            folder,
            transforms=steps,
            overwrite=True,
            export={"baseline": False},
            verify={"batch_sizes": [1, 2], "seeds": [0], "steps": 4},
        )
        with paring_runtimes.load(folder) as session:
            found = ask(session, data, Asking.of(Data(source=f"vqa:{told.scenes}")))
        shutil.rmtree(folder)
        whole = {"data": data.digest, "texts": list(found.texts), "right": found.right.tolist()}
        file.write_text(json.dumps(whole))
    known = json.loads(file.read_text())
    if known["data"] != data.digest:
        raise SystemExit(f"{file}: answers to other questions; take another folder than {told.work}")
    return np.array(known["right"], bool)


def row(name: str, right: np.ndarray, first: np.ndarray, data: QuestionData) -> str:
    """One line of the table: accuracy, what it is above the first artifact of its count, and by type."""
    low, high = wilson_interval(right)
    less, more = paired_interval(right, first)
    kinds = defaultdict(list)
    for one, good in zip(data.questions, right, strict=True):
        kinds[one.type].append(good)
    own = ", ".join(f"{np.mean(kinds[kind]):.2f}" for kind in sorted(kinds))
    above = f"{right.mean() - first.mean():+.3f} ({less:+.3f} to {more:+.3f})"
    return f"| {name} | {right.mean():.3f} ({low:.3f} to {high:.3f}) | {above} | {own} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("small", type=Path)
    parser.add_argument("scenes", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--tokens", type=int, nargs="+", choices=STRIDES, default=list(STRIDES))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--limit", type=int, default=210, help="questions, evenly spaced")
    told = parser.parse_args()
    told.work.mkdir(parents=True, exist_ok=True)
    data = load_data(f"vqa:{told.scenes}", limit=told.limit)
    assert isinstance(data, QuestionData)
    kinds = ", ".join(sorted({one.type for one in data.questions}))
    print(f"| artifact | all {len(data.questions)} | above the first of its count | {kinds} |")
    print("| --- | --- | --- | --- |")
    whole = answers(WHOLE, [], told, data)
    print(row("256 tokens", whole, whole, data), flush=True)
    for tokens in told.tokens:
        first = None
        for method in told.methods:
            right = answers(f"{method}-{tokens}", [step(method, tokens, told.small)], told, data)
            first = right if first is None else first
            print(row(f"`{method}`, {tokens}", right, first, data), flush=True)


if __name__ == "__main__":
    main()
