"""Direct multi-lead ridge: every lead of a window straight from the newest states, dressed with past errors.

The forecast of a lead is damped persistence in each cell plus a ridge regression of what that misses on the scores of
the leading EOFs, as level and tendencies. The noise is the trajectory of errors of a past start in the same season,
made by the operator of the fold that had not seen it, so that errors grow and hang together through the window as they
do. Horizons beyond one window chain windows, each started from the states drawn.

Source:
    Roulston and Smith (2003), dressing with past errors, doi:10.1034/j.1600-0870.2003.201378.x.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import ClassVar, Self

import torch
from torch import Tensor

from models.base import Context, Fitted, Grid, Progress, TrainingData
from models.config import DirectRidgeConfig
from models.eofs import COUNTS, Eofs, fit_eofs, tendencies
from models.innovations import Draw, same_season
from models.persistence import LIMIT, Choice, choose_damping, damping_at, seasonal_terms
from models.record import Fold, Record, flat_fields, lagged, training_record, year_folds
from models.regression import RIDGES, ridge_coefficients

LAGS = (1, 2, 3)
"""Numbers of past states that cross-validation tries."""

WINDOWS = 60
"""Windows that are chained to see whether they decay."""


@dataclass(frozen=True)
class Size:
    """What cross-validation decides for all leads together."""

    eofs: int
    lags: int


@dataclass(frozen=True)
class Recipe:
    """All that cross-validation decides.

    Attributes:
        size: EOFs and lags.
        dampings: How the damping of each lead is fitted.
        ridges: The penalty at each lead, as positions in ``RIDGES``, ``(leads,)``.
    """

    size: Size
    dampings: Sequence[Choice]
    ridges: Tensor


@dataclass(frozen=True)
class Operator:
    """The expected window.

    Attributes:
        eofs: The leading patterns.
        coefficients: From level and tendencies of the scores to the correction's scores at each lead,
            ``(leads, lags * eofs, eofs)``.
        damping: Coefficients of each lead's damping, ``(leads, terms, cells)``.
    """

    NAMES: ClassVar = ("patterns", "projector", "coefficients", "damping")

    eofs: Eofs
    coefficients: Tensor
    damping: Tensor

    @property
    def leads(self) -> int:
        """Leads of a window."""
        return len(self.coefficients)

    @property
    def lags(self) -> int:
        """How many past states a window looks at."""
        return self.coefficients.shape[1] // len(self.eofs)

    def arrays(self) -> dict[str, Tensor]:
        """What ``restore`` takes."""
        tensors = (self.eofs.patterns, self.eofs.projector, self.coefficients, self.damping)
        return dict(zip(self.NAMES, tensors, strict=True))

    @classmethod
    def restore(cls, arrays: Mapping[str, Tensor]) -> Self:
        """The operator that ``arrays()`` came from."""
        return cls(Eofs(arrays["patterns"], arrays["projector"]), arrays["coefficients"], arrays["damping"])

    def forecast(self, states: Tensor, calendar: Tensor) -> Tensor:
        """Expected fields, ``(samples, leads, cells)``.

        Args:
            states: The newest states, oldest first, ``(samples, lags, cells)``.
            calendar: Phase of the season at each lead, ``(samples, leads, 2)``, no more leads than a window has.
        """
        leads = calendar.shape[1]
        correction = torch.einsum("sp,lpk->slk", tendencies(self.eofs.scores(states)), self.coefficients[:leads])
        return persisted(states[:, -1], self.damping[:leads], calendar) + correction @ self.eofs.patterns


def persisted(newest: Tensor, damping: Tensor, calendar: Tensor) -> Tensor:
    """Damped persistence of the newest states, ``(samples, leads, cells)``."""
    terms = seasonal_terms(calendar, damping.shape[1])
    return torch.einsum("slt,ltc->slc", terms, damping).clamp(-LIMIT, LIMIT) * newest[:, None]


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
        ValueError: Training data that no fit can use, or too few unbroken years for the folds and the window.
    """
    record = training_record(data)
    lags = max(_lag_candidates(config))
    folds = year_folds(record, before=lags - 1, after=config.leads, count=config.folds)
    recipe, operator = _decaying(
        record, record.anchors(before=lags - 1, after=config.leads), _choose(config, record, folds)
    )
    model = Model(
        operator=operator,
        unseen=tuple(_fit_operator(record, fold.fit, recipe) for fold in folds),
        values=record.values.float(),
        calendar=record.calendar,
        starts=torch.cat([fold.held for fold in folds]),
        folds=torch.cat([torch.full_like(fold.held, number) for number, fold in enumerate(folds)]),
        grid=data.grid,
    )
    notes = {
        "eofs": recipe.size.eofs,
        "lags": recipe.size.lags,
        "ridges": [RIDGES[position] for position in recipe.ridges.tolist()],
        "folds": len(folds),
        "growth": growth(operator),
    }
    return Fitted(model=model, curve=[], notes=notes)


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
        key = Draw(seed, context.init_time, members)
        states = flat_fields(context.history[-self.history :], self.grid).expand(len(members), -1, -1)
        calendar = context.calendar[len(context.calendar) - leads - 1 :].double()
        windows = []
        for number, start in enumerate(range(0, leads, self.operator.leads)):
            phases = calendar[start + 1 : start + 1 + self.operator.leads].expand(len(members), -1, -1)
            chosen = key.choose(same_season(self.calendar[self.starts], calendar[start]), number)
            errors = self._errors(chosen, phases.shape[1])
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
            operator=Operator.restore({name: arrays[name] for name in names}),
            unseen=tuple(Operator.restore(dict(zip(names, fold, strict=True))) for fold in folds),
            values=arrays["values"],
            calendar=arrays["calendar"],
            starts=arrays["starts"],
            folds=arrays["folds"],
            grid=grid,
        )

    def _errors(self, chosen: Tensor, leads: int) -> Tensor:
        """Errors of the chosen starts, each by the operator that had not seen it, ``(chosen, leads, cells)``."""
        starts, folds = self.starts[chosen], self.folds[chosen]
        steps = starts[:, None] + torch.arange(1, leads + 1)
        errors = self.values[steps].double()
        for number, operator in enumerate(self.unseen):
            rows = (folds == number).nonzero().flatten()
            states = self.values[lagged(starts[rows], operator.lags)].double()
            errors[rows] -= operator.forecast(states, self.calendar[steps[rows]])
        return errors


