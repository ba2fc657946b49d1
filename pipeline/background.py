"""The background: the expected state at a time given calendar and forcing, and the spread around it.

Each cell is regressed on harmonics of the season, on covariates (a warming pathway, time itself) and on their products.
Without a covariate this is a climatology, with a warming pathway pattern scaling, with time a moving normal.
Models see only what remains, divided by its standard deviation. A background is fitted on training years alone.

Missing data: a cell that lacks any training value is masked for good and stays NaN throughout.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr
from pydantic import BaseModel, ConfigDict, Field

from pipeline.errors import TercileError
from pipeline.grid import area_weights
from pipeline.periods import infer_cadence, season_phase, waves

VERSION = 1
"""Raised when a change of this module, or of the pathway, changes what is fitted."""

SMALLEST_VARIANCE = 1e-12
"""Below this share of the area's mean variance a cell counts as constant and is masked."""

ROUNDING = 1e-6
"""A deviation below this share of the mean is the rounding of values stored in single precision."""

EXPERIENCE = 2.0
"""How far a covariate changes the variance, in its deviations over the training years; beyond, it stays as it is.

A straight ramp reaches 1.7 of them. The mean follows a forcing further, but a small trend of the variance, followed
far, would make a projection the surer the less is known of it.
"""


class WarmingConfig(BaseModel):
    """A warming pathway as covariate: smoothed mean of the area against reference years."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["warming"] = "warming"
    variable: str = "tas"
    reference: tuple[int, int]
    window: int = Field(21, ge=1, le=101, description="years of the running mean")


class TrendConfig(BaseModel):
    """Time itself as covariate: a linear trend, the moving normal."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["trend"] = "trend"


class BackgroundConfig(BaseModel):
    """How the expected state is modelled.

    Attributes:
        harmonics: Pairs of seasonal harmonics of the mean; none where a step is a year or longer.
        spread_harmonics: The same for the standard deviation.
        covariate: A slow forcing, or none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    harmonics: int = Field(3, ge=0, le=12)
    spread_harmonics: int = Field(2, ge=0, le=6)
    covariate: WarmingConfig | TrendConfig | None = Field(None, discriminator="kind")


@dataclass(frozen=True)
class Sample:
    """A stretch of the record with its covariates, slow ones and those of the hour, as the background sees it.

    Attributes:
        fields: Variables ``([realization], time, [level], latitude, longitude)`` with ``time_bnds``.
        covariates: ``(time, covariates)``; no columns where there is none.
    """

    fields: xr.Dataset
    covariates: np.ndarray


@dataclass(frozen=True)
class Background:
    """A fitted background.

    Attributes:
        config: What was fitted.
        mean: Coefficients of the mean by variable, ``(terms, [level], latitude, longitude)``, transformed units.
        variance: Coefficients of the variance by season, ``(terms, [level], latitude, longitude)``.
        spread: Relative change of the variance per unit of each covariate, shared by the area, ``(covariates,)``.
        transforms: Transform by variable.
        harmonics: Pairs in use, mean and variance.
        scale: Centre and spread of each covariate over the training years, ``(2, covariates)``.
    """

    mean: Mapping[str, np.ndarray]
    variance: Mapping[str, np.ndarray]
    spread: Mapping[str, np.ndarray]
    transforms: Mapping[str, str]
    harmonics: tuple[int, int]
    scale: np.ndarray

    def expected(self, name: str, phase: np.ndarray, covariates: np.ndarray) -> np.ndarray:
        """Expected state in transformed units, ``(time, [level], latitude, longitude)``."""
        return np.tensordot(_design(phase, covariates, self.harmonics[0]), self.mean[name], axes=1)

    def deviation(self, name: str, phase: np.ndarray, covariates: np.ndarray) -> np.ndarray:
        """Standard deviation of the remainder in transformed units, same shape."""
        return np.sqrt(self._variance(name, phase, covariates))

    def standardise(self, name: str, values: np.ndarray, phase: np.ndarray, covariates: np.ndarray) -> np.ndarray:
        """Physical values ``([…,] time, [level], latitude, longitude)`` to standardised anomalies, float64."""
        transformed = forward(np.asarray(values, dtype=float), self.transforms[name])
        return (transformed - self.expected(name, phase, covariates)) / self.deviation(name, phase, covariates)

    def restore(self, name: str, anomalies: np.ndarray, phase: np.ndarray, covariates: np.ndarray) -> np.ndarray:
        """The inverse of ``standardise``."""
        transformed = anomalies * self.deviation(name, phase, covariates) + self.expected(name, phase, covariates)
        return backward(transformed, self.transforms[name])

    def scaled(self, covariates: np.ndarray) -> np.ndarray:
        """Covariates as models see them: centred and divided by their spread over the training years."""
        return (covariates - self.scale[0]) / self.scale[1]

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything fitted, by name."""
        found = {"scale": self.scale, "harmonics": np.array(self.harmonics, dtype="int64")}
        for name in self.mean:
            found |= {
                f"mean.{name}": self.mean[name],
                f"variance.{name}": self.variance[name],
                f"spread.{name}": self.spread[name],
            }
        return found

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], *, transforms: Mapping[str, str]) -> "Background":
        """The background that ``arrays()`` came from."""
        parts = {
            part: {name: np.asarray(arrays[f"{part}.{name}"]) for name in transforms}
            for part in ("mean", "variance", "spread")
        }
        first, second = (int(count) for count in arrays["harmonics"])
        return cls(**parts, transforms=dict(transforms), harmonics=(first, second), scale=np.asarray(arrays["scale"]))

    def _variance(self, name: str, phase: np.ndarray, covariates: np.ndarray) -> np.ndarray:
        coefficients = self.variance[name]
        seasonal = np.tensordot(_design(phase, covariates[:, :0], self.harmonics[1]), coefficients, axes=1)
        seasonal = np.maximum(seasonal, 0.1 * coefficients[0])
        seen = np.clip(self.scaled(covariates), -EXPERIENCE, EXPERIENCE)
        change = np.clip(1 + seen @ self.spread[name], 0.5, 2.0)
        return seasonal * change.reshape(-1, *[1] * (seasonal.ndim - 1))


