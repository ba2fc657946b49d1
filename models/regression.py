"""Ridge regression for many penalties at once.

Predictors are divided by the square root of their standard deviation, half way between raw and standardised: a weak
pattern is trusted less than a strong one, but not in proportion to its variance. A penalty of one then equals the mean
variance of a scaled predictor, whatever the data's units.

Source:
    Hoerl and Kennard (1970), Ridge regression, doi:10.1080/00401706.1970.10488634.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

RIDGES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0, 10_000.0)
"""Penalties that cross-validation tries; the last switches the regression off."""


def ridge_coefficients(predictors: Tensor, targets: Tensor, *, ridges: Sequence[float]) -> Tensor:
    """Coefficients without a constant, since anomalies have mean zero, for each penalty.

    Args:
        predictors: ``(samples, predictors)``; a predictor that is always zero gets the coefficient zero.
        targets: ``(samples, targets)``.
        ridges: Penalties, in units of the scaled predictors' mean variance.

    Returns:
        ``(ridges, predictors, targets)``: a forecast is ``predictors @ coefficients``.
    """
    spread = predictors.square().mean(dim=0).sqrt()
    scale = torch.where(spread > 0, spread.clamp(min=1e-30) ** -0.5, 0.0)
    scaled = predictors * scale
    gram = scaled.T @ scaled / len(scaled)
    unit = gram.diagonal().mean().clamp(min=1e-30)
    values, vectors = torch.linalg.eigh(gram)
    cross = vectors.T @ (scaled.T @ targets) / len(scaled)
    penalties = unit * torch.tensor(ridges, dtype=gram.dtype)
    solved = cross / (values.clamp(min=0) + penalties[:, None])[:, :, None]
    return scale[:, None] * (vectors @ solved)
