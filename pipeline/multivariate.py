"""Scores of a whole vector at once: a tile of cells, several variables, or a stretch of time.

Lower is better; the vector lies along ``dims``. Elements of weight 0 are left out; any other NaN makes the score NaN.
Variables of different units must be standardised first.
"""

from collections.abc import Callable, Sequence

import numba
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.errors import TercileError
from pipeline.scores import check_pair

Floats = NDArray[np.float64]
Score = Callable[[Floats, Floats, Floats], float]


def energy_score(
    forecast: xr.DataArray,
    observation: xr.DataArray,
    *,
    dims: Sequence[str],
    weights: xr.DataArray | None = None,
    member_dim: str = "member",
    fair: bool = True,
) -> xr.DataArray:
    """Energy score: the CRPS of a vector, with Euclidean distances (lower is better).

    Args:
        forecast: Members, dims ``(member, *dims, ...)``; at least two.
        observation: Truth, dims ``(*dims, ...)``, in the units of ``forecast``.
        dims: What makes up the vector.
        weights: Of the squared differences, dims ``dims``, as cell areas divided by their sum; 1 by default.
        member_dim: Name of the ensemble dimension.
        fair: Unbiased for the distribution behind the members; otherwise the score of the members' own distribution.

    Returns:
        Score, the dims that are left, in the units of ``forecast``.

    Raises:
        TercileError: Fewer than two members, other units or coordinates, or dims that are not there.

    Source:
        Gneiting and Raftery (2007), eq. 21, doi:10.1198/016214506000001437; fair: Ferro (2014), doi:10.1002/qj.2270.
    """
    size = check_pair(forecast, observation, member_dim)
    scale = 1.0 / (size * (size - 1) if fair else size * size)

    def score(members: Floats, truth: Floats, weight: Floats) -> float:
        return float(_energy(members * np.sqrt(weight), truth * np.sqrt(weight), scale))

    return _over_vectors(score, forecast, observation, dims=dims, weights=weights, member_dim=member_dim).rename(
        "energy score"
    )


def variogram_score(
    forecast: xr.DataArray,
    observation: xr.DataArray,
    *,
    dims: Sequence[str],
    order: float = 0.5,
    weights: xr.DataArray | None = None,
    member_dim: str = "member",
) -> xr.DataArray:
    """Variogram score: are differences between places as large as they should be (lower is better).

    It sees wrong correlations, to which the energy score is nearly blind, and does not see a common bias.

    Args:
        forecast: Members, dims ``(member, *dims, ...)``.
        observation: Truth, dims ``(*dims, ...)``, in the units of ``forecast``.
        dims: What makes up the vector.
        order: Power of the absolute differences.
        weights: Of the elements, dims ``dims``; a pair counts by the product of both.
        member_dim: Name of the ensemble dimension.

    Returns:
        Score, the dims that are left, in the units of ``forecast`` to twice the ``order``.

    Raises:
        TercileError: Fewer than two members, other units or coordinates, or dims that are not there.

    Source:
        Scheuerer and Hamill (2015), eq. 9, doi:10.1175/MWR-D-14-00269.1.
    """
    check_pair(forecast, observation, member_dim)

    def score(members: Floats, truth: Floats, weight: Floats) -> float:
        return float(_variogram(members, truth, weight, order))

    return _over_vectors(score, forecast, observation, dims=dims, weights=weights, member_dim=member_dim).rename(
        "variogram score"
    )


def _over_vectors(
    score: Score,
    forecast: xr.DataArray,
    observation: xr.DataArray,
    *,
    dims: Sequence[str],
    weights: xr.DataArray | None,
    member_dim: str,
) -> xr.DataArray:
    """Apply ``score(members (member, element), truth (element), weight (element))`` to each vector."""
    lacking = [dim for dim in dims if dim not in observation.dims or dim not in forecast.dims]
    if lacking or not dims:
        raise TercileError(f"dims: forecast and observation must both have {list(dims)}; they lack {lacking}.")
    sizes = [observation.sizes[dim] for dim in dims]
    area = np.ones(sizes).ravel() if weights is None else np.asarray(weights.transpose(*dims), float).ravel()
    kept = area > 0

    def vectors(members: NDArray[np.floating], truth: NDArray[np.floating]) -> Floats:
        size, shape = members.shape[-len(dims) - 1], members.shape[: -len(dims) - 1]
        flat = members.reshape(-1, size, area.size)[..., kept].astype(float)
        truths = (
            np.broadcast_to(truth, shape + truth.shape[-len(dims) :]).reshape(-1, area.size)[..., kept].astype(float)
        )
        return np.array([score(x, y, area[kept]) for x, y in zip(flat, truths, strict=True)]).reshape(shape)

    whole = dict.fromkeys((member_dim, *dims), -1)
    return xr.apply_ufunc(
        vectors,
        forecast.chunk(whole) if forecast.chunks else forecast,
        observation.chunk(dict.fromkeys(dims, -1)) if observation.chunks else observation,
        input_core_dims=[[member_dim, *dims], list(dims)],
        dask="parallelized",
        output_dtypes=[float],
    )


@numba.njit(nogil=True, cache=True)
def _distance(first: Floats, second: Floats) -> float:
    total = 0.0
    for j in range(first.size):
        total += (first[j] - second[j]) ** 2
    return np.sqrt(total)


@numba.njit(nogil=True, cache=True)
def _energy(members: Floats, truth: Floats, scale: float) -> float:
    """Mean distance to the truth less ``scale`` times the sum over unordered pairs, ``(member, element)``."""
    error, spread = 0.0, 0.0
    for i in range(members.shape[0]):
        error += _distance(members[i], truth)
        for k in range(i):
            spread += _distance(members[i], members[k])
    return error / members.shape[0] - scale * spread


@numba.njit(nogil=True, cache=True)
def _variogram(members: Floats, truth: Floats, weight: Floats, order: float) -> float:
    """Weighted mean over pairs of elements of the squared difference of variograms, ``(member, element)``."""
    total, pairs = 0.0, 0.0
    for a in range(truth.size):
        for b in range(a):
            expected = 0.0
            for i in range(members.shape[0]):
                expected += abs(members[i, a] - members[i, b]) ** order
            both = weight[a] * weight[b]
            pairs += both
            total += both * (abs(truth[a] - truth[b]) ** order - expected / members.shape[0]) ** 2
    return total / pairs