def fit_background(samples: Sequence[Sample], config: BackgroundConfig, *, transforms: Mapping[str, str]) -> Background:
    """Least squares in each cell over all samples; variance by season in each cell, by forcing over the area.

    Args:
        samples: Training stretches, each of as many realizations as it has; they count as further data.
        config: Terms of the regression.
        transforms: ``none``, ``sqrt`` or ``log`` for each variable.

    Raises:
        TercileError: Fewer training steps than five for each term of the regression; a variable, or a level of it, of
            which every cell is constant or lacks a value.

    Source:
        Pattern scaling: Santer et al. (1990); with seasonal terms as in MESMER, Beusch et al. (2020),
        doi:10.5194/esd-11-139-2020.
    """
    covariates = np.concatenate([sample.covariates for sample in samples])
    phase = np.concatenate([season_phase(sample.fields["time_bnds"]) for sample in samples])
    harmonics = (config.harmonics, config.spread_harmonics) if _has_season(samples) else (0, 0)
    design = _design(phase, covariates, harmonics[0])
    if len(design) < 5 * design.shape[1]:
        raise TercileError(
            f"background: {len(design)} training steps are too few for {design.shape[1]} terms; "
            "give more years, or fewer harmonics."
        )
    spread_of = covariates.std(axis=0)
    scale = np.stack([covariates.mean(axis=0), np.where(spread_of > 0, spread_of, 1.0)])
    mean, variance, spread = {}, {}, {}
    for name in transforms:
        parts = [forward(_by_time(sample.fields[name]).astype(float), transforms[name]) for sample in samples]
        runs = np.concatenate([np.full(part.shape[1], len(part)) for part in parts])
        mean[name], squares = _least_squares(design, parts, runs)
        squares = squares * len(runs) * runs.mean() / (runs.sum() - design.shape[1])
        weights = area_weights(samples[0].fields)
        variance[name], spread[name] = _fit_spread(
            squares, runs, phase, (covariates - scale[0]) / scale[1], harmonics[1], weights.values
        )
        _check_remainder(samples[0].fields[name], mean[name][0], variance[name][0])
    return Background(mean, variance, spread, dict(transforms), harmonics, scale)


def forward(values: np.ndarray, transform: str) -> np.ndarray:
    """Physical to transformed units; what lies below zero counts as zero."""
    if transform == "sqrt":
        return np.sqrt(np.maximum(values, 0))
    return np.log(np.maximum(values, 1e-12)) if transform == "log" else values


