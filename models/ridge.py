"""Direct multi-lead ridge: every lead of a window straight from the newest states, dressed with past errors.

The forecast is the linear expectation of :mod:`models.expectation`. The noise is the trajectory of errors of a past
start in the same season, made by the operator of the fold that had not seen it, so that errors grow and hang together
through the window as they do. Horizons beyond one window chain windows, each started from the states drawn.

Source:
    Roulston and Smith (2003), dressing with past errors, doi:10.1034/j.1600-0870.2003.201378.x.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from models.base import Context, Fitted, Grid, Progress, TrainingData
from models.conditions import check_steps
from models.config import MOST_LAGS, DirectRidgeConfig
from models.eofs import COUNTS
from models.expectation import Operator, fit_expectation
from models.innovations import Draw, same_season
from models.record import Fold, Record, flat_fields, lagged, training_record, year_folds
from models.spinup import SPIN_UP, set_going

LAGS = tuple(range(1, MOST_LAGS + 1))
"""Numbers of past states that cross-validation tries."""


def fit(
    config: DirectRidgeConfig,
    data: TrainingData,
    *,
    seed: int,
    progress: Progress | None = None,
    checkpoint: Path | None = None,
) -> Fitted:
    """Choose, fit, and keep what is needed to make out-of-fold errors anew. Nothing is random.

    Raises:
        ValueError: Training data that no fit can use, or too few unbroken years for the folds.
    """
    record = training_record(data)
    lags = LAGS if config.lags is None else (config.lags,)
    counts = COUNTS if config.eofs is None else (config.eofs,)
    leads, folds = _windows(record, lags=max(lags), config=config)
    expectation = fit_expectation(record, folds, data.grid, leads=leads, counts=counts, lags=lags)
    model = Model(
        operator=expectation.operator,
        unseen=expectation.unseen,
        values=record.values.float(),
        calendar=record.calendar,
        starts=torch.cat([fold.held for fold in folds]),
        folds=torch.cat([torch.full_like(fold.held, number) for number, fold in enumerate(folds)]),
        grid=data.grid,
    )
    return Fitted(model=model, curve=[], notes=expectation.notes | {"folds": len(folds), "window": leads})


def _windows(record: Record, *, lags: int, config: DirectRidgeConfig) -> tuple[int, list[Fold]]:
    """Steps in a window, as many as asked for or as folds of the record carry, and those folds.

    Raises:
        ValueError: The folds do not even carry windows of one step.
    """
    for leads in range(config.leads, 1, -1):
        with suppress(ValueError):
            return leads, year_folds(record, before=lags - 1, after=leads, count=config.folds)
    return 1, year_folds(record, before=lags - 1, after=1, count=config.folds)


@dataclass(frozen=True)
class Model:
    """Operators and the record from which their errors are made.

    Attributes:
        operator: Fitted on all training years.
        unseen: Fitted without the years of each fold.
        values: Training steps, ``(time, cells)``, float32.
        calendar: Their phase of the season, ``(time, 2)``.
        starts: Positions from which errors may be taken, ``(starts,)``.
        folds: The fold each start is in, ``(starts,)``.
        grid: The grid of the fit.
    """

    operator: Operator
    unseen: tuple[Operator, ...]
    values: Tensor
    calendar: Tensor
    starts: Tensor
    folds: Tensor
    grid: Grid

    @property
    def history(self) -> int:
        """How many past states a window looks at."""
        return self.operator.lags

    def sample(self, context: Context, *, leads: int, members: Sequence[int], seed: int) -> Tensor:
        """Draw window after window, all members together."""
        if not len(context.history):
            earlier = set_going(context, history=self.history)
            return self.sample(earlier, leads=SPIN_UP + leads, members=members, seed=seed)[:, SPIN_UP:]
        check_steps(context, history=self.history, leads=leads)
        key = Draw(seed, context.init_time, members)
        states = flat_fields(context.history[-self.history :], self.grid).expand(len(members), -1, -1)
        calendar = context.calendar[len(context.calendar) - leads - 1 :].double()
        windows = []
        for number, start in enumerate(range(0, leads, self.operator.leads)):
            phases = calendar[start + 1 : start + 1 + self.operator.leads].expand(len(members), -1, -1)
            season = same_season(self.calendar[self.starts], calendar[start])
            blend = key.blend(season, number, length=self.operator.leads)
            errors = blend.of(self._errors(blend.positions, phases.shape[1]))
            windows.append(self.operator.forecast(states, phases) + errors)
            states = torch.cat([states, windows[-1]], dim=1)[:, -self.history :]
        return torch.cat(windows, dim=1).float().reshape(len(members), leads, *self.grid.mask.shape)

    def arrays(self) -> dict[str, Tensor]:
        """The operators, those of the folds stacked, and the record."""
        unseen = [operator.arrays() for operator in self.unseen]
        stacked = {f"unseen.{name}": torch.stack([one[name] for one in unseen]) for name in unseen[0]}
        record = {"values": self.values, "calendar": self.calendar, "starts": self.starts, "folds": self.folds}
        return self.operator.arrays() | stacked | record

    @classmethod
    def restore(cls, config: DirectRidgeConfig, arrays: Mapping[str, Tensor], *, grid: Grid) -> Self:
        """The model that ``arrays()`` came from."""
        names = Operator.NAMES
        folds = zip(*(arrays[f"unseen.{name}"] for name in names), strict=True)
        return cls(
            operator=Operator.restore({name: arrays[name] for name in names}, grid=grid),
            unseen=tuple(Operator.restore(dict(zip(names, fold, strict=True)), grid=grid) for fold in folds),
            values=arrays["values"],
            calendar=arrays["calendar"],
            starts=arrays["starts"],
            folds=arrays["folds"],
            grid=grid,
        )

    def _errors(self, chosen: Tensor, leads: int) -> Tensor:
        """Errors of the chosen starts, each by the operator that had not seen it, ``(*chosen.shape, leads, cells)``."""
        starts, folds = self.starts[chosen.flatten()], self.folds[chosen.flatten()]
        steps = starts[:, None] + torch.arange(1, leads + 1)
        errors = self.values[steps].double()
        for number, operator in enumerate(self.unseen):
            rows = (folds == number).nonzero().flatten()
            states = self.values[lagged(starts[rows], operator.lags)].double()
            errors[rows] -= operator.forecast(states, self.calendar[steps[rows]])
        return errors.unflatten(0, chosen.shape)
