"""Linear inverse models and vector autoregressions in the space of EOFs.

The scores of the leading EOFs follow ``a[t+1] = A₁ a[t] + … + A_p a[t-p+1] + noise``; what the EOFs leave out is damped
cell by cell. The noise is a whole field of out-of-fold errors from the same season, so that it excites scores and
remainder together. With one lag this is a linear inverse model. Number of EOFs, ridge and lags are chosen by
cross-validation over years, everything refitted in each fold, and a propagator that would not decay is drawn in until
it does.

Source:
    Penland and Sardeshmukh (1995), linear inverse models, doi:10.1175/1520-0442(1995)008<1999:TOGOTS>2.0.CO;2.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from models.base import Context, Fitted, Grid, Progress, TrainingData
from models.conditions import check_steps
from models.config import MOST_LAGS, LinearInverseConfig, VectorAutoregressiveConfig
from models.damping import LIMIT, cell_damping
from models.eofs import COUNTS, Eofs, fit_eofs, tendencies
from models.innovations import Draw, Innovations
from models.record import Fold, Record, flat_fields, lagged, training_record, year_folds
from models.regression import RIDGES, ridge_coefficients
from models.spinup import SPIN_UP, set_going

REMAINDER_SHRINKAGE = 0.5
"""Weight of the channel's mean in the damping of what the EOFs leave out."""

Config = LinearInverseConfig | VectorAutoregressiveConfig


@dataclass(frozen=True)
class Choice:
    """What cross-validation decides."""

    eofs: int
    lags: int
    ridge: float


@dataclass(frozen=True)
class Operator:
    """One step forward in the mean.

    Attributes:
        eofs: The leading patterns.
        propagator: ``A₁ … A_p`` as ``(lags, eofs, eofs)``; scores stand to their left.
        damping: Damping of the remainder in each cell, ``(cells,)``.
    """

    eofs: Eofs
    propagator: Tensor
    damping: Tensor

    def step(self, states: Tensor) -> Tensor:
        """The expected next field, ``(samples, cells)``, from the newest ones, ``(samples, lags, cells)``."""
        scores = torch.einsum("slk,lkj->sj", self.eofs.scores(states).flip(1), self.propagator)
        remainder = self.eofs.remainder(self.damping * self.eofs.remainder(states[:, -1]))
        return scores @ self.eofs.patterns + remainder


def fit(
    config: Config,
    data: TrainingData,
    *,
    seed: int,
    progress: Progress | None = None,
    checkpoint: Path | None = None,
) -> Fitted:
    """Choose, fit and learn the noise out of fold. Nothing is random and nothing takes long.

    Raises:
        ValueError: Training data that no fit can use, or too few unbroken years for the folds and lags.
    """
    record = training_record(data)
    lags = _lag_candidates(config)
    folds = year_folds(record, before=max(lags) - 1, after=1, count=config.folds)
    errors = _cross_validate(config, record, folds)
    best = min(errors, key=lambda choice: errors[choice])
    operators = [_fit_operator(record, fold.fit, best) for fold in folds]
    innovations = Innovations.centred(*_out_of_fold_errors(record, folds, operators))
    operator = _fit_operator(record, record.anchors(before=best.lags - 1, after=1), best)
    notes = {
        "eofs": best.eofs,
        "lags": best.lags,
        "ridge": best.ridge,
        "folds": len(folds),
        "error": errors[best],
        "spectral_radius": _spectral_radius(operator.propagator),
    }
    return Fitted(model=Model(operator, innovations, data.grid), curve=[], notes=notes)


@dataclass(frozen=True)
class Model:
    """A linear operator and the errors that stir it."""

    operator: Operator
    innovations: Innovations
    grid: Grid

    @property
    def history(self) -> int:
        """How many past states a step looks at."""
        return len(self.operator.propagator)

    def sample(self, context: Context, *, leads: int, members: Sequence[int], seed: int) -> Tensor:
        """Step all members forward together from the newest states."""
        if not len(context.history):
            earlier = set_going(context, history=self.history)
            return self.sample(earlier, leads=SPIN_UP + leads, members=members, seed=seed)[:, SPIN_UP:]
        check_steps(context, history=self.history, leads=leads)
        key = Draw(seed, context.init_time, members)
        states = flat_fields(context.history[-self.history :], self.grid).expand(len(members), -1, -1)
        trajectory = []
        for step, phase in enumerate(context.calendar[len(context.calendar) - leads :].double()):
            state = self.operator.step(states) + self.innovations.draw(phase, step=step, key=key)
            states = torch.cat([states[:, 1:], state[:, None]], dim=1)
            trajectory.append(state.float())
        return torch.stack(trajectory, dim=1).reshape(len(members), leads, *self.grid.mask.shape)

    def arrays(self) -> dict[str, Tensor]:
        """Patterns, propagator, damping and errors."""
        return {
            "patterns": self.operator.eofs.patterns,
            "projector": self.operator.eofs.projector,
            "propagator": self.operator.propagator,
            "damping": self.operator.damping,
            "innovations": self.innovations.fields,
            "calendar": self.innovations.calendar,
        }

    @classmethod
    def restore(cls, config: Config, arrays: Mapping[str, Tensor], *, grid: Grid) -> Self:
        """The model that ``arrays()`` came from."""
        eofs = Eofs(arrays["patterns"], arrays["projector"])
        operator = Operator(eofs, arrays["propagator"], arrays["damping"])
        return cls(operator, Innovations(arrays["innovations"], arrays["calendar"]), grid)


