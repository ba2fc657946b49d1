"""Order statistics of an ensemble, point by point: the one pass over the members that every univariate score needs.

Members are sorted in tiles of 64 neighbouring points at once. A sorting network has no data-dependent branch, so
each compare-exchange is a few vector instructions. Sums are taken in float64 of differences to the smallest member or
to the observation, so a large offset (kelvin, pascal) costs no digits. A NaN in any member or in the observation makes
all six numbers of that point NaN. Kernels release the GIL and start no threads of their own: Dask's threads run them
side by side.

Source:
    Knuth (1998), The Art of Computer Programming 3, 5.2.2, algorithm M (Batcher's merge exchange).
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

SUMMARY = ("absolute_error", "half_difference", "mean_error", "variance", "below", "equal")
SUMS = (
    "weight", "cells", "missing", "crps_fair", "crps", "squared_error", "error", "variance",
    "product", "forecast_square", "observation_square",
)  # fmt: skip
_WIDTH = 64  # points in a tile: 50 members of float32 fill a third of a 32 KiB first-level cache


@numba.njit(nogil=True, cache=True)
def _compare_exchange(tile: NDArray[np.floating], i: int, k: int) -> None:
    """Put the smaller of two rows first; a function of its own, or the compiler does not vectorise it."""
    for j in range(_WIDTH):
        a, b = tile[i, j], tile[k, j]
        tile[i, j] = a if a < b else b
        tile[k, j] = b if a < b else a


@numba.njit(nogil=True, cache=True)
def _sort_rows(tile: NDArray[np.floating]) -> None:
    """Sort each column of ``tile`` ascending, all columns together."""
    size = tile.shape[0]
    top = 1
    while top < size:
        top *= 2
    p = top // 2
    while p > 0:
        q, r, d = top // 2, 0, p
        while d > 0:
            for i in range(size - d):
                if (i & p) == r:
                    _compare_exchange(tile, i, i + d)
            d = q - p
            q //= 2
            r = p
        p //= 2


@numba.njit(nogil=True, cache=True)
def _summarise_tile(tile: NDArray[np.floating], truth: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """Fill ``out`` (6, width) from a sorted ``tile`` (member, width); the rows are those of ``SUMMARY``."""
    size = tile.shape[0]
    out[:] = 0.0
    for i in range(size):
        coefficient = 2.0 * i - size + 1.0
        for j in range(_WIDTH):
            value = np.float64(tile[i, j])
            above_least = value - np.float64(tile[0, j])
            error = value - truth[j]
            out[0, j] += abs(error)
            out[1, j] += coefficient * above_least
            out[2, j] += above_least
            out[3, j] += above_least * above_least
            out[4, j] += 1.0 if error < 0.0 else 0.0
            out[5, j] += 1.0 if error == 0.0 else 0.0
    for j in range(_WIDTH):
        centre = out[2, j] / size
        out[0, j] /= size
        out[1, j] /= size * max(size - 1, 1)
        out[2, j] = centre + np.float64(tile[0, j]) - truth[j]
        out[3, j] = max(out[3, j] - size * centre * centre, 0.0) / max(size - 1, 1)
        missing = 0.0 * out[0, j]
        out[3, j] += missing
        out[4, j] += missing
        out[5, j] += missing


@numba.njit(nogil=True, cache=True)
def summarise_members(members: NDArray[np.floating], truth: NDArray[np.floating]) -> NDArray[np.float64]:
    """Six numbers of the ensemble at each point, from which all univariate scores follow.

    Args:
        members: Shape ``(member, point)``, float32 or float64, any strides.
        truth: Shape ``(point,)``, in the units of ``members``.

    Returns:
        Shape ``(6, point)``, rows as in ``SUMMARY``: mean of |x - y|; half the mean |x - x'| over pairs of different
        members; mean of x - y; variance with ``M - 1`` below; number of members below y; number equal to y.

    Source:
        Zamo and Naveau (2018), eq. 3 and CRPS_PWM, doi:10.1007/s11004-017-9709-7, for the half difference.
    """
    size, points = members.shape
    result = np.empty((6, points))
    tile = np.zeros((size, _WIDTH), dtype=members.dtype)
    tile_truth = np.zeros(_WIDTH)
    tile_out = np.empty((6, _WIDTH))
    for start in range(0, points, _WIDTH):
        width = min(_WIDTH, points - start)
        for i in range(size):
            for j in range(width):
                tile[i, j] = members[i, start + j]
        for j in range(width):
            tile_truth[j] = truth[start + j]
        _sort_rows(tile)
        _summarise_tile(tile, tile_truth, tile_out)
        result[:, start : start + width] = tile_out[:, :width]
    return result


@numba.njit(nogil=True, cache=True)
def sum_statistics(
    members: NDArray[np.floating],
    truth: NDArray[np.floating],
    normal: NDArray[np.floating],
    weights: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Weighted sums over the points of one field, for each set of weights; sums of parts add up to those of the whole.

    A point counts where its weight is not zero and the truth is known. Where a member is missing there, the point is
    counted as missing and enters no sum. An observation equal to members shares its weight evenly among their ranks.

    Args:
        members: Shape ``(member, point)``.
        truth: Shape ``(point,)``, in the units of ``members``.
        normal: Shape ``(point,)``, what anomalies are taken from; NaN makes the three sums of products NaN.
        weights: Shape ``(region, point)``.

    Returns:
        Shape ``(region, len(SUMS) + member + 1)``: the columns of ``SUMS``, then the weight on each rank.
    """
    size, points = members.shape
    regions = weights.shape[0]
    summary = summarise_members(members, truth)
    sums = np.zeros((regions, 11 + size + 1))
    for r in range(regions):
        for j in range(points):
            weight = weights[r, j]
            if weight == 0.0 or np.isnan(truth[j]):
                continue
            if np.isnan(summary[0, j]):
                sums[r, 2] += 1.0
                continue
            error, observed = summary[2, j], np.float64(truth[j]) - np.float64(normal[j])
            sums[r, 0] += weight
            sums[r, 1] += 1.0
            sums[r, 3] += weight * (summary[0, j] - summary[1, j])
            sums[r, 4] += weight * (summary[0, j] - summary[1, j] * (size - 1) / size)
            sums[r, 5] += weight * error * error
            sums[r, 6] += weight * error
            sums[r, 7] += weight * summary[3, j]
            sums[r, 8] += weight * (observed + error) * observed
            sums[r, 9] += weight * (observed + error) ** 2
            sums[r, 10] += weight * observed * observed
            lowest, ties = int(summary[4, j]), int(summary[5, j])
            for rank in range(lowest, lowest + ties + 1):
                sums[r, 11 + rank] += weight / (ties + 1)
    return sums
