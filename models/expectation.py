"""The linear expectation of a window: what persists at and around each cell, and a ridge regression on EOFs.

Each lead is damped persistence of a cell drawn towards its surroundings, plus a ridge regression of what that misses on
the scores of the leading EOFs, as level and tendencies. Cross-validation over the folds that are given decides how far
cells are drawn, how damping is fitted, EOFs, lags and penalties. The direct ridge issues it, dressed with its errors;
networks correct it.

Source:
    Hoerl and Kennard (1970), Ridge regression, doi:10.1080/00401706.1970.10488634.
    Penland and Sardeshmukh (1995), linear prediction on EOFs, doi:10.1175/1520-0442(1995)008<1999:TOGOTS>2.0.CO;2.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from models.base import Grid
from models.damping import LIMIT, Choice, choose_damping, seasonal_terms
from models.eofs import Eofs, fit_eofs, tendencies
from models.record import Fold, Record, lagged
from models.regression import RIDGES, ridge_coefficients
from models.surroundings import Surroundings

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
class Recipe:
    """All that cross-validation decides.

    Attributes:
        size: EOFs and lags.
        persists: What persists at each lead, and how its damping is fitted.
        ridges: The penalty at each lead, as positions in ``RIDGES``, ``(leads,)``.
    """

    size: Size
    persists: Sequence[Choice]
    ridges: Tensor


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
        return max(1, self.coefficients.shape[1] // max(1, len(self.eofs)))

    def arrays(self) -> dict[str, Tensor]:
        """What ``restore`` takes."""
        tensors = (self.eofs.patterns, self.eofs.projector, self.coefficients, self.damping, self.blends)
        return dict(zip(self.NAMES, tensors, strict=True))

    @classmethod
    def restore(cls, arrays: Mapping[str, Tensor], *, grid: Grid) -> Self:
        """The operator that ``arrays()`` came from."""
        surroundings = Surroundings.of(grid)
        single = arrays["patterns"].dtype == torch.float32
        return cls._of(arrays, surroundings.single() if single else surroundings)

    @classmethod
    def _of(cls, arrays: Mapping[str, Tensor], surroundings: Surroundings) -> Self:
        return cls(
            eofs=Eofs(arrays["patterns"], arrays["projector"]),
            coefficients=arrays["coefficients"],
            damping=arrays["damping"],
            blends=arrays["blends"],
            surroundings=surroundings,
        )

    def single(self) -> Self:
        """In float32."""
        arrays = {name: tensor.float() for name, tensor in self.arrays().items()}
        return self._of(arrays, self.surroundings.single())

    def forecast(self, states: Tensor, calendar: Tensor) -> Tensor:
        """Expected fields, ``(samples, leads, cells)``.

        Args:
            states: The newest states, oldest first, ``(samples, lags, cells)``.
            calendar: Phase of the season at each lead, ``(samples, leads, 2)``, no more leads than a window has; zero
                for the mean of all seasons.
        """
        leads = calendar.shape[1]
        correction = torch.einsum("sp,lpk->slk", tendencies(self.eofs.scores(states)), self.coefficients[:leads])
        around = self.surroundings(states[:, -1]) - states[:, -1]
        newest = states[:, -1:] + self.blends[:leads, None] * around[:, None]
        return persisted(newest, self.damping[:leads], calendar) + correction @ self.eofs.patterns


def persisted(newest: Tensor, damping: Tensor, calendar: Tensor) -> Tensor:
    """Damped persistence of what each lead starts from, ``(samples, leads, cells)``."""
    terms = seasonal_terms(calendar, damping.shape[1])
    return torch.einsum("slt,ltc->slc", terms, damping) * newest


@dataclass(frozen=True)
class Expectation:
    """An operator, how it was chosen, and others that have not seen a fold each.

    Attributes:
        recipe: What cross-validation decided.
        operator: Fitted on everything.
        unseen: Fitted without each fold.
    """

    recipe: Recipe
    operator: Operator
    unseen: tuple[Operator, ...]

    @property
    def notes(self) -> dict[str, Any]:
        """The recipe for a model's card, and the growth of the mean in a window."""
        return {
            "eofs": self.recipe.size.eofs,
            "lags": self.recipe.size.lags,
            "ridges": [RIDGES[position] for position in self.recipe.ridges.tolist()],
            "surroundings": [persist.blend for persist in self.recipe.persists],
            "growth": growth(self.operator),
        }


