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
from pipeline.judging.scores import check_pair

Floats = NDArray[np.float64]
Score = Callable[[Floats, Floats, Floats], Floats]


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

    def score(members: Floats, truth: Floats, weight: Floats) -> Floats:
        root = np.sqrt(weight)
        return np.asarray(_energies(members * root[:, None], truth * root, scale))

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

    def score(members: Floats, truth: Floats, weight: Floats) -> Floats:
        return np.asarray(_variograms(members, truth, weight, order))

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
    """Apply ``score(members (vector, element, member), truth (vector, element), weight (element))`` to all vectors."""
    lacking = [dim for dim in dims if dim not in observation.dims or dim not in forecast.dims]
    if lacking or not dims:
        raise TercileError(f"dims: forecast and observation must both have {list(dims)}; they lack {lacking}.")
    sizes = [observation.sizes[dim] for dim in dims]
    area = np.ones(sizes).ravel() if weights is None else np.asarray(weights.transpose(*dims), float).ravel()
    kept = area > 0

    def vectors(members: NDArray[np.floating], truth: NDArray[np.floating]) -> Floats:
        size, shape = members.shape[-len(dims) - 1], members.shape[: -len(dims) - 1]
        flat = members.reshape(-1, size, area.size)[..., kept].swapaxes(-1, -2)
        happened = np.broadcast_to(truth, shape + truth.shape[-len(dims) :]).reshape(-1, area.size)[..., kept]
        return score(np.ascontiguousarray(flat, float), happened.astype(float), area[kept]).reshape(shape)

    whole = dict.fromkeys((member_dim, *dims), -1)
    return xr.apply_ufunc(
        vectors,
        forecast.chunk(whole) if forecast.chunks else forecast,
        observation.chunk(dict.fromkeys(dims, -1)) if observation.chunks else observation,
        input_core_dims=[[member_dim, *dims], list(dims)],
        dask="parallelized",
        output_dtypes=[float],
    )


@numba.njit(nogil=True, cache=True, fastmath={"reassoc", "contract"})
def _energies(members: Floats, truth: Floats, scale: float) -> Floats:
    """Mean distance to the truth less ``scale`` times the sum over unordered pairs, of each vector."""
    vectors, elements, size = members.shape
    found = np.empty(vectors)
    distance = np.empty(size)
    for vector in range(vectors):
        field = members[vector]
        error, spread = 0.0, 0.0
        for i in range(-1, size):  # from the truth, and from member i to those before it
            last = size if i < 0 else i
            distance[:last] = 0.0
            for j in range(elements):
                origin = truth[vector, j] if i < 0 else field[j, i]
                for k in range(last):
                    distance[k] += (field[j, k] - origin) ** 2
            total = np.sqrt(distance[:last]).sum()
            if i < 0:
                error = total / size
            else:
                spread += total
        found[vector] = error - scale * spread
    return found


@numba.njit(nogil=True, cache=True, fastmath={"reassoc", "contract"})
def _variograms(members: Floats, truth: Floats, weight: Floats, order: float) -> Floats:
    """Weighted mean over pairs of elements of the squared difference of variograms, of each vector."""
    vectors, elements, size = members.shape
    found = np.empty(vectors)
    for vector in range(vectors):
        field, total, pairs = members[vector], 0.0, 0.0
        for a in range(elements):
            for b in range(a):
                expected = 0.0
                if order == 0.5:  # a root costs a fifth of a power
                    for i in range(size):
                        expected += np.sqrt(abs(field[a, i] - field[b, i]))
                else:
                    for i in range(size):
                        expected += abs(field[a, i] - field[b, i]) ** order
                both = weight[a] * weight[b]
                pairs += both
                total += both * (abs(truth[vector, a] - truth[vector, b]) ** order - expected / size) ** 2
        found[vector] = total / pairs
    return found
