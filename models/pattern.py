"""Residual blocks: a forced response and blocks of what it leaves, both with the error of unseen years.

For systems driven by a forcing. The background has already removed the response that it fitted; here the anomalies are
regressed on the forcing once more without each fold of years. The scatter of these regressions is what is not known of
the response: each member has a response of its own, drawn with that scatter, so that members spread where the forcing
leaves the range of the record. What the regressions leave is resampled in blocks of whole fields, which keeps
teleconnections and slow variability. A block takes over from the state before it: the difference from its own
predecessor fades as an AR(1) in each cell, which gives a red-noise record its exact law given the initial state. No
member draws the same years again while others are left: repeated years would correlate distant cells by chance.

Source:
    Beusch, Gudmundsson and Seneviratne (2020), pattern scaling and residuals, doi:10.5194/esd-11-139-2020.
    Künsch (1989), the block jackknife, doi:10.1214/aos/1176347265.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from models.base import Context, Fitted, Grid, Progress, TrainingData
from models.conditions import check_steps
from models.config import ResidualBlocksConfig
from models.damping import cell_damping
from models.innovations import Draw, same_season
from models.record import Fold, Record, flat_fields, training_record, year_folds
from models.spinup import earlier

LINK_SHRINKAGE = 0.5
"""Weight of the channel's mean in the memory of the initial state."""


def fit(
    config: ResidualBlocksConfig,
    data: TrainingData,
    *,
    seed: int,
    progress: Progress | None = None,
    checkpoint: Path | None = None,
) -> Fitted:
    """Fit the response with and without each fold of years. Nothing is random and nothing takes long.

    Raises:
        ValueError: Training data that no fit can use, or no unbroken run as long as the block asked for.
    """
    record = training_record(data)
    folds = year_folds(record, before=0, after=0, count=config.folds)
    block = record.block(config.block, before=1)
    starts = record.anchors(before=0, after=block)
    patterns = torch.stack([_pattern(record, fold.fit) for fold in folds])
    pattern = _pattern(record, record.anchors(before=0, after=0))
    residuals = _out_of_fold_residuals(record, folds, patterns)
    model = Model(
        pattern=pattern,
        scatter=_scatter(patterns) if config.uncertain_response else torch.zeros_like(patterns),
        damping=_link(replace(record, values=residuals)) if config.link else torch.zeros_like(residuals[0]),
        residuals=residuals.float(),
        starts=starts,
        calendar=record.calendar[starts],
        block=block,
        grid=data.grid,
    )
    notes = {"block": block, "starts": len(starts), "folds": len(folds), "forcing_range": _range(record.forcing)}
    return Fitted(model=model, curve=[], notes=notes)


