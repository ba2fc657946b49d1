"""Proper scores of an ensemble at each point: xarray in, xarray out, lazy where the input is lazy.

What all functions here share:

* ``forecast`` has the members along ``member_dim`` (any chunking) and ``observation`` has the other dims or some of
  them, on the same coordinates and in the same units; otherwise ``TercileError``, a ``ValueError``.
* Scores are negatively oriented: lower is better. They come as float64 without the ensemble dim.
* A NaN in any member or in the observation gives NaN: masking is the caller's.
* A *fair* score is unbiased for the distribution behind the members, so ensembles of different size compare; the
  plain one scores the members themselves as a finite distribution. Members that were made to depend on each other
  (calibration by a common mean) are judged by the plain score.
"""

from collections.abc import Callable

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.errors import TercileError
from pipeline.judging.kernels import SUMMARY, summarise_members

Finish = Callable[[NDArray[np.float64]], NDArray[np.float64]]
_ABSOLUTE, _HALF, _ERROR, _VARIANCE, _BELOW, _EQUAL = range(len(SUMMARY))


def crps_ensemble(
    forecast: xr.DataArray, observation: xr.DataArray, *, member_dim: str = "member", fair: bool = True
) -> xr.DataArray:
    """Continuous ranked probability score of an ensemble (lower is better).

    The mean distance of members to the truth, less half the mean distance between members. NaN in either gives NaN.

    Args:
        forecast: Members, dims ``(member, ...)``; at least two for the fair score.
        observation: Truth, dims ``(...)``, in the units of ``forecast``.
        member_dim: Name of the ensemble dimension.
        fair: Unbiased for the distribution behind the members; otherwise the score of the members' own distribution.

    Returns:
        Score at each point, dims ``(...)``, in the units of ``forecast``.

    Raises:
        TercileError: Fewer than two members, other units, or other coordinates.

    Source:
        Zamo and Naveau (2018), CRPS_PWM (fair) and CRPS_NRG (plain), doi:10.1007/s11004-017-9709-7.
    """
    size = check_pair(forecast, observation, member_dim, least=2 if fair else 1)
    factor = 1.0 if fair else (size - 1) / size
    result = _from_summary(forecast, observation, member_dim, lambda s: s[_ABSOLUTE] - factor * s[_HALF])
    return _describe(result, forecast, "fair CRPS" if fair else "CRPS")


def threshold_weighted_crps(
    forecast: xr.DataArray,
    observation: xr.DataArray,
    *,
    lower: float | xr.DataArray = -np.inf,
    upper: float | xr.DataArray = np.inf,
    member_dim: str = "member",
    fair: bool = True,
) -> xr.DataArray:
    """CRPS that looks only at values between two thresholds (lower is better).

    One open end makes it tail-weighted: ``lower=t`` judges the upper tail. Unlike a CRPS restricted to observed
    extremes it is proper. NaN in either gives NaN.

    Args:
        forecast: Members, dims ``(member, ...)``.
        observation: Truth, dims ``(...)``, in the units of ``forecast``.
        lower: Values below count as equal to it; units of ``forecast``, one number or a field ``(...)``.
        upper: Values above count as equal to it; the same.
        member_dim: Name of the ensemble dimension.
        fair: As in ``crps_ensemble``.

    Returns:
        Score at each point, dims ``(...)``, in the units of ``forecast``.

    Raises:
        TercileError: ``lower`` is not everywhere below ``upper``; and as in ``crps_ensemble``.

    Source:
        Gneiting and Ranjan (2011), doi:10.1198/jbes.2010.08110; Allen, Ginsbourger and Ziegel (2023), chaining
        function, doi:10.1137/22M1532184.
    """
    if bool((xr.DataArray(lower) >= upper).any()):
        got = " and ".join("a field" if isinstance(end, xr.DataArray) else str(end) for end in (lower, upper))
        raise TercileError(f"lower and upper: got {got}; the lower threshold must lie below the upper.")
    check_pair(forecast, observation, member_dim)
    clipped = [array.clip(lower, upper, keep_attrs=True) for array in (forecast, observation)]
    return _describe(crps_ensemble(*clipped, member_dim=member_dim, fair=fair), forecast, "threshold-weighted CRPS")


