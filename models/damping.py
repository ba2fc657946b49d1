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
        whole: Its coefficients, fitted on all that the folds hold, ``(terms, cells)``.
        unseen: Those without each fold.
    """

    choice: Choice
    error: float
    whole: Tensor
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
        return cls.of_parts(present, later, terms, terms.new_ones(1, len(terms)))[0]

    @classmethod
    def of_parts(cls, present: Tensor, later: Tensor, terms: Tensor, parts: Tensor) -> list[Self]:
        """The same for each part of the pairs; which are in it say ones and zeros, ``(parts, pairs)``."""
        squares = _summed_twice(present**2, terms, parts)
        both = _summed(present * later, terms, parts)
        laters = _summed(later**2, torch.ones_like(terms[:, :1]), parts)[:, 0]
        return [cls(*sums) for sums in zip(squares, both, laters, strict=True)]

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
    def of_parts(cls, present: Tensor, around: Tensor, later: Tensor, terms: Tensor, parts: Tensor) -> list[Self]:
        """From values, ``(pairs, cells)``, as of :class:`Pairs`."""
        own, others = (Pairs.of_parts(one, later, terms, parts) for one in (present, around))
        cross = _summed_twice(present * around, terms, parts)
        return [cls(*sums) for sums in zip(own, others, cross, strict=True)]

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
    """Damping φ of each cell at each phase, ``(time, cells)``."""
    return seasonal_terms(calendar, len(coefficients)) @ coefficients


def shrink_damping(cells: Tensor, weights: Tensor, *, channels: int, shrinkage: float) -> Tensor:
    """Draw each cell's coefficients, ``(terms, cells)``, towards its channel's area mean, and hold φ within ±0.999.

    Args:
        cells: Coefficients of each cell.
        weights: Area weights, ``(cells,)``, zero where masked.
        channels: How many channels the cells hold.
        shrinkage: Weight of the mean, 0 to 1.
    """
    by_channel = (cells * weights).reshape(len(cells), channels, -1).sum(dim=2)
    mean = by_channel / weights.reshape(channels, -1).sum(dim=1)
    mean = mean.repeat_interleave(cells.shape[1] // channels, dim=1)
    return torch.where(weights > 0, _held((1 - shrinkage) * cells + shrinkage * mean), 0.0)


def _held(coefficients: Tensor) -> Tensor:
    """Coefficients, ``(terms, cells)``, whose φ stays within the limit: its mean first, then how far it swings."""
    mean, swing = coefficients[:1].clamp(-LIMIT, LIMIT), coefficients[1:]
    room = (LIMIT - mean.abs()) / swing.norm(dim=0).clamp(min=1e-12)
    return torch.cat([mean, swing * room.clamp(max=1.0)])


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
    whole, *sums = _sums(record, folds, lead, around, most)
    pairs = list(zip(sums[::2], sums[1::2], strict=True))

    def damping(fitted: BlendedPairs, choice: Choice) -> Tensor:
        return _shrink(record, fitted.at(choice.blend).leading(choice.terms).damping(), choice.shrinkage)

    def error(choice: Choice) -> float:
        found = 0.0
        for fitted, held in pairs:
            errors = held.at(choice.blend).leading(choice.terms).error(damping(fitted, choice))
            found += float(errors @ record.weights)
        return found

    blend = min((Choice(1, shrinkage, share) for share in blends for shrinkage in SHRINKAGE), key=error).blend
    best = min((Choice(terms, shrinkage, blend) for terms in sorted({1, most}) for shrinkage in SHRINKAGE), key=error)
    count = float(record.weights.sum()) * sum(len(fold.held) for fold in folds)
    return Chosen(best, error(best) / count, damping(whole, best), tuple(damping(fitted, best) for fitted, _ in pairs))


def cell_damping(record: Record, before: Tensor, after: Tensor, *, shrinkage: float) -> Tensor:
    """Damping φ of each cell that follows no season, ``(cells,)``.

    Args:
        record: What the values are of: its weights and channels.
        before: Present values, ``(pairs, cells)``.
        after: Later ones.
        shrinkage: Weight of the channel's mean damping.
    """
    return _shrink(record, Pairs.of(before, after, before.new_ones(len(before), 1)).damping(), shrinkage)[0]


def _sums(record: Record, folds: Sequence[Fold], lead: int, around: Tensor | None, terms: int) -> list[BlendedPairs]:
    """Sums over everything, and over what each fold fits on and holds out."""
    wanted = [part for fold in folds for part in (fold.fit, fold.held)]
    anchors = torch.cat(wanted).unique()
    present, later = record.values[anchors], anchors + lead
    apart = torch.zeros_like(present) if around is None else around[anchors]
    parts = torch.stack([torch.isin(anchors, part) for part in (anchors, *wanted)]).to(present)
    phases = seasonal_terms(record.calendar[later], terms)
    return BlendedPairs.of_parts(present, apart, record.values[later], phases, parts)


def _summed(products: Tensor, terms: Tensor, parts: Tensor) -> Tensor:
    """Sums of products, ``(pairs, cells)``, times each term over each part, ``(parts, terms, cells)``."""
    weights = (parts[:, None] * terms.T).flatten(0, 1)
    return (weights @ products).unflatten(0, (len(parts), terms.shape[1]))


def _summed_twice(products: Tensor, terms: Tensor, parts: Tensor) -> Tensor:
    """Those times two terms, ``(parts, terms, terms, cells)``."""
    count = terms.shape[1]
    twice = (terms[:, :, None] * terms[:, None, :]).flatten(1)
    return _summed(products, twice, parts).unflatten(1, (count, count))


def _shrink(record: Record, cells: Tensor, shrinkage: float) -> Tensor:
    return shrink_damping(cells, record.weights, channels=record.channels, shrinkage=shrinkage)
