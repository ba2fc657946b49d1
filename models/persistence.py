"""Damped persistence: each cell forgets its anomaly at a rate of its own, and errors of the past stir it again.

An AR(1) in every cell of every channel, ``x[t+1] = φ x[t] + ε[t+1]``, whose damping φ may follow the season. The noise
ε is a whole field of past errors, made out of fold, so that neighbouring cells err together. How far φ is drawn
towards its channel's mean, and whether it follows the season, is chosen by cross-validation over years.

Source:
    Hasselmann (1976), red noise as the null hypothesis of climate, doi:10.1111/j.2153-3490.1976.tb00696.x.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from models.base import Context, Fitted, Grid, Progress, TrainingData
from models.conditions import check_steps
from models.config import DampedPersistenceConfig
from models.damping import choose_damping, seasonal_damping
from models.innovations import Draw, Innovations
from models.record import Record, flat_fields, training_record, year_folds
from models.spinup import SPIN_UP, set_going


def fit(
    config: DampedPersistenceConfig,
    data: TrainingData,
    *,
    seed: int,
    progress: Progress | None = None,
    checkpoint: Path | None = None,
) -> Fitted:
    """Fit the damping and learn the noise out of fold. Nothing is random and nothing takes long.

    Raises:
        ValueError: Training data that no fit can use, or too few unbroken years for the folds.
    """
    record = training_record(data)
    folds = year_folds(record, before=0, after=1, count=config.folds)
    chosen = choose_damping(record, folds, lead=1)
    choice = chosen.choice
    errors = [_errors(record, fold.held, own) for fold, own in zip(folds, chosen.unseen, strict=True)]
    held = torch.cat([fold.held for fold in folds])
    innovations = Innovations.centred(torch.cat(errors), record.calendar[held + 1])
    notes = {"seasonal": choice.terms > 1, "shrinkage": choice.shrinkage, "folds": len(folds), "error": chosen.error}
    return Fitted(model=Model(chosen.whole, innovations, data.grid), curve=[], notes=notes)


@dataclass(frozen=True)
class Model:
    """Damping by cell, and the errors that stir it.

    Attributes:
        damping: Coefficients of φ on a constant and, where it follows the season, sine and cosine of the phase,
            ``(terms, cells)``, float64.
        innovations: Out-of-fold errors of one step.
        grid: The grid of the fit.
    """

    damping: Tensor
    innovations: Innovations
    grid: Grid
    history: int = 1

    def sample(self, context: Context, *, leads: int, members: Sequence[int], seed: int) -> Tensor:
        """Step all members forward together from the newest state."""
        if not len(context.history):
            earlier = set_going(context, history=self.history)
            return self.sample(earlier, leads=SPIN_UP + leads, members=members, seed=seed)[:, SPIN_UP:]
        check_steps(context, history=self.history, leads=leads)
        key = Draw(seed, context.init_time, members)
        state = flat_fields(context.history[-1:], self.grid)
        states = []
        for step, phase in enumerate(context.calendar[len(context.calendar) - leads :].double()):
            damping = seasonal_damping(self.damping, phase[None])
            state = damping * state + self.innovations.draw(phase, step=step, key=key)
            states.append(state.float())
        return torch.stack(states, dim=1).reshape(len(members), leads, *self.grid.mask.shape)

    def arrays(self) -> dict[str, Tensor]:
        """Damping and errors."""
        return {"damping": self.damping, "innovations": self.innovations.fields, "calendar": self.innovations.calendar}

    @classmethod
    def restore(cls, config: DampedPersistenceConfig, arrays: Mapping[str, Tensor], *, grid: Grid) -> Self:
        """The model that ``arrays()`` came from."""
        return cls(arrays["damping"], Innovations(arrays["innovations"], arrays["calendar"]), grid)


def _errors(record: Record, anchors: Tensor, damping: Tensor) -> Tensor:
    later = anchors + 1
    return record.values[later] - seasonal_damping(damping, record.calendar[later]) * record.values[anchors]
