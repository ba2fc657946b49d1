"""From where an experiment draws, and what must be unseen there: the starts of its forecasts and of its hindcasts.

Hindcasts cover the training record out of fold. Its years are parted into blocks, and a model that draws within a block
has seen neither the block nor the gap on either side. Models that take long to fit have fewer folds, each of several
neighbouring blocks, so that all models start from the same times. In a forced system a hindcast is the projection of
one block under the pathway of its own run; elsewhere starts are spread evenly over the record and its seasons.
"""

from dataclasses import dataclass
from math import gcd

import cftime
import numpy as np

from flows.experiment import InitTimes
from flows.system import System
from pipeline.ensembles import Kind
from pipeline.errors import TercileError
from pipeline.periods import years

PROJECTION_GAP = 5
"""Periods on either side of a block that a projection's fold leaves out, where the experiment does not say."""

FEWEST_YEARS = 3


@dataclass(frozen=True)
class Fold:
    """Years that a fit leaves out, and periods on either side of them.

    Attributes:
        years: First and last.
        gap: Periods.
    """

    years: tuple[int, int]
    gap: int

    @property
    def name(self) -> str:
        """As the fold's models are filed."""
        return f"{self.years[0]}-{self.years[1]}-gap{self.gap}"

    def unseen(self, system: System, group: str) -> np.ndarray:
        """Steps of a group that the fit leaves out, ``(time,)``."""
        year = years(system.groups[group]["time"])
        inside = np.flatnonzero((year >= self.years[0]) & (year <= self.years[1]))
        mask = np.zeros(year.size, dtype=bool)
        if inside.size:
            mask[max(0, inside[0] - self.gap) : inside[-1] + 1 + self.gap] = True
        return mask

    def share_seen(self, system: System) -> float:
        """Share of the steps that the forecasts' fit sees which this fold's fit sees too."""
        split = system.experiment.split
        groups = dict.fromkeys(span.group for span in split.train)
        fitted = [system.mask(group, [*split.train, *split.validate_]) for group in groups]
        left = [mask & self.unseen(system, group) for group, mask in zip(groups, fitted, strict=True)]
        return 1.0 - sum(map(np.count_nonzero, left)) / sum(map(np.count_nonzero, fitted))


@dataclass(frozen=True)
class Starts:
    """A set of forecasts of one model.

    Attributes:
        kind: Forecast or hindcast.
        groups: Groups of the archive whose states and forcing are used.
        is_forced: Whether these groups are scenarios of a projection.
        leads: How many.
        init_times: Ends of the last input periods, ``cftime``.
        folds: Folds of a hindcast; none for a forecast.
        fold: Number of each initial time's fold; -1 for a forecast.
    """

    kind: Kind
    groups: tuple[str, ...]
    is_forced: bool
    leads: int
    init_times: np.ndarray
    folds: tuple[Fold, ...]
    fold: np.ndarray

    def fold_of(self, position: int) -> Fold | None:
        """The fold of an initial time."""
        number = int(self.fold[position])
        return self.folds[number] if number >= 0 else None


def forecasts(system: System) -> Starts:
    """The forecasts that an experiment asks for, of any of its models.

    Raises:
        TercileError: None of the archive's periods ends at an asked time.
    """
    config = system.experiment.forecast
    groups = tuple(config.scenarios or [system.experiment.lead_group])
    init_times = _asked(system)
    return Starts(
        "forecast", groups, bool(config.scenarios), config.leads, init_times, (), np.full(len(init_times), -1)
    )


def hindcasts(system: System, model: str) -> Starts | None:
    """The hindcasts of a model over the training record; None where the experiment or the record has no room for any.

    A trained card of every model must be there: it says how much history a start needs. A fold's fit may have chosen
    more of it, so that the very first starts are left to no model.
    """
    experiment, group = system.experiment, hindcast_group(system)
    config = experiment.hindcast
    blocks = hindcast_blocks(system, group)
    if model not in experiment.hindcast_models or len(blocks) < 2:
        return None
    quick = experiment.models[model].is_quick
    folds = np.array_split(np.arange(len(blocks)), min(config.folds if quick else config.network_folds, len(blocks)))
    history = max(system.history(name) for name in experiment.hindcast_models)
    forced = bool(experiment.forecast.scenarios)
    reach = max(experiment.models[name].reach for name in experiment.hindcast_models)
    rows, leads = _projections(system, group, blocks, reach) if forced else _spread_evenly(system, group, history)
    rows = rows[rows >= reach]
    if not len(rows):
        return None
    bounds = system.periods(group).ends
    year = years(system.groups[group]["time"])[rows]
    block = np.array([next(n for n, (_, last) in enumerate(blocks) if one <= last) for one in year])
    fold = np.array([next(n for n, part in enumerate(folds) if one in part) for one in block])
    made = tuple(Fold((blocks[part[0]][0], blocks[part[-1]][1]), gap(system)) for part in folds)
    return Starts("hindcast", (group,), forced, leads, bounds[rows, 0], made, fold)


