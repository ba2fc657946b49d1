"""Figures as matplotlib ``Figure`` objects, without pyplot and without touching any global setting.

Each is drawn narrow, so that it can be read at the width of a phone, and says its units on its axes. ``encode_svg``
gives a fragment to put into a page, the same bytes for the same figure; ``encode_picture`` gives a file.
"""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from textwrap import fill
from typing import Literal

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, PathPatch
from matplotlib.path import Path
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from pipeline.answers.headline import minus
from pipeline.places.coastline import coastline
from pipeline.reporting.palette import BASE, INK, MUTED, Classes, LineStyle, styles

WIDTH = 4.3
"""Width of a figure, inches."""

CHANCES = (0, 10, 33, 50, 66, 90, 100)
"""Where an axis of chances has its ticks, in %."""

_LETTERS = 36  # that fit below the horizontal axis of a panel, with room between dates

Floats = NDArray[np.float64]
Curve = tuple[NDArray[np.floating], NDArray[np.floating]]
LayoutName = Literal["constrained", "compressed"]
Picture = Literal["png", "svg"]
Look = Mapping[str, LineStyle]


@dataclass(frozen=True)
class FanChart:
    """What a fan chart shows.

    Attributes:
        x: Position of each lead, ``(lead,)``: a year, or a count of steps from the start.
        fans: By scenario, quantiles ``(5, lead)`` at 5, 25, 50, 75 and 95 %.
        base: The reference's 5th and 95th percentile, ``(2, lead)``.
        past: The record before the start, as positions and values.
        later: By scenario, what the record says after the start, where it is known.
        quantity: Label of the vertical axis, with units.
        time: Label of the horizontal axis.
        dates: Labels of positions, where these are counts of steps; empty where they are years.
        record: What to call the record.
    """

    x: NDArray[np.floating]
    fans: Mapping[str, NDArray[np.floating]]
    base: NDArray[np.floating]
    past: Curve
    later: Mapping[str, Curve]
    quantity: str
    time: str
    dates: Mapping[int, str] = field(default_factory=dict)
    record: str = "record"


def fan_chart(chart: FanChart) -> Figure:
    """Fans over the record and the base rate's band; scenarios differ in colour, dash and the label at their end."""
    figure, axes = panel(height=3.5)
    if (chart.base == chart.base[:, :1]).all():
        axes.axhspan(*chart.base[:, 0], color=BASE, lw=0, zorder=0)
    else:
        axes.fill_between(chart.x, *chart.base, color=BASE, lw=0, zorder=0)
    for name, style in styles(list(chart.fans)).items():
        low, lower, median, upper, high = chart.fans[name]
        axes.fill_between(chart.x, low, high, color=style.colour, alpha=0.20, lw=0)
        axes.fill_between(chart.x, lower, upper, color=style.colour, alpha=0.28, lw=0)
        axes.plot(chart.x, median, color=style.colour, lw=2, dashes=style.dash)
        if name in chart.later:
            axes.plot(*chart.later[name], color=INK, lw=0.8, dashes=style.dash)
    axes.plot(*chart.past, color=INK, lw=1.1)
    ends = {name: float(fan[2, -1]) for name, fan in chart.fans.items()}
    _label_ends(axes, float(chart.x[-1]), ends, styles(list(chart.fans)))
    axes.margins(x=0.01)
    name_axes(axes, chart.time, chart.quantity)
    _date_ticks(axes, chart.dates)
    legend_below(axes, _fan_keys(chart))
    return figure


def exceedance_curves(curves: Mapping[str, Curve], *, base: Curve, quantity: str) -> Figure:
    """Share of members above each value, by scenario, with that of the reference years on the same axis.

    Args:
        curves: By scenario, values and shares in %.
        base: The same for the reference years.
        quantity: Label of the horizontal axis, with units.
    """
    figure, axes = panel(height=3.2)
    axes.plot(*base, color=MUTED, lw=4, alpha=0.55, solid_capstyle="butt")
    for name, style in styles(list(curves)).items():
        axes.plot(*curves[name], color=style.colour, lw=2, dashes=style.dash, label=name or "forecast")
    name_axes(axes, quantity, "share of members above each value (%)")
    axes.set_ylim(-2, 102)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_locator(FixedLocator(CHANCES))
    keys = [_reference_key(), *axes.get_legend_handles_labels()[0]]
    legend_below(axes, keys)
    return figure


