"""The linear expectation that a network corrects: damped persistence in each cell plus a ridge regression on EOFs.

Fitted once for each fold of the record without that fold, and once on all of it: a network trained on in-fold residuals
would see them too small and be overconfident. Everything is linear in the history, so that roll-outs differentiate
through it. EOFs are of the area-weighted field; predictors are the newest principal components and their tendencies,
each divided by the square root of its deviation, so that one ridge weight serves leading and trailing patterns.

Source: Hoerl and Kennard (1970) for ridge; Penland and Sardeshmukh (1995) for linear prediction on EOFs,
doi:10.1175/1520-0442(1995)008<1999:TOGOTS>2.0.CO;2.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Literal, Self

import torch
from torch import Generator, Tensor

from models.base import Grid
from models.windows import Windows

RIDGES = (1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0, 1e6)
"""Ridge weights tried, relative to the predictors' mean variance; the last is damped persistence alone."""

Kind = Literal["persistence", "damped", "linear"]


@dataclass(frozen=True)
class Anchor:
    """Expectation of the next leads, one per fold (the last one is fitted on all folds).

    Attributes:
        damping: Share of the newest anomaly that remains, ``(folds, leads, cells)``.
        analysis: From a field to its principal components, ``(folds, modes, cells)``.
        synthesis: And back, ``(folds, modes, cells)``.
        scale: Divisor of each principal component as predictor, ``(folds, modes)``.
        coefficients: ``(folds, leads, history * modes, modes)``.
    """

    damping: Tensor
    analysis: Tensor
    synthesis: Tensor
    scale: Tensor
    coefficients: Tensor

    def predict(self, history: Tensor, fold: Tensor | None = None) -> Tensor:
        """Expected states, ``(batch, leads, channels, latitude, longitude)``.

        Args:
            history: ``(batch, history, channels, latitude, longitude)``; its newest states are used.
            fold: Which fit to use for each row, ``(batch,)``; the one on everything by default.
        """
        flat = history.flatten(2)
        if fold is None:
            fold = torch.full((len(flat),), -1)
        expected = self.damping[fold] * flat[:, -1:]
        if self.analysis.shape[1]:
            predictors = _predictors(flat, self.analysis[fold], self.scale[fold], self._lags)
            components = torch.einsum("bp,blpk->blk", predictors, self.coefficients[fold])
            expected = expected + torch.einsum("blk,bkn->bln", components, self.synthesis[fold])
        return expected.reshape(len(flat), -1, *history.shape[2:])

    @property
    def _lags(self) -> int:
        return self.coefficients.shape[2] // max(1, self.analysis.shape[1])

    def final(self) -> Self:
        """The fit on everything alone: what a forecast needs."""
        return replace(self, **{field.name: getattr(self, field.name)[-1:] for field in fields(self)})

    def arrays(self) -> dict[str, Tensor]:
        """By name, for storage."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def restore(cls, arrays: Mapping[str, Tensor]) -> Self:
        """From :meth:`arrays`."""
        return cls(**{field.name: arrays[field.name] for field in fields(cls)})


def fit_anchor(windows: Windows, grid: Grid, *, kind: Kind, modes: int, folds: int) -> tuple[Anchor, list[float]]:
    """Fit the expectation in each fold and on everything, and choose the ridge weight of each lead out of fold.

    Args:
        windows: Training windows.
        grid: Cells and their weights.
        kind: ``"persistence"``; ``"damped"`` by cell and lead; ``"linear"``, damped plus ridge on EOFs.
        modes: EOFs at most; a fifth of the windows if that is fewer.
        folds: Unbroken stretches of the record.

    Returns:
        The anchor, and the ridge weight chosen for each lead (empty unless ``kind`` is ``"linear"``).
    """
    fold = windows.folds(folds)
    parts = [windows.outside(number, fold) for number in range(folds)] + [torch.arange(len(windows))]
    modes = min(modes, len(windows) // 5) if kind == "linear" else 0
    fits = [_Fit.of(windows, rows, grid, kind=kind, modes=modes) for rows in parts]
    ridges = [RIDGES[index] for index in _choose_ridges(windows, fold, fits[:-1])] if modes else []
    solved = [fit.anchor(ridges) for fit in fits]
    joined = {field.name: torch.cat([getattr(one, field.name) for one in solved]) for field in fields(Anchor)}
    return Anchor(**joined), ridges


def eofs(values: Tensor, modes: int) -> Tensor:
    """Leading orthonormal patterns of ``(samples, cells)``, ``(modes, cells)``, by subspace iteration.

    Source: Halko, Martinsson and Tropp (2011), algorithm 4.4, doi:10.1137/090771806.
    """
    width = min(modes + 10, *values.shape)
    start = torch.randn(values.shape[1], width, generator=Generator().manual_seed(0), dtype=values.dtype)
    basis = torch.linalg.qr(values @ start).Q
    for _ in range(6):
        basis = torch.linalg.qr(values @ (values.T @ basis)).Q
    patterns: Tensor = torch.linalg.svd(basis.T @ values, full_matrices=False).Vh[:modes]
    return patterns


@dataclass(frozen=True)
class _Fit:
    """A fit without its ridge weight: the regression's moments, ready to be solved for any."""

    damping: Tensor
    analysis: Tensor
    synthesis: Tensor
    scale: Tensor
    values: Tensor  # eigenvalues of the predictors' Gram matrix
    vectors: Tensor
    moments: Tensor  # (leads, predictors, modes), in the eigenvectors' frame

    @classmethod
    def of(cls, windows: Windows, rows: Tensor, grid: Grid, *, kind: Kind, modes: int) -> Self:
        damping = _fit_damping(windows, rows, kind)
        newest = windows.values[windows.starts[rows] + windows.history - 1].flatten(1)
        root = (grid.weights.sqrt() * grid.mask).flatten()
        patterns = eofs(newest * root, modes)
        analysis = patterns * root
        synthesis = torch.where(root > 0, patterns / root.clamp(min=1e-6), 0.0)
        scale = (newest @ analysis.T).std(dim=0).clamp(min=1e-6).sqrt()
        gram, moments = _moments(windows, rows, damping, analysis, scale)
        values, vectors = torch.linalg.eigh(gram.double())
        return cls(damping, analysis, synthesis, scale, values, vectors, vectors.T @ moments.double())

    def solve(self, ridge: float) -> Tensor:
        """Coefficients for all leads, ``(leads, predictors, modes)``."""
        weight = ridge * self.values.mean()
        return (self.vectors @ (self.moments / (self.values + weight)[:, None])).float()

    def anchor(self, ridges: list[float]) -> Anchor:
        leads, predictors, modes = self.moments.shape
        coefficients = torch.zeros(leads, predictors, modes)
        for lead, ridge in enumerate(ridges):
            coefficients[lead] = self.solve(ridge)[lead]
        parts = (self.damping, self.analysis, self.synthesis, self.scale, coefficients)
        return Anchor(*(part[None] for part in parts))


