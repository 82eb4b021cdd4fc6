"""The figures of a simulation's report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from paring_profiles.neuromorphic.pricing import PARTS
from paring_profiles.neuromorphic.simulate import Simulation
from paring_profiles.report.drawing import (
    COLOURS,
    GRID,
    INK,
    LEGEND_ROW_IN,
    MUTED,
    Plot,
    add_legend,
    colour_of,
    marker_of,
    new_axes,
    shown,
)
from paring_profiles.report.raster import NEURONS, raster_of
from paring_profiles.report.simulation_tables import chosen

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NUMBERED_CORES = 256  # more than that, and a number in each would not be read
HATCHES = ("", "////", "....", "xxxx", "\\\\\\\\", "++++", "oo")


def results(found: Simulation) -> list[Plot]:
    """What comes out, by number of steps."""
    plots = [accuracy(found), parts(found), rivals(found), rates(found)]
    return [plot for plot in plots if plot is not None]


def maps(found: Simulation) -> list[Plot]:
    """Where layers lie, and when neurons spike."""
    return [cores(found), raster(found)]


def accuracy(found: Simulation) -> Plot | None:
    """Accuracy against T, with its interval, and before rounding; None without labels."""
    points = [point for point in found.points if point.accuracy is not None]
    if not points:
        return None
    steps = [point.steps for point in points]
    after = [100 * (point.accuracy or 0.0) for point in points]
    with new_axes("accuracy", 2.9) as (axes, finish):
        bounds = np.array([[100 * end for end in point.accuracy_ci95 or (0, 0)] for point in points])
        axes.fill_between(steps, bounds[:, 0], bounds[:, 1], color=colour_of(1), alpha=0.15, linewidth=0)
        axes.plot(steps, after, color=colour_of(1), marker=marker_of(1), label="rounded to the chip's bits")
        before = [100 * point.unrounded for point in points if point.unrounded is not None]
        if len(before) == len(points):
            axes.plot(
                steps,
                before,
                color=colour_of(0),
                marker=marker_of(0),
                linestyle="--",
                label="real weights",
            )
        _steps_axis(axes, steps)
        axes.set_ylabel("accuracy, %")
        add_legend(axes)
        title = "Accuracy by steps"
        return Plot(finish(title), title, f"Of {found.samples:,} images; the band is the 95 % interval.")


def _steps_axis(axes: Axes, steps: list[int]) -> None:
    if len(steps) > 1 and steps[-1] / steps[0] > 4:
        axes.set_xscale("log", base=2)
    axes.set_xticks(steps, [str(count) for count in steps])
    axes.minorticks_off()
    axes.set_xlabel("steps")


def parts(found: Simulation) -> Plot | None:
    """Energy by part, a bar for each T; None where nothing is priced."""
    points = [point for point in found.points if point.energy.total is not None]
    names = [part for part in PARTS if any(part in point.energy.parts for point in points)]
    if not names:
        return None
    places = np.arange(len(points))
    with new_axes("parts", 2.9 + LEGEND_ROW_IN * len(names)) as (axes, finish):
        bottom = np.zeros(len(points))
        for number, part in enumerate(names):
            heights = np.array(
                [
                    point.energy.parts[part].value / 1e3 if part in point.energy.parts else 0.0
                    for point in points
                ]
            )
            colour, hatch = COLOURS[number % len(COLOURS)], HATCHES[number] if number > 5 else ""
            axes.bar(places, heights, 0.6, bottom=bottom, label=part, color=colour, hatch=hatch)
            bottom += heights
        totals = [point.energy.total for point in points if point.energy.total is not None]
        low, high = (np.array([getattr(total, end) / 1e3 for total in totals]) for end in ("low", "high"))
        axes.errorbar(
            places, bottom, [bottom - low, high - bottom], fmt="none", ecolor=INK, elinewidth=1, capsize=4
        )
        axes.set_xticks(places, [str(point.steps) for point in points])
        axes.set_xlabel("steps")
        axes.set_ylabel("µJ an image, modelled")
        axes.grid(axis="x", visible=False)
        add_legend(axes)
        title = f"Energy on {found.chip.title} by part"
        return Plot(finish(title), title, "Whiskers: every constant at its low, or at its high end.")


def rivals(found: Simulation) -> Plot:
    """Both networks' energy on one process, on a logarithmic axis."""
    steps = [point.steps for point in found.points]
    with new_axes("rivals", 2.6 + 2 * LEGEND_ROW_IN) as (axes, finish):
        for index, (name, label) in enumerate(
            (("dense", "dense network, int8"), ("spiking", "spiking network"))
        ):
            ranges = [getattr(point.rival, name) for point in found.points]
            value, low, high = (
                np.array([getattr(r, end) / 1e3 for r in ranges]) for end in ("value", "low", "high")
            )
            colour = colour_of(index)
            axes.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)
            axes.plot(steps, value, color=colour, marker=marker_of(index), linewidth=1.8, label=label)
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        _steps_axis(axes, steps)
        axes.set_ylabel("µJ an image, modelled")
        add_legend(axes)
        title = "Spiking against dense, on one 45 nm process"
        caption = "Operations and the memory they read; bands take all constants at their ends."
        return Plot(finish(title), title, caption)