def chance_chart(
    chances: Mapping[str, Floats],
    *,
    base: Floats,
    clear: NDArray[np.bool_] | None,
    dates: Mapping[int, str],
    quantity: str,
) -> Figure:
    """Chances step by step with their intervals, by scenario, over what is usual.

    Args:
        chances: By scenario, low end, chance and high end in %, ``(3, step)``.
        base: What is usual, in %, ``(step,)``.
        clear: Steps at which two scenarios clearly differ, ``(step,)``; they get a mark.
        dates: Of the steps.
        quantity: Label of the vertical axis.
    """
    figure, axes = panel(height=3.2)
    x = np.arange(base.size)
    axes.plot(x, base, color=MUTED, lw=4, alpha=0.55, solid_capstyle="butt")
    for name, style in styles(list(chances)).items():
        low, chance, high = chances[name]
        axes.fill_between(x, low, high, color=style.colour, alpha=0.2, lw=0)
        axes.plot(x, chance, color=style.colour, lw=2, dashes=style.dash, label=name or "members")
    keys = [_reference_key(), *axes.get_legend_handles_labels()[0]]
    if clear is not None and clear.any():
        keys += axes.plot(x[clear], np.full(clear.sum(), 103.0), "v", color=INK, ms=4, label="clear difference")
    axes.set_ylim(-2, 106)
    axes.yaxis.set_major_locator(FixedLocator(CHANCES))
    axes.margins(x=0.01)
    name_axes(axes, "", quantity)
    _date_ticks(axes, dates)
    legend_below(axes, keys)
    return figure


def field_map(
    values: xr.DataArray,
    *,
    classes: Classes,
    quantity: str,
    title: str = "",
    hatched: xr.DataArray | None = None,
    meaning: str = "no skill shown",
) -> Figure:
    """A map in discrete classes, with coastlines; cells where nothing was shown are hatched, without data dotted.

    Args:
        values: Dims ``(latitude, longitude)``, both ascending.
        classes: Class edges and colours.
        quantity: Label of the legend, with units.
        title: Scenario and time.
        hatched: True where nothing was shown, dims as ``values``.
        meaning: What the hatch says.
    """
    longitude, latitude = (_cell_edges(values[name].values.astype(float)) for name in ("longitude", "latitude"))
    shape = (latitude[-1] - latitude[0]) / (longitude[-1] - longitude[0])
    stretch = min(1 / np.cos(np.deg2rad(np.clip(latitude.mean(), -70, 70))), 2.0)
    has_keys = hatched is not None or bool(values.isnull().any())
    height = 0.86 * WIDTH * min(shape * stretch, 1.3) + (1.75 if has_keys else 1.45)
    figure, axes = panel(height=height, layout="compressed")
    mesh = axes.pcolormesh(
        longitude, latitude, values.values, cmap=classes.colormap, norm=classes.norm, rasterized=True, zorder=1
    )
    keys = _overlay(axes, longitude, latitude, values.isnull().values, hatched, meaning)
    lines = coastline(west=longitude[0], east=longitude[-1])
    axes.add_collection(LineCollection(lines, colors="white", linewidths=2.2, zorder=3))
    axes.add_collection(LineCollection(lines, colors=INK, linewidths=0.8, zorder=4))
    axes.set(xlim=longitude[[0, -1]], ylim=np.clip(latitude[[0, -1]], -90, 90), aspect=stretch)
    axes.grid(False)
    axes.set_title(fill(title, 48), fontsize=10, loc="left")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: longitude_text(x)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: latitude_text(y)))
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 1.5, 2, 3, 6, 9, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 1.5, 2, 3, 6, 9, 10]))
    bar = figure.colorbar(mesh, ax=axes, orientation="horizontal", fraction=0.055, pad=0.04, spacing="uniform")
    bar.set_ticks(list(classes.breaks), labels=[minus(f"{edge:g}") for edge in classes.breaks])
    bar.set_label(fill(quantity, 48))
    bar.ax.minorticks_off()
    bar.ax.tick_params(labelsize=9)
    bar.dividers.set(color=INK, linewidth=0.8, segments=[[(x, 0), (x, 1)] for x in classes.breaks[1:-1]])
    if keys:
        figure.legend(handles=keys, loc="outside lower center", ncols=2, frameon=False, fontsize=9, handlelength=2.5)
    return figure


