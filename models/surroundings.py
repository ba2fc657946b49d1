"""What surrounds a cell: a Gaussian mean of the cells near it, in the same channel, of those that have data.

Small features die sooner than large ones, so what persists at a cell is in part what persists around it.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from models.base import Grid

RADIUS = 2.0
"""Standard deviation of the weights, in cells."""


@dataclass(frozen=True)
class Surroundings:
    """The mean, prepared for a grid.

    Attributes:
        rows: Weights between latitudes, ``(latitude, latitude)``.
        columns: Weights between longitudes, ``(longitude, longitude)``; near across the seam where they close a circle.
        mask: Cells that have data, ``(channels, latitude, longitude)``, ones and zeros.
    """

    rows: Tensor
    columns: Tensor
    mask: Tensor

    @classmethod
    def of(cls, grid: Grid) -> Self:
        """For fields on this grid."""
        height, width = grid.weights.shape
        return cls(_weights(height, closed=False), _weights(width, closed=grid.is_global), grid.mask.double())

    def single(self) -> Self:
        """In float32."""
        return type(self)(self.rows.float(), self.columns.float(), self.mask.float())

    def __call__(self, fields: Tensor) -> Tensor:
        """Mean around each cell of flat fields, ``(..., cells)``; zero where masked."""
        shaped = fields.reshape(*fields.shape[:-1], *self.mask.shape) * self.mask
        return (self.rows @ shaped @ self.columns * self._share).reshape(fields.shape)

    def transposed(self, fields: Tensor) -> Tensor:
        """What each cell gives to the means around others, weighted by flat fields, ``(..., cells)``."""
        shaped = fields.reshape(*fields.shape[:-1], *self.mask.shape) * self._share
        return (self.rows @ shaped @ self.columns * self.mask).reshape(fields.shape)

    @property
    def _share(self) -> Tensor:
        """One over the weight of the cells around that have data; zero where masked."""
        return self.mask / (self.rows @ self.mask @ self.columns).clamp(min=1e-12)


def _weights(count: int, *, closed: bool) -> Tensor:
    steps = torch.arange(count, dtype=torch.float64)
    distance = (steps[:, None] - steps).abs()
    if closed:
        distance = torch.minimum(distance, count - distance)
    return torch.exp(-0.5 * (distance / RADIUS) ** 2)
