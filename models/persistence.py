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
from models.innovations import Draw, Innovations
from models.record import Fold, Record, flat_fields, training_record, year_folds
from models.spinup import SPIN_UP, set_going

SHRINKAGE = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Candidates for the weight of the channel's mean damping."""

LIMIT = 0.999
"""Largest damping allowed, in size: what persists for ever has no climate."""


@dataclass(frozen=True)
class Choice:
    """What cross-validation decides: terms of the seasonal cycle of φ, and the weight of its channel mean."""

    terms: int
    shrinkage: float


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
    choice, error = choose_damping(record, folds, lead=1)
    damping = damping_at(record, record.anchors(before=0, after=1), choice, lead=1)
    unseen = [damping_at(record, fold.fit, choice, lead=1) for fold in folds]
    errors = [_errors(record, fold.held, own, 1, record.values) for fold, own in zip(folds, unseen, strict=True)]
    held = torch.cat([fold.held for fold in folds])
    innovations = Innovations.centred(torch.cat(errors), record.calendar[held + 1])
    notes = {"seasonal": choice.terms > 1, "shrinkage": choice.shrinkage, "folds": len(folds), "error": error}
    return Fitted(model=Model(damping, innovations, data.grid), curve=[], notes=notes)


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


def seasonal_terms(calendar: Tensor, terms: int) -> Tensor:
    """A constant, sine and cosine of the phase: the first ``terms`` of them, ``(..., terms)``."""
    return torch.cat([torch.ones_like(calendar[..., :1]), calendar], dim=-1)[..., :terms]


def seasonal_damping(coefficients: Tensor, calendar: Tensor) -> Tensor:
    """Damping φ of each cell at each phase, ``(time, cells)``, within ±0.999."""
    return (seasonal_terms(calendar, len(coefficients)) @ coefficients).clamp(-LIMIT, LIMIT)


def cell_damping(before: Tensor, after: Tensor, terms: Tensor) -> Tensor:
    """Least squares of each cell's later value on its present one.

    Args:
        before: Present values, ``(pairs, cells)``.
        after: Later values, ``(pairs, cells)``.
        terms: Seasonal terms of the pairs, ``(pairs, terms)``.

    Returns:
        Coefficients of φ, ``(terms, cells)``, zero where a cell never varies.
    """
    gram = torch.einsum("ti,tj,tc->cij", terms, terms, before**2)
    cross = torch.einsum("ti,tc->ci", terms, before * after)
    scale = gram.diagonal(dim1=1, dim2=2).mean(dim=1)
    floor = torch.where(scale > 0, 1e-9 * scale, 1.0)
    gram = gram + floor[:, None, None] * torch.eye(terms.shape[1], dtype=gram.dtype)
    return torch.where(scale > 0, torch.linalg.solve(gram, cross).T, 0.0)


def shrink_damping(cells: Tensor, weights: Tensor, *, channels: int, shrinkage: float) -> Tensor:
    """Draw each cell's coefficients, ``(terms, cells)``, towards the area mean of its channel.

    Args:
        cells: Coefficients of each cell.
        weights: Area weights, ``(cells,)``, zero where masked.
        channels: How many channels the cells hold.
        shrinkage: Weight of the mean, 0 to 1.
    """
    by_channel = (cells * weights).reshape(len(cells), channels, -1).sum(dim=2)
    mean = by_channel / weights.reshape(channels, -1).sum(dim=1)
    mean = mean.repeat_interleave(cells.shape[1] // channels, dim=1)
    return torch.where(weights > 0, (1 - shrinkage) * cells + shrinkage * mean, 0.0)


def choose_damping(
    record: Record, folds: Sequence[Fold], *, lead: int, before: Tensor | None = None, seasonal: bool = True
) -> tuple[Choice, float]:
    """The best choice on years not fitted, and its area-weighted mean square error.

    Args:
        record: The training record.
        folds: Folds of windows that reach at least ``lead`` steps forward.
        lead: Steps from present to later value.
        before: What persists, ``(time, cells)``; the record's values by default.
        seasonal: Whether φ may follow the season.
    """
    before = record.values if before is None else before
    errors: dict[Choice, float] = {}
    for terms in (1, 3) if seasonal and record.calendar.any() else (1,):
        for fold in folds:
            cells = _cells(record, before, fold.fit, lead, terms)
            for shrinkage in SHRINKAGE:
                missed = _errors(record, fold.held, _shrink(record, cells, shrinkage), lead, before)
                square = missed**2 @ record.weights
                choice = Choice(terms, shrinkage)
                errors[choice] = errors.get(choice, 0.0) + float(square.sum())
    best = min(errors, key=lambda choice: errors[choice])
    return best, errors[best] / float(record.weights.sum()) / sum(len(fold.held) for fold in folds)


def damping_at(record: Record, anchors: Tensor, choice: Choice, *, lead: int, before: Tensor | None = None) -> Tensor:
    """Coefficients of φ from the anchors to ``lead`` steps later, ``(terms, cells)``; ``before`` as above."""
    before = record.values if before is None else before
    return _shrink(record, _cells(record, before, anchors, lead, choice.terms), choice.shrinkage)


def _cells(record: Record, before: Tensor, anchors: Tensor, lead: int, terms: int) -> Tensor:
    later = anchors + lead
    return cell_damping(before[anchors], record.values[later], seasonal_terms(record.calendar[later], terms))


def _shrink(record: Record, cells: Tensor, shrinkage: float) -> Tensor:
    return shrink_damping(cells, record.weights, channels=record.channels, shrinkage=shrinkage)


def _errors(record: Record, anchors: Tensor, damping: Tensor, lead: int, before: Tensor) -> Tensor:
    later = anchors + lead
    return record.values[later] - seasonal_damping(damping, record.calendar[later]) * before[anchors]
