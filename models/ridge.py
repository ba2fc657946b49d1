"""Direct multi-lead ridge: every lead of a window straight from the newest states, dressed with past errors.

The forecast of a lead is damped persistence of each cell and its surroundings, plus a ridge regression of what that
misses on the scores of the leading EOFs, as level and tendencies. The noise is the trajectory of errors of a past start
in the same season, made by the operator of the fold that had not seen it, so that errors grow and hang together through
the window as they do. Horizons beyond one window chain windows, each started from the states drawn.

Source:
    Roulston and Smith (2003), dressing with past errors, doi:10.1034/j.1600-0870.2003.201378.x.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import ClassVar, Self

import torch
from torch import Tensor

from models.base import Context, Fitted, Grid, Progress, TrainingData
from models.conditions import check_steps
from models.config import DirectRidgeConfig
from models.eofs import COUNTS, Eofs, fit_eofs, tendencies
from models.innovations import Draw, same_season
from models.persistence import LIMIT, Choice, choose_damping, damping_at, seasonal_terms
from models.record import Fold, Record, flat_fields, lagged, training_record, year_folds
from models.regression import RIDGES, ridge_coefficients
from models.spinup import SPIN_UP, set_going
from models.surroundings import Surroundings

LAGS = (1, 2, 3)
"""Numbers of past states that cross-validation tries."""

BLENDS = (0.0, 0.15, 0.3, 0.5, 0.75)
"""Shares of a cell's surroundings in what persists there that cross-validation tries."""

WINDOWS = 60
"""Windows that are chained to see whether they decay."""


@dataclass(frozen=True)
class Size:
    """What cross-validation decides for all leads together."""

    eofs: int
    lags: int


@dataclass(frozen=True)
class Persist:
    """What persists at a lead: the share of a cell's surroundings in it, and how its damping is fitted."""

    blend: float
    damping: Choice


@dataclass(frozen=True)
class Recipe:
    """All that cross-validation decides.

    Attributes:
        size: EOFs and lags.
        persists: What persists at each lead.
        ridges: The penalty at each lead, as positions in ``RIDGES``, ``(leads,)``.
    """

    size: Size
    persists: Sequence[Persist]
    ridges: Tensor


@dataclass(frozen=True)
class Source:
    """The record, and how each cell differs from its surroundings at each step, ``(time, cells)``."""

    record: Record
    around: Tensor

    def blend(self, share: float) -> Tensor:
        """The record's values drawn towards their surroundings, ``(time, cells)``."""
        return self.record.values + share * self.around


@dataclass(frozen=True)
class Operator:
    """The expected window.

    Attributes:
        eofs: The leading patterns.
        coefficients: From level and tendencies of the scores to the correction's scores at each lead,
            ``(leads, lags * eofs, eofs)``.
        damping: Coefficients of each lead's damping, ``(leads, terms, cells)``.
        blends: Share of the surroundings in what each lead damps, ``(leads,)``.
        surroundings: The mean around a cell.
    """

    NAMES: ClassVar = ("patterns", "projector", "coefficients", "damping", "blends")

    eofs: Eofs
    coefficients: Tensor
    damping: Tensor
    blends: Tensor
    surroundings: Surroundings

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
        tensors = (self.eofs.patterns, self.eofs.projector, self.coefficients, self.damping, self.blends)
        return dict(zip(self.NAMES, tensors, strict=True))

    @classmethod
    def restore(cls, arrays: Mapping[str, Tensor], *, grid: Grid) -> Self:
        """The operator that ``arrays()`` came from."""
        return cls(
            eofs=Eofs(arrays["patterns"], arrays["projector"]),
            coefficients=arrays["coefficients"],
            damping=arrays["damping"],
            blends=arrays["blends"],
            surroundings=Surroundings.of(grid),
        )

    def forecast(self, states: Tensor, calendar: Tensor) -> Tensor:
        """Expected fields, ``(samples, leads, cells)``.

        Args:
            states: The newest states, oldest first, ``(samples, lags, cells)``.
            calendar: Phase of the season at each lead, ``(samples, leads, 2)``, no more leads than a window has.
        """
        leads = calendar.shape[1]
        correction = torch.einsum("sp,lpk->slk", tendencies(self.eofs.scores(states)), self.coefficients[:leads])
        around = self.surroundings(states[:, -1]) - states[:, -1]
        newest = states[:, -1:] + self.blends[:leads, None] * around[:, None]
        return persisted(newest, self.damping[:leads], calendar) + correction @ self.eofs.patterns