def fit_expectation(
    record: Record,
    folds: Sequence[Fold],
    grid: Grid,
    *,
    leads: int,
    counts: Sequence[int],
    lags: Sequence[int],
) -> Expectation:
    """Choose on the folds, then fit on everything and without each fold.

    Args:
        record: Fields, season and weights.
        folds: Anchors to fit on and to hold out; everything is what they hold out together.
        grid: Grid of the record.
        leads: Leads of a window.
        counts: Numbers of EOFs to try.
        lags: Numbers of past states to try.
    """
    surroundings = Surroundings.of(grid)
    around = surroundings(record.values) - record.values
    dampings = [choose_damping(record, folds, lead=lead, around=around, blends=BLENDS) for lead in range(1, leads + 1)]
    persists = [damping.choice for damping in dampings]
    parts = [
        Part.of(
            record,
            surroundings,
            fold.fit,
            persists,
            [damping.unseen[number] for damping in dampings],
            count=max(counts),
        )
        for number, fold in enumerate(folds)
    ]
    recipe = _choose(folds, parts, persists, counts=counts, lags=lags)
    everything, every = torch.cat([fold.held for fold in folds]), [damping.whole for damping in dampings]
    whole = Part.of(record, surroundings, everything, persists, every, count=recipe.size.eofs)
    recipe, operator = _decaying(whole, recipe, surroundings)
    return Expectation(recipe, operator, tuple(part.operator(recipe, surroundings) for part in parts))


