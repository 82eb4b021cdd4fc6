"""The histogram of high dynamic range against exact percentiles, and its text against HdrHistogram's own."""

import base64
import struct
import zlib

import numpy as np
import pytest

from paring_profiles.load.hdr import LONGEST_NS, Histogram
from paring_runtimes.errors import ArtifactError

# What the Java library's port (hdrhistogram 0.10.8) writes of these, ns: after zlib, the text's bytes.
VALUES_NS = (0, 1, 2500, 1_000_000, 10_000_000, 10_000_000, 3_600_000_000_000)
WRITTEN = (
    "1c849313000000100000000000000003000000000000000100000346"
    "30b8a0003ff00000000000000202bf2302fb8a0102c334048da70202"
)


@pytest.mark.parametrize("scale_ms", [1e-4, 0.3, 12.0, 4000.0])
def test_percentiles_are_within_a_thousandth(scale_ms):
    values = scale_ms * np.random.default_rng(1).lognormal(0, 1.5, 20_000)
    histogram = Histogram.of(values)
    for rank in (0.01, 1, 50, 90, 95, 99, 99.9, 100):
        exact = np.sort(values)[max(0, int(np.ceil(rank / 100 * len(values) - 1e-9)) - 1)]
        assert exact * (1 - 1e-12) - 1e-6 <= histogram.percentile_ms(rank) <= exact * (1 + 1 / 1024) + 1e-6


def test_the_steps_hold_every_value():
    values = np.random.default_rng(2).exponential(5, 1000)
    tops, shares = Histogram.of(values).steps()
    assert shares[-1] == 1
    for top, share in zip(tops[::50], shares[::50], strict=True):
        assert share == pytest.approx(np.mean(values <= top), abs=1e-3)


def test_beyond_an_hour_is_an_hour():
    assert Histogram.of(np.array([5e6])).percentile_ms(50) == pytest.approx(LONGEST_NS / 1e6, rel=1e-3)


def test_the_text_is_what_hdrhistogram_writes():
    data = base64.b64decode(Histogram.of(np.array(VALUES_NS) / 1e6).encoded())
    cookie, length = struct.unpack(">II", data[:8])
    assert (cookie, length) == (0x1C849314, len(data) - 8)
    assert zlib.decompress(data[8:]).hex() == WRITTEN


def test_the_text_is_read_back():
    histogram = Histogram.of(np.random.default_rng(4).lognormal(1, 2, 5000))
    text = histogram.encoded()
    np.testing.assert_array_equal(Histogram.read(text).counts, histogram.counts)
    for wrong in ("", "HISTFAAA", text[: len(text) // 2], "!" + text):
        with pytest.raises(ArtifactError, match="histogram of latencies"):
            Histogram.read(wrong)
