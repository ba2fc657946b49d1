"""The only place where tensors meet xarray: from an archive to what models see, and back to physical fields."""

from collections.abc import Sequence
from dataclasses import dataclass

import cftime
import numpy as np
import torch
import xarray as xr
from torch import Tensor

from models.base import Context, Grid, Series, TrainingData
from pipeline.background import Background, Sample
from pipeline.errors import TercileError
from pipeline.grid import area_weights, is_global
from pipeline.periods import EPOCH, dates, infer_cadence, season_phase


@dataclass(frozen=True)
class Stretch:
    """A group of the archive with what the fit may use of it.

    Attributes:
        sample: Fields and covariates, one value of each per step.
        train: Steps to fit on, ``(time,)``.
        validate: Steps for early stopping, ``(time,)``.
    """

    sample: Sample
    train: np.ndarray
    validate: np.ndarray


def grid_of(background: Background, fields: xr.Dataset) -> Grid:
    """The grid that models live on: masked where the background has no value."""
    mask = np.concatenate(
        [_channels(np.isfinite(background.variance[name][:1]), fields[name]) for name in background.mean], axis=1
    )[0]
    return Grid(
        weights=torch.from_numpy(area_weights(fields).values.astype("float32")),
        mask=torch.from_numpy(mask),
        is_global=is_global(fields["longitude"]),
    )


def training_data(stretches: Sequence[Stretch], background: Background) -> TrainingData:
    """What models may see: standardised anomalies, zero outside training and validation years and on masked cells."""
    grid = grid_of(background, stretches[0].sample.fields)
    series = [one for stretch in stretches for one in _series(stretch, background)]
    if not any(bool(one.train.any()) for one in series):
        raise TercileError("split: no training step lies in the data.")
    return TrainingData(series=tuple(series), grid=grid)


def context(
    fields: xr.Dataset,
    background: Background,
    *,
    covariates: np.ndarray,
    bounds: np.ndarray,
    init: cftime.datetime,
    history: int,
) -> Context:
    """The situation at an initial time.

    Args:
        fields: One realization of the archive, at least the ``history`` periods that end at ``init``.
        background: The model's background.
        covariates: For the history and the leads, ``(history + leads, covariates)``, not yet scaled.
        bounds: Ends of the same periods, ``cftime`` ``(history + leads, 2)``.
        init: End of the last input period.
        history: How many past states.

    Raises:
        TercileError: The archive lacks a state that the history needs.
    """
    ends = {end: position for position, end in enumerate(_ends(fields))}
    missing = [str(end) for end in bounds[:history, 1] if end not in ends]
    if missing:
        raise TercileError(f"forecast from {init}: the archive lacks the period(s) that end at {', '.join(missing)}.")
    past = fields.isel(time=[ends[end] for end in bounds[:history, 1]])
    phase = season_phase(xr.DataArray(bounds, dims=("time", "bnds")))
    return Context(
        history=_tensor(_standardised(past, background, phase[:history], covariates[:history])),
        calendar=_calendar(phase, infer_cadence(fields["time"]).is_subannual),
        forcing=_tensor(background.scaled(covariates)),
        init_time=int(cftime.date2num(init, EPOCH, init.calendar)),
    )


def to_fields(
    sample: Tensor, background: Background, template: xr.Dataset, *, bounds: np.ndarray, covariates: np.ndarray
) -> dict[str, np.ndarray]:
    """Sampled anomalies ``(members, leads, channels, latitude, longitude)`` as physical fields by variable.

    Returns:
        ``(members, leads, [level], latitude, longitude)`` in canonical units, float32, NaN on masked cells.
    """
    phase = season_phase(xr.DataArray(bounds, dims=("time", "bnds")))
    values, first, fields = sample.numpy().astype(float), 0, {}
    for name in background.mean:
        count = template.sizes["level"] if "level" in template[name].dims else 1
        part = values[:, :, first : first + count]
        first += count
        part = part if "level" in template[name].dims else part[:, :, 0]
        fields[name] = background.restore(name, part, phase, covariates).astype("float32")
    return fields


def background_fields(
    background: Background, template: xr.Dataset, *, bounds: np.ndarray, covariates: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Expected state and standard deviation by variable, ``(leads, [level], latitude, longitude)``, transformed."""
    phase = season_phase(xr.DataArray(bounds, dims=("time", "bnds")))
    names = [str(name) for name in template.data_vars]
    expected = {name: background.expected(name, phase, covariates) for name in names}
    deviation = {name: background.deviation(name, phase, covariates) for name in names}
    return expected, deviation


def _series(stretch: Stretch, background: Background) -> list[Series]:
    fields = stretch.sample.fields
    phase = season_phase(fields["time_bnds"])
    runs = (
        [fields.isel(realization=run) for run in range(fields.sizes["realization"])]
        if "realization" in fields.dims
        else [fields]
    )
    used = torch.from_numpy(stretch.train | stretch.validate)
    made = []
    for run in runs:
        values = _tensor(_standardised(run, background, phase, stretch.sample.covariates))
        made.append(
            Series(
                values=torch.where(used[:, None, None, None], values, 0.0),
                calendar=_calendar(phase, infer_cadence(fields["time"]).is_subannual),
                forcing=_tensor(background.scaled(stretch.sample.covariates)),
                train=torch.from_numpy(stretch.train),
                validate=torch.from_numpy(stretch.validate),
            )
        )
    return made


def _standardised(fields: xr.Dataset, background: Background, phase: np.ndarray, covariates: np.ndarray) -> np.ndarray:
    parts = [
        _channels(
            background.standardise(name, fields[name].transpose("time", ...).values, phase, covariates), fields[name]
        )
        for name in background.mean
    ]
    return np.nan_to_num(np.concatenate(parts, axis=1))


def _channels(values: np.ndarray, field: xr.DataArray) -> np.ndarray:
    return values if "level" in field.dims else values[:, None]


def _calendar(phase: np.ndarray, is_subannual: bool) -> Tensor:
    angle = 2 * np.pi * phase
    season = np.stack([np.sin(angle), np.cos(angle)], axis=1)
    return _tensor(season if is_subannual else np.zeros_like(season))


def _ends(fields: xr.Dataset) -> np.ndarray:
    return dates(fields["time_bnds"])[:, 1]


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype="float32"))
