"""Tilings of the heavy kernels, found by measuring within a budget: linear layers and attention.

TVM's own tuner ends in a segmentation fault in 0.27.0.post1 (`tune_tir`, when a TuneContext is made, for a
trivial function too). The kernels have four choices, of which a dozen a kernel are worth a try.
A tiling is used only if it was faster than the untuned one in turn, by the lower quartile of the turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tvm

from ..tune_options import TuneOptions
from ..tvm.build import build, empty, tensor
from ..tvm.target import describe, has, threads_of
from ..tvm.turns import median_ms
from .kernels.attention import Attention, attention
from .kernels.dense import NARROW, Dense, Tiling, dense, tiling_for
from .tuning_database import Database, Duel, Timing

Call = Callable[[], object]
_SECONDS = 0.06  # a measurement
_TURNS = 11
# What one kernel may take of the seconds that are left: those that come first are not the heaviest.
_SHARE = 1 / 3


@dataclass(frozen=True)
class Tuned:
    """What became of one kernel: its tiling, and the ratio to the untuned one in turn, with its quartiles."""

    kernel: str
    tiling: Tiling
    trials: int
    ratio: float | None = None
    low: float | None = None
    high: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """JSON form, for the manifest."""
        return {**vars(self), "tiling": self.tiling._asdict()}


class Tuner:
    """Finds tilings of one target's kernels; `facts` tells what was found, for the manifest."""

    def __init__(self, target: Any, options: TuneOptions) -> None:
        """Open the database.

        Raises:
            InputError: its file is damaged.
        """
        self.target, self.options = target, options
        self.database = Database(options.folder())
        self._name = f"{describe(target)}, TVM {tvm.__version__}"
        self._spent, self._measured = 0.0, 0
        self._found: dict[Dense | Attention, Tuned] = {}

    def tiling(self, layer: Dense | Attention) -> Tiling:
        """The tiling of a kernel: measured ones from the database, others while there is time."""
        if layer not in self._found:
            self._found[layer] = self._tune(layer)
        return self._found[layer].tiling

    def facts(self) -> dict[str, Any]:
        """JSON form, for the manifest."""
        return {
            "budget_s": self.options.seconds,
            "spent_s": round(self._spent, 1),
            "measured": self._measured,
            "batch": self.options.batch,
            "kernels": [found.as_dict() for found in self._found.values()],
        }

    def _tune(self, layer: Dense | Attention) -> Tuned:
        fixed = layer if layer.batch is not None else replace(layer, batch=self.options.batch)
        begin, left = time.monotonic(), self.options.seconds - self._spent
        end = begin + left * _SHARE
        plain = untuned(layer, self.target)
        key, times = _named(fixed, layer.batch is None), dict[Tiling, float]()
        for tiling in candidates(fixed, self.target):
            known = self.database.timing(self._name, key, tiling)
            if known is None and time.monotonic() < end:
                known = Timing(self._name, key, tiling, self._measure(layer, tiling))
                self.database.add(known)
                self._measured += 1
            if known is not None:
                times[tiling] = known.median_ms
        best = min(times, key=lambda tiling: times[tiling], default=plain)
        duel = self.database.duel(self._name, key)
        old = duel is None or (duel.tiling, duel.against) != (best, plain)
        if best != plain and old and time.monotonic() < begin + left:
            duel = self._duel(layer, key, best, plain)
            self.database.add(duel)
        self._spent += time.monotonic() - begin
        if duel is None or (duel.tiling, duel.against) != (best, plain):
            return Tuned(key, plain, len(times))
        used = best if duel.low > 1 else plain
        return Tuned(key, used, len(times), duel.ratio, duel.low, duel.high)

    def _measure(self, layer: Dense | Attention, tiling: Tiling) -> float:
        return median_ms(kernel_call(layer, tiling, self.target, self.options.batch), _SECONDS)

    def _duel(self, layer: Dense | Attention, key: str, best: Tiling, plain: Tiling) -> Duel:
        sides = [kernel_call(layer, one, self.target, self.options.batch) for one in (plain, best)]
        turns = np.array([[median_ms(side, _SECONDS) for side in sides] for _ in range(_TURNS)])
        low, middle, high = np.percentile(turns[:, 0] / turns[:, 1], [25, 50, 75])
        return Duel(self._name, key, best, plain, *(round(float(one), 4) for one in (middle, low, high)))


