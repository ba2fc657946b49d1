"""How much of an anomaly remains in each cell some steps later, and how that is fitted and chosen.

The damping φ of a cell may follow the season and is drawn towards its channel's mean; what persists may be drawn
towards the cell's surroundings. Least squares and square errors need sums over pairs of a present and a later value
alone, so that the record is gone through once for all candidates.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from models.record import Fold, Record

SHRINKAGE = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Candidates for the weight of the channel's mean damping."""

LIMIT = 0.999
"""Largest damping allowed, in size: what persists for ever has no climate."""


@dataclass(frozen=True)
class Choice:
    """What cross-validation decides.

    Attributes:
        terms: Terms of the seasonal cycle of φ.
        shrinkage: Weight of the channel's mean damping.
        blend: Share of a cell's surroundings in what persists.
    """

    terms: int
    shrinkage: float
    blend: float = 0.0


@dataclass(frozen=True)
class Chosen:
    """What came of a cross-validation.

    Attributes:
        choice: The best one.
        error: Its area-weighted mean square error on years not fitted.
        unseen: Its coefficients without each fold, ``(terms, cells)``.
    """

    choice: Choice
    error: float
    unseen: tuple[Tensor, ...]


@dataclass(frozen=True)
class Pairs:
    """Sums over pairs of present and later values, in each cell.

    Attributes:
        present: Present squared times two seasonal terms, ``(terms, terms, cells)``.
        both: Present times later times a term, ``(terms, cells)``.
        later: Later squared, ``(cells,)``.
    """

    present: Tensor
    both: Tensor
    later: Tensor

    @classmethod
    def of(cls, present: Tensor, later: Tensor, terms: Tensor) -> Self:
        """From values, ``(pairs, cells)``, and the seasonal terms of the pairs, ``(pairs, terms)``."""
        return cls(_weighed(present**2, terms), terms.T @ (present * later), (later**2).sum(dim=0))

    def leading(self, terms: int) -> Self:
        """Of the first seasonal terms alone."""
        return type(self)(self.present[:terms, :terms], self.both[:terms], self.later)

    def damping(self) -> Tensor:
        """Least squares of the later value, ``(terms, cells)``; zero where a cell never varies."""
        gram = self.present.permute(2, 0, 1)
        scale = gram.diagonal(dim1=1, dim2=2).mean(dim=1)
        floor = torch.where(scale > 0, 1e-9 * scale, 1.0)
        gram = gram + floor[:, None, None] * torch.eye(gram.shape[1], dtype=gram.dtype)
        return torch.where(scale > 0, torch.linalg.solve(gram, self.both.T).T, 0.0)

    def error(self, damping: Tensor) -> Tensor:
        """Sum of the square errors of a damping, ``(terms, cells)``, in each cell, ``(cells,)``."""
        explained = torch.einsum("ic,ijc,jc->c", damping, self.present, damping)
        return self.later - 2 * (damping * self.both).sum(dim=0) + explained


@dataclass(frozen=True)
class BlendedPairs:
    """Pairs whose present value is drawn towards its surroundings by any share.

    Attributes:
        own: Pairs of the cell's own value.
        around: Pairs of how its surroundings differ from it.
        cross: One times the other times two seasonal terms, ``(terms, terms, cells)``.
    """

    own: Pairs
    around: Pairs
    cross: Tensor

    @classmethod
    def of(cls, present: Tensor, around: Tensor, later: Tensor, terms: Tensor) -> Self:
        """From values, ``(pairs, cells)``, and the seasonal terms of the pairs, ``(pairs, terms)``."""
        return cls(Pairs.of(present, later, terms), Pairs.of(around, later, terms), _weighed(present * around, terms))

    def at(self, share: float) -> Pairs:
        """With this share of the surroundings."""
        return Pairs(
            self.own.present + 2 * share * self.cross + share**2 * self.around.present,
            self.own.both + share * self.around.both,
            self.own.later,
        )


def seasonal_terms(calendar: Tensor, terms: int) -> Tensor:
    """A constant, sine and cosine of the phase: the first ``terms`` of them, ``(..., terms)``."""
    return torch.cat([torch.ones_like(calendar[..., :1]), calendar], dim=-1)[..., :terms]


def seasonal_damping(coefficients: Tensor, calendar: Tensor) -> Tensor:
    """Damping φ of each cell at each phase, ``(time, cells)``, within ±0.999."""
    return (seasonal_terms(calendar, len(coefficients)) @ coefficients).clamp(-LIMIT, LIMIT)


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
    record: Record, folds: Sequence[Fold], *, lead: int, around: Tensor | None = None, blends: Sequence[float] = (0.0,)
) -> Chosen:
    """The best choice on years not fitted: the blend first, then the rest.

    Args:
        record: The training record.
        folds: Folds of windows that reach at least ``lead`` steps forward.
        lead: Steps from present to later value.
        around: How each cell differs from its surroundings, ``(time, cells)``, where blends are to be tried.
        blends: Shares of the surroundings to try.
    """
    most = 3 if record.calendar.any() else 1
    sums = [[_sums(record, part, lead, around, most) for part in (fold.fit, fold.held)] for fold in folds]

    def damping(fitted: BlendedPairs, choice: Choice) -> Tensor:
        return _shrink(record, fitted.at(choice.blend).leading(choice.terms).damping(), choice.shrinkage)

    def error(choice: Choice) -> float:
        found = 0.0
        for fitted, held in sums:
            within = damping(fitted, choice).clamp(-LIMIT, LIMIT)  # what follows the season may yet pass it together
            found += float(held.at(choice.blend).leading(choice.terms).error(within) @ record.weights)
        return found

    blend = min((Choice(1, shrinkage, share) for share in blends for shrinkage in SHRINKAGE), key=error).blend
    best = min((Choice(terms, shrinkage, blend) for terms in sorted({1, most}) for shrinkage in SHRINKAGE), key=error)
    count = float(record.weights.sum()) * sum(len(fold.held) for fold in folds)
    return Chosen(best, error(best) / count, tuple(damping(fitted, best) for fitted, _ in sums))


def damping_at(record: Record, anchors: Tensor, choice: Choice, *, lead: int, before: Tensor | None = None) -> Tensor:
    """Coefficients of φ from the anchors to ``lead`` steps later, ``(terms, cells)``.

    Args:
        record: The training record.
        anchors: Positions of the present values.
        choice: How it is fitted.
        lead: Steps from present to later value.
        before: What persists, at the anchors, ``(anchors, cells)``; the record's values by default.
    """
    before = record.values[anchors] if before is None else before
    later = anchors + lead
    pairs = Pairs.of(before, record.values[later], seasonal_terms(record.calendar[later], choice.terms))
    return _shrink(record, pairs.damping(), choice.shrinkage)


def _sums(record: Record, anchors: Tensor, lead: int, around: Tensor | None, terms: int) -> BlendedPairs:
    present, later = record.values[anchors], anchors + lead
    apart = torch.zeros_like(present) if around is None else around[anchors]
    return BlendedPairs.of(present, apart, record.values[later], seasonal_terms(record.calendar[later], terms))


def _weighed(products: Tensor, terms: Tensor) -> Tensor:
    """Sums of products, ``(pairs, cells)``, times two terms, ``(terms, terms, cells)``."""
    count = terms.shape[1]
    twice = (terms[:, :, None] * terms[:, None, :]).flatten(1)
    return (twice.T @ products).reshape(count, count, -1)


def _shrink(record: Record, cells: Tensor, shrinkage: float) -> Tensor:
    return shrink_damping(cells, record.weights, channels=record.channels, shrinkage=shrinkage)
