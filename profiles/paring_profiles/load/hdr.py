"""Percentiles by a histogram of high dynamic range: a tenth of a percent of any latency, in constant memory.

Buckets double in width, each of 1,024 steps [1]: a value between 1 ns and an hour is told within 1/1024.
Counts lie as in the HdrHistogram libraries, and `encoded` is their compressed V2 text: their tools read, add
and draw it. The `hdrhistogram` package itself would bring setuptools >= 83 and pbr into every installation.

[1] http://hdrhistogram.org
"""

from __future__ import annotations

import base64
import math
import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from paring_profiles.statistics import Series
from paring_runtimes.errors import ArtifactError

DIGITS = 3
_HALF_BITS = 10  # 2^11 steps hold 2 x 10^3 values: three significant digits
_HALF = 1 << _HALF_BITS
LONGEST_NS = 3_600_000_000_000  # an hour
_BUCKETS = LONGEST_NS.bit_length() - _HALF_BITS
_COUNTS = (_BUCKETS + 1) * _HALF
_HEAD = ">IIIIQQd"
_PLAIN, _COMPRESSED = 0x1C849303 | 0x10, 0x1C849304 | 0x10  # what the two parts of the text begin with


class Histogram:
    """Counts of latencies, by step."""

    def __init__(self, counts: NDArray[np.int64]) -> None:
        self.counts = counts

    @classmethod
    def of(cls, latencies_ms: Series) -> Histogram:
        """Count values, ms; those beyond an hour count as an hour."""
        whole = np.clip(np.rint(latencies_ms * 1e6), 0, LONGEST_NS).astype(np.int64)
        return cls(np.bincount(_index(whole), minlength=_COUNTS))

    @classmethod
    def read(cls, text: str) -> Histogram:
        """Read what `encoded` wrote.

        Raises:
            ArtifactError: it is something else.
        """
        try:
            data = zlib.decompress(base64.b64decode(text, validate=True)[8:])
            head = struct.unpack_from(_HEAD, data)
            counts = _unpacked(data[struct.calcsize(_HEAD) :])
        except (ValueError, zlib.error, struct.error, IndexError) as error:
            raise ArtifactError(f"a histogram of latencies is damaged: {error}") from error
        if (head[0], *head[2:]) != (_PLAIN, 0, DIGITS, 1, LONGEST_NS, 1.0):
            raise ArtifactError("a histogram of latencies has other steps than those of paring")
        return cls(counts)

    def percentile_ms(self, rank: float) -> float:
        """Return the highest value of the step that holds a percentile (0 to 100), ms."""
        total = int(self.counts.sum())
        place = max(1, math.ceil(rank / 100 * total - 1e-9))
        index = int(np.searchsorted(np.cumsum(self.counts), place))
        return _highest(index) / 1e6

    def steps(self) -> tuple[Series, Series]:
        """Return the steps that hold values: their highest value, ms, and the share of values up to it."""
        held = np.flatnonzero(self.counts)
        values = np.array([_highest(int(index)) / 1e6 for index in held])
        return values, np.cumsum(self.counts[held]) / self.counts.sum()

    def encoded(self) -> str:
        """Return the HdrHistogram libraries' compressed V2 text (base64), values in ns."""
        counts = _packed(self.counts)
        head = struct.pack(_HEAD, _PLAIN, len(counts), 0, DIGITS, 1, LONGEST_NS, 1.0)
        packed = zlib.compress(head + counts)
        return base64.b64encode(struct.pack(">II", _COMPRESSED, len(packed)) + packed).decode()


def _index(whole: NDArray[np.int64]) -> NDArray[np.int64]:
    bits = np.frexp(whole.astype(np.float64))[1]  # exact: an hour in ns is below 2^53
    bucket = np.maximum(bits - (_HALF_BITS + 1), 0)
    found: NDArray[np.int64] = ((bucket + 1) << _HALF_BITS) + (whole >> bucket) - _HALF
    return found


def _highest(index: int) -> int:
    """Return the largest value that is counted at an index, ns."""
    bucket = max((index >> _HALF_BITS) - 1, 0)
    step = index if index < 2 * _HALF else (index & (_HALF - 1)) + _HALF
    return ((step + 1) << bucket) - 1


def _packed(counts: NDArray[np.int64]) -> bytes:
    """Return counts up to the last as ZigZag LEB128 numbers; a run of zeros is its negative length."""
    out = bytearray()
    last = -1
    for index in map(int, np.flatnonzero(counts)):
        zeros = index - last - 1
        if zeros:
            out += _leb128(0 if zeros == 1 else -zeros)
        out += _leb128(int(counts[index]))
        last = index
    return bytes(out)


def _unpacked(data: bytes) -> NDArray[np.int64]:
    """Return the counts that `_packed` wrote."""
    counts = np.zeros(_COUNTS, dtype=np.int64)
    index = shift = rest = 0
    for byte in data:
        rest |= (byte & 0x7F) << shift
        shift += 7
        if byte >= 0x80:
            continue
        value = (rest >> 1) ^ -(rest & 1)
        if value > 0:
            counts[index] = value
        index += 1 if value >= 0 else -value
        shift = rest = 0
    return counts


def _leb128(value: int) -> bytes:
    rest = (value << 1) ^ (value >> 63)
    out = bytearray()
    while rest >= 0x80:
        out.append((rest & 0x7F) | 0x80)
        rest >>= 7
    return bytes([*out, rest])
