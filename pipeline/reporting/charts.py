"""Charts of the track record: a score by lead, ranks, spectra and the losses of training.

Each model has the same style in all of them; none tells models apart by colour alone.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter
from numpy.typing import NDArray

from pipeline.reporting.figures import WIDTH, Curve, Look, legend_below, name_axes, panel
from pipeline.reporting.palette import INK, styles

_RATIOS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
_FINE_RATIOS = (0.5, 0.6, 0.8, 1, 1.25, 1.6, 2)


def lead_chart(
    curves: Mapping[str, NDArray[np.floating]],
    *,
    leads: Sequence[str],
    axis: str,
    quantity: str,
    neutral: float,
    look: Look,
) -> Figure:
    """A score at each lead by model, with its interval where it is known, about a neutral line.

    Args:
        curves: By model, ``(3, lead)``: value, low and high; NaN intervals are left out.
        leads: Label of each lead.
        axis: Label of the horizontal axis, with units.
        quantity: Label of the vertical axis, with units.
        neutral: Value that means "no better, no worse", or "just right".
        look: Style of each model, the same in every figure.
    """
    figure, axes = panel(height=3.2)
    axes.axhline(neutral, color=INK, lw=1)
    for place, (name, (value, low, high)) in enumerate(curves.items()):
        style = look[name]
        x = np.arange(len(leads)) + (place - (len(curves) - 1) / 2) * 0.7 / max(len(curves), 2)
        axes.vlines(x, low, high, color=style.colour, lw=1.4)
        axes.plot(x, value, ls="none", marker=style.marker, ms=5, color=style.colour, label=name)
    name_axes(axes, axis, quantity)
    if max(map(len, leads)) * len(leads) < 45:
        axes.set_xticks(range(len(leads)), leads)
    else:
        axes.set_xticks(range(len(leads)), leads, rotation=40, ha="right", rotation_mode="anchor")
    legend_below(axes, axes.get_legend_handles_labels()[0])
    return figure


def rank_histogram(frequencies: Mapping[str, NDArray[np.floating]], *, quantity: str, look: Look) -> Figure:
    """How often the truth fell into each gap between the sorted members; flat is reliable.

    Args:
        frequencies: By model, share of cases by rank, adding up to 1, ``(members + 1,)``.
        quantity: What the ranks are of.
        look: Style of each model, the same in every figure.
    """
    figure, axes = panel(height=3.0)
    axes.axhline(1, color=INK, lw=1)
    for name, frequency in frequencies.items():
        groups = np.array_split(np.asarray(frequency, dtype=float), min(11, len(frequency)))
        heights = np.array([group.mean() for group in groups]) * len(frequency)
        edges, style = np.linspace(0, 100, len(groups) + 1), look[name]
        axes.stairs(heights, edges, baseline=None, color=style.colour, lw=1.6, label=name)
        axes.plot((edges[1:] + edges[:-1]) / 2, heights, ls="none", marker=style.marker, ms=4, color=style.colour)
    name_axes(axes, "rank of the truth among the members (%)", f"{quantity}: frequency (1 = as expected)")
    axes.set_xlim(0, 100)
    axes.set_ylim(0, max(2.0, 1.1 * axes.dataLim.ymax))
    legend_below(axes, axes.get_legend_handles_labels()[0])
    return figure


def spectrum_chart(
    ratios: Mapping[str, NDArray[np.floating]], *, quantity: str, axis: str, banded: str, look: Look
) -> Figure:
    """Variance by scale along the parallels, members' over the truth's; 1 is alike.

    Args:
        ratios: By model, low, median and high of its members, ``(3, wavenumber)``, wavenumbers from 1 up.
        quantity: What the variance is of.
        axis: What wavenumbers count.
        banded: The model whose low and high are drawn.
        look: Style of each model, the same in every figure.
    """
    figure, axes = panel(height=3.2)
    axes.axhline(1, color=INK, lw=1)
    for name, (low, median, high) in ratios.items():
        style, waves = look[name], np.arange(1, median.size + 1)
        if name == banded:
            axes.fill_between(waves, low, high, color=style.colour, alpha=0.22, lw=0, label=f"{name}, 5–95 %")
        axes.plot(waves, median, color=style.colour, lw=1.6, dashes=style.dash, label=name)
        axes.set_xlim(1, median.size)
    axes.set(xscale="log", yscale="log")
    low, high = axes.get_ylim()
    ratios_shown = _FINE_RATIOS if high / low < 5 else _RATIOS
    for line, ticks in ((axes.xaxis, (1, 2, 5, 10, 20, 50, 100, 200)), (axes.yaxis, ratios_shown)):
        line.set_major_locator(FixedLocator(ticks))
        line.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.minorticks_off()
    axes.set_ylim(min(low, 0.8), max(high, 1.25))
    name_axes(axes, axis, f"{quantity}: variance, members over truth")
    legend_below(axes, axes.get_legend_handles_labels()[0])
    return figure


def loss_curves(curves: Mapping[str, Curve]) -> Figure:
    """Loss by training step: on the training years, and on the validation years that decide when to stop."""
    figure, axes = panel(height=2.4, width=WIDTH * 0.8)
    for name, style in styles(list(curves)).items():
        steps, loss = curves[name]
        known = np.isfinite(loss)
        axes.plot(steps[known], loss[known], color=style.colour, lw=1.6, dashes=style.dash, label=name)
    name_axes(axes, "training step", "loss (no units)")
    legend_below(axes, axes.get_legend_handles_labels()[0])
    return figure
