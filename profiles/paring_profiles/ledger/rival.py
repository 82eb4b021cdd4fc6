"""The sentence that says whether int8 would have done better than shifts and additions. Modelled.

A 32-bit shift and its addition cost about what an int8 multiplication and its addition do, and fp32
activations move four times the bits: against fp32 shifts win easily, against int8 only where fetching weights
of 4 bits in place of 8 outweighs that.
"""

from __future__ import annotations

from .book import Ledger
from .prices import prices

CHEAP = ("shift_add", "select_add", "popcount")
PARTS = {
    "operations": "arithmetic",
    "dram": "DRAM",
    "buffer": "the buffer",
    "network": "the network",
    "registers": "registers",
}


def against_int8(name: str, own: Ledger, first: Ledger, int8: Ledger) -> str | None:
    """Which needs less energy, an artifact or its original as if it were quantised to int8, and why.

    Args:
        name: of the artifact.
        own: its ledger.
        first: the original's.
        int8: the original's with `as_int8`.

    Returns:
        None where the artifact neither shifts nor selects.
    """
    if not any(entry.arithmetic.endswith(CHEAP) for entry in own.entries):
        return None
    shares = [ledger.total_uj / first.total_uj for ledger in (int8, own)]
    told = f"modelled, int8 needs {shares[0]:.0%} of the original's energy, {name} {shares[1]:.0%}"
    if own.total_uj < int8.total_uj:
        return f"{told}: {name} wins here, most of it in {_gap(int8, own)}"
    return f"{told}: int8 wins here, most of it in {_gap(own, int8)}; {_when(int8)}"


def _gap(more: Ledger, less: Ledger) -> str:
    """The part in which two ledgers differ most."""
    high, low = more.energy_uj(), less.energy_uj()
    part = max(high, key=lambda key: high[key] - low[key])
    return f"{PARTS[part]} ({low[part]:,.1f} against {high[part]:,.1f} µJ)"


def _when(int8: Ledger) -> str:
    """Where shifts pay, by the chip's prices."""
    priced = prices().operations
    cost = {name: sum(priced[name].values()) for name in ("shift_add", "int8_mac", "int8_shift_add")}
    fetched = int8.energy_uj()["dram"] / int8.total_uj
    return (
        f"shift and add pay where weights come from DRAM at 4 bits in place of 8 ({fetched:.0%} of int8's"
        f" energy is DRAM here), or on int8 activations ({cost['int8_shift_add']:.3g} pJ in place of"
        f" {cost['int8_mac']:.3g}; on fp32 ones {cost['shift_add']:.3g})"
    )
