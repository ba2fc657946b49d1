"""Pools: some members from one model, some from another, each member whole.

Models of different families err differently, and an ensemble that holds several of them is sharper than the worst and
spread more honestly than the best. The score of a pool is quadratic in the weights, so that one set of hindcasts of
each model is enough to choose them. Weights that these hindcasts do not tell from the best, by one standard error, are
as good, and the evenest of them is taken: which of several near ties comes first is luck. Models that fit in seconds
are refitted without each fold of the record and hindcast it. Where a network is among them, all hindcast the validation
years, the others refitted without them. Member ``k`` belongs to one model, settled by ``k`` and the weights alone and
spread evenly, so that every block of members holds about its share of each.

Source:
    Hagedorn, Doblas-Reyes and Palmer (2005), multi-model ensembles, doi:10.1111/j.1600-0870.2005.00103.x.
    Breiman, Friedman, Olshen and Stone (1984), Classification and Regression Trees, the rule of one standard error.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from models.base import Context, Fitted, Grid, Progress, ScenarioModel, Series, TrainingData
from models.conditions import check_steps
from models.config import PoolConfig
from models.record import MIN_YEARS, training_record

GOLDEN = (math.sqrt(5) - 1) / 2
"""Multiples of the golden ratio fill the unit interval evenly, however many are taken."""

STEPS = 10
"""Weights are chosen in tenths: finer ones would follow the validation years' noise."""


def fit(
    config: PoolConfig,
    data: TrainingData,
    *,
    seed: int,
    progress: Progress | None = None,
    checkpoint: Path | None = None,
) -> Fitted:
    """Fit every model, then choose the weights on hindcasts; equal ones where the record has no room for any.

    Raises:
        ValueError: Whatever the models refuse.
    """
    fitted = [
        one.build(data, seed=seed, progress=progress, checkpoint=checkpoint and checkpoint / str(number))
        for number, one in enumerate(config.models)
    ]
    models = tuple(one.model for one in fitted)
    weights, cases = config.weights, []
    if weights is None:
        parts = _out_of_fold(config, fitted, data, seed=seed)
        cases = [case for part in parts for case in _hindcast(config, *part, seed=seed)]
        weights = _best_weights(cases) if cases else (1 / len(models),) * len(models)
    chosen = torch.tensor(weights, dtype=torch.float64)
    notes = {
        "weights": (chosen / chosen.sum()).tolist(),
        "hindcasts": len(cases),
        "models": [{"kind": one.kind, **each.notes} for one, each in zip(config.models, fitted, strict=True)],
    }
    return Fitted(Model(models, chosen / chosen.sum()), curve=[row for one in fitted for row in one.curve], notes=notes)


@dataclass(frozen=True)
class Model:
    """Models and the shares of members they give.

    Attributes:
        models: The models.
        weights: Shares, ``(models,)``, float64, sum one.
    """

    models: tuple[ScenarioModel, ...]
    weights: Tensor

    @property
    def history(self) -> int:
        """The longest history that a model needs."""
        return max(model.history for model in self.models)

    def sample(self, context: Context, *, leads: int, members: Sequence[int], seed: int) -> Tensor:
        """Draw each member from the model it belongs to.

        Raises:
            ValueError: Too short a history, or leads that the context does not describe.
        """
        check_steps(context, history=self.history, leads=leads)
        owners = owner(members, self.weights)
        drawn = torch.empty(len(members), leads, *context.history.shape[1:])
        for number, model in enumerate(self.models):
            rows = (owners == number).nonzero().flatten()
            if len(rows):
                own = [members[row] for row in rows.tolist()]
                drawn[rows] = model.sample(_newest(context, model.history, leads), leads=leads, members=own, seed=seed)
        return drawn

    def arrays(self) -> dict[str, Tensor]:
        """The weights, and each model's arrays under its number."""
        numbered = enumerate(self.models)
        own = {f"{number}.{name}": tensor for number, model in numbered for name, tensor in model.arrays().items()}
        return {"weights": self.weights} | own

    @classmethod
    def restore(cls, config: PoolConfig, arrays: Mapping[str, Tensor], *, grid: Grid) -> Self:
        """The model that ``arrays()`` came from."""
        models = tuple(one.restore(_under(f"{number}.", arrays), grid=grid) for number, one in enumerate(config.models))
        return cls(models, arrays["weights"])


def owner(members: Sequence[int], weights: Tensor) -> Tensor:
    """Which model each member belongs to, ``(members,)``."""
    place = torch.tensor([(member + 0.5) * GOLDEN % 1.0 for member in members], dtype=torch.float64)
    edges = weights.cumsum(0)[:-1].contiguous()
    return torch.searchsorted(edges, place, right=True)


def _newest(context: Context, history: int, leads: int) -> Context:
    if not len(context.history):
        return context
    steps = history + leads
    return Context(
        history=context.history[len(context.history) - history :],
        calendar=context.calendar[-steps:],
        forcing=context.forcing[-steps:],
        init_time=context.init_time,
    )


def _under(prefix: str, arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in arrays.items() if name.startswith(prefix)}


