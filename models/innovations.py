"""What a state-space model adds at each step: whole fields of out-of-fold forecast errors, drawn from the same season.

Drawing whole fields keeps space, channels and the law's shape coherent without a covariance model, and errors made on
years the fit had not seen are as large as those it will make.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

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

    def uniform(self, step: int) -> Tensor:
        """One number in ``[0, 1)`` for each member, float64."""
        streams = (member_rng(self.seed, self.init_time, member, step) for member in self.members)
        return torch.tensor([stream.random() for stream in streams], dtype=torch.float64)

    def normal(self, step: int, count: int) -> Tensor:
        """Standard normal numbers for each member, ``(members, count)``, float64."""
        return member_noise(self.seed, self.init_time, self.members, step, (count,)).double()

    def choose(self, candidates: Tensor, step: int) -> Tensor:
        """One of the candidates for each member, all equally likely."""
        return candidates[(self.uniform(step) * len(candidates)).long()]


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
        """One error field for each member, ``(members, cells)``, float64.

        Args:
            phase: Sine and cosine of the season's phase at the step, ``(2,)``.
            step: Number of the step, part of the key.
            key: Seed, initial time and members.
        """
        return self.fields[key.choose(same_season(self.calendar, phase), step)].double()


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