def backward(values: np.ndarray, transform: str) -> np.ndarray:
    """Transformed to physical units; never negative where the transform is bounded."""
    if transform == "sqrt":
        return np.maximum(values, 0) ** 2
    return np.exp(values) if transform == "log" else values


def _design(phase: np.ndarray, covariates: np.ndarray, harmonics: int) -> np.ndarray:
    seasonal = np.concatenate([np.ones((len(phase), 1)), waves(phase, harmonics)], axis=1)
    forced = [seasonal[:, : min(3, seasonal.shape[1])] * column[:, None] for column in covariates.T]
    return np.concatenate([seasonal, *forced], axis=1)


def _check_remainder(field: xr.DataArray, mean: np.ndarray, variance: np.ndarray) -> None:
    """Refuse a variable, or a level of it, that leaves no cell to learn from; both arrays ``([level], ...)``."""
    levels = [f" at level {level:g}" for level in field["level"].values] if "level" in field.dims else [""]
    parts = np.isfinite(mean), variance > (ROUNDING * mean) ** 2
    for level, known, varies in zip(levels, *(part.reshape(len(levels), -1) for part in parts), strict=True):
        if not varies.any():
            why = "constant but for season, forcing and rounding" if known.any() else "missing at some training step"
            raise TercileError(
                f"background: '{field.name}'{level} is {why} in every cell, so nothing can be learnt of it. Mend it in "
                "the source, or leave it out."
            )


def _by_time(array: xr.DataArray) -> np.ndarray:
    ordered = array.transpose(..., "time", *[dim for dim in ("level", "latitude", "longitude") if dim in array.dims])
    values = ordered.values
    return values if "realization" in array.dims else values[None]


def _has_season(samples: Sequence[Sample]) -> bool:
    return infer_cadence(samples[0].fields["time"]).is_subannual


def _least_squares(design: np.ndarray, parts: Sequence[np.ndarray], runs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients, and the mean square of what they leave at each step; a step counts as often as there are runs."""
    flat = np.concatenate([part.mean(axis=0) for part in parts])
    coefficients = _weighted_inverse(design, runs) @ flat.reshape(len(flat), -1)
    expected = (design @ coefficients).reshape(flat.shape)
    ends = np.cumsum([part.shape[1] for part in parts])[:-1]
    pairs = zip(parts, np.split(expected, ends), strict=True)
    squares = [((part - fitted) ** 2).mean(axis=0) for part, fitted in pairs]
    return coefficients.reshape(-1, *flat.shape[1:]), np.concatenate(squares)


def _weighted_inverse(design: np.ndarray, runs: np.ndarray) -> np.ndarray:
    """What takes values at each step to coefficients, ``(terms, steps)``."""
    root = np.sqrt(runs / runs.max())
    return np.asarray(np.linalg.pinv(root[:, None] * design) * root)


def _fit_spread(
    squares: np.ndarray,
    runs: np.ndarray,
    phase: np.ndarray,
    covariates: np.ndarray,
    harmonics: int,
    weights: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    steps = len(squares)
    design = _design(phase, covariates[:, :0], harmonics)
    coefficients = _weighted_inverse(design, runs) @ squares.reshape(steps, -1)
    typical = np.nanmean(coefficients[0]) if np.isfinite(coefficients[0]).any() else np.nan
    coefficients[:, ~(coefficients[0] > SMALLEST_VARIANCE * typical)] = np.nan
    seasonal = np.maximum(design @ coefficients, 0.1 * coefficients[0])
    ratio = (squares.reshape(steps, -1) / seasonal).reshape(squares.shape)
    inside = np.isfinite(ratio).all(axis=0)
    area = np.broadcast_to(weights, ratio.shape[1:]) * inside
    relative = (
        np.where(inside, ratio, 0.0).reshape(steps, -1) @ area.reshape(-1) / area.sum()
        if area.any()
        else np.ones(steps)
    )
    root = np.sqrt(runs / runs.max())
    change = (
        np.linalg.lstsq(root[:, None] * covariates, root * (relative - 1), rcond=None)[0]
        if covariates.shape[1]
        else np.zeros(0)
    )
    return coefficients.reshape(-1, *squares.shape[1:]), change
