"""A linear-Gaussian system whose predictive law is known in closed form, to judge models against."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from models.base import Context, Grid, Series, TrainingData


@dataclass(frozen=True)
class LinearGaussian:
    """``x[t+1] = propagator @ x[t] + noise``, the noise ``N(0, covariance)``; cells flat over ``shape``."""

    propagator: np.ndarray
    covariance: np.ndarray
    shape: tuple[int, int, int]

    def simulate(self, steps: int, *, seed: int) -> torch.Tensor:
        rng = np.random.default_rng(seed)
        noise = rng.standard_normal((steps + 200, len(self.propagator))) @ np.linalg.cholesky(self.covariance).T
        state = np.zeros(len(self.propagator))
        states = [state := self.propagator @ state + one for one in noise]
        return torch.tensor(np.stack(states[200:]), dtype=torch.float32).reshape(steps, *self.shape)

    def law(self, start: np.ndarray, leads: int) -> tuple[np.ndarray, np.ndarray]:
        """Mean ``(leads, cells)`` and covariance ``(leads, cells, cells)`` given the state before the first lead."""
        means, covariances = [], []
        mean, covariance = start, np.zeros_like(self.covariance)
        for _ in range(leads):
            mean = self.propagator @ mean
            covariance = self.propagator @ covariance @ self.propagator.T + self.covariance
            means.append(mean)
            covariances.append(covariance)
        return np.stack(means), np.stack(covariances)


def correlated_noise(shape: tuple[int, int, int], *, scale: float, variance: float = 1.0) -> np.ndarray:
    """Covariance that falls off with the distance between cells and couples channels by one half."""
    channel, row, column = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    points = np.stack([row.ravel(), column.ravel()], axis=1)
    distance = np.linalg.norm(points[:, None] - points[None], axis=2)
    same = np.where(channel.ravel()[:, None] == channel.ravel()[None], 1.0, 0.5)
    return variance * same * np.exp(-distance / scale) + 0.02 * np.eye(len(points))


def damped_system() -> LinearGaussian:
    """Each cell damped at a rate of its own."""
    shape = (2, 3, 5)
    covariance = correlated_noise(shape, scale=3.0)
    return LinearGaussian(np.diag(np.linspace(0.3, 0.85, math.prod(shape))), covariance, shape)


def coupled_system() -> LinearGaussian:
    """Cells that pass their anomaly on to the next one, so that persistence by cell is not enough."""
    shape = (2, 3, 5)
    cells = math.prod(shape)
    propagator = 0.45 * np.eye(cells) + 0.45 * np.roll(np.eye(cells), 1, axis=0)
    return LinearGaussian(propagator, correlated_noise(shape, scale=3.0), shape)


def white_system() -> LinearGaussian:
    """No memory at all: the law is the climate's."""
    shape = (1, 3, 4)
    cells = math.prod(shape)
    return LinearGaussian(np.zeros((cells, cells)), correlated_noise(shape, scale=2.0), shape)


def grid(shape: tuple[int, int, int], *, mask: torch.Tensor | None = None) -> Grid:
    weights = torch.linspace(0.8, 1.2, shape[1])[:, None].expand(shape[1:]).contiguous()
    return Grid(weights=weights, mask=torch.ones(shape, dtype=torch.bool) if mask is None else mask, is_global=False)


def series(values: torch.Tensor, *, steps_per_year: int = 1, train: torch.Tensor | None = None) -> Series:
    steps = len(values)
    phase = 2 * math.pi * torch.arange(steps) / steps_per_year
    calendar = torch.stack([phase.sin(), phase.cos()], dim=1) if steps_per_year > 1 else torch.zeros(steps, 2)
    return Series(
        values=values,
        calendar=calendar,
        forcing=torch.zeros(steps, 0),
        train=torch.ones(steps, dtype=torch.bool) if train is None else train,
        validate=torch.zeros(steps, dtype=torch.bool),
    )


def training_data(values: torch.Tensor, *, steps_per_year: int = 1) -> TrainingData:
    return TrainingData(series=(series(values, steps_per_year=steps_per_year),), grid=grid(tuple(values.shape[1:])))


def context(history: torch.Tensor, leads: int, *, init_time: int = 86_400) -> Context:
    steps = len(history) + leads
    return Context(history=history, calendar=torch.zeros(steps, 2), forcing=torch.zeros(steps, 0), init_time=init_time)


def crps_of_normal_truth(members: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Fair CRPS of an ensemble ``(members, …)`` expected over a truth ``N(mean, deviation²)``.

    The mean absolute value of ``N(a, s²)`` is ``s√(2/π) exp(-a²/2s²) + a erf(a/s√2)``.
    """
    shift = (members - mean) / deviation
    erf = torch.erf(torch.from_numpy(shift / math.sqrt(2))).numpy()
    error = deviation * (math.sqrt(2 / math.pi) * np.exp(-(shift**2) / 2) + shift * erf)
    count = len(members)
    ranks = (2 * np.arange(1, count + 1) - count - 1).reshape(-1, *[1] * (members.ndim - 1))
    spread = (ranks * np.sort(members, axis=0)).sum(axis=0) / (count * (count - 1))
    return error.mean(axis=0) - spread


def assert_law_is_recovered(
    model, system: LinearGaussian, *, start: torch.Tensor, leads: int, count: int = 800
) -> None:
    """Mean, variance and covariance between leads within stated errors; CRPS within 3 % of the optimum."""
    mean, covariance = system.law(start.numpy().reshape(-1).astype(float), leads)
    deviation = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    history = start[None].expand(max(1, model.history), *start.shape)
    drawn = model.sample(context(history, leads), leads=leads, members=range(count), seed=7)
    members = drawn.double().numpy().reshape(count, leads, -1)
    assert np.abs((members.mean(axis=0) - mean) / deviation).mean() < 0.12
    assert members.std(axis=0).mean() == pytest.approx(deviation.mean(), rel=0.05)
    assert lagged_covariance(members) == pytest.approx(known_lagged_covariance(system, covariance), rel=0.1, abs=0.05)
    score = crps_of_normal_truth(members, mean, deviation)
    assert score.mean() < 1.03 * deviation.mean() / math.sqrt(math.pi)


def lagged_covariance(members: np.ndarray) -> float:
    """Mean over cells of the covariance between the first and the second lead."""
    first, second = (members[:, lead] - members[:, lead].mean(axis=0) for lead in (0, 1))
    return float((first * second).mean())


def known_lagged_covariance(system: LinearGaussian, covariance: np.ndarray) -> float:
    return float(np.diagonal(system.propagator @ covariance[0]).mean())