def reliability_diagram(curves: Mapping[str, xr.Dataset], *, quantity: str, banded: str, look: Look) -> Figure:
    """How often an event came true against the share of members that said so; on the diagonal a share is honest.

    Args:
        curves: By model, as ``pipeline.judging.reliability.reliability`` gives them.
        quantity: What the shares are of.
        banded: The model whose consistency band is drawn.
        look: Style of each model, the same in every figure.
    """
    figure, axes = panel(height=4.4)
    axes.plot([0, 100], [0, 100], color=INK, lw=1, dashes=(4, 2))
    for name, table in curves.items():
        style, x = look[name], 100 * table["probability"].values
        if name == banded:
            low, high = (100 * table[end].values for end in ("band_low", "band_high"))
            axes.fill_between(x, low, high, color=BASE, lw=0, zorder=0, label="90 % band if reliable")
        y = 100 * table["recalibrated"].values
        axes.plot(x, y, color=style.colour, lw=1.8, dashes=style.dash, label=name)
    name_axes(axes, "share of members that said yes (%)", f"{quantity}: how often it came true (%)")
    axes.set(xlim=(-2, 102), ylim=(-2, 102), aspect="equal")
    axes.xaxis.set_major_locator(FixedLocator(CHANCES))
    axes.yaxis.set_major_locator(FixedLocator(CHANCES))
    legend_below(axes, axes.get_legend_handles_labels()[0])
    return figure


def latitude_text(y: float) -> str:
    """A latitude as people write it, as 40°N."""
    return f"{abs(round(y, 1)):g}°{'N' if y > 0 else 'S' if y < 0 else ''}"


def longitude_text(x: float) -> str:
    """A longitude as people write it, as 105°W, from any count of degrees."""
    east = (round(x, 1) + 180) % 360 - 180
    return f"{abs(east):g}°{'E' if 0 < east < 180 else 'W' if -180 < east < 0 else ''}"


def encode_svg(figure: Figure, *, name: str, alt: str) -> str:
    """The figure as an ``<svg>`` element for a page: no outside reference, and ids that no other figure has.

    Args:
        figure: Drawn figure.
        name: Unique in the page; letters, digits and dashes.
        alt: What a reader who does not see it should know.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None}, dpi=150)
    text = buffer.getvalue()
    text = text[text.index("<svg") :].strip()
    text = re.sub(
        r"<metadata>.*?</metadata>|<!--.*?-->|<defs>\s*<style.*?</style>\s*</defs>", "", text, flags=re.DOTALL
    )
    ids = {old: f"{name}-{place}" for place, old in enumerate(dict.fromkeys(re.findall(r' id="([^"]+)"', text)))}
    text = re.sub(r'( id="|href="#|url\(#)([^")]+)', lambda found: found[1] + ids[found[2]], text)
    box = re.search(r'viewBox="([^"]+)"', text)
    head = f'<svg viewBox="{box.group(1) if box else ""}" role="img" style="stroke-linejoin:round;stroke-linecap:butt">'
    body = re.sub(r"\n\s*", "\n", text[text.index(">") + 1 :]).replace("xlink:href", "href")
    return f"{head}<title>{escape(alt)}</title>{body}"


def encode_picture(figure: Figure, form: Picture = "png", *, dpi: int = 150) -> bytes:
    """The figure as a file of its own."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=form, dpi=dpi, metadata={"Software" if form == "png" else "Date": None})
    return buffer.getvalue()


