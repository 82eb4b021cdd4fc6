"""Numbers become spikes: [B, ...] to T steps. The mean over the steps stands for the number.

- constant: the numbers themselves at every step, a current; no events. Sessions take such an array as it is.
- rate: an event of the size of `scale` and the number's sign, with the probability |x| / scale (Bernoulli).
  A seed fixes the draws; they are the same for every sample of a batch, and those that
  `torch.rand(T, 1, ..., generator=torch.Generator().manual_seed(seed))` gives, bit for bit, so that a
  network answers here as it did in PyTorch.
- latency: one event a number, of T times its size, the sooner the larger: at step
  round((1 - |x| / scale) (T - 1)), counted from 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from paring_runtimes.errors import InputError
from paring_runtimes.spiking.events import Events, from_dense

if TYPE_CHECKING:
    from numpy.typing import NDArray

CODINGS = ("constant", "rate", "latency")
_MANTISSA = 24  # torch.rand draws this many bits for a float32


def rate(x: NDArray[Any], steps: int, scale: float = 1.0, seed: int = 0) -> Events:
    """Return Bernoulli events of [B, ...]; numbers beyond `scale` count as it.

    Raises:
        InputError: not finite, or fewer than one step, or a scale that is not above 0.
    """
    values = _checked(x, steps, scale)
    count = steps * int(np.prod(values.shape[1:], dtype=np.int64))
    # PyTorch seeds the same Mersenne Twister with the seed's lower 32 bits.
    words = np.random.RandomState(seed & 0xFFFFFFFF).randint(0, 2**32, size=count, dtype=np.uint32)
    draws = (words & np.uint32(2**_MANTISSA - 1)).astype(np.float32) * np.float32(2.0**-_MANTISSA)
    level = np.abs(values) / np.float32(scale)
    fired = level[None] > draws.reshape(steps, 1, *values.shape[1:])
    return from_dense(fired * (np.sign(values) * np.float32(scale))[None])


def latency(x: NDArray[Any], steps: int, scale: float = 1.0) -> Events:
    """Return one event for each number of [B, ...] that is not 0; numbers beyond `scale` count as it.

    Raises:
        InputError: as `rate`.
    """
    values = np.clip(_checked(x, steps, scale), np.float32(-scale), np.float32(scale))
    when = np.round((1 - np.abs(values) / np.float32(scale)) * np.float32(steps - 1))
    at = np.arange(steps, dtype=np.float32).reshape(-1, *(1,) * values.ndim)
    return from_dense((when[None] == at) * (values * np.float32(steps))[None])


def encode(
    x: NDArray[Any], coding: str, steps: int, scale: float = 1.0, seed: int = 0
) -> Events | NDArray[Any]:
    """Return what a session takes for [B, ...] under a coding's name; `constant` gives the array back.

    Raises:
        InputError: an unknown coding, or as `rate`.
    """
    if coding == "rate":
        return rate(x, steps, scale, seed)
    if coding == "latency":
        return latency(x, steps, scale)
    if coding != "constant":
        raise InputError(f"coding: {coding!r}; expected one of {', '.join(CODINGS)}")
    return _checked(x, steps, scale)


def _checked(x: NDArray[Any], steps: int, scale: float) -> NDArray[np.float32]:
    values = np.asarray(x, np.float32)
    if values.ndim < 2 or not np.isfinite(values).all():
        raise InputError(f"inputs: expected finite numbers [B, ...], given {values.shape}")
    if steps < 1:
        raise InputError(f"steps: {steps}; expected at least 1")
    if not scale > 0:
        raise InputError(f"scale: {scale}; expected a number above 0")
    return values
