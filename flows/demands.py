"""What an experiment asks of its data: one grid, years, realizations and places. Told before anything is fitted."""

import numpy as np

from flows.experiment import BEST
from flows.starts import FEWEST_YEARS, forecasts, hindcast_blocks, hindcast_group
from flows.system import System
from pipeline.answers.catalogue import Catalogue
from pipeline.background import WarmingConfig
from pipeline.errors import TercileError
from pipeline.events import QuestionError, parse_region
from pipeline.events.tree import Point
from pipeline.names import same_centres
from pipeline.periods import infer_cadence, years
from pipeline.places.regions import region_weights


def check_demands(system: System) -> None:
    """Groups share their grid and cadence, spans lie within their group's record, regions and points on the grid.

    Where the expected state follows a warming, that is known as far as forecasts reach; where a model is to be chosen
    on hindcasts, there can be some.

    Raises:
        TercileError: One does not.
    """
    _check_spans(system)
    _check_axes(system)
    _check_places(system)
    _check_pathways(system)
    _check_choice(system)


def _check_spans(system: System) -> None:
    split = system.experiment.split
    spans = [("split", span) for span in (*split.train, *split.validate_, *split.test)]
    for key, span in [*spans, ("reference", system.experiment.reference)]:
        record = system.groups[span.group]
        year = years(record["time"])
        if span.years[0] < year[0] or span.years[1] > year[-1]:
            raise TercileError(f"{key}: {span} lies outside the data of '{span.group}', {year[0]}–{year[-1]}.")
        runs = record["realization"].values.tolist() if "realization" in record.dims else span.realizations
        if strange := sorted(set(span.realizations or []) - set(runs or [])):
            raise TercileError(f"{key}: '{span.group}' has realizations {runs}, not {strange}.")


def _check_axes(system: System) -> None:
    """A model draws the periods and cells that it was fitted on: states of other ones would pass for these."""
    split, scenarios = system.experiment.split, system.experiment.forecast.scenarios or []
    spans = [*split.train, *split.validate_, *split.test, system.experiment.reference]
    first, *others = dict.fromkeys([*(span.group for span in spans), *scenarios])
    for group in others:
        ours, theirs = system.groups[first], system.groups[group]
        for name in ("level", "latitude", "longitude"):
            if not same_centres(*(np.atleast_1d(grid.get(name, ())) for grid in (ours, theirs))):
                raise TercileError(
                    f"sources: '{first}' and '{group}' have different values of {name}. Put them on one grid: give "
                    "both the same `process.regrid`, `region` and `levels`."
                )
        steps = [infer_cadence(grid["time"]) for grid in (ours, theirs)]
        if steps[0] != steps[1]:
            raise TercileError(
                f"sources: '{first}' comes in {steps[0]}, '{group}' in {steps[1]}. Give both the same "
                "`process.aggregate`."
            )
    calendars = {group: system.groups[group]["time"].dt.calendar for group in scenarios}
    if len(set(calendars.values())) > 1:
        told = ", ".join(f"'{group}' {calendar}" for group, calendar in calendars.items())
        raise TercileError(f"forecast: scenarios share their initial times, and so one calendar; there are {told}.")


def _check_places(system: System) -> None:
    """A region may lie on the grid in part."""
    grid = system.groups[system.experiment.lead_group]
    regions = {f"regions.{name}": parse_region(text) for name, text in system.experiment.regions.items()}
    points = {f"points.{name}": Point(*place) for name, place in system.experiment.points.items()}
    for key, place in {**regions, **points}.items():
        try:
            region_weights({key: place}, grid, Catalogue({}))
        except QuestionError as error:
            raise TercileError(f"{key}: {error.text}") from error


def _check_pathways(system: System) -> None:
    """Forecasts come last: hours of fits and hindcasts would go before their refusal."""
    if not isinstance(system.experiment.background.covariate, WarmingConfig):
        return
    starts = forecasts(system)
    for group in starts.groups:
        periods = system.periods(group)
        ahead = periods.ahead(starts.init_times[-1], starts.leads)[1][:, 0]
        known = int((ahead <= periods.ends[-1, 0]).sum())
        if known < starts.leads:
            raise TercileError(
                f"forecast: {starts.leads} leads from {starts.init_times[-1]} go beyond '{group}', which ends at "
                f"{periods.ends[-1, 1]}, and with it its warming. Ask for at most {max(known, 0)} "
                f"leads from there, or leave '{group}' out of `scenarios`."
            )


def _check_choice(system: System) -> None:
    """All models would be fitted before it is known that none can be chosen."""
    if system.experiment.forecast.model == BEST and not hindcast_blocks(system, hindcast_group(system)):
        raise TercileError(
            f"forecast: `model: best` is chosen on hindcasts, which take at least {FEWEST_YEARS} training years. "
            "Train on more of them, or name a model."
        )