def panel(*, height: float, width: float = WIDTH, layout: LayoutName = "constrained") -> tuple[Figure, Axes]:
    """A figure with one pair of axes, as all figures have it; sizes in inches."""
    figure = Figure(figsize=(width, height), layout=layout, facecolor="white")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    axes.tick_params(colors=INK, labelsize=9.5)
    axes.grid(True, color="#e3e3e3", lw=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def name_axes(axes: Axes, x: str, y: str) -> None:
    """Label both axes; the vertical one lies flat above its axis, where a phone has room for it."""
    axes.set_xlabel(fill(x, 48), fontsize=10)
    axes.set_title(fill(y, 48), fontsize=10, loc="left")


def _fan_keys(chart: FanChart) -> list[Artist]:
    colour = next(iter(styles(list(chart.fans)).values())).colour
    keys: list[Artist] = [
        Patch(color=colour, alpha=0.6, lw=0, label="members, middle half"),
        Patch(color=colour, alpha=0.25, lw=0, label="members, 5–95 %"),
        Patch(color=BASE, lw=0, label="reference, 5–95 %"),
        Line2D([], [], color=INK, lw=1.1, label=chart.record),
    ]
    if chart.later:
        keys.append(Line2D([], [], color=INK, lw=0.8, label=f"{chart.record}, later"))
    return keys


def _reference_key() -> Patch:
    return Patch(color=MUTED, alpha=0.55, label="reference years")


def legend_below(axes: Axes, keys: Sequence[Artist]) -> None:
    """A legend in two columns below the axes."""
    if keys:
        axes.figure.legend(
            handles=list(keys), loc="outside lower center", ncols=2, frameon=False, fontsize=9, columnspacing=1.2
        )


def _label_ends(axes: Axes, x: float, ends: Mapping[str, float], by_name: Mapping[str, LineStyle]) -> None:
    """Name each line at its end, pushed apart where they would overlap."""
    low, high = axes.get_ylim()
    gap = (high - low) * 0.065
    placed = -np.inf
    for name, y in sorted(ends.items(), key=lambda item: item[1]):
        placed = max(y, placed + gap)
        if name:
            axes.annotate(
                name, (x, placed), xytext=(4, 0), textcoords="offset points", va="center", fontsize=10,
                fontweight="bold", color=by_name[name].colour, annotation_clip=False,
            )  # fmt: skip


def _date_ticks(axes: Axes, dates: Mapping[int, str]) -> None:
    if dates:
        longest = max(map(len, dates.values()))
        axes.xaxis.set_major_locator(MaxNLocator(max(2, min(5, _LETTERS // longest)), integer=True))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: dates.get(round(x), "")))


def _overlay(
    axes: Axes,
    longitude: Floats,
    latitude: Floats,
    missing: NDArray[np.bool_],
    hatched: xr.DataArray | None,
    meaning: str,
) -> list[Artist]:
    """Hatch cells where nothing was shown, and cover cells without data with dots; their entries in the legend."""
    layers = [(missing, ".", "#f2f2f2", "no data")]
    if hatched is not None:
        layers.insert(0, (hatched.values & ~missing, "////", "none", meaning))
    keys: list[Artist] = []
    for mask, hatch, fill_colour, label in layers:
        if mask.any():
            cover, key = PathPatch(_outline(mask, longitude, latitude), zorder=2), Patch(label=label)
            for patch in (cover, key):
                patch.set(facecolor=fill_colour, edgecolor="#767676", hatch=hatch, linewidth=0.0)
            axes.add_patch(cover)
            keys.append(key)
    return keys


def _outline(mask: NDArray[np.bool_], longitude: Floats, latitude: Floats) -> Path:
    """One path of rectangles, each an unbroken run of marked cells in a row."""
    corners = []
    for row, marked in enumerate(mask):
        edges = np.flatnonzero(np.diff(np.concatenate([[False], marked, [False]]).astype(int)))
        for first, last in edges.reshape(-1, 2):
            west, east, south, north = longitude[first], longitude[last], latitude[row], latitude[row + 1]
            corners.append([(west, south), (east, south), (east, north), (west, north), (west, south)])
    codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY]
    return Path(np.concatenate(corners), codes * len(corners))


def _cell_edges(centres: NDArray[np.float64]) -> NDArray[np.float64]:
    if centres.size == 1:
        return centres[0] + np.array([-0.5, 0.5])
    middle = (centres[1:] + centres[:-1]) / 2
    return np.asarray([2 * centres[0] - middle[0], *middle, 2 * centres[-1] - middle[-1]])
