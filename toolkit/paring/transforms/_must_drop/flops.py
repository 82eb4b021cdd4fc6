"""The operation count by which FastV and MustDrop state their savings, so that their figures can be checked.

A decoder layer over n tokens of width d, with an MLP of hidden width m, multiplies and adds

- query, key, value and output projections: four d x d matrices, 4 n d^2;
- q k^T and the weighted sum of values, over all n^2 pairs: 2 n^2 d. A causal kernel does half of it;
- the MLP's matrices, d x m each: 2 n d m, or 3 n d m where a gate (SwiGLU) is counted.

FastV (https://arxiv.org/abs/2403.06764) writes 4 n d^2 + 2 n^2 d + 2 n d m; LLaVA-1.5's Llama has a gate,
which that leaves out. One multiplication with its addition counts as **one**, where a profiler says two. n is
the **image's tokens alone**: neither the text, nor the vision tower, nor decoding is in it, so that a real
prefill saves less. What of it a device saves is for `paring profile` to measure.
"""

from __future__ import annotations

from collections.abc import Sequence

LLAVA_7B = {"width": 4096, "hidden": 11008}  # of LLaVA-1.5-7B, whose 32 layers see 576 image tokens each


def layer_flops(tokens: int, width: int, hidden: int, gated: bool = False) -> int:
    """4 n d^2 + 2 n^2 d + 2 n d m, or 3 n d m with the gate: one layer over n image tokens."""
    matrices = 3 if gated else 2
    return 4 * tokens * width**2 + 2 * tokens**2 * width + matrices * tokens * width * hidden


def flops_saved(
    left: Sequence[int], image_tokens: int, width: int, hidden: int, gated: bool = False
) -> float:
    """Share of the count that goes, 0 to 1.

    Args:
        left: image tokens that come to each layer.
        image_tokens: that came to each of them before.
        width: d.
        hidden: m.
        gated: whether the MLP's gate is counted.
    """
    whole = len(left) * layer_flops(image_tokens, width, hidden, gated)
    return 1 - sum(layer_flops(tokens, width, hidden, gated) for tokens in left) / whole
