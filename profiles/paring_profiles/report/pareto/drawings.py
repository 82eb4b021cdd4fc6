"""Small pictures: realised against ideal, tokens per layer, the modelled energy by part."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from paring_profiles.report import quantities
from paring_profiles.report.drawing import Plot
from paring_profiles.report.pareto.modelled import part_name
from paring_profiles.report.pareto.page import Variant

WIDTH = 374  # units, and pixels on a phone: text keeps its size
_ROW = 42
MOST = 12  # bars in one picture; the table holds the rest
PARTS = ("operations", "dram", "buffer", "network", "registers")


def _open(height: float, alt: str) -> str:
    return f'<svg class="plot" viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(alt)}">'


def _name(variant: Variant, room: int = 46) -> str:
    text = variant.name if variant.baseline else f"{variant.key}: {variant.name}"
    return escape(text if len(text) <= room else f"{text[: room - 1]}…")


def realised(variants: Sequence[Variant]) -> Plot | None:
    """Pairs of bars: the measured speed-up with its interval, and the ideal one from operations."""
    rows = [one for one in variants if one.gain is not None and one.gain.ideal is not None][:MOST]
    if not rows:
        return None
    largest = max(max(one.gain.high, one.gain.ideal or 0.0) for one in rows if one.gain)
    unit = (WIDTH - 8) / (1.04 * largest)
    title = "Realised and ideal speed-up"
    parts = [_open(_ROW * len(rows) + 24, title)]
    bottom = _ROW * len(rows)
    parts.append(f'<path class="one" d="M{unit:.1f} 14V{bottom}"/>')
    for index, one in enumerate(rows):
        gain, top = one.gain, index * _ROW
        assert gain is not None
        assert gain.ideal is not None
        share = f"{quantities.ratio(gain.realised)} of {quantities.ratio(gain.ideal)}"
        low, high = unit * gain.low, unit * gain.high
        parts.append(f'<text class="name" x="0" y="{top + 12}">{_name(one, 40)}</text>')
        parts.append(f'<text class="name" x="{WIDTH}" y="{top + 12}" text-anchor="end">{share}</text>')
        parts.append(
            f'<rect class="solid" x="0" y="{top + 17}" width="{unit * gain.realised:.1f}" height="8"/>'
        )
        parts.append(f'<path class="whisker" d="M{low:.1f} {top + 21}H{high:.1f}"/>')
        parts.append(
            f'<rect class="hollow" x="0.5" y="{top + 27}" width="{unit * gain.ideal:.1f}" height="7"/>'
        )
    parts.append(f'<text class="muted" x="{unit:.1f}" y="{bottom + 14}" text-anchor="middle">1×</text></svg>')
    caption = (
        "Solid: the ratio of measured latencies, with its interval. Hollow: that of multiply-accumulates,"
        " counted, which is what the operations promise."
    )
    return Plot("".join(parts), title, caption + _left_out(variants, rows))


def _left_out(variants: Sequence[Variant], rows: Sequence[Variant]) -> str:
    more = sum(one.gain is not None and one.gain.ideal is not None for one in variants) - len(rows)
    return f" {more} more are in their own sections." if more > 0 else ""


def tokens(variant: Variant, baseline: Variant | None) -> Plot | None:
    """How many tokens each layer works on, beside the baseline's."""
    own = variant.tokens_per_layer
    if not own:
        return None
    base = baseline.tokens_per_layer if baseline is not None and baseline is not variant else None
    height, left, top = 150, 34, 10
    most = max([*own, *(base or [])])
    layers = max(len(own), len(base or []))
    title = "Tokens per layer"
    parts = [_open(height, f"{title}: {', '.join(map(str, own))}")]
    bottom = height - 32
    marks = [0, most] + ([min(own)] if 0.12 * most < min(own) < 0.88 * most else [])
    for value in marks:
        at = bottom - (bottom - top) * value / most
        parts.append(f'<path class="rule" d="M{left} {at:.1f}H{WIDTH}"/>')
        parts.append(f'<text class="muted" x="{left - 6}" y="{at + 4:.1f}" text-anchor="end">{value}</text>')
    for counts, look in ((base, "base"), (own, "own")):
        if counts:
            wide = (WIDTH - left) / layers
            heights = [bottom - (bottom - top) * count / most for count in counts]
            steps = "L".join(f"{left + i * wide:.1f} {at:.1f}h{wide:.1f}" for i, at in enumerate(heights))
            parts.append(f'<path class="step {look}" d="M{steps}"/>')
    said = f"layers 1 to {layers}" + ("; dashed: the baseline" if base else "")
    parts.append(f'<text class="muted" x="{left}" y="{height - 12}">{said}</text></svg>')
    return Plot("".join(parts), title)


def energy(variants: Sequence[Variant]) -> Plot | None:
    """The modelled energy of a call by part, one stacked bar a variant."""
    rows = [one for one in variants if one.modelled_uj][:MOST]
    if not rows:
        return None
    largest = max(sum(one.modelled_uj.values()) for one in rows)
    unit = (WIDTH - 2) / (1.01 * largest)
    title = "Energy a call by part, modelled"
    present = [part for part in PARTS if any(part in one.modelled_uj for one in rows)]
    top = 20 * ((len(present) + 1) // 2) + 6
    parts = [_open(top + 34 * len(rows), title)]
    for index, part in enumerate(present):
        x, y = (index % 2) * WIDTH / 2, 20 * (index // 2)
        parts.append(f'<rect class="part-{PARTS.index(part)}" x="{x}" y="{y + 3}" width="11" height="11"/>')
        parts.append(f'<text class="name" x="{x + 17}" y="{y + 13}">{part_name(part)}</text>')
    for index, one in enumerate(rows):
        y, x, total = top + 34 * index, 0.0, sum(one.modelled_uj.values())
        told = f"{quantities.plain(total)} µJ"
        parts.append(f'<text class="name" x="0" y="{y + 12}">{_name(one, 40)}</text>')
        parts.append(f'<text class="name" x="{WIDTH}" y="{y + 12}" text-anchor="end">{told}</text>')
        for part in present:
            wide = unit * one.modelled_uj.get(part, 0.0)
            box = f'x="{x:.1f}" y="{y + 17}" width="{wide:.1f}" height="11"'
            parts.append(f'<rect class="part-{PARTS.index(part)}" {box}/>')
            x += wide
    parts.append("</svg>")
    left = sum(bool(one.modelled_uj) for one in variants) - len(rows)
    more = f" {left} more are in their own sections." if left else ""
    return Plot("".join(parts), title, f"{rows[0].modelled_method}. No machine used this energy." + more)
