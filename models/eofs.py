"""Empirical orthogonal functions: the few patterns that hold most of a field's area-weighted variance.

Source:
    Lorenz (1956), Empirical orthogonal functions and statistical weather prediction, MIT Scientific Report 1.
    Halko, Martinsson and Tropp (2011), algorithm 4.4, for records too large to decompose, doi:10.1137/090771806.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

DENSE = 1500
"""Up to this many steps (or cells, if fewer) the decomposition is exact; beyond, by subspace iteration."""

COUNTS = (3, 6, 10, 15, 20, 30, 40, 60)
"""Numbers of EOFs that cross-validation tries."""


@dataclass(frozen=True)
class Eofs:
    """Patterns and how to project on them.

    Attributes:
        patterns: A field is ``scores @ patterns``, ``(eofs, cells)``, float64, zero where masked.
        projector: Scores are ``field @ projector.T``, ``(eofs, cells)``, float64.
    """

    patterns: Tensor
    projector: Tensor

    def __len__(self) -> int:
        return len(self.patterns)

    def leading(self, count: int) -> "Eofs":
        """The first ``count`` patterns."""
        return Eofs(self.patterns[:count], self.projector[:count])

    def scores(self, fields: Tensor) -> Tensor:
        """Project fields ``(..., cells)`` on the patterns, ``(..., eofs)``."""
        return fields @ self.projector.T

    def remainder(self, fields: Tensor) -> Tensor:
        """What the patterns leave out, ``(..., cells)``."""
        return fields - self.scores(fields) @ self.patterns


def tendencies(scores: Tensor) -> Tensor:
    """Newest scores and their backward differences, newest first, as predictors of a regression.

    A penalty then falls on how the state changes, not on old states that nearly cancel the new one.

    Args:
        scores: Scores of consecutive states, oldest first, ``(samples, lags, eofs)``.

    Returns:
        ``(samples, lags * eofs)``.
    """
    return torch.cat([scores[:, -1:], scores.diff(dim=1).flip(1)], dim=1).flatten(1)


def fit_eofs(fields: Tensor, weights: Tensor, *, count: int) -> Eofs:
    """Leading EOFs of anomalies about zero, most variance first; fewer where the fields have a lower rank.

    A pattern's sign makes its largest entry positive, so that equal data give equal patterns.

    Args:
        fields: Anomalies, ``(time, cells)``, float64.
        weights: Area weights, ``(cells,)``; cells of weight zero take no part and stay zero.
        count: How many patterns.
    """
    root = weights.sqrt()
    vectors = _leading_right_vectors(fields * root, count)
    largest = vectors.gather(1, vectors.abs().argmax(dim=1, keepdim=True))
    vectors = (vectors * largest.sign()).contiguous()
    return Eofs(patterns=torch.where(root > 0, vectors / root, 0.0), projector=vectors * root)


def _leading_right_vectors(matrix: Tensor, count: int) -> Tensor:
    """Right singular vectors, ``(count, columns)``, orthonormal rows."""
    if min(matrix.shape) > DENSE:
        matrix = sketch(matrix, count)
    transpose = matrix.shape[0] > matrix.shape[1]
    gram = matrix.T @ matrix if transpose else matrix @ matrix.T
    values, vectors = torch.linalg.eigh(gram)
    keep = values.flip(0)[:count] > 1e-10 * values[-1]
    leading = vectors.flip(1)[:, :count][:, keep]
    if transpose:
        return leading.T
    return (leading.T @ matrix) / values.flip(0)[:count][keep].sqrt()[:, None]


def sketch(matrix: Tensor, count: int) -> Tensor:
    """A short matrix with the same ``count`` leading right singular vectors, by subspace iteration."""
    generator = torch.Generator().manual_seed(0)
    basis = torch.randn(matrix.shape[1], 2 * count + 10, generator=generator, dtype=matrix.dtype)
    for _ in range(4):
        basis = torch.linalg.qr(matrix.T @ (matrix @ basis)).Q
    return torch.linalg.qr(matrix @ basis).Q.T @ matrix
