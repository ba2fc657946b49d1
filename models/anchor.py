"""The linear expectation that a network corrects, fitted without each fold of the record and once on all of it.

A network trained on what a fit leaves of its own years would see residuals too small and be overconfident. Everything
is linear in the history, so that roll-outs differentiate through it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import torch
from torch import Tensor

from models.base import Grid
from models.eofs import COUNTS, Eofs
from models.expectation import Operator, fit_expectation
from models.record import Fold, Record, flat_weights, steps_per_year
from models.surroundings import Surroundings
from models.windows import Windows

Kind = Literal["persistence", "damped", "linear"]

LEAST = 5
"""Fewer windows than this support no fit without a fold."""


@dataclass(frozen=True)
class Anchor:
    """Expectation of the next leads.

    Attributes:
        operators: One for each fold, and last the one fitted on everything, float32.
    """

    operators: Sequence[Operator]

    def predict(self, history: Tensor, calendar: Tensor, fold: Tensor | None = None) -> Tensor:
        """Expected states, ``(batch, leads, channels, latitude, longitude)``.

        Args:
            history: ``(batch, history, channels, latitude, longitude)``; its newest states are used.
            calendar: Season's phase at the leads, ``(batch, leads, 2)``; zero for the mean of all seasons.
            fold: Which fit to use for each row, ``(batch,)``; the one on everything by default.
        """
        lags = self.operators[-1].lags
        flat = history[:, -lags:].flatten(2)
        if fold is None:
            expected = self.operators[-1].forecast(flat, calendar)
        else:
            expected = flat.new_empty(len(flat), calendar.shape[1], flat.shape[2])
            for number in fold.unique().tolist():
                rows = fold == number
                expected[rows] = self.operators[number].forecast(flat[rows], calendar[rows])
        return expected.unflatten(2, history.shape[2:])

    def final(self) -> Self:
        """The fit on everything alone: what a forecast needs."""
        return type(self)(self.operators[-1:])

    def arrays(self) -> dict[str, Tensor]:
        """By name, for storage; of the fit on everything."""
        return self.operators[-1].arrays()

    @classmethod
    def restore(cls, arrays: Mapping[str, Tensor], *, grid: Grid) -> Self:
        """From :meth:`arrays`."""
        return cls([Operator.restore(arrays, grid=grid)])


def fit_anchor(windows: Windows, grid: Grid, *, kind: Kind, modes: int, folds: int) -> tuple[Anchor, dict[str, Any]]:
    """Fit the expectation without each fold and on everything; cross-validation over the folds chooses what is free.

    Args:
        windows: Training windows.
        grid: Cells and their weights.
        kind: ``"persistence"``; ``"damped"``, by cell, surroundings and lead; ``"linear"``, damped plus ridge on EOFs.
        modes: EOFs at most; a fifth of the windows if that is fewer.
        folds: Unbroken stretches of the record.

    Returns:
        The anchor, and what was chosen, for the card.

    Raises:
        ValueError: Folds that leave too few windows to fit on.
    """
    if kind == "persistence":
        return Anchor([_persistence(windows, grid)] * (folds + 1)), {}
    most, parts = min(modes, len(windows) // 5), windows.folds(folds)
    expectation = fit_expectation(
        _record(windows, grid),
        [_fold(windows, number, parts) for number in range(folds)],
        grid,
        leads=windows.leads,
        counts=[min(count, most) for count in COUNTS] if kind == "linear" else [0],
        lags=range(1, windows.history + 1),
    )
    operators = [*expectation.unseen, expectation.operator]
    return Anchor([operator.single() for operator in operators]), expectation.notes


def _newest(windows: Windows) -> Tensor:
    """Position of each window's newest state, ``(windows,)``."""
    return windows.starts + windows.history - 1


def _fold(windows: Windows, number: int, folds: Tensor) -> Fold:
    outside = windows.outside(number, folds)
    if len(outside) < LEAST:
        raise ValueError(
            f"too few training years: {len(outside)} of {len(windows)} windows of {windows.history} + {windows.leads} "
            f"steps share no step with fold {number + 1} of {int(folds.max()) + 1}, at least {LEAST} are needed; train "
            "on more years or shorten the window"
        )
    return Fold(fit=_newest(windows)[outside], held=_newest(windows)[folds == number])


def _record(windows: Windows, grid: Grid) -> Record:
    """The joined series; which of its steps may be seen is the windows' business."""
    return Record(
        values=windows.values.flatten(1).double(),
        calendar=windows.calendar.double(),
        forcing=windows.forcing.double(),
        time=torch.arange(len(windows.values)),
        run=torch.zeros(len(windows.values), dtype=torch.long),
        weights=flat_weights(grid),
        channels=len(grid.mask),
        steps_per_year=steps_per_year(windows.calendar),
    )


def _persistence(windows: Windows, grid: Grid) -> Operator:
    """Every lead as the newest state is."""
    leads, cells = windows.leads, windows.values[0].numel()
    nothing = torch.zeros(0, cells)
    return Operator(
        eofs=Eofs(nothing, nothing),
        coefficients=torch.zeros(leads, 0, 0),
        damping=torch.ones(leads, 1, cells),
        blends=torch.zeros(leads),
        surroundings=Surroundings.of(grid).single(),
    )
