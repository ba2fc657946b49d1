"""``map`` and ``series`` questions: members counted at each cell, or at each step.

Maps are worked through in bands of rows, so that memory does not grow with the grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.answers.bounds import Bounds
from pipeline.answers.contrast_field import CONTRAST, contrasted, described, summary
from pipeline.answers.evaluate import evaluate
from pipeline.answers.extent import span_of
from pipeline.answers.headline import share_of_members
from pipeline.answers.hindcasts import BATCH_VALUES
from pipeline.answers.intervals import effective_trials, proportion_bounds, trials_with_fit
from pipeline.answers.probability import Inquiry, nothing_known
from pipeline.answers.trajectories import Need
from pipeline.events.errors import QuestionError
from pipeline.events.tree import Box
from pipeline.places.regions import Cells

Array = NDArray[Any]
Payload = dict[str, Any]

BAND_VALUES = 4_000_000  # numbers of one variable that are held at once, 16 MB of float32

AT_ONCE = 2  # calibrations whose members are counted at the same time


def answer_field(inquiry: Inquiry, *, level: float, refits: Sequence[Inquiry] = ()) -> tuple[Payload, xr.Dataset]:
    """Answer a ``map`` or ``series`` question.

    Args:
        inquiry: The question before its data.
        level: Coverage of intervals.
        refits: The same question before members that were calibrated without one part of the hindcasts each; their
            intervals then cover the fit of the calibration.

    Returns:
        The answer's own fields, and the chances with dims ``([scenario], latitude, longitude)`` or
        ``([scenario], lead_time)``: probability, low, high, base_rate, members_valid; of two scenarios also their
        ``CONTRAST``, without that dimension.

    Raises:
        QuestionError: ``wrong_kind``, for pooled years in a series; ``members_unknown``, where nothing is known
            anywhere; ``scenario_mismatch``, where no place is known under both scenarios.
    """
    if inquiry.question.given is not None:
        raise QuestionError("wrong_kind", "'given' works with prob, dist and value; not yet with map and series.")
    worked = _series if inquiry.question.ask == "series" else _map
    field = worked(inquiry, refits, level)
    chances = field["probability"]
    if not chances.notnull().any():
        raise nothing_known()
    low, high = float(chances.min()), float(chances.max())
    place = "place" if inquiry.question.ask == "map" else "step"
    few, most = share_of_members(low), share_of_members(high)
    text = f"From {few} to {most} of {inquiry.count_members} members, varying from {place} to {place}."
    covers = "members and calibration fit" if len(refits) > 1 else "sampling of members"
    told: Payload = {"min": low, "mean": float(chances.mean()), "max": high, "dims": list(chances.dims)}
    told["interval"] = {"level": level, "covers": covers}
    unusual = {"base_rate_reason": why} if (why := field["base_rate"].attrs.get("why_unknown")) else {}
    if "difference" in field:
        gap = told["difference"] = summary(field, inquiry.scenarios, level=level)
        judged = f"each {place} judged alone by its {100 * level:g} % interval"
        one, other = inquiry.scenarios
        text = f"The share under {one} less that under {other}: {gap['text']}, {judged}. {text}"
    head = {"text": text, "source": "members", "value": None, "likelihood_term": None}
    return {"headline": head, "field": told, **unusual, "warnings": []}, field


def _series(inquiry: Inquiry, refits: Sequence[Inquiry], level: float) -> xr.Dataset:
    """Chances step by step."""

    def steps(asked: Inquiry) -> Bounds:
        event = asked.values(asked.question.subject)
        return event.apply(lambda side: side[:, :, np.newaxis, :, 0, 0])

    timeline = inquiry.timeline
    rates = [_base_rate(inquiry, None, clock=float(clock)) for clock in timeline.clock]
    coords = {
        "lead_time": ("lead_time", np.arange(1, timeline.size + 1), {"units": timeline.unit}),
        "valid_time": ("lead_time", timeline.labels.values),
    }
    counted = _counted(steps(inquiry), [_share(steps(refit)) for refit in refits], level=level)
    base = np.array([[float(rate.squeeze()) for rate, _ in rates]])
    field = _dataset(inquiry, {**counted, "base_rate": base}, ("lead_time",), coords, level=level)
    return _explained(field, [why for _, why in rates])


def _map(inquiry: Inquiry, refits: Sequence[Inquiry], level: float) -> xr.Dataset:
    """Chances cell by cell."""
    members, reasons = inquiry.members, list[str]()

    def part(band: Cells) -> dict[str, Array]:
        event = _in_band(inquiry, band)
        refitted = list(pool.map(lambda refit: _share(_in_band(refit, band)), refits))
        counted = _counted(event, refitted, level=level)
        base, why = _base_rate(inquiry, band)
        inquiry.climate.forget()
        reasons.append(why)
        return {**counted, "base_rate": np.broadcast_to(base, (1, *counted["probability"].shape[1:]))}

    with ThreadPoolExecutor(AT_ONCE) as pool:
        parts = [part(band) for band in bands(inquiry)]
    joined = {name: np.concatenate([part[name] for part in parts], axis=-2) for name in parts[0]}
    coords = {
        "latitude": ("latitude", members.latitude, {"units": "degrees_north"}),
        "longitude": ("longitude", members.longitude, {"units": "degrees_east"}),
    }
    return _explained(_dataset(inquiry, joined, ("latitude", "longitude"), coords, level=level), reasons)


def _base_rate(inquiry: Inquiry, cells: Cells | None, *, clock: float | None = None) -> tuple[Array, str]:
    """The base rate ``(1, latitude, longitude)``; NaN and the reason where the reference is too short to say."""
    try:
        values = inquiry.climate.sample(inquiry.question.subject, cells, clock=clock).values
    except QuestionError as error:
        if error.code != "reference_too_short":
            raise
        return np.full((1, 1, 1), np.nan), error.text
    return values.mean(axis=1)[:, 0], ""


def _explained(field: xr.Dataset, reasons: Sequence[str]) -> xr.Dataset:
    """The field, with the reason where no base rate is known anywhere."""
    if all(reasons):
        field["base_rate"].attrs["why_unknown"] = reasons[0]
    return field


def _in_band(inquiry: Inquiry, band: Cells) -> Bounds:
    """The event in every member, after which members and hindcasts are let go of."""
    event = evaluate(inquiry.question.subject, Need(band, 0, inquiry.timeline.size), inquiry.members, inquiry.usual)
    inquiry.members.forget()
    if inquiry.model is not None:
        inquiry.model.forget()
    return event


def bands(inquiry: Inquiry) -> list[Cells]:
    """The grid in bands of rows that fit in memory."""
    members = inquiry.members
    rows, columns = members.latitude.size, members.longitude.size
    start, stop = span_of(inquiry.question.subject, inquiry.timeline)
    per_row = columns * (stop - start)
    height = BAND_VALUES // (per_row * inquiry.samples)
    if inquiry.model is not None:
        height = min(height, BATCH_VALUES // (per_row * inquiry.model.samples))  # so that refits read hindcasts once
    height = max(1, height // members.rows_stored) * members.rows_stored
    bands = []
    for start in range(0, rows, height):
        chosen = np.arange(start, min(start + height, rows))
        name = Box(float(members.latitude[chosen[0]]), float(members.latitude[chosen[-1]]), -180.0, 180.0)
        weights = np.ones((chosen.size, columns))
        bands.append(Cells(name, "the grid", None, chosen, np.arange(columns), weights, 1.0, 1.0))
    return bands


def _counted(event: Bounds, refitted: Sequence[Array], *, level: float) -> dict[str, Array]:
    """Share of members with its interval, and of two scenarios their contrast; where no member is known, NaN.

    Args:
        event: Axes ``(scenario, member, sample, ...)``.
        refitted: The share under each other calibration, ``(scenario, ...)``.
        level: Coverage of the intervals.
    """
    known = ~event.unknown
    came = event.low & known
    share = _share(event)
    trials = np.stack([effective_trials(*side) for side in zip(came, known, strict=True)])
    if len(refitted) > 1:
        trials = trials_with_fit(share, trials, np.stack(refitted))
    low, high = proportion_bounds(share, trials, level=level)
    counted = {"probability": share, "low": low, "high": high, "members_valid": known.sum(axis=(1, 2))}
    if len(share) == 1:
        return counted
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = came.sum(axis=2) / known.sum(axis=2)
    return {**counted, **contrasted((share, low, high), shares)}


def _share(event: Bounds) -> Array:
    """The share of known samples with the event, ``(scenario, ...)``; NaN where none is known."""
    if event.is_exact:
        return np.asarray(event.low.mean(axis=(1, 2)))
    known = ~event.unknown
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((event.low & known).sum(axis=(1, 2)) / known.sum(axis=(1, 2)))


def _dataset(
    inquiry: Inquiry, parts: dict[str, Array], dims: tuple[str, ...], coords: dict[str, Any], *, level: float
) -> xr.Dataset:
    """The parts with their coordinates."""
    scenarios = list(inquiry.scenarios) or ["none"]
    shape = parts["probability"].shape
    arrays = {
        name: (dims, part) if name in CONTRAST else (("scenario", *dims), np.broadcast_to(part, shape))
        for name, part in parts.items()
    }
    field = xr.Dataset(arrays, coords={"scenario": scenarios, **coords})
    for name in ("probability", "low", "high", "base_rate"):
        field[name].attrs["units"] = "1"
    return field.squeeze("scenario") if len(scenarios) == 1 else described(field, scenarios, level=level)
