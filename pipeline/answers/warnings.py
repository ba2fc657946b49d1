"""What the reader of an answer should know of its members, whatever was asked: warnings with a code and a sentence."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.answers.headline import percent
from pipeline.answers.probability import Inquiry
from pipeline.events.tree import Point
from pipeline.places.regions import WHOLE

MUCH_UNKNOWN = 0.05
FEW_GIVEN = 30


def warning(code: str, text: str) -> dict[str, str]:
    """One warning."""
    return {"code": code, "text": text}


def general_warnings(inquiry: Inquiry) -> list[dict[str, str]]:
    """Of the forecast, its calibration, forcing and regions; complete once the question has been evaluated."""
    return [*inquiry.notes, *_of_calibration(inquiry), *_of_forcing(inquiry), *_of_regions(inquiry)]


def thin_warnings(inquiry: Inquiry, known: NDArray[np.bool_], considered: NDArray[np.bool_]) -> list[dict[str, str]]:
    """That few members meet the condition, or that many are unknown; arrays are ``(scenario, member, sample)``."""
    found = []
    fewest = int(known.any(axis=2).sum(axis=1).min())
    if inquiry.question.given is not None and fewest < FEW_GIVEN:
        found.append(warning("given_few", f"Only {fewest} members meet the condition."))
    unknown = 1 - float((known.sum(axis=(1, 2)) / considered.sum(axis=(1, 2))).min())
    if unknown > MUCH_UNKNOWN:
        text = f"{100 * unknown:.0f} % of the members are unknown for want of data."
        found.append(warning("members_unknown", text))
    return found


def _of_calibration(inquiry: Inquiry) -> list[dict[str, str]]:
    """That members are raw, or that their calibration is of another model or time."""
    state = inquiry.members.catalogue.calibration.get("state")
    if state == "stale":
        return [warning("calibration_stale", "The calibration is out of date, so it was not used.")]
    if state != "calibrated":
        return [warning("uncalibrated", "The members were not calibrated on past forecasts.")]
    return []


def _of_forcing(inquiry: Inquiry) -> list[dict[str, str]]:
    """That the question looks at times whose forcing is beyond what models were fitted on."""
    last = inquiry.timeline.ends(0, inquiry.members.reached)[1]
    return [
        warning("extrapolated", found["text"])
        for group, found in inquiry.members.catalogue.extrapolated.items()
        if found["since"] <= last and (not inquiry.scenarios or group in inquiry.scenarios)
    ]


def _of_regions(inquiry: Inquiry) -> list[dict[str, str]]:
    """Regions that are tiny, partly without data, or partly off the grid."""
    found = []
    for region, valid in inquiry.members.valid_shares.items():
        cells = inquiry.members.cells(region)
        if cells.count == 1 and not isinstance(region, Point):
            text = f"{cells.title} covers {percent(cells.of_one_cell)} of one cell. You get that cell's climate."
            found.append(warning("region_smaller_than_cell", text))
        if valid < 0.9:
            found.append(warning("partly_masked", f"{percent(valid)} of {cells.title} has data; the rest is left out."))
        if cells.covered < WHOLE:
            text = f"{cells.outside} of {cells.title} is outside the grid; the rest was used."
            found.append(warning("region_partly_outside", text))
    return found