def starts_of(system: System, model: str, kind: Kind) -> Starts:
    """The forecasts, or the hindcasts, of a model.

    Raises:
        TercileError: There are no hindcasts of it.
    """
    found = forecasts(system) if kind == "forecast" else hindcasts(system, model)
    if found is None:
        raise TercileError(f"hindcast: there is none of '{model}'.")
    return found


def hindcast_group(system: System) -> str:
    """The group whose training record is hindcast: the one forecasts start from, or else the longest."""
    spans = system.experiment.split.train
    steps = {span.group: int(system.mask(span.group, spans).sum()) for span in spans}
    lead = system.experiment.lead_group
    return lead if lead in steps else max(steps, key=lambda group: steps[group])


def gap(system: System) -> int:
    """Periods left out on either side of a block: none of a forecast's valid times may have been seen."""
    config = system.experiment.hindcast
    if config.gap is not None:
        return config.gap
    if system.experiment.forecast.scenarios:
        return PROJECTION_GAP
    return max(system.experiment.forecast.leads, round(_per_year(system) / 4))


def hindcast_blocks(system: System, group: str) -> list[tuple[int, int]]:
    """First and last year of each block of the training record; none of a record too short for hindcasts."""
    train = system.mask(group, system.experiment.split.train)
    names = np.unique(years(system.groups[group]["time"])[train])
    if names.size < FEWEST_YEARS:
        return []
    parts = np.array_split(names, min(system.experiment.hindcast.folds, names.size))
    return [(int(part[0]), int(part[-1])) for part in parts]


def _projections(system: System, group: str, blocks: list[tuple[int, int]], reach: int) -> tuple[np.ndarray, int]:
    """First valid step of each block's projection, and how many leads the longest one has.

    All projections have as many leads; none goes beyond the record, where no forcing is known.
    """
    year = years(system.groups[group]["time"])
    first = np.array([max(int(np.argmax(year >= start)), reach) for start, _ in blocks])
    longest = max(int(((year >= start) & (year <= end)).sum()) for start, end in blocks)
    return first, min(longest, system.experiment.forecast.leads, year.size - int(first.max()))


def _spread_evenly(system: System, group: str, history: int) -> tuple[np.ndarray, int]:
    """First valid steps of starts whose whole forecast lies in training years, evenly through all seasons."""
    train, leads = system.mask(group, system.experiment.split.train), system.experiment.forecast.leads
    whole = np.lib.stride_tricks.sliding_window_view(train, leads).all(axis=1) if train.size >= leads else train[:0]
    rows = np.flatnonzero(whole)
    rows = rows[rows >= history]
    stride, season = max(1, rows.size // system.experiment.hindcast.starts), _per_year(system)
    while gcd(stride, season) > 1:
        stride += 1
    return rows[::stride], leads


def _per_year(system: System) -> int:
    """Periods in a year of the record's own calendar, at least one."""
    periods = system.periods(system.experiment.lead_group)
    start = cftime.datetime(2001, 1, 1, calendar=periods.ends[0, 0].calendar)
    return max(1, periods.cadence.between(start, start.replace(year=2002)))


def _asked(system: System) -> np.ndarray:
    """Ends of the last input periods of all forecasts."""
    group, asked = system.experiment.lead_group, system.experiment.forecast.init_times
    ends = system.periods(group).ends[:, 1]
    history = " A scenario's source begins with its historical run." if system.experiment.forecast.scenarios else ""
    there = f"ends go from {ends[0]} to {ends[-1]}.{history}"
    if asked == "latest":
        return ends[-1:]
    if isinstance(asked, InitTimes):
        first, last = (_date(text, ends[0].calendar) for text in (asked.first, asked.last))
        found = ends[(ends >= first) & (ends <= last)][:: asked.every]
    else:
        wanted = {_date(text, ends[0].calendar) for text in asked}
        missing = sorted(wanted - set(ends))
        if missing:
            raise TercileError(f"forecast: no period of '{group}' ends at {missing[0]}; {there}")
        found = ends[np.isin(ends, list(wanted))]
    if not len(found):
        raise TercileError(f"forecast: no period of '{group}' ends within the asked initial times; {there}")
    return found


def _date(text: str, calendar: str) -> cftime.datetime:
    parts = [int(part) for part in text.replace("T", "-").replace(":", "-").split("-")]
    try:
        return cftime.datetime(*[*parts, *[1, 1][: max(0, 3 - len(parts))]], calendar=calendar)
    except (ValueError, TypeError) as error:
        raise TercileError(
            f"forecast: '{text}' is no date of the {calendar} calendar; write it as 1999-12-01."
        ) from error
