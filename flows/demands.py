"""What an experiment names must be in its data: years, realizations and places. Told before anything is fitted."""

from flows.system import System
from pipeline.answers.catalogue import Catalogue
from pipeline.errors import TercileError
from pipeline.events import QuestionError, parse_region
from pipeline.events.tree import Point
from pipeline.periods import years
from pipeline.places.regions import region_weights


def check_demands(system: System) -> None:
    """Spans of the split and the reference lie within their group's record, regions and points on the grid.

    Raises:
        TercileError: One does not.
    """
    _check_spans(system)
    _check_places(system)


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