def _out_of_fold(
    config: PoolConfig, fitted: Sequence[Fitted], data: TrainingData, *, seed: int
) -> Iterator[tuple[list[ScenarioModel], TrainingData]]:
    """Models, and data whose validation steps none of them has seen."""
    if config.is_quick:
        for part in _folds(data, config.folds, gap=config.leads):
            yield [one.build(_without_validation(part), seed=seed).model for one in config.models], part
    elif any(bool(one.validate.any()) for one in data.series):
        pairs = list(zip(config.models, fitted, strict=True))
        rest = _without_validation(data)
        yield [one.build(rest, seed=seed).model if one.is_quick else each.model for one, each in pairs], data


def _folds(data: TrainingData, count: int, *, gap: int) -> Iterator[TrainingData]:
    """The data with each fold in turn as its validation steps, apart from the training steps by a gap."""
    seen = [(one.train | one.validate).nonzero().flatten() for one in data.series]
    years = int(training_record(data).years)
    count = min(count, years) if years > MIN_YEARS else 0
    for number in range(count):
        series = []
        for one, steps in zip(data.series, seen, strict=True):
            part = steps.tensor_split(count)[number]
            validate, near = torch.zeros_like(one.train), torch.zeros_like(one.train)
            if len(part):
                validate[part] = True
                near[max(0, int(part[0]) - gap) : int(part[-1]) + 1 + gap] = True
            series.append(replace(one, train=(one.train | one.validate) & ~near, validate=validate))
        yield replace(data, series=tuple(series))


def _without_validation(data: TrainingData) -> TrainingData:
    """For families fitted in closed form, which take validation years for training years."""
    series = [replace(one, validate=torch.zeros_like(one.validate)) for one in data.series]
    return replace(data, series=tuple(series))


def _hindcast(
    config: PoolConfig, models: Sequence[ScenarioModel], data: TrainingData, *, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """For each case the models' mean errors, ``(models,)``, and the mean distances of their members."""
    history = max(model.history for model in models)
    cases = [(one, start) for one in data.series for start in _starts(one, history, config.leads)]
    cases = cases[:: max(1, math.ceil(len(cases) / config.cases))]
    for number, (series, start) in enumerate(cases):
        context = _context(series, start, history, config.leads, number)
        truth = series.values[start : start + config.leads].double()
        drawn = [
            model.sample(
                _newest(context, model.history, config.leads),
                leads=config.leads,
                members=range(config.members),
                seed=seed,
            ).double()
            for model in models
        ]
        errors = torch.stack([_mean(abs(one - truth), data.grid) for one in drawn])
        distances = torch.stack([torch.stack([_distance(one, other, data.grid) for other in drawn]) for one in drawn])
        yield errors, distances


def _starts(series: Series, history: int, leads: int) -> list[int]:
    """First leads of windows in validation steps whose history is known, if only as part of the gap around them."""
    known = (series.values != 0).any(dim=(1, 2, 3))
    return [
        start
        for start in range(history, len(known) - leads + 1)
        if series.validate[start : start + leads].all() and known[start - history : start].all()
    ]


def _context(series: Series, start: int, history: int, leads: int, number: int) -> Context:
    steps = slice(start - history, start + leads)
    return Context(series.values[start - history : start], series.calendar[steps], series.forcing[steps], number)


def _mean(values: Tensor, grid: Grid) -> Tensor:
    weights = grid.weights.double() * grid.mask
    return (values * weights).mean(dim=tuple(range(values.ndim - 3))).sum() / weights.sum()


def _distance(one: Tensor, other: Tensor, grid: Grid) -> Tensor:
    """Mean absolute difference of members of two models, or of different members of one."""
    shifts = range(1, len(one))
    return torch.stack([_mean(abs(one - other.roll(shift, dims=0)), grid) for shift in shifts]).mean()


def _best_weights(cases: Sequence[tuple[Tensor, Tensor]]) -> tuple[float, ...]:
    """Weights, in tenths: of those not told from the least CRPS by one standard error over the cases, the evenest.

    The CRPS of a pool is its mean error less half the mean distance of two of its members.
    """
    errors, distances = (torch.stack(parts) for parts in zip(*cases, strict=True))
    candidates = list(_simplex(errors.shape[1]))
    shares = torch.tensor(candidates, dtype=torch.float64)
    scores = errors @ shares.T - 0.5 * torch.einsum("wi,cij,wj->cw", shares, distances, shares)
    mean = scores.mean(dim=0)
    told = mean - mean.min() > (scores - scores[:, [int(mean.argmin())]]).std(dim=0, correction=0) / len(cases) ** 0.5
    uneven = (STEPS * shares).round().square().sum(dim=1)
    return min(zip(told.tolist(), uneven.tolist(), mean.tolist(), candidates, strict=True))[-1]


def _simplex(count: int) -> Iterator[tuple[float, ...]]:
    """All weights in tenths that sum to one."""
    for bars in combinations(range(STEPS + count - 1), count - 1):
        edges = (-1, *bars, STEPS + count - 1)
        yield tuple((edges[number + 1] - edges[number] - 1) / STEPS for number in range(count))
