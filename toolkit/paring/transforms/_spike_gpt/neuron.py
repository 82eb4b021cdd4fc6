"""Leaky integrate-and-fire neurons over a sequence, as SpikeGPT uses them (https://arxiv.org/abs/2302.13939).

    h_t = v_{t-1} + (x_t - v_{t-1}) / tau        charge; computed as x_t / tau + v_{t-1} (1 - 1 / tau)
    s_t = 1 where h_t >= 1, else 0               fire (equality fires)
    v_t = 0 where s_t, else h_t                  hard reset

with tau = 2 and, backwards, ds/dh = 1 / (1 + (pi (h - 1))^2), the arc tangent's surrogate at alpha = 2. The
reset is differentiated too, as in the authors' code. Time is the token's place: there are no further steps.

A hard reset is no associative operation, so that the charge goes from token to token, by two operations each
that write into buffers of the whole sequence. Backwards the recurrence is linear, and is a parallel scan.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

TAU = 2.0
THRESHOLD = 1.0
ALPHA = 2.0


def surrogate(distance: torch.Tensor) -> torch.Tensor:
    """The slope that stands for the step function's, at `distance` = membrane - threshold, any shape."""
    return (ALPHA / 2) / (1 + (math.pi / 2 * ALPHA * distance).square())


class Spike(torch.autograd.Function):
    """1 where the input is at least 0, else 0, with the surrogate's slope: embeddings become spikes by it."""

    @staticmethod
    def forward(ctx: Any, distance: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(distance)
        return (distance >= 0).to(distance.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
        (distance,) = ctx.saved_tensors
        return grads[0] * surrogate(distance)


def spike(distance: torch.Tensor) -> torch.Tensor:
    """`Spike` where a gradient is wanted, its plain value elsewhere (so that it exports)."""
    if distance.requires_grad and torch.is_grad_enabled():
        spikes: torch.Tensor = Spike.apply(distance)
        return spikes
    return (distance >= 0).to(distance.dtype)


def fire(membrane: torch.Tensor, current: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """One token: the spikes, and the membrane after them; all of one shape, such as [B, C]."""
    charged = current / TAU + membrane * (1 - 1 / TAU)
    fired = charged >= THRESHOLD
    return fired.to(current.dtype), torch.where(fired, torch.zeros_like(charged), charged)


class _Leaky(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, current: torch.Tensor, membrane: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        # Everything is negated, because `threshold` keeps what lies above.
        minus = (current / -TAU).transpose(0, 1).contiguous()  # [T, B, C]; becomes -h in place
        after = -membrane
        for arriving in minus.unbind(0):
            arriving.add_(after, alpha=1 - 1 / TAU)
            after = torch.nn.functional.threshold(arriving, -THRESHOLD, 0.0)
        charged = minus.neg_().transpose(0, 1)
        ctx.save_for_backward(charged)
        left = after.neg()
        ctx.mark_non_differentiable(left)
        return (charged >= THRESHOLD).to(current.dtype), left

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        (charged,) = ctx.saved_tensors
        slope = surrogate(charged - THRESHOLD)
        held = (charged < THRESHOLD).to(charged.dtype) - charged * slope  # dv_t / dh_t
        return reverse_scan(held * (1 - 1 / TAU), grads[0] * slope) / TAU, None


def reverse_scan(factor: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """d with d_t = value_t + factor_t d_{t+1}, all [B, T, C], in log2(T) passes over the sequence."""
    length, shift = value.shape[1], 1
    while shift < length:
        early, late = slice(0, length - shift), slice(shift, length)
        value = torch.cat(
            (torch.addcmul(value[:, early], factor[:, early], value[:, late]), value[:, length - shift :]), 1
        )
        factor = torch.cat((factor[:, early] * factor[:, late], torch.zeros_like(factor[:, :shift])), 1)
        shift *= 2
    return value


def leaky(current: torch.Tensor, membrane: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Spikes [B, T, C] of currents [B, T, C], and the membranes [B, C] after the last.

    Args:
        current: what comes in, in the threshold's unit.
        membrane: [B, C] before the first token. No gradient reaches it, nor comes from the one returned.
    """
    spikes, left = _Leaky.apply(current, membrane)
    return spikes, left


class Leaky(nn.Module):
    """A layer of neurons: `leaky` for a sequence, `fire` for a token. It has no parameters."""

    def forward(self, current: torch.Tensor, membrane: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See `leaky`."""
        return leaky(current, membrane)

    def step(self, current: torch.Tensor, membrane: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See `fire`; its arguments are in the order of `forward`."""
        return fire(membrane, current)