def _fit_damping(windows: Windows, rows: Tensor, kind: Kind) -> Tensor:
    newest = windows.values[windows.starts[rows] + windows.history - 1].flatten(1)
    if kind == "persistence":
        return torch.ones(windows.leads, newest.shape[1])
    power = newest.square().sum(dim=0).clamp(min=1e-12)
    products = [(newest * _lead(windows, rows, lead)).sum(dim=0) for lead in range(windows.leads)]
    return (torch.stack(products) / power).clamp(0.0, 0.999)


def _lead(windows: Windows, rows: Tensor, lead: int) -> Tensor:
    return windows.values[windows.starts[rows] + windows.history + lead].flatten(1)


def _predictors(flat: Tensor, analysis: Tensor, scale: Tensor, lags: int) -> Tensor:
    """Level and tendencies of the components of ``(batch, history, cells)``, ``(batch, lags * modes)``."""
    components = torch.einsum("bhn,bkn->bhk", flat[:, -lags:], analysis) / scale[:, None]
    return torch.cat([components[:, -1:], components.diff(dim=1).flip(1)], dim=1).flatten(1)


def _moments(windows: Windows, rows: Tensor, damping: Tensor, analysis: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    past = windows.starts[rows][:, None] + torch.arange(windows.history)
    components = windows.values.flatten(1) @ analysis.T
    levels = (components / scale)[past]
    predictors = torch.cat([levels[:, -1:], levels.diff(dim=1).flip(1)], dim=1).flatten(1)
    newest = windows.values[past[:, -1]].flatten(1)
    targets = []
    for lead in range(windows.leads):
        remainder = components[windows.starts[rows] + windows.history + lead] - (newest * damping[lead]) @ analysis.T
        targets.append(predictors.T @ remainder)
    return predictors.T @ predictors, torch.stack(targets)


def _choose_ridges(windows: Windows, fold: Tensor, fits: list[_Fit]) -> list[int]:
    """The ridge weight with the least out-of-fold squared error in EOF space, for each lead."""
    errors = torch.zeros(len(RIDGES), windows.leads)
    for number, fit in enumerate(fits):
        rows = torch.nonzero(fold == number)[:, 0]
        past = windows.starts[rows][:, None] + torch.arange(windows.history)
        components = windows.values.flatten(1) @ fit.analysis.T
        predictors = _predictors(windows.values[past].flatten(2), fit.analysis[None], fit.scale[None], windows.history)
        newest = windows.values[past[:, -1]].flatten(1)
        truth = [
            components[windows.starts[rows] + windows.history + lead] - (newest * fit.damping[lead]) @ fit.analysis.T
            for lead in range(windows.leads)
        ]
        for index, ridge in enumerate(RIDGES):
            found = torch.einsum("bp,lpk->lbk", predictors, fit.solve(ridge))
            errors[index] += (found - torch.stack(truth)).square().sum(dim=(1, 2))
    return [int(index) for index in errors.argmin(dim=0)]