def rates(found: Simulation) -> Plot:
    """Spikes a neuron and step, by layer."""
    point = chosen(found)
    layers = [layer for layer in found.placed.network.layers.values() if layer.spiking]
    shares = [100 * point.load.spikes.get(one.name, 0.0) / (one.size * point.steps) for one in layers]
    with new_axes("rates", 0.9 + 0.3 * max(1, len(layers))) as (axes, finish):
        places = np.arange(len(layers))
        axes.barh(places, shares, 0.6, color=colour_of(1))
        for place, share in zip(places, shares, strict=True):
            axes.annotate(
                f"{share:.3g} %", (share, place), (4, 0), textcoords="offset points", va="center", color=INK
            )
        axes.set_yticks(places, [shown(layer.label) for layer in layers], color=INK)
        axes.set_ylim(len(layers) - 0.45, -0.55)
        axes.set_xlim(right=1.2 * max([*shares, 1e-9]))
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("neurons that spike in a step, %")
        title = f"Spikes by layer at {point.steps} steps"
        return Plot(finish(title), title)


def cores(found: Simulation) -> Plot:
    """The mesh with each core in use in its layer's colour."""
    from matplotlib.patches import Rectangle

    mesh, placed = found.chip.mesh, found.placed
    wide = int(np.ceil(np.sqrt(mesh.cores_per_router)))
    names = list(placed.network.layers)
    labels = [layer.label for layer in placed.network.layers.values()]
    rows, columns = _used(found)
    seen: dict[tuple[int, int], int] = {}
    with new_axes("cores", 0.8 + LEGEND_ROW_IN * len(names) + 4.4 * rows / columns) as (axes, finish):
        for column in range(columns):
            for row in range(rows):
                axes.add_patch(
                    Rectangle((column, row), 1, 1, facecolor="none", edgecolor=GRID, linewidth=0.8)
                )
        for core in placed.cores:
            place = seen.get(core.router, 0)
            seen[core.router] = place + 1
            x, y = core.router[0] + (place % wide) / wide, core.router[1] + (place // wide) / wide
            number = names.index(core.tiles[0].layer)
            size = 0.9 / wide
            corner = (x + 0.05 / wide, y + 0.05 / wide)
            colour = COLOURS[number % len(COLOURS)]
            axes.add_patch(Rectangle(corner, size, size, facecolor=colour, edgecolor="none"))
            if len(placed.cores) <= NUMBERED_CORES:
                told = "+".join(
                    str(names.index(one) + 1) for one in dict.fromkeys(t.layer for t in core.tiles)
                )
                middle = (corner[0] + size / 2, corner[1] + size / 2)
                axes.annotate(told, middle, ha="center", va="center", fontsize=8, color=INK)
        for number, name in enumerate(names):
            count = len(set(placed.core_of[name].tolist()))
            label = f"{number + 1}: {shown(labels[number])}, {count} {'core' if count == 1 else 'cores'}"
            axes.plot([], [], "s", color=COLOURS[number % len(COLOURS)], label=label)
        axes.set_xlim(-0.05, columns + 0.05)
        axes.set_ylim(rows + 0.05, -0.05)
        axes.set_aspect("equal")
        axes.axis("off")
        add_legend(axes)
        title = f"Layers on the cores of {found.chip.title}"
        beyond = "" if rows == mesh.rows else f" {mesh.rows - rows} further rows are empty."
        caption = f"Squares are routers of up to {mesh.cores_per_router} cores.{beyond}"
        return Plot(finish(title), title, caption)


def _used(found: Simulation) -> tuple[int, int]:
    """Rows and columns to draw: a long empty end is left out."""
    mesh = found.chip.mesh
    last = max(core.router[1] for core in found.placed.cores) + 1
    return (mesh.rows if mesh.rows <= 8 else min(mesh.rows, last + 1)), mesh.columns


def raster(found: Simulation) -> Plot:
    """Events of one image, layer above layer."""
    events = raster_of(found)
    height = 0.9 + 0.55 * max(1, len(events.layers))
    with new_axes("raster", height) as (axes, finish):
        base, ticks = 0, []
        for number, layer in enumerate(events.layers):
            colour = COLOURS[number % len(COLOURS)]
            rows = [base + row for row in layer.rows]
            axes.plot(layer.steps, rows, "o", color=colour, markersize=2.2, markeredgewidth=0)
            ticks.append(base + layer.neurons / 2)
            base += layer.neurons
            axes.axhline(base - 0.5, color=MUTED, linewidth=0.6)
        axes.set_yticks(ticks, [shown(layer.name) for layer in events.layers], color=INK)
        axes.set_ylim(base, -1)
        axes.set_xlim(0.3, events.steps + 0.7)
        axes.grid(visible=False)
        axes.tick_params(axis="y", length=0)
        axes.locator_params(axis="x", integer=True)
        axes.set_xlabel("step")
        title = "Spikes of one image"
        return Plot(finish(title), title, f"At most {NEURONS} neurons of a layer, evenly spaced.")