def growth(operator: Operator) -> float:
    """Factor by which the mean grows in a window, in the long run of chained windows; below one it decays."""
    states = operator.eofs.patterns.sum(dim=0).expand(1, operator.lags, -1)
    calendar = torch.zeros(1, operator.leads, 2, dtype=states.dtype)
    sizes = []
    for _ in range(WINDOWS):
        states = torch.cat([states, operator.forecast(states, calendar)], dim=1)[:, -operator.lags :]
        sizes.append(float(states.norm().clamp(min=1e-200)))
    return (sizes[-1] / sizes[WINDOWS // 2]) ** (1 / (WINDOWS - 1 - WINDOWS // 2))


def _decaying(record: Record, anchors: Tensor, recipe: Recipe) -> tuple[Recipe, Operator]:
    """The operator of the recipe, penalties raised until chained windows decay."""
    operator = _fit_operator(record, anchors, recipe)
    while growth(operator) > LIMIT and bool((recipe.ridges < len(RIDGES) - 1).any()):
        recipe = replace(recipe, ridges=(recipe.ridges + 1).clamp(max=len(RIDGES) - 1))
        operator = _fit_operator(record, anchors, recipe)
    return recipe, operator


def _lag_candidates(config: DirectRidgeConfig) -> tuple[int, ...]:
    return LAGS if config.lags is None else (config.lags,)


def _choose(config: DirectRidgeConfig, record: Record, folds: Sequence[Fold]) -> Recipe:
    """Damping first, lead by lead; then, for what it misses, the size and the penalties with the least error."""
    dampings = [choose_damping(record, folds, lead=lead)[0] for lead in range(1, config.leads + 1)]
    errors: dict[Size, Tensor] = {}
    bases = [fit_eofs(record.values[fold.fit], record.weights, count=config.eofs or max(COUNTS)) for fold in folds]
    counts = sorted({min(count, *map(len, bases)) for count in ((config.eofs,) if config.eofs else COUNTS)})
    for fold, eofs in zip(folds, bases, strict=True):
        damping = _dampings(record, fold.fit, dampings)
        for size, error in _fold_errors(record, fold, eofs, damping, product(counts, _lag_candidates(config))):
            errors[size] = errors.get(size, torch.zeros_like(error)) + error
    best = min(errors, key=lambda size: float(errors[size].amin(dim=0).sum()))
    return Recipe(best, dampings, errors[best].argmin(dim=0))


def _fold_errors(
    record: Record, fold: Fold, eofs: Eofs, damping: Tensor, sizes: Iterator[tuple[int, int]]
) -> Iterator[tuple[Size, Tensor]]:
    """Change of the square error by the regression, on held years, for each penalty and lead, ``(ridges, leads)``."""
    scores = eofs.scores(record.values)
    fitted, held = (_missed_scores(record, anchors, eofs, damping) for anchors in (fold.fit, fold.held))
    for count, lags in sizes:
        predictors, unseen = (tendencies(scores[lagged(anchors, lags), :count]) for anchors in (fold.fit, fold.held))
        coefficients = ridge_coefficients(predictors, fitted[..., :count].flatten(1), ridges=RIDGES)
        targets = held[..., :count]
        forecasts = (unseen @ coefficients).reshape(len(RIDGES), *targets.shape)
        change = (forecasts - targets).square() - targets.square()
        yield Size(count, lags), change.sum(dim=(1, 3))


def _missed_scores(record: Record, anchors: Tensor, eofs: Eofs, damping: Tensor) -> Tensor:
    """Scores of what damped persistence misses at each lead, ``(anchors, leads, eofs)``; lead by lead, to be small."""
    missed = []
    for lead, coefficients in enumerate(damping, start=1):
        later = anchors + lead
        forecast = persisted(record.values[anchors], coefficients[None], record.calendar[later][:, None])[:, 0]
        missed.append(eofs.scores(record.values[later] - forecast))
    return torch.stack(missed, dim=1)


def _dampings(record: Record, anchors: Tensor, choices: Sequence[Choice]) -> Tensor:
    """Coefficients of each lead's damping, ``(leads, terms, cells)``, zero for terms that a lead does without."""
    dampings = [damping_at(record, anchors, choice, lead=lead) for lead, choice in enumerate(choices, start=1)]
    most = max(len(damping) for damping in dampings)
    return torch.stack([torch.nn.functional.pad(damping, (0, 0, 0, most - len(damping))) for damping in dampings])


def _fit_operator(record: Record, anchors: Tensor, recipe: Recipe) -> Operator:
    damping = _dampings(record, anchors, recipe.dampings)
    eofs = fit_eofs(record.values[anchors], record.weights, count=recipe.size.eofs)
    predictors = tendencies(eofs.scores(record.values)[lagged(anchors, recipe.size.lags)])
    targets = _missed_scores(record, anchors, eofs, damping)
    every = ridge_coefficients(predictors, targets.flatten(1), ridges=RIDGES)
    by_lead = every.reshape(len(RIDGES), -1, *targets.shape[1:]).permute(2, 0, 1, 3)
    return Operator(eofs, by_lead[torch.arange(len(damping)), recipe.ridges].contiguous(), damping)
