"""``map`` and ``series`` questions: members counted at each cell, or at each step.

Maps are worked through in bands of rows, so that memory does not grow with the grid.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.answers.bounds import Bounds
from pipeline.answers.extent import span_of
from pipeline.answers.headline import share_of_members
from pipeline.answers.intervals import proportion_bounds
from pipeline.answers.probability import Inquiry
from pipeline.answers.trajectories import Need
from pipeline.events.errors import QuestionError
from pipeline.events.tree import Box
from pipeline.places.regions import Cells

Array = NDArray[Any]
Payload = dict[str, Any]

BAND_VALUES = 4_000_000  # numbers of one variable that are held at once, 16 MB of float32


def answer_field(inquiry: Inquiry, *, level: float) -> tuple[Payload, xr.Dataset]:
    """Answer a ``map`` or ``series`` question.

    Args:
        inquiry: The question before its data.
        level: Coverage of intervals.

    Returns:
        The answer's own fields, and the chances with dims ``([scenario], latitude, longitude)`` or
        ``([scenario], lead_time)``: probability, low, high, base_rate, members_valid.

    Raises:
        QuestionError: ``wrong_kind``, for pooled years in a series.
    """
    if inquiry.question.given is not None:
        raise QuestionError("wrong_kind", "'given' works with prob, dist and value; not yet with map and series.")
    field = _series(inquiry, level) if inquiry.question.ask == "series" else _map(inquiry, level)
    chances = field["probability"]
    low, high = float(chances.min()), float(chances.max())
    place = "place to place" if inquiry.question.ask == "map" else "step to step"
    few, most = share_of_members(low), share_of_members(high)
    text = f"From {few} to {most} of {inquiry.count_members} members, varying from {place}."
    found = {
        "headline": {"text": text, "source": "members", "value": None, "likelihood_term": None},
        "field": {"min": low, "mean": float(chances.mean()), "max": high, "dims": list(chances.dims)},
        "warnings": [],
    }
    return found, field


def _series(inquiry: Inquiry, level: float) -> xr.Dataset:
    """Chances step by step."""
    event = inquiry.values(inquiry.question.subject)
    timeline = inquiry.timeline
    samples = [inquiry.climate.sample(inquiry.question.subject, None, clock=float(clock)) for clock in timeline.clock]
    base = np.array([sample.values.mean() for sample in samples])
    coords = {
        "lead_time": ("lead_time", np.arange(1, timeline.size + 1), {"units": timeline.unit}),
        "valid_time": ("lead_time", timeline.labels.values),
    }
    counted = _counted(event, axes=(1, 3, 4), level=level)
    return _dataset(inquiry, {**counted, "base_rate": base[np.newaxis]}, ("lead_time",), coords)


def _map(inquiry: Inquiry, level: float) -> xr.Dataset:
    """Chances cell by cell."""
    members = inquiry.members
    parts: list[dict[str, Array]] = []
    for band in bands(inquiry):
        need = Need(band, 0, inquiry.timeline.size)
        event = inquiry.climate.evaluate(inquiry.question.subject, need, members, inquiry.climate)
        sample = inquiry.climate.sample(inquiry.question.subject, band).values
        parts.append({**_counted(event, axes=(1, 2), level=level), "base_rate": sample.mean(axis=1)[:, 0]})
        inquiry.forget()
    joined = {name: np.concatenate([part[name] for part in parts], axis=1) for name in parts[0]}
    coords = {
        "latitude": ("latitude", members.latitude, {"units": "degrees_north"}),
        "longitude": ("longitude", members.longitude, {"units": "degrees_east"}),
    }
    return _dataset(inquiry, joined, ("latitude", "longitude"), coords)


def bands(inquiry: Inquiry) -> list[Cells]:
    """The grid in bands of rows that fit in memory."""
    members = inquiry.members
    rows, columns = members.latitude.size, members.longitude.size
    start, stop = span_of(inquiry.question.subject, inquiry.timeline)
    per_row = columns * inquiry.samples * (stop - start)
    height = max(1, BAND_VALUES // per_row // members.rows_stored) * members.rows_stored
    bands = []
    for start in range(0, rows, height):
        chosen = np.arange(start, min(start + height, rows))
        name = Box(float(members.latitude[chosen[0]]), float(members.latitude[chosen[-1]]), -180.0, 180.0)
        weights = np.ones((chosen.size, columns))
        bands.append(Cells(name, "the grid", None, chosen, np.arange(columns), weights, 1.0, 1.0))
    return bands


def _counted(event: Bounds, *, axes: tuple[int, ...], level: float) -> dict[str, Array]:
    """Share of members with its interval; where no member is known, NaN."""
    known = ~event.unknown
    valid = known.sum(axis=axes)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = (event.low & known).sum(axis=axes) / valid
    low, high = proportion_bounds(share, np.minimum(valid, event.low.shape[1]), level=level)
    return {"probability": share, "low": low, "high": high, "members_valid": valid}


def _dataset(inquiry: Inquiry, parts: dict[str, Array], dims: tuple[str, ...], coords: dict[str, Any]) -> xr.Dataset:
    """The parts with their coordinates."""
    scenarios = list(inquiry.scenarios) or ["none"]
    shape = parts["probability"].shape
    arrays = {name: (("scenario", *dims), np.broadcast_to(part, shape)) for name, part in parts.items()}
    field = xr.Dataset(arrays, coords={"scenario": scenarios, **coords})
    for name in ("probability", "low", "high", "base_rate"):
        field[name].attrs["units"] = "1"
    return field.squeeze("scenario") if len(scenarios) == 1 else field
