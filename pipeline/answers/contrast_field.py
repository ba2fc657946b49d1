"""Two scenarios compared at each cell of a map, or each step of a series, as a question at that place would be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.answers.headline import percent, points
from pipeline.answers.intervals import difference_bounds, paired_correlation
from pipeline.events.errors import QuestionError
from pipeline.grid import area_weights

Array = NDArray[Any]
Payload = dict[str, Any]

CONTRAST = ("difference", "difference_low", "difference_high", "difference_verdict")
VERDICTS = ("not_known", "no_clear_difference", "clear_difference")


def contrasted(chances: tuple[Array, Array, Array], shares: Array) -> dict[str, Array]:
    """The difference of two scenarios' chances, first less second, with its interval and what that says.

    Args:
        chances: Chances and the ends of their intervals, each ``(scenario, ...)``.
        shares: Each member's own share, ``(scenario, member, ...)``, NaN where unknown.

    Returns:
        The variables of ``CONTRAST``, without the axis of scenarios.
    """
    first, second = (tuple(part[side] for part in chances) for side in (0, 1))
    low, high = difference_bounds(first, second, correlation=paired_correlation(*shares))
    known = np.isfinite(low)
    is_clear = (low > 0) | (high < 0)
    verdict = np.where(known, np.where(is_clear, 2, 1), 0).astype("int8")
    return dict(zip(CONTRAST, (first[0] - second[0], low, high, verdict), strict=True))


def described(field: xr.Dataset, scenarios: Sequence[str], *, level: float) -> xr.Dataset:
    """The variables of ``CONTRAST`` with what they are."""
    gap = f"share of members with the event under {scenarios[0]} less that under {scenarios[1]}"
    interval = f"{100 * level:g} % interval of the {gap}"
    ends = (f"lower end of the {interval}", f"upper end of the {interval}")
    told = field.copy()
    for name, long_name in zip(CONTRAST, (gap, *ends, f"whether the {interval} leaves out 0"), strict=True):
        told[name].attrs |= {"long_name": long_name, "units": "1", "level": level}
    flags = {"flag_values": np.arange(len(VERDICTS), dtype="int8"), "flag_meanings": " ".join(VERDICTS)}
    told["difference_verdict"].attrs |= flags
    return told


def summary(field: xr.Dataset, scenarios: Sequence[str], *, level: float) -> Payload:
    """How far the difference reaches, and over how much of the area, or of the steps, it is clear.

    Args:
        field: With the variables of ``CONTRAST``.
        scenarios: Both names.
        level: Coverage of the intervals.

    Raises:
        QuestionError: ``scenario_mismatch``, where no place is known under both.
    """
    gap, verdict = field["difference"], field["difference_verdict"]
    if not gap.notnull().any():
        text = f"No place has data under both {scenarios[0]} and {scenarios[1]}: no common window."
        raise QuestionError("scenario_mismatch", text)
    whole, weights = ("area", area_weights(field)) if "latitude" in gap.dims else ("steps", xr.ones_like(gap))
    known, clear = (weights.where(verdict >= least, 0.0).sum() for least in (1, 2))
    low, high, share = float(gap.min()), float(gap.max()), float(clear / known)
    where = {0.0: "nowhere", 1.0: "everywhere"}.get(share, f"over {percent(share)} of the {whole}")
    return {
        "text": f"{points(low)} to {points(high)} points; clearly different {where}",
        "min": low,
        "max": high,
        "clear_share": share,
        "level": level,
        "method": "square-and-add, members paired",
    }