def persisted(newest: Tensor, damping: Tensor, calendar: Tensor) -> Tensor:
    """Damped persistence of what each lead starts from, ``(samples, leads, cells)``."""
    terms = seasonal_terms(calendar, damping.shape[1])
    return torch.einsum("slt,ltc->slc", terms, damping).clamp(-LIMIT, LIMIT) * newest


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
    surroundings = Surroundings.of(data.grid)
    source = Source(record, surroundings(record.values) - record.values)
    every = record.anchors(before=lags - 1, after=config.leads)
    recipe, operator = _decaying(source, every, _choose(config, source, folds), surroundings)
    model = Model(
        operator=operator,
        unseen=tuple(_fit_operator(source, fold.fit, recipe, surroundings) for fold in folds),
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
        "surroundings": [persist.blend for persist in recipe.persists],
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


def growth(operator: Operator) -> float:
    """Factor by which the mean grows in a window, in the long run of chained windows; below one it decays."""
    states = operator.eofs.patterns.sum(dim=0).expand(1, operator.lags, -1)
    calendar = torch.zeros(1, operator.leads, 2, dtype=states.dtype)
    sizes = []
    for _ in range(WINDOWS):
        states = torch.cat([states, operator.forecast(states, calendar)], dim=1)[:, -operator.lags :]
        sizes.append(float(states.norm().clamp(min=1e-200)))
    return (sizes[-1] / sizes[WINDOWS // 2]) ** (1 / (WINDOWS - 1 - WINDOWS // 2))


def _decaying(source: Source, anchors: Tensor, recipe: Recipe, surroundings: Surroundings) -> tuple[Recipe, Operator]:
    """The operator of the recipe, penalties raised until chained windows decay."""
    operator = _fit_operator(source, anchors, recipe, surroundings)
    while growth(operator) > LIMIT and bool((recipe.ridges < len(RIDGES) - 1).any()):
        recipe = replace(recipe, ridges=(recipe.ridges + 1).clamp(max=len(RIDGES) - 1))
        operator = _fit_operator(source, anchors, recipe, surroundings)
    return recipe, operator


def _lag_candidates(config: DirectRidgeConfig) -> tuple[int, ...]:
    return LAGS if config.lags is None else (config.lags,)


def _choose(config: DirectRidgeConfig, source: Source, folds: Sequence[Fold]) -> Recipe:
    """What persists first, lead by lead; then, for what that misses, size and penalties with the least error."""
    record = source.record
    persists = [_choose_persist(source, folds, lead) for lead in range(1, config.leads + 1)]
    errors: dict[Size, Tensor] = {}
    bases = [fit_eofs(record.values[fold.fit], record.weights, count=config.eofs or max(COUNTS)) for fold in folds]
    counts = sorted({min(count, *map(len, bases)) for count in ((config.eofs,) if config.eofs else COUNTS)})
    for fold, eofs in zip(folds, bases, strict=True):
        damping = _dampings(source, fold.fit, persists)
        fitted, held = (_missed_scores(source, part, eofs, damping, persists) for part in (fold.fit, fold.held))
        scores = eofs.scores(record.values)
        for size in (Size(*pair) for pair in product(counts, _lag_candidates(config))):
            parts = [(scores[lagged(fold.fit, size.lags)], fitted), (scores[lagged(fold.held, size.lags)], held)]
            error = _change(*((past[..., : size.eofs], missed[..., : size.eofs]) for past, missed in parts))
            errors[size] = errors.get(size, torch.zeros_like(error)) + error
    best = min(errors, key=lambda size: float(errors[size].amin(dim=0).sum()))
    return Recipe(best, persists, errors[best].argmin(dim=0))


def _choose_persist(source: Source, folds: Sequence[Fold], lead: int) -> Persist:
    errors = [
        choose_damping(source.record, folds, lead=lead, before=source.blend(blend), seasonal=False)[1]
        for blend in BLENDS
    ]
    blend = BLENDS[errors.index(min(errors))]
    return Persist(blend, choose_damping(source.record, folds, lead=lead, before=source.blend(blend))[0])


def _change(fitted: tuple[Tensor, Tensor], held: tuple[Tensor, Tensor]) -> Tensor:
    """Change of the square error by the regression, on held years, for each penalty and lead, ``(ridges, leads)``.

    Args:
        fitted: Scores of past states and of what is missed, ``(anchors, lags, eofs)`` and ``(anchors, leads, eofs)``.
        held: The same in the years that are held out.
    """
    coefficients = ridge_coefficients(tendencies(fitted[0]), fitted[1].flatten(1), ridges=RIDGES)
    forecasts = (tendencies(held[0]) @ coefficients).reshape(len(RIDGES), *held[1].shape)
    return ((forecasts - held[1]).square() - held[1].square()).sum(dim=(1, 3))


def _missed_scores(source: Source, anchors: Tensor, eofs: Eofs, damping: Tensor, persists: Sequence[Persist]) -> Tensor:
    """Scores of what persistence misses at each lead, ``(anchors, leads, eofs)``; lead by lead, to be small."""
    record, missed = source.record, []
    for lead, (coefficients, persist) in enumerate(zip(damping, persists, strict=True), start=1):
        newest, later = source.blend(persist.blend)[anchors], anchors + lead
        forecast = persisted(newest[:, None], coefficients[None], record.calendar[later][:, None])[:, 0]
        missed.append(eofs.scores(record.values[later] - forecast))
    return torch.stack(missed, dim=1)


def _dampings(source: Source, anchors: Tensor, persists: Sequence[Persist]) -> Tensor:
    """Coefficients of each lead's damping, ``(leads, terms, cells)``, zero for terms that a lead does without."""
    dampings = [
        damping_at(source.record, anchors, persist.damping, lead=lead, before=source.blend(persist.blend))
        for lead, persist in enumerate(persists, start=1)
    ]
    most = max(len(damping) for damping in dampings)
    return torch.stack([torch.nn.functional.pad(damping, (0, 0, 0, most - len(damping))) for damping in dampings])


def _fit_operator(source: Source, anchors: Tensor, recipe: Recipe, surroundings: Surroundings) -> Operator:
    record, damping = source.record, _dampings(source, anchors, recipe.persists)
    eofs = fit_eofs(record.values[anchors], record.weights, count=recipe.size.eofs)
    predictors = tendencies(eofs.scores(record.values)[lagged(anchors, recipe.size.lags)])
    targets = _missed_scores(source, anchors, eofs, damping, recipe.persists)
    every = ridge_coefficients(predictors, targets.flatten(1), ridges=RIDGES)
    by_lead = every.reshape(len(RIDGES), -1, *targets.shape[1:]).permute(2, 0, 1, 3)
    coefficients = by_lead[torch.arange(len(damping)), recipe.ridges].contiguous()
    blends = torch.tensor([persist.blend for persist in recipe.persists], dtype=damping.dtype)
    return Operator(eofs, coefficients, damping, blends, surroundings)