def untuned(layer: Dense | Attention, target: Any) -> Tiling:
    """The tiling of a kernel that was not timed.

    With 6 rows by 16, on a CPU with AVX2, attention takes two products in one pass of its loops: 1.6 times as
    fast as one (6 heads of 64, 197 tokens); linear layers gain nothing from that.
    """
    tiling = tiling_for(target)
    return tiling._replace(unroll=2) if isinstance(layer, Attention) and tiling == NARROW else tiling


def candidates(layer: Dense | Attention, target: Any) -> list[Tiling]:
    """The tilings that are worth a try, the untuned one first."""
    plain = untuned(layer, target)
    wide = has(target, "avx512f")
    shapes = [(12, 32), (8, 48), (6, 64), (14, 16), (8, 32)] if wide else [(6, 16), (4, 16), (5, 16), (3, 32)]
    found = [plain]
    if isinstance(layer, Attention):
        found += [Tiling(rows, panel, unroll) for rows, panel in shapes for unroll in (1, 2)]
        return list(dict.fromkeys(found))
    rows = (layer.batch or 1) * int(np.prod(layer.middle, dtype=int))
    blocks = [0, *(block for block in (48, 96, 192) if block < rows)]
    found += [Tiling(*plain[:2], unroll, block) for block in blocks for unroll in (1, 2, 4)]
    found += [Tiling(*shape, 2, block) for shape in shapes for block in blocks[:1] + blocks[2:3]]
    return list(dict.fromkeys(found))


def kernel_call(layer: Dense | Attention, tiling: Tiling, target: Any, batch: int) -> Call:
    """Compile a kernel and return a call of it on random operands that stay in place."""
    rng, threads, size = np.random.default_rng(0), threads_of(target), layer.batch or batch

    def drawn(*shape: int) -> Any:
        return tensor(rng.standard_normal(shape).astype(np.float32))

    if isinstance(layer, Attention):
        function = attention("kernel", layer, tiling, threads)
        operands = [drawn(size, *shape) for shape in layer.operands]
    else:
        function = dense("kernel", layer, tiling, threads)
        lead, panels = (size, *layer.middle), -(-layer.out_features // tiling.panel)
        operands = [
            drawn(*lead, layer.in_features),
            drawn(panels, layer.in_features, tiling.panel),
            drawn(panels * tiling.panel),
            *([drawn(*lead, layer.out_features)] if layer.residual else []),
            empty((*lead, layer.out_features), "float32"),
        ]
    run = build({"kernel": function}, target)["kernel"]
    return lambda: run(*operands)


def _named(layer: Dense | Attention, open_batch: bool) -> str:
    """A kernel's kind and extents as text: the database's key, which a reader can understand."""
    batch = f"batch {layer.batch}{' of an open one' if open_batch else ''}"
    if isinstance(layer, Attention):
        places = ",".join(
            str((one.operand, one.batch, one.head, one.token, one.offset))
            for one in (layer.query, layer.key, layer.value, layer.out)
        )
        return f"attention {layer.heads} heads, {layer.tokens} tokens, {layer.dim} wide, {batch}, {places}"
    ending = "".join(f", {part}" for part in (layer.activation, "residual" if layer.residual else "") if part)
    rows = "x".join(map(str, layer.middle)) or "1"
    return f"dense {rows} rows, {layer.in_features} -> {layer.out_features}{ending}, {batch}"
