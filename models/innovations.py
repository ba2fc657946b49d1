"""What a state-space model adds at each step: whole fields of out-of-fold forecast errors, drawn from the same season.

Drawing whole fields keeps space, channels and the law's shape coherent without a covariance model, and errors made on
years the fit had not seen are as large as those it will make. A second field, drawn the same way, is added in small:
n fields drawn as they are cost 1 / n of the CRPS for being so few, of which this wins back about a third.

Source:
    Silverman and Young (1987), the smoothed bootstrap that keeps the variance, doi:10.1093/biomet/74.3.469.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from models.base import member_noise, member_rng

SEASON_HALF_WIDTH = 2 * math.pi * 45 / 365.25
"""Days of the year within 45 days of each other count as one season: radians of the annual cycle."""


@dataclass(frozen=True)
class Draw:
    """The key of a draw, short of its step: one stream for each member."""

    seed: int
    init_time: int
    members: Sequence[int]

    def uniform(self, step: int, count: int = 1) -> Tensor:
        """Numbers in ``[0, 1)`` for each member, ``(members, count)``, float64."""
        streams = (member_rng(self.seed, self.init_time, member, step) for member in self.members)
        return torch.tensor(np.stack([stream.random(count) for stream in streams]))

    def normal(self, step: int, count: int) -> Tensor:
        """Standard normal numbers for each member, ``(members, count)``, float64."""
        return member_noise(self.seed, self.init_time, self.members, step, (count,)).double()

    def blend(self, candidates: Tensor, step: int, *, length: int = 1) -> "Blend":
        """Two of the candidates for each member, all equally likely, the second in small and with either sign.

        The second weighs the less the more candidates there are, by Silverman's rule. Its sign leaves mean and variance
        as they are, even where the two are alike.

        Args:
            candidates: Positions to draw from.
            step: Number of the draw, part of the key.
            length: Steps over which what stands at neighbouring positions is much the same.
        """
        first, second, sign = self.uniform(step, 3).unbind(dim=1)
        width = min(1.0, (4 * length / (3 * len(candidates))) ** 0.2)
        weights = torch.stack([torch.ones_like(sign), torch.where(sign < 0.5, width, -width)], dim=1)
        chosen = (torch.stack([first, second], dim=1) * len(candidates)).long()
        return Blend(candidates[chosen], weights / math.hypot(1.0, width))


@dataclass(frozen=True)
class Blend:
    """What members draw from a store.

    Attributes:
        positions: Two positions in the store for each member, ``(members, 2)``.
        weights: Their weights, whose squares add up to one, ``(members, 2)``, float64.
    """

    positions: Tensor
    weights: Tensor

    def of(self, fields: Tensor) -> Tensor:
        """The sum of what stands there, ``(members, 2, ...)``, by weight: ``(members, ...)``, float64."""
        shape = (len(self.weights), *[1] * (fields.dim() - 2))
        return self.weights[:, 0].reshape(shape) * fields[:, 0] + self.weights[:, 1].reshape(shape) * fields[:, 1]


@dataclass(frozen=True)
class Innovations:
    """A store of past errors.

    Attributes:
        fields: Errors, ``(errors, cells)``, float32, mean zero.
        calendar: Phase of the season each belongs to, ``(errors, 2)``, float64.
    """

    fields: Tensor
    calendar: Tensor

    @classmethod
    def centred(cls, fields: Tensor, calendar: Tensor) -> Self:
        """Errors about their mean: anomalies have no drift of their own."""
        return cls(fields=(fields - fields.mean(dim=0)).float(), calendar=calendar.double())

    def draw(self, phase: Tensor, *, step: int, key: Draw) -> Tensor:
        """An error field for each member, ``(members, cells)``, float64.

        Args:
            phase: Sine and cosine of the season's phase at the step, ``(2,)``.
            step: Number of the step, part of the key.
            key: Seed, initial time and members.
        """
        blend = key.blend(same_season(self.calendar, phase), step)
        return blend.of(self.fields[blend.positions])


def same_season(calendar: Tensor, phase: Tensor) -> Tensor:
    """Positions in ``calendar`` of steps from the season of ``phase``; all of them where the phase is zero.

    Args:
        calendar: Sine and cosine of the phase, ``(steps, 2)``.
        phase: The phase wanted, ``(2,)``.

    Raises:
        ValueError: The calendar has no step within 45 days of the phase.
    """
    if not phase.any():
        return torch.arange(len(calendar))
    near = (calendar @ phase.to(calendar) >= math.cos(SEASON_HALF_WIDTH)).nonzero().flatten()
    if not len(near):
        raise ValueError("the training years hold no step within 45 days of the season asked for; train on that season")
    return near