def squared_error(forecast: xr.DataArray, observation: xr.DataArray, *, member_dim: str = "member") -> xr.DataArray:
    """Squared error of the ensemble mean (lower is better); its mean's root is the RMSE. NaN in either gives NaN.

    Args:
        forecast: Members, dims ``(member, ...)``.
        observation: Truth, dims ``(...)``, in the units of ``forecast``.
        member_dim: Name of the ensemble dimension.

    Returns:
        Dims ``(...)``, in the squared units of ``forecast``.

    Raises:
        TercileError: Other units or other coordinates.
    """
    check_pair(forecast, observation, member_dim, least=1)
    result = _from_summary(forecast, observation, member_dim, lambda s: s[_ERROR] ** 2)
    return _describe(result, forecast, "squared error of the ensemble mean", power=2)


def ensemble_variance(forecast: xr.DataArray, *, member_dim: str = "member") -> xr.DataArray:
    """Unbiased variance of the members (``M - 1`` below), the spread before its root. A NaN member gives NaN.

    Compare it with the squared error of the mean only after ``spread_correction``.

    Args:
        forecast: Members, dims ``(member, ...)``; at least two.
        member_dim: Name of the ensemble dimension.

    Returns:
        Dims ``(...)``, in the squared units of ``forecast``.

    Raises:
        TercileError: Fewer than two members.
    """
    _member_count(forecast, member_dim, least=2)
    first = forecast.isel({member_dim: 0}, drop=True)
    result = _from_summary(forecast, first, member_dim, lambda s: s[_VARIANCE])
    return _describe(result, forecast, "ensemble variance", power=2)


def spread_correction(members: int) -> float:
    """The factor ``(M + 1) / M`` by which mean variance must be raised to equal the squared error of a reliable mean.

    The mean of M members errs by the truth's own scatter and by 1/M of the members'.

    Source:
        Fortin et al. (2014), eq. 15, doi:10.1175/JHM-D-14-0008.1.
    """
    return (members + 1) / members


def observation_rank(forecast: xr.DataArray, observation: xr.DataArray, *, member_dim: str = "member") -> xr.DataArray:
    """How many members lie below the truth, 0 to M; one that equals it counts half. NaN in either gives NaN.

    The middle of a tie is deterministic, yet heaps tied values on few ranks. For histograms of variables with many
    ties use ``verification.score_ensemble``, which shares a tie evenly among its ranks.

    Args:
        forecast: Members, dims ``(member, ...)``.
        observation: Truth, dims ``(...)``, in the units of ``forecast``.
        member_dim: Name of the ensemble dimension.

    Returns:
        Rank at each point, dims ``(...)``.

    Raises:
        TercileError: Other units or other coordinates.
    """
    check_pair(forecast, observation, member_dim, least=1)
    result = _from_summary(forecast, observation, member_dim, lambda s: s[_BELOW] + 0.5 * s[_EQUAL])
    return _describe(result, forecast, "rank of the observation", power=0)


def quantile_score(
    forecast: xr.DataArray, observation: xr.DataArray, *, level: float, member_dim: str = "member"
) -> xr.DataArray:
    """Quantile (pinball) score of the ensemble's quantile (lower is better). NaN in either gives NaN.

    Members count as quantiles at (i - 1/2)/M. Twice the mean over all levels is the CRPS.

    Args:
        forecast: Members, dims ``(member, ...)``.
        observation: Truth, dims ``(...)``, in the units of ``forecast``.
        level: Probability of the quantile, between 0 and 1.
        member_dim: Name of the ensemble dimension.

    Returns:
        Score at each point, dims ``(...)``, in the units of ``forecast``.

    Raises:
        TercileError: A level outside (0, 1), other units or other coordinates.

    Source:
        Koenker and Bassett (1978), doi:10.2307/1913643; Bröcker (2012), doi:10.1002/qj.1891, for the levels.
    """
    if not 0 < level < 1:
        raise TercileError(f"level: got {level}; a quantile's level lies between 0 and 1.")
    check_pair(forecast, observation, member_dim, least=1)
    value = xr.apply_ufunc(
        lambda members: np.quantile(members, level, axis=-1, method="hazen"),
        _one_chunk(forecast, member_dim),
        input_core_dims=[[member_dim]],
        dask="parallelized",
        output_dtypes=[float],
    )
    error = observation.astype(float) - value
    result = np.maximum(level * error, (level - 1) * error)
    return _describe(result, forecast, f"quantile score at {level:g}")


def brier(probability: xr.DataArray, outcome: xr.DataArray) -> xr.DataArray:
    """Brier score of a stated probability (lower is better). NaN in either gives NaN.

    Args:
        probability: Of the event, 0 to 1.
        outcome: 1 where the event happened, 0 where not, NaN where unknown.

    Returns:
        Score at each point, 0 to 1.

    Source:
        Brier (1950), doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2.
    """
    result = (probability.astype(float) - outcome.astype(float)) ** 2
    return result.rename("Brier score")


