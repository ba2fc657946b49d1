"""Members calibrated one by one: ``x' = α + β·mean + τ·(x − mean)``, applied on reading.

It works on anomalies from the background, in units of its deviation, so that an ensemble without skill (β near 0)
goes back to the climatology and not to some other state. Each member stays one coherent trajectory: its anomaly from
the mean is only stretched. Members are coupled by their mean; judge them on the plain CRPS.

Source:
    Van Schaeybroeck and Vannitsem (2015), doi:10.1002/qj.2397, member-by-member calibration.
"""

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.background import backward, forward

_ROUNDING = 1e-5  # share of the expected state below which a calibrated root is nothing but rounding


def calibrate(
    ensemble: xr.DataArray,
    expected: xr.DataArray,
    deviation: xr.DataArray,
    coefficients: xr.DataArray,
    *,
    fold: NDArray[np.int64],
    season: xr.DataArray,
    transform: str = "none",
) -> xr.DataArray:
    """The calibrated members, lazily, laid out as the raw ones.

    Args:
        ensemble: Members, ``([scenario], init_time, lead_time, member, [level], latitude, longitude)``, physical units.
        expected: Of the background, the same dims without ``member``, transformed units.
        deviation: Likewise.
        coefficients: From ``fit_calibration``.
        fold: Of each initial time; -1 for a forecast. A hindcast gets what was learnt without its fold.
        season: Number of the season of each case, ``(init_time, lead_time)``.
        transform: Of the variable: ``none``, ``sqrt`` or ``log``.
    """
    rows = {int(number): row for row, number in enumerate(coefficients["fold"].values)}
    which = xr.DataArray([rows[int(number)] for number in fold], dims="init_time")
    plain = coefficients.drop_vars(["coefficient", "fold"])
    if plain.chunks is None:
        plain = plain.chunk()
    learnt = ["coefficient", "fold", "learnt_lead", "season"]
    calibrated = xr.apply_ufunc(
        _stretch,
        ensemble.chunk(lead_time=-1, member=-1),
        expected.chunk(lead_time=-1),
        deviation.chunk(lead_time=-1),
        plain.rename(lead_time="learnt_lead").chunk(dict.fromkeys(learnt, -1)),
        which,
        season.drop_vars(list(season.coords)),
        kwargs={"transform": transform},
        input_core_dims=[["lead_time", "member"], ["lead_time"], ["lead_time"], learnt, [], ["lead_time"]],
        output_core_dims=[["lead_time", "member"]],
        dask="parallelized",
        output_dtypes=["float32"],
        keep_attrs=True,
    )
    return calibrated.transpose(*ensemble.dims).assign_attrs(ensemble.attrs)


def _stretch(
    members: NDArray[Any],
    expected: NDArray[Any],
    deviation: NDArray[Any],
    coefficients: NDArray[Any],
    fold: NDArray[Any],
    season: NDArray[Any],
    *,
    transform: str,
) -> NDArray[np.float32]:
    """One block: members ``(..., lead, member)``, coefficients ``(..., 3, fold, lead, season)``, fold ``(...)``."""
    _, _, leads, seasons = coefficients.shape[-4:]
    lead = np.minimum(np.arange(members.shape[-2]), leads - 1)
    index = ((fold[..., None] * leads + lead) * seasons + season)[..., None, :]
    flat = coefficients.reshape(*coefficients.shape[:-3], -1)
    flat = flat.reshape(*[1] * (index.ndim - flat.ndim), *flat.shape)
    picked = np.moveaxis(np.take_along_axis(flat, index, axis=-1), -2, 0)[..., None]
    background = expected[..., None], deviation[..., None]
    mean, apart = departures(members, *background, member_axis=-1, transform=transform)
    return stretched(mean, apart, *background, picked, transform=transform)


def departures(
    members: NDArray[Any],
    expected: NDArray[Any],
    deviation: NDArray[Any],
    *,
    member_axis: int,
    transform: str,
    stored: NDArray[np.bool_] | bool = True,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """The anomaly of the ensemble mean, and how far each member lies from it, in deviations of the background.

    Args:
        members: Physical units; the other arrays are of length one along ``member_axis``.
        expected: Of the background, transformed units.
        deviation: Likewise.
        member_axis: The axis of members.
        transform: Of the variable: ``none``, ``sqrt`` or ``log``.
        stored: Which members there are, while a run still goes on: the mean is theirs.
    """
    apart = (forward(members, transform) - expected) / deviation
    mean = apart.mean(axis=member_axis, keepdims=True, dtype=np.float64, where=stored).astype(apart.dtype)
    apart -= mean
    return mean, apart


def stretched(
    mean: NDArray[Any],
    apart: NDArray[Any],
    expected: NDArray[Any],
    deviation: NDArray[Any],
    coefficients: NDArray[Any],
    *,
    transform: str,
) -> NDArray[np.float32]:
    """Members from :func:`departures`, calibrated, in physical units.

    Args:
        mean: Anomaly of the ensemble mean, in deviations; all but ``apart`` are of length one along its members.
        apart: Each member's departure from it.
        expected: Of the background, transformed units.
        deviation: Likewise.
        coefficients: α, β and τ, ``(3, ...)``.
        transform: Of the variable.
    """
    alpha, beta, tau = coefficients
    made = apart * (tau * deviation)
    made += (alpha + beta * mean) * deviation + expected
    if transform == "sqrt":  # what was dry and is left as it was stays dry
        made[made < _ROUNDING * expected] = 0.0
    return np.asarray(backward(made, transform), dtype="float32")


def season_numbers(ensemble: xr.Dataset) -> xr.DataArray:
    """Number of the season of each valid time, ``(init_time, lead_time)``: 0 is December to February, and so on.

    All 0 where a lead is a year or longer.
    """
    month = ensemble["valid_time"].dt.month
    quarters = (month % 12) // 3
    return quarters if season_count(ensemble["lead_time"]) > 1 else xr.zeros_like(quarters)


def season_count(lead_time: xr.DataArray) -> int:
    """How many seasons are told apart; forecasts may fall in one that no hindcast has met."""
    return 1 if lead_time.attrs.get("units") == "years" else 4
