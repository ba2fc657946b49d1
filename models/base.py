"""What a scenario model is: a conditional distribution over trajectories of standardised anomalies.

Every family, from climatology to diffusion, meets the one protocol below, so that one scorecard can judge them all.
Tensors are ``float32`` with dims ``(..., channels, latitude, longitude)``; a channel is one variable on one level, in
units of its own background standard deviation. Masked cells (land, ice) hold zero and are named by ``Grid.mask``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
import torch
from torch import Tensor

Progress = Callable[[int, int, Mapping[str, float]], None]
"""Called as ``progress(step, total, {"loss": …})`` while a model trains."""


@dataclass(frozen=True)
class Grid:
    """The cells a model lives on.

    Attributes:
        weights: Area weights, ``(latitude, longitude)``, mean one over the grid.
        mask: True where a channel has data, ``(channels, latitude, longitude)``.
        is_global: Whether longitude closes the circle, so that convolutions pad it circularly.
    """

    weights: Tensor
    mask: Tensor
    is_global: bool

    def masked(self, fields: Tensor) -> Tensor:
        """Fields ``(..., channels, latitude, longitude)`` with zeros where there are no data."""
        return torch.where(self.mask, fields, 0.0)


@dataclass(frozen=True)
class Series:
    """One unbroken run of the record: a realization of a scenario.

    Attributes:
        values: Standardised anomalies, ``(time, channels, latitude, longitude)``.
        calendar: Sine and cosine of the season's phase, ``(time, 2)``; zeros where a step is a year or longer.
        forcing: Standardised covariates, ``(time, forcings)``; zero columns in unforced systems.
        train: True at steps a fit may see, ``(time,)``.
        validate: True at steps reserved for early stopping, ``(time,)``; neither mask is true elsewhere.
    """

    values: Tensor
    calendar: Tensor
    forcing: Tensor
    train: Tensor
    validate: Tensor


@dataclass(frozen=True)
class TrainingData:
    """All that a fit may see. No window may cross a step where the mask it draws from is false."""

    series: tuple[Series, ...]
    grid: Grid


@dataclass(frozen=True)
class Context:
    """The situation a forecast starts from.

    Attributes:
        history: The newest states, oldest first, ``(history, channels, latitude, longitude)``, at least
            ``ScenarioModel.history`` of them, or none at all: a start from nothing, drawn from the model's climate.
        calendar: Season's phase for the history and the leads, ``(history + leads, 2)``.
        forcing: Covariates for the history and the leads, ``(history + leads, forcings)``.
        init_time: Seconds since 1850-01-01 in the archive's calendar; with ``seed`` the key of the noise.
    """

    history: Tensor
    calendar: Tensor
    forcing: Tensor
    init_time: int


class ScenarioModel(Protocol):
    """A conditional distribution over climate trajectories that can be sampled and stored."""

    @property
    def history(self) -> int:
        """How many past states ``Context.history`` must hold."""

    def sample(self, context: Context, *, leads: int, members: Sequence[int], seed: int) -> Tensor:
        """Draw one trajectory per member, shape ``(len(members), leads, channels, latitude, longitude)``.

        Member ``k`` depends on ``(context, seed, k)`` alone, for a call of a fixed number of members: the caller
        always asks for whole blocks, so order, workers and restarts change no bit.
        """

    def arrays(self) -> dict[str, Tensor]:
        """Everything learnt, by name: what goes to ``weights.safetensors``."""

    @classmethod
    def restore(cls, config: Any, arrays: Mapping[str, Tensor], *, grid: Grid) -> Self:
        """The model that ``arrays()`` came from, to the last bit."""


@dataclass(frozen=True)
class Fitted:
    """A trained model and the record of its training.

    Attributes:
        model: The model, ready to sample.
        curve: Rows of ``{"step": …, "train": …, "validate": …}``; empty for models fitted in closed form.
        notes: Facts for the model's card: parameters, seconds, the step that early stopping chose, choices made by
            cross-validation.
    """

    model: ScenarioModel
    curve: list[dict[str, float]]
    notes: dict[str, Any]


def member_noise(seed: int, init_time: int, members: Sequence[int], step: int, shape: Sequence[int]) -> Tensor:
    """Standard normal noise for each member at one step, ``(len(members), *shape)``, float32 on the CPU.

    Each member has a counter-based stream of its own keyed by ``(seed, init_time, member, step)``. The scenario is
    no part of the key: scenarios share their noise, so that their differences are paired.

    Args:
        seed: The experiment's seed.
        init_time: Seconds since 1850-01-01; negative before.
        members: Member numbers, any order.
        step: Which draw of the trajectory this is; the model's to number.
        shape: Shape of one member's noise.
    """
    return torch.stack([torch.from_numpy(_normal(seed, init_time, member, step, shape)) for member in members])


def member_rng(seed: int, init_time: int, member: int, step: int) -> np.random.Generator:
    """The same stream as a numpy generator, for models that resample rather than add noise."""
    key = (init_time % 2**64, member, step)
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=key)))


def _normal(seed: int, init_time: int, member: int, step: int, shape: Sequence[int]) -> np.ndarray:
    return member_rng(seed, init_time, member, step).standard_normal(tuple(shape), dtype=np.float32)