def growth(operator: Operator) -> float:
    """Factor by which the mean grows in a window, in the long run of chained windows; below one it decays."""
    states = operator.eofs.patterns.sum(dim=0).expand(1, operator.lags, -1)
    calendar = torch.zeros(1, operator.leads, 2, dtype=states.dtype)
    sizes = []
    for _ in range(WINDOWS):
        states = torch.cat([states, operator.forecast(states, calendar)], dim=1)[:, -operator.lags :]
        sizes.append(float(states.norm().clamp(min=1e-200)))
    return (sizes[-1] / sizes[WINDOWS // 2]) ** (1 / (WINDOWS - 1 - WINDOWS // 2))


@dataclass(frozen=True)
class Part:
    """Some anchors and what is fitted on them, before size and penalties are decided.

    Attributes:
        anchors: Positions of the newest states, ``(anchors,)``.
        eofs: As many as may be wanted.
        damping: Coefficients of each lead's damping, ``(leads, terms, cells)``; zero where it does without a term.
        scores: Scores of the whole record, ``(time, eofs)``.
        missed: Scores of what persistence from each step misses, ``(time - leads, leads, eofs)``; of no use where a
            window from there crosses a break of the record.
    """

    anchors: Tensor
    eofs: Eofs
    damping: Tensor
    scores: Tensor
    missed: Tensor

    @classmethod
    def of(
        cls,
        record: Record,
        surroundings: Surroundings,
        anchors: Tensor,
        persists: Sequence[Choice],
        dampings: Sequence[Tensor],
        *,
        count: int,
    ) -> Self:
        """Fit the EOFs; ``dampings`` are the coefficients of each lead."""
        eofs = fit_eofs(record.values[anchors], record.weights, count=count)
        missed = _missed_scores(record, surroundings, eofs, dampings, persists)
        most = max(len(damping) for damping in dampings)
        damping = torch.stack([torch.nn.functional.pad(one, (0, 0, 0, most - len(one))) for one in dampings])
        return cls(anchors, eofs, damping, eofs.scores(record.values), missed)

    def operator(self, recipe: Recipe, surroundings: Surroundings) -> Operator:
        """With the recipe's EOFs, lags and penalties."""
        size = recipe.size
        predictors = tendencies(self.scores[lagged(self.anchors, size.lags)][..., : size.eofs])
        targets = self.missed[self.anchors][..., : size.eofs]
        every = ridge_coefficients(predictors, targets.flatten(1), ridges=RIDGES)
        by_lead = every.reshape(len(RIDGES), predictors.shape[1], *targets.shape[1:]).permute(2, 0, 1, 3)
        coefficients = by_lead[torch.arange(len(self.damping)), recipe.ridges].contiguous()
        blends = torch.tensor([persist.blend for persist in recipe.persists], dtype=self.damping.dtype)
        return Operator(self.eofs.leading(size.eofs), coefficients, self.damping, blends, surroundings)


def _decaying(part: Part, recipe: Recipe, surroundings: Surroundings) -> tuple[Recipe, Operator]:
    """The operator of the recipe, penalties raised until chained windows decay."""
    operator = part.operator(recipe, surroundings)
    while growth(operator) > LIMIT and bool((recipe.ridges < len(RIDGES) - 1).any()):
        recipe = replace(recipe, ridges=(recipe.ridges + 1).clamp(max=len(RIDGES) - 1))
        operator = part.operator(recipe, surroundings)
    return recipe, operator


def _choose(
    folds: Sequence[Fold],
    parts: Sequence[Part],
    persists: Sequence[Choice],
    *,
    counts: Sequence[int],
    lags: Sequence[int],
) -> Recipe:
    """Size and penalties with the least error for what persistence misses."""
    errors: dict[Size, Tensor] = {}
    counts = sorted({min(count, *(len(part.eofs) for part in parts)) for count in counts})
    for fold, part in zip(folds, parts, strict=True):
        for size in (Size(*pair) for pair in product(counts, lags)):
            pairs = [
                (part.scores[lagged(anchors, size.lags)][..., : size.eofs], part.missed[anchors][..., : size.eofs])
                for anchors in (fold.fit, fold.held)
            ]
            error = _change(*pairs)
            errors[size] = errors.get(size, torch.zeros_like(error)) + error
    best = min(errors, key=lambda size: float(errors[size].amin(dim=0).sum()))
    return Recipe(best, persists, errors[best].argmin(dim=0))


def _change(fitted: tuple[Tensor, Tensor], held: tuple[Tensor, Tensor]) -> Tensor:
    """Change of the square error by the regression, on held years, for each penalty and lead, ``(ridges, leads)``.

    Args:
        fitted: Scores of past states and of what is missed, ``(anchors, lags, eofs)`` and ``(anchors, leads, eofs)``.
        held: The same in the years that are held out.
    """
    coefficients = ridge_coefficients(tendencies(fitted[0]), fitted[1].flatten(1), ridges=RIDGES)
    forecasts = (tendencies(held[0]) @ coefficients).reshape(len(RIDGES), *held[1].shape)
    return ((forecasts - held[1]).square() - held[1].square()).sum(dim=(1, 3))


def _missed_scores(
    record: Record, surroundings: Surroundings, eofs: Eofs, dampings: Sequence[Tensor], persists: Sequence[Choice]
) -> Tensor:
    """Scores of what persistence from each step misses at each lead, ``(time - leads, leads, eofs)``.

    They are linear in the state, so that no field needs to be forecast: what damping and surroundings do to it is done
    to the projector.
    """
    scores, steps, missed = eofs.scores(record.values), len(record.values) - len(dampings), []
    for lead, (damping, persist) in enumerate(zip(dampings, persists, strict=True), start=1):
        projector = damping[:, None] * eofs.projector
        projector = projector + persist.blend * (surroundings.transposed(projector) - projector)
        persisting = torch.einsum("sc,tkc->stk", record.values[:steps], projector)
        later = slice(lead, lead + steps)
        terms = seasonal_terms(record.calendar[later], len(damping))
        missed.append(scores[later] - torch.einsum("st,stk->sk", terms, persisting))
    return torch.stack(missed, dim=1)
