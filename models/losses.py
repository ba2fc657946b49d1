"""Losses of the neural families, averaged over the area and over the cells that have data."""

from math import pi, sqrt

import torch
from torch import Tensor

from models.base import Grid


def area_mean(values: Tensor, grid: Grid) -> Tensor:
    """Mean over batch, channels and area; masked cells do not count.

    Args:
        values: ``(..., channels, latitude, longitude)``.
        grid: Weights and mask.

    Raises:
        ValueError: No cell has data.
    """
    weights = grid.weights * grid.mask
    total = weights.sum()
    if float(total) == 0.0:
        raise ValueError("the grid's mask leaves no cell to learn from")
    return (values * weights).sum() / (total * values[..., 0, 0, 0].numel())


def almost_fair_crps(
    members: Tensor, truth: Tensor, grid: Grid, *, alpha: float = 0.95, deviations: Tensor | None = None
) -> Tensor:
    """Continuous ranked probability score of a small ensemble, nearly unbiased (lower is better).

    The fair score of two members lets one of them wander off without a penalty; a little of the plain score, with
    weight ``1 - alpha``, prevents that. Where each member is the mean of a Gaussian, the expectation over that Gaussian
    is taken in closed form: the same score, with a gradient far less noisy than that of draws.

    Args:
        members: ``(members, batch, ..., channels, latitude, longitude)``, at least two.
        truth: ``(batch, ..., channels, latitude, longitude)``.
        grid: Weights and mask.
        alpha: Share of the fair score.
        deviations: Standard deviation of the Gaussian around each member, in the shape of ``members``; none by default.

    Returns:
        Scalar, in the units of ``truth``.

    Raises:
        ValueError: Fewer than two members.

    Source:
        Lang et al. (2024), AIFS-CRPS, equation 4, arXiv:2412.15832; Grimit et al. (2006), equation 5, for mixtures of
        Gaussians, doi:10.1256/qj.05.235.
    """
    count = len(members)
    if count < 2:
        raise ValueError(f"got {count} member(s): the score needs at least two")
    first, second = torch.triu_indices(count, count, offset=1)
    variances = None if deviations is None else deviations.square()
    joint = None if variances is None else variances[first] + variances[second]
    error = _mean_absolute(members - truth, variances).mean(dim=0)
    pairs = _mean_absolute(members[first] - members[second], joint).mean(dim=0)
    return area_mean(error - 0.5 * (1.0 - (1.0 - alpha) / count) * pairs, grid)


def _mean_absolute(mean: Tensor, variance: Tensor | None) -> Tensor:
    """Expectation of ``|x|`` for Gaussian ``x``; of a sure one without ``variance``."""
    if variance is None:
        return mean.abs()
    deviation = variance.clamp(min=1e-12).sqrt()
    density = sqrt(2.0 / pi) * deviation * torch.exp(-0.5 * (mean / deviation) ** 2)
    return mean * torch.erf(mean / (sqrt(2.0) * deviation)) + density


def denoising_loss(output: Tensor, target: Tensor, grid: Grid, *, weights: Tensor | None = None) -> Tensor:
    """Mean squared error of a preconditioned network, whose targets have unit variance at every noise level.

    Args:
        output: ``(batch, leads, channels, latitude, longitude)``.
        target: Likewise.
        grid: Weights and mask.
        weights: Of the leads, ``(leads,)``, mean one; even by default.

    Source:
        Karras et al. (2022), equation 8, arXiv:2206.00364: their weighting makes it this in the network's own units.
    """
    error = torch.square(output - target)
    return area_mean(error if weights is None else weights[:, None, None, None] * error, grid)
