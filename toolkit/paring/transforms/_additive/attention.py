"""A block's attention with binary queries and keys, in the place of the ordinary one.

Per head: o = 0.5 v + (1/pi) q_b k_b^T v;  o = o / |o| + DWConv(v);  then the output's projection.

The bias of the keys is left out as in the ordinary attention, which never saw it; the bias of the values
stays where opening the encoder put it, in the output's.
"""

from __future__ import annotations

import torch
from torch import nn

from .._encoder import Attended
from .._encoder.block import Attention, SelfAttention
from .binarisers import TINY, Binariser, KernelHash, Threshold
from .operators import binary_attention, binary_attention_quadratic, linear_form, quadratic_form
from .sharing import shared_projection

KERNEL = 9  # tokens that the depthwise convolution of the values spans


class TokenConvolution(nn.Module):
    """A convolution along the tokens, one filter a head, shared by its channels: [B, H, N, d] -> the same.

    The filters start as zeros: they add nothing until they are trained, and train from there.
    """

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(heads, 1, KERNEL, 1))

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        """Zeros before the first token and after the last."""
        return nn.functional.conv2d(value, self.weight, padding=(KERNEL // 2, 0), groups=len(self.weight))


class AdditiveAttention(SelfAttention):
    """Multi-head self-attention over bits.

    Tokens that stand for `size` others count as often among the keys (proportional attention), as
    duplicates would.

    Args:
        ordinary: the opened attention whose projections this one takes over.
        binarise_query, binarise_key: what makes the bits. One and the same for both where queries and keys
            share a projection.
        form: "linear", q_b (k_b^T v), or "quadratic", (q_b k_b^T) v.
        refit: whether calibration may fit the output's projection.
    """

    gives_class_scores = False  # it has no softmax to read them from

    def __init__(
        self,
        ordinary: Attention,
        binarise_query: Binariser | None,
        binarise_key: Binariser,
        form: str,
        refit: bool,
    ) -> None:
        super().__init__()
        self.heads, self.scale, self.form, self.refit = ordinary.heads, ordinary.scale, form, refit
        self.proportional = ordinary.proportional
        self.value, self.output = ordinary.value, with_bias(ordinary.output)
        self.query: nn.Linear | None
        self.key: nn.Linear
        if binarise_query is None:
            self.query, self.key = None, shared_projection(ordinary.query, ordinary.key, self.heads)
        else:
            self.query, self.key = ordinary.query, ordinary.key
        self.query_norm = None if binarise_query is None else ordinary.query_norm
        self.key_norm = ordinary.key_norm
        self.binarise_query, self.binarise_key = binarise_query, binarise_key
        self.local = TokenConvolution(self.heads)

    def split(self, x: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor]:
        """x [B, N, C] -> queries (None where they are the keys) and keys, [B, H, N, d]."""
        query = None if self.query is None else self._headed(self.query, self.query_norm, x)
        return query, self._headed(self.key, self.key_norm, x)

    def mixed(self, x: torch.Tensor, size: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """What the output's projection is fed, [B, N, C], and the keys [B, H, N, d]."""
        query, key = self.split(x)
        kb = self.binarise_key(key)
        qb = kb if query is None or self.binarise_query is None else self.binarise_query(query)
        value = self._headed(self.value, None, x)
        if size is None or not self.proportional:
            found = self._attend(qb, kb, value)
        else:
            counted = value * size[:, None, :, None]
            found = self._attend(qb, kb, counted) - 0.5 * (counted - value)
        found = found / torch.linalg.vector_norm(found, dim=-1, keepdim=True).clamp_min(TINY)
        return (found + self.local(value)).transpose(1, 2).flatten(2), key

    def forward(
        self, x: torch.Tensor, size: torch.Tensor | None, class_scores: bool
    ) -> tuple[torch.Tensor, Attended]:
        """x [B, N, C], size [B, N] or None -> [B, N, C] and what the reducers need.

        Raises:
            ValueError: the class token's attention is asked for, which bits do not give.
        """
        if class_scores:
            raise ValueError("binary attention has no class token's attention to score tokens by")
        mixed, key = self.mixed(x, size)
        return self.output(mixed), Attended(key.transpose(1, 2), None)

    def fit(self, x: torch.Tensor) -> None:
        """Fit what makes the bits to normalised tokens [B, N, C]."""
        query, key = self.split(x)
        if query is not None and self.binarise_query is not None:
            self.binarise_query.fit(query)
        self.binarise_key.fit(key)

    def _headed(self, linear: nn.Linear, norm: nn.Module | None, x: torch.Tensor) -> torch.Tensor:
        found = linear(x).unflatten(-1, (self.heads, -1))
        return (found if norm is None else norm(found)).transpose(1, 2)

    def _attend(self, qb: torch.Tensor, kb: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        linear = self.form == "linear"
        if qb.dtype == torch.bool:
            return (binary_attention if linear else binary_attention_quadratic)(qb, kb, value)
        return (linear_form if linear else quadratic_form)(qb, kb, value)


def with_thresholds(ordinary: Attention, form: str, refit: bool) -> AdditiveAttention:
    """Vanilla binarisation: queries and keys have thresholds of their own."""
    query, key = Threshold(ordinary.heads), Threshold(ordinary.heads)
    return AdditiveAttention(ordinary, query, key, form, refit)


def with_hash(
    ordinary: Attention, form: str, refit: bool, bits: int, anchors: int, seed: int
) -> AdditiveAttention:
    """Kernel-supervised hashing: queries and keys are one projection, and one code."""
    width = ordinary.key.out_features // ordinary.heads
    code = KernelHash(ordinary.heads, width, bits, anchors, seed)
    return AdditiveAttention(ordinary, None, code, form, refit)


def with_bias(linear: nn.Linear) -> nn.Linear:
    """`linear` with a bias, of zeros where it had none: a place for what calibration finds."""
    if linear.bias is None:
        linear.bias = nn.Parameter(torch.zeros_like(linear.weight[:, 0]))
    return linear