@dataclass(frozen=True)
class Model:
    """A response, its uncertainty, and blocks of residuals.

    Attributes:
        pattern: Coefficients of the terms, ``(terms, cells)``: a constant, the season, the forcings.
        scatter: Deviations of the coefficients; a normal combination of them has the jackknife's covariance,
            ``(folds, terms, cells)``.
        damping: Memory of the initial state from one step to the next, ``(cells,)``.
        residuals: Out-of-fold residuals, ``(time, cells)``, float32.
        starts: Steps that an unbroken block follows, ``(starts,)``.
        calendar: Phase of the season at those steps, ``(starts, 2)``.
        block: Steps in a block.
        grid: The grid of the fit.
    """

    pattern: Tensor
    scatter: Tensor
    damping: Tensor
    residuals: Tensor
    starts: Tensor
    calendar: Tensor
    block: int
    grid: Grid
    history: int = 1

    def sample(self, context: Context, *, leads: int, members: Sequence[int], seed: int) -> Tensor:
        """Draw a response for each member, and block after block of residuals.

        Raises:
            ValueError: Forcings other in number than those of the fit, or a state on another grid.
        """
        check_steps(context, history=self.history, leads=leads)
        key = Draw(seed, context.init_time, members)
        terms = _terms(context.calendar.double(), context.forcing.double())[-leads:]
        if terms.shape[1] != len(self.pattern):
            raise ValueError(
                f"the context has {context.forcing.shape[1]} forcings, but the model was fitted with "
                f"{context.forcing.shape[1] + len(self.pattern) - terms.shape[1]}; give the same ones"
            )
        own = torch.einsum("mf,ftc->mtc", key.normal(0, len(self.scatter)), self.scatter)
        response = self.pattern + own
        state = self._initial(context, response, leads)
        before = torch.cat([earlier(context.calendar, 1), context.calendar])[-leads - 1 : -1]
        drawn, fresh = [], torch.ones(len(members), len(self.starts), dtype=torch.bool)
        for number, first in enumerate(range(0, leads, self.block), start=1):
            steps = min(self.block, leads - first)
            chosen = self._choose(fresh, before[first], key.uniform(number)[:, 0])
            fresh &= abs(self.starts - chosen[:, None]) >= self.block
            residuals = self._follow(state, chosen, steps)
            drawn.append((terms[first : first + steps] @ response + residuals).float())
            state = residuals[:, -1]
        return torch.cat(drawn, dim=1).reshape(len(members), leads, *self.grid.mask.shape)

    def arrays(self) -> dict[str, Tensor]:
        """Response, scatter, memory, residuals and the starts of blocks."""
        return {
            "pattern": self.pattern,
            "scatter": self.scatter,
            "damping": self.damping,
            "residuals": self.residuals,
            "starts": self.starts,
            "calendar": self.calendar,
            "block": torch.tensor(self.block),
        }

    @classmethod
    def restore(cls, config: ResidualBlocksConfig, arrays: Mapping[str, Tensor], *, grid: Grid) -> Self:
        """The model that ``arrays()`` came from."""
        return cls(
            pattern=arrays["pattern"],
            scatter=arrays["scatter"],
            damping=arrays["damping"],
            residuals=arrays["residuals"],
            starts=arrays["starts"],
            calendar=arrays["calendar"],
            block=int(arrays["block"]),
            grid=grid,
        )

    def _initial(self, context: Context, response: Tensor, leads: int) -> Tensor | None:
        """The newest state beyond each member's response, ``(members, cells)``; None where nothing is known."""
        if not len(context.history):
            return None
        terms = _terms(context.calendar.double(), context.forcing.double())[-leads - 1]
        return flat_fields(context.history[-1:], self.grid) - terms @ response

    def _choose(self, fresh: Tensor, phase: Tensor, uniform: Tensor) -> Tensor:
        """A start for each member, from this season and of years that it has not drawn yet, if any, ``(members,)``."""
        near = same_season(self.calendar, phase)
        left = fresh[:, near]
        left = left | ~left.any(dim=1, keepdim=True)
        place = (uniform * left.sum(dim=1)).long()
        return self.starts[near[(left.cumsum(dim=1) > place[:, None]).int().argmax(dim=1)]]

    def _follow(self, state: Tensor | None, starts: Tensor, steps: int) -> Tensor:
        """A block for each member that takes over from its state, if any, ``(members, steps, cells)``."""
        block = self.residuals[starts[:, None] + torch.arange(steps + 1)].double()
        if state is None:
            return block[:, 1:]
        memory = self.damping ** torch.arange(1, steps + 1)[:, None]
        return block[:, 1:] + memory * (state - block[:, 0])[:, None]


def _terms(calendar: Tensor, forcing: Tensor) -> Tensor:
    return torch.cat([torch.ones_like(calendar[:, :1]), calendar, forcing], dim=1)


def _pattern(record: Record, steps: Tensor) -> Tensor:
    """Least squares, the shortest solution where terms do not vary, ``(terms, cells)``."""
    return torch.linalg.pinv(_terms(record.calendar[steps], record.forcing[steps])) @ record.values[steps]


def _out_of_fold_residuals(record: Record, folds: Sequence[Fold], patterns: Tensor) -> Tensor:
    residuals = torch.empty_like(record.values)
    for fold, pattern in zip(folds, patterns, strict=True):
        terms = _terms(record.calendar[fold.held], record.forcing[fold.held])
        residuals[fold.held] = record.values[fold.held] - terms @ pattern
    return residuals


def _scatter(patterns: Tensor) -> Tensor:
    """Deviations whose sum of squares is the delete-one jackknife's variance."""
    return math.sqrt((len(patterns) - 1) / len(patterns)) * (patterns - patterns.mean(dim=0))


def _link(residuals: Record) -> Tensor:
    anchors = residuals.anchors(before=0, after=1)
    return cell_damping(residuals, residuals.values[anchors], residuals.values[anchors + 1], shrinkage=LINK_SHRINKAGE)


def _range(forcing: Tensor) -> list[list[float]]:
    return [[float(column.min()), float(column.max())] for column in forcing.T]