def _lag_candidates(config: Config) -> tuple[int, ...]:
    if isinstance(config, LinearInverseConfig):
        return (1,)
    return tuple(range(1, MOST_LAGS + 1)) if config.lags is None else (config.lags,)


def _choices(config: Config, rank: int) -> Iterator[Choice]:
    eofs = COUNTS if config.eofs is None else (config.eofs,)
    ridges = RIDGES if config.ridge is None else (config.ridge,)
    counts = sorted({min(count, rank) for count in eofs})
    return (Choice(*values) for values in product(counts, _lag_candidates(config), ridges))


def _fit_operator(record: Record, anchors: Tensor, choice: Choice) -> Operator:
    eofs = fit_eofs(record.values[anchors], record.weights, count=choice.eofs)
    scores = eofs.scores(record.values)
    predictors = tendencies(scores[lagged(anchors, choice.lags)])
    coefficients = ridge_coefficients(predictors, scores[anchors + 1], ridges=[choice.ridge])[0]
    propagator = _stable(_propagator(coefficients.reshape(choice.lags, len(eofs), len(eofs))))
    return Operator(eofs, propagator, _remainder_damping(record, anchors, eofs))


def _remainder_damping(record: Record, anchors: Tensor, eofs: Eofs) -> Tensor:
    before, after = eofs.remainder(record.values[anchors]), eofs.remainder(record.values[anchors + 1])
    return cell_damping(record, before, after, shrinkage=REMAINDER_SHRINKAGE)


def _propagator(coefficients: Tensor) -> Tensor:
    """From coefficients of level and tendencies to those of the lags."""
    older = torch.cat([coefficients[1:], torch.zeros_like(coefficients[:1])])
    level = torch.cat([coefficients[:1], torch.zeros_like(coefficients[1:])])
    newer = torch.cat([torch.zeros_like(coefficients[:1]), coefficients[1:]])
    return level + older - newer


def _spectral_radius(propagator: Tensor) -> float:
    lags, eofs, _ = propagator.shape
    companion = torch.diag(torch.ones((lags - 1) * eofs, dtype=propagator.dtype), -eofs)
    companion[:eofs] = propagator.mT.permute(1, 0, 2).reshape(eofs, lags * eofs)
    return float(torch.linalg.eigvals(companion).abs().max())


def _stable(propagator: Tensor) -> Tensor:
    """Scale lag ``l`` by ``c**l``, which scales every eigenvalue by ``c``, so that all lie within the limit."""
    excess = min(1.0, LIMIT / max(_spectral_radius(propagator), 1e-12))
    powers = excess ** torch.arange(1, len(propagator) + 1, dtype=propagator.dtype)
    return propagator * powers[:, None, None]


def _out_of_fold_errors(record: Record, folds: Sequence[Fold], operators: Sequence[Operator]) -> tuple[Tensor, Tensor]:
    errors = [
        record.values[fold.held + 1] - operator.step(record.values[lagged(fold.held, len(operator.propagator))])
        for fold, operator in zip(folds, operators, strict=True)
    ]
    return torch.cat(errors), record.calendar[torch.cat([fold.held for fold in folds]) + 1]


def _cross_validate(config: Config, record: Record, folds: Sequence[Fold]) -> dict[Choice, float]:
    """Area-weighted mean square error of one step on years not fitted, for every choice."""
    most = max(COUNTS) if config.eofs is None else config.eofs
    bases = [fit_eofs(record.values[fold.fit], record.weights, count=most) for fold in folds]
    rank = min(len(eofs) for eofs in bases)
    total = float(record.weights.sum()) * sum(len(fold.held) for fold in folds)
    errors = dict.fromkeys(_choices(config, rank), 0.0)
    remainders: dict[int, float] = {}
    for fold, eofs in zip(folds, bases, strict=True):
        for count in {choice.eofs for choice in errors}:
            left_out = _remainder_error(record, fold, eofs.leading(count))
            remainders[count] = remainders.get(count, 0.0) + left_out
        for choice, error in _score_errors(config, record, fold, eofs, rank):
            errors[choice] += error
    return {choice: (error + remainders[choice.eofs]) / total for choice, error in errors.items()}


def _remainder_error(record: Record, fold: Fold, eofs: Eofs) -> float:
    damping = _remainder_damping(record, fold.fit, eofs)
    before, after = eofs.remainder(record.values[fold.held]), eofs.remainder(record.values[fold.held + 1])
    return float(((after - eofs.remainder(damping * before)) ** 2 @ record.weights).sum())


def _score_errors(config: Config, record: Record, fold: Fold, eofs: Eofs, rank: int) -> Iterator[tuple[Choice, float]]:
    """Square error of the scores for every choice; all ridges of a choice share one decomposition."""
    scores = eofs.scores(record.values)
    ridges = RIDGES if config.ridge is None else (config.ridge,)
    for count, lags in {(choice.eofs, choice.lags): None for choice in _choices(config, rank)}:
        leading = scores[:, :count]
        coefficients = ridge_coefficients(
            tendencies(leading[lagged(fold.fit, lags)]), leading[fold.fit + 1], ridges=ridges
        )
        forecasts = tendencies(leading[lagged(fold.held, lags)]) @ coefficients
        square = (forecasts - leading[fold.held + 1]).square().sum(dim=(1, 2))
        yield from ((Choice(count, lags, ridge), float(error)) for ridge, error in zip(ridges, square, strict=True))
