"""Does the graph of one token compute what the model computes? A text, token by token, from equal states.

At every place the graph starts from the model's state, so that a difference is that token's own. Spikes make
one exception: a membrane within `NEAR` of the threshold may fire in one and not in the other, after which all
that follows differs rightly. Such a place is counted under `ties` and not judged; it is one where, in the
first layer that differs at all, each neuron that differs was reset by one side and stands just below the
threshold on the other. More than one in a hundred of them fail the comparison.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from paring.transforms._spike_gpt import SpikeGPT, State
from paring.transforms._spike_gpt.neuron import THRESHOLD
from paring_runtimes import Session

from ..language.parity import LanguageParity, Prompt, case_of, summary
from ..parity import TOLERANCES

NEAR = 1e-4  # of the threshold: far above what fp32 sums of a thousand products differ by
MOST_TIES = 0.01  # share of all places


def compare(
    model: SpikeGPT,
    session: Session,
    prompts: list[Prompt],
    steps: int,
    atol: float | None = None,
    rtol: float | None = None,
    progress: Callable[[str], None] = lambda name: None,
) -> LanguageParity:
    """Run model and graph on every prompt and `steps` greedy tokens, from the model's state at each place.

    Args:
        model: the reference, in eval mode.
        session: of the graph.
        prompts: every row is read to its end; the rows' own lengths do not matter.
        steps: how many tokens follow each.
        atol, rtol: in place of fp32's own.
        progress: told the name of each prompt.
    """
    own = TOLERANCES["fp32"]
    tolerance = (own[0] if atol is None else atol, own[1] if rtol is None else rtol)
    cases, ties, places = [], 0, 0
    for prompt in prompts:
        progress(prompt.name)
        expected, actual, tied = _every_place(model, session, prompt, steps)
        ties += tied
        places += expected.shape[0] * expected.shape[1]
        cases.append(case_of("model.onnx", prompt, list(expected), list(actual), tolerance))
    found = summary(cases, "fp32", tolerance)
    return replace(found, passed=found.passed and ties <= MOST_TIES * places, ties=ties)


def _every_place(
    model: SpikeGPT, session: Session, prompt: Prompt, steps: int
) -> tuple[np.ndarray, np.ndarray, int]:
    """Logits [T, B, V] of the model and of the graph, equal where a tie was left out, and how many were."""
    batch, length = prompt.ids.shape
    state, ids = model.start(batch), torch.from_numpy(prompt.ids[:, 0])
    expected, actual, ties = [], [], 0
    with torch.inference_mode():
        for place in range(length + steps):
            names = (f"state.{name}" for name in State._fields)
            given = dict(zip(names, (one.numpy() for one in state), strict=True))
            found = session.run({"input_ids": ids.numpy(), **given})
            logits, state = model.step(ids, state)
            ours, theirs = logits.numpy(), found["logits"].copy()
            tied = tied_rows(state, [found[f"updated.{name}"] for name in State._fields])
            theirs[tied] = ours[tied]
            ties += int(tied.sum())
            expected.append(ours)
            actual.append(theirs)
            ids = torch.from_numpy(prompt.ids[:, place + 1]) if place + 1 < length else logits.argmax(1)
    return np.stack(expected), np.stack(actual), ties


def tied_rows(expected: State, actual: list[np.ndarray]) -> np.ndarray:
    """[B] bool: rows whose first layer of neurons that differs does so by ties alone.

    Args:
        expected: the model's state after the token.
        actual: the graph's, in the same order.
    """
    ours = _in_order(*expected[-2:])
    theirs = _in_order(*(torch.from_numpy(one) for one in actual[-2:]))
    apart = np.abs(ours - theirs) > NEAR  # [2 L, B, C]
    reset = (ours == 0) != (theirs == 0)
    near = np.abs(np.maximum(ours, theirs) - THRESHOLD) <= NEAR
    layers = apart.any(2)  # [2 L, B]
    first = layers.argmax(0)
    rows = np.arange(apart.shape[1])
    excused: np.ndarray = (~apart | (reset & near))[first, rows].all(1)
    found: np.ndarray = layers.any(0) & excused
    return found


def _in_order(attention: torch.Tensor, mixing: torch.Tensor) -> np.ndarray:
    """Membranes [2 L, B, C] in the order in which they are computed."""
    return torch.stack((attention, mixing), 1).flatten(0, 1).numpy()
