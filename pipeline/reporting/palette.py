"""Colours and line styles of every figure: distinct without colour vision, and never the only sign of a meaning."""

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.colors import BoundaryNorm, ListedColormap, to_hex
from matplotlib.ticker import MaxNLocator

INK = "#1a1a1a"
"""Text, observations and the record."""
MUTED = "#595959"
"""Secondary text and reference lines; 7:1 on white."""
BASE = "#c9c9c9"
"""The base rate's band."""

PROBABILITY_BREAKS = (0, 10, 33, 50, 66, 90, 100)
"""Class edges of a probability, %."""


@dataclass(frozen=True)
class LineStyle:
    """How one scenario or model is drawn wherever it appears: colour, dash and marker together."""

    colour: str
    dash: tuple[float, ...]
    marker: str


STYLES = (
    LineStyle("#005ea8", (), "o"),
    LineStyle("#b8430b", (6.0, 2.0), "s"),
    LineStyle("#00735c", (2.0, 1.5), "^"),
    LineStyle("#8a2f74", (6.0, 2.0, 1.5, 2.0), "D"),
    LineStyle("#6b5300", (9.0, 3.0), "v"),
    LineStyle("#4a4a4a", (1.0, 1.0), "P"),
    LineStyle("#2f4fcf", (4.0, 1.5, 1.0, 1.5, 1.0, 1.5), "X"),
)


def styles(names: Sequence[str]) -> dict[str, LineStyle]:
    """A style for each name, by its place in the sequence; beyond seven they repeat."""
    return {name: STYLES[place % len(STYLES)] for place, name in enumerate(names)}


@dataclass(frozen=True)
class Classes:
    """Discrete classes of a map.

    Attributes:
        breaks: Edges, ascending, one more than ``colours``.
        colours: One hexadecimal colour for each class.
    """

    breaks: tuple[float, ...]
    colours: tuple[str, ...]

    @property
    def colormap(self) -> ListedColormap:
        """The classes as matplotlib wants them."""
        return ListedColormap(list(self.colours))

    @property
    def norm(self) -> BoundaryNorm:
        """Value to class; an edge belongs to the class above it, and what lies beyond the ends to the last ones."""
        return BoundaryNorm(self.breaks, len(self.colours))


def probability_classes() -> Classes:
    """Six classes of probability in %, pale for unlikely to dark for likely."""
    return Classes(PROBABILITY_BREAKS, _sample("cividis_r", 0.02, 1.0, len(PROBABILITY_BREAKS) - 1))


def change_classes(values: np.ndarray, *, is_wetness: bool = False) -> Classes:
    """Up to eight round classes for a change: one hue where all have one sign, else two hues about zero.

    Args:
        values: All changes that share the map's legend; NaN is left out.
        is_wetness: Precipitation and the like, drawn from brown (drier) to blue-green (wetter).

    Returns:
        Classes that hold all values; about zero they are symmetric.
    """
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    if low >= 0 or high <= 0:
        breaks = _round_breaks(low, high if high > low else low + 1)
        colours = _sample("YlGnBu" if high <= 0 else "OrRd", 0.12, 1.0, len(breaks) - 1)
        return Classes(breaks, colours[::-1] if high <= 0 else colours)
    reach = max(-low, high)
    breaks = _round_breaks(-reach, reach, most=8)  # of which changes of one sign take half
    return Classes(breaks, _sample("BrBG" if is_wetness else "RdBu_r", 0.02, 0.98, len(breaks) - 1))


def difference_classes() -> Classes:
    """Seven classes of the difference of two chances in points, from blue to red; white within five points of zero."""
    breaks = (-100.0, -40.0, -20.0, -5.0, 5.0, 20.0, 40.0, 100.0)
    return Classes(breaks, ("#2166ac", "#67a9cf", "#c9dfec", "#ffffff", "#fbd3bd", "#e58368", "#b2182b"))


def skill_classes() -> Classes:
    """Classes of a skill score from -1 to 1: worse than the reference in browns, better in blues."""
    breaks = (-1.0, -0.2, -0.05, 0.05, 0.2, 1.0)
    return Classes(breaks, ("#b35806", "#f5b567", "#f2f2f2", "#9cc4e4", "#1d6996"))


def _round_breaks(low: float, high: float, *, most: int = 6) -> tuple[float, ...]:
    return tuple(float(edge) for edge in MaxNLocator(nbins=most, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high))


def _sample(name: str, first: float, last: float, count: int) -> tuple[str, ...]:
    colormap = matplotlib.colormaps[name]
    return tuple(to_hex(colormap(place)) for place in np.linspace(first, last, count))