def brier_ensemble(
    forecast: xr.DataArray, observation: xr.DataArray, *, member_dim: str = "member", fair: bool = True
) -> xr.DataArray:
    """Brier score of an event's frequency among members (lower is better); it is the CRPS of zeros and ones.

    The fair one is ``(p - o)² - p(1 - p)/(M - 1)``. NaN in either gives NaN.

    Args:
        forecast: Whether the event happens in each member, 0 or 1, dims ``(member, ...)``.
        observation: Whether it happened, 0 or 1, dims ``(...)``.
        member_dim: Name of the ensemble dimension.
        fair: As in ``crps_ensemble``.

    Returns:
        Score at each point, dims ``(...)``.

    Raises:
        TercileError: As in ``crps_ensemble``.

    Source:
        Ferro (2014), eq. 4, doi:10.1002/qj.2270.
    """
    numbers = [array.astype("float32") for array in (forecast, observation)]
    result = crps_ensemble(*numbers, member_dim=member_dim, fair=fair)
    return _describe(result, forecast, "fair Brier score" if fair else "Brier score", power=0)


def _from_summary(forecast: xr.DataArray, observation: xr.DataArray, member_dim: str, finish: Finish) -> xr.DataArray:
    """Apply ``finish`` to the six order statistics of each point, chunk by chunk."""

    def points(members: NDArray[np.floating], truth: NDArray[np.floating]) -> NDArray[np.float64]:
        flat = np.moveaxis(members, -1, 0).reshape(members.shape[-1], -1)
        shape = members.shape[:-1]
        return finish(summarise_members(flat, np.broadcast_to(truth, shape).ravel())).reshape(shape)

    return xr.apply_ufunc(
        points,
        _one_chunk(_as_float(forecast), member_dim),
        _as_float(observation),
        input_core_dims=[[member_dim], []],
        dask="parallelized",
        output_dtypes=[float],
    )


def _as_float(array: xr.DataArray) -> xr.DataArray:
    return array if array.dtype in (np.float32, np.float64) else array.astype(float)


def _one_chunk(array: xr.DataArray, dim: str) -> xr.DataArray:
    return array if array.chunks is None else array.chunk({dim: -1})


def _member_count(forecast: xr.DataArray, member_dim: str, *, least: int) -> int:
    if member_dim not in forecast.dims:
        raise TercileError(f"forecast: has dims {forecast.dims}, no {member_dim!r}; name it with member_dim=.")
    size = forecast.sizes[member_dim]
    if size < least:
        raise TercileError(f"forecast: has {size} member(s) along {member_dim!r}; this needs at least {least}.")
    return size


def check_pair(forecast: xr.DataArray, observation: xr.DataArray, member_dim: str, *, least: int = 2) -> int:
    """Refuse a pair that cannot be compared.

    Returns:
        The number of members.

    Raises:
        TercileError: Fewer than ``least`` members, other units, or other coordinates.
    """
    size = _member_count(forecast, member_dim, least=least)
    extra = [dim for dim in observation.dims if dim not in forecast.dims or dim == member_dim]
    if extra:
        raise TercileError(f"observation: has dims {extra} that forecast lacks or that hold its members; select there.")
    for dim in observation.dims:
        same_size = forecast.sizes[dim] == observation.sizes[dim]
        if not same_size or not _equal_labels(forecast, observation, str(dim)):
            raise TercileError(
                f"observation: its {dim} differs from that of forecast ({_extent(observation, str(dim))} against "
                f"{_extent(forecast, str(dim))}); select or regrid first."
            )
    units = [array.attrs.get("units") for array in (forecast, observation)]
    if None not in units and units[0] != units[1]:
        raise TercileError(f"observation: is in {units[1]!r}, forecast in {units[0]!r}; convert one of them first.")
    return size


def _equal_labels(forecast: xr.DataArray, observation: xr.DataArray, dim: str) -> bool:
    if dim not in forecast.coords or dim not in observation.coords:
        return True
    return forecast.indexes[dim].equals(observation.indexes[dim])


def _extent(array: xr.DataArray, dim: str) -> str:
    values = array[dim].values
    return f"{values.size} from {values[0]} to {values[-1]}" if values.size else "none"


def _describe(result: xr.DataArray, forecast: xr.DataArray, name: str, *, power: int = 1) -> xr.DataArray:
    """Name a score and give it the units of ``forecast`` to the ``power``."""
    units = forecast.attrs.get("units")
    result = result.drop_attrs(deep=False).rename(name)
    if power == 0:
        return result.assign_attrs(units="1")
    if units is None:
        return result
    return result.assign_attrs(units=units if power == 1 else f"({units})^{power}")
