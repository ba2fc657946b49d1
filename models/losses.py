"""Losses of the neural families, averaged over the area and over the cells that have data."""

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


def almost_fair_crps(members: Tensor, truth: Tensor, grid: Grid, *, alpha: float = 0.95) -> Tensor:
    """Continuous ranked probability score of a small ensemble, nearly unbiased (lower is better).

    The fair score of two members lets one of them wander off without a penalty; a little of the plain score, with
    weight ``1 - alpha``, prevents that.

    Args:
        members: ``(members, batch, ..., channels, latitude, longitude)``, at least two.
        truth: ``(batch, ..., channels, latitude, longitude)``.
        grid: Weights and mask.
        alpha: Share of the fair score.

    Returns:
        Scalar, in the units of ``truth``.

    Raises:
        ValueError: Fewer than two members.

    Source:
        Lang et al. (2024), AIFS-CRPS, equation 4, arXiv:2412.15832.
    """
    count = len(members)
    if count < 2:
        raise ValueError(f"got {count} member(s): the score needs at least two")
    error = (members - truth).abs().mean(dim=0)
    pairs = (members[:, None] - members[None, :]).abs().sum(dim=(0, 1)) / (count * (count - 1))
    return area_mean(error - 0.5 * (1.0 - (1.0 - alpha) / count) * pairs, grid)


def denoising_loss(output: Tensor, target: Tensor, grid: Grid) -> Tensor:
    """Mean squared error of a preconditioned network, whose targets have unit variance at every noise level.

    Args:
        output: ``(batch, leads, channels, latitude, longitude)``.
        target: Likewise.
        grid: Weights and mask.

    Source:
        Karras et al. (2022), equation 8, arXiv:2206.00364: their weighting makes it this in the network's own units.
    """
    return area_mean(torch.square(output - target), grid)
