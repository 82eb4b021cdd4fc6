"""RWKV's decayed average (https://arxiv.org/abs/2305.13048, Eq. 16), for SpikeGPT:

    y_t = (sum_{i<t} e^{-(t-1-i) d + k_i} v_i + e^{u + k_t} v_t) / (the same without v),   d = e^w >= 0

Numerator and denominator carry a common exponent m, the largest so far, so that nothing overflows whatever
the keys are. The state between tokens is (m, numerator e^-m, denominator e^-m), each [B, C].

A sequence is a parallel scan: log2(T) passes, each joining every place with the one 1, 2, 4, ... before it.
Backwards it is the same scan from the end, over c_t = dL/dy_t / denominator_t, whose exponent is -m_t.
"""

from __future__ import annotations

from typing import Any

import torch

EMPTY = -1e38  # the exponent of an empty sum; the authors' value


def decayed_sums(
    exponent: torch.Tensor, sums: torch.Tensor, decay: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Running sums along T: S_t = e^{-decay} S_{t-1} + e^{exponent_t} sums_t, as (exponent, scaled sums).

    Args:
        exponent: [B, T, C].
        sums: [N, B, T, C]: N sums that share the exponent.
        decay: [C], at least 0.
    """
    length, shift = exponent.shape[1], 1
    while shift < length:
        earlier, own = exponent[:, :-shift] - shift * decay, exponent[:, shift:]
        top = torch.maximum(earlier, own)
        joined = torch.addcmul(
            torch.exp(own - top) * sums[:, :, shift:], torch.exp(earlier - top), sums[:, :, :-shift]
        )
        sums = torch.cat((sums[:, :, :shift], joined), 2)
        exponent = torch.cat((exponent[:, :shift], top), 1)
        shift *= 2
    return exponent, sums


class _WKV(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        decay: torch.Tensor,
        bonus: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        top: torch.Tensor,
        numerator: torch.Tensor,
        denominator: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        first = torch.stack((numerator, denominator))[:, :, None]
        every = torch.cat((first, torch.stack((value, torch.ones_like(value)))), 2)
        exponent, sums = decayed_sums(torch.cat((top[:, None], key), 1), every, decay)
        past, own = exponent[:, :-1], key + bonus
        height = torch.maximum(past, own)
        before, now = torch.exp(past - height), torch.exp(own - height)
        below = torch.addcmul(now, before, sums[1, :, :-1])
        out = torch.addcmul(now * value, before, sums[0, :, :-1]) / below
        ctx.save_for_backward(decay, bonus, key, value, out, past, sums[:, :, :-1], height, below)
        last = exponent[:, -1].clone(), sums[0, :, -1].clone(), sums[1, :, -1].clone()
        ctx.mark_non_differentiable(*last)
        return out, *last

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        decay, bonus, key, value, out, past, sums, height, below = ctx.saved_tensors
        scaled = grads[0] / below  # c_t e^{height_t}
        reverse = torch.stack((scaled, -scaled * out)).flip(2)
        exponent, later = decayed_sums((-height).flip(1), reverse, decay)
        # What follows place i: the sums from i + 1 on, as the adjoint of S_{i+1}.
        exponent = torch.cat((torch.full_like(exponent[:, :1], EMPTY), exponent[:, :-1]), 1).flip(1)
        later = torch.cat((torch.zeros_like(later[:, :, :1]), later[:, :, :-1]), 2).flip(2)
        onto = torch.exp(key + exponent) * later  # e^{k_i} GP_i, e^{k_i} GQ_i
        own = scaled * torch.exp(key + bonus - height)
        lift = own * (value - out)
        carried = torch.exp(past + exponent - decay)
        grad_decay = -(carried * (later * sums).sum(0)).sum((0, 1))
        grad_key = torch.addcmul(onto[1] + lift, onto[0], value)
        return grad_decay, lift.sum((0, 1)), grad_key, onto[0] + own, None, None, None


def wkv(
    decay: torch.Tensor,
    bonus: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    state: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """The average [B, T, C] at each place, and the state after the last.

    Args:
        decay: d = e^w, [C].
        bonus: u, [C].
        key: [B, T, C].
        value: [B, T, C].
        state: (m, numerator, denominator), each [B, C], before the first place. No gradient reaches it, nor
            comes from the one returned.
    """
    out, top, numerator, denominator = _WKV.apply(decay, bonus, key, value, *state)
    return out, (top, numerator, denominator)


def wkv_step(
    decay: torch.Tensor,
    bonus: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    state: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """As `wkv`, for one place: key, value and average are [B, C]."""
    top, numerator, denominator = state
    height = torch.maximum(top, key + bonus)
    before, now = torch.exp(top - height), torch.exp(key + bonus - height)
    out = (before * numerator + now * value) / (before * denominator + now)
    height = torch.maximum(top - decay, key)
    before, now = torch.exp(top - decay - height), torch.exp(key - height)
    return out, (height, before * numerator + now * value, before * denominator + now)
