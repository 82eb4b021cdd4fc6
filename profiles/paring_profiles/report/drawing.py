"""Figures as inline SVG that takes its colours from the page, light or dark.

Matplotlib draws with sentinel colours; `_finish` replaces each by a CSS variable. Figures are drawn
for a phone's width, and the page shows several side by side where there is room.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from io import StringIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH_IN = 5.2  # at 72 units an inch: text of 10 units is 10 px on a screen 374 px wide
SERIES = 6
LEGEND_ROW_IN = 0.21
LONGEST_NAME = 40  # characters, in plots
INK, MUTED, GRID = "#010101", "#010102", "#010103"
COLOURS = tuple(f"#0102{index:02x}" for index in range(SERIES))
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 3)))
MARKERS = ("o", "s", "^", "D", "v", "P")
_VARIABLES = {INK: "ink", MUTED: "muted", GRID: "grid"} | {
    colour: f"series-{index}" for index, colour in enumerate(COLOURS)
}
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "paring",
    "text.parse_math": False,
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.unicode_minus": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
    "legend.handlelength": 2.4,
    "legend.labelcolor": INK,
    "hatch.linewidth": 0.8,
}


@dataclass(frozen=True)
class Plot:
    """An inline `<svg>` with its title and what a reader should know to read it."""

    svg: str
    title: str
    caption: str = ""


@contextmanager
def new_axes(name: str, height_in: float) -> Iterator[tuple[Axes, Callable[[str], str]]]:
    """Axes in the report's style, and the function that turns them into an `<svg>`."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
        axes = figure.add_subplot()

        def finish(alt: str) -> str:
            stream = StringIO()
            nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
            with warnings.catch_warnings():
                # The reader's browser brings the fonts: what matplotlib's lack does not matter.
                warnings.filterwarnings("ignore", message="Glyph")
                figure.savefig(stream, format="svg", transparent=True, metadata=nothing)
            return _finish(stream.getvalue(), name, alt)

        yield axes, finish


def _finish(svg: str, name: str, alt: str) -> str:
    """Cuts prolog and global style, and rewrites the tags: text between them stays as it is."""
    svg = re.sub(r"<style.*?</style>", "", svg[svg.index("<svg") :], count=1, flags=re.DOTALL)
    svg = re.sub(r"<[^>]+>", lambda tag: _rewritten(tag[0], name), svg)
    box = re.search(r'viewBox="[^"]*"', svg)
    root = f'<svg {_ROOT} {box[0] if box else ""} role="img" aria-label="{escape(alt)}">'
    return (root + svg[svg.index(">") + 1 :]).strip()


_ROOT = 'class="plot" xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'


def _rewritten(tag: str, name: str) -> str:
    """A tag with ids that are unique in the document and with the page's colours."""
    tag = re.sub(r'\b(id="|href="#|url\(#)', rf"\g<1>{name}-", tag)
    return re.sub(r'((?:fill|stroke)(?:: |="))(#01010[1-3]|#01020[0-5])\b', _variable, tag)


def _variable(match: re.Match[str]) -> str:
    return f"{match[1]}var(--{_VARIABLES[match[2]]})"


def colour_of(index: int) -> str:
    """The baseline's colour is its own; the others share the rest in turn."""
    return COLOURS[0] if index == 0 else COLOURS[1 + (index - 1) % (SERIES - 1)]


def marker_of(index: int) -> str:
    """The marker of a series."""
    return MARKERS[index % len(MARKERS)]


def add_legend(axes: Axes) -> None:
    """The legend above the axes, one entry a row: names may be long and screens narrow."""
    handles, labels = axes.get_legend_handles_labels()
    axes.figure.legend(handles, labels, loc="outside upper left", ncols=1)


def shown(name: str) -> str:
    """A name that SVG may hold and matplotlib takes as it is (a leading `_` would hide it)."""
    clean = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)
    if len(clean) > LONGEST_NAME:  # candidates often differ at the end: the middle is left out
        clean = f"{clean[: LONGEST_NAME // 2]}…{clean[1 - LONGEST_NAME // 2 :]}"
    return f"\N{ZERO WIDTH SPACE}{clean}" if clean.startswith("_") else clean
