"""Many parts into one record: along time, over variables, over realizations. What does not fit is refused by name."""

import itertools
from collections.abc import Mapping

import numpy as np
import xarray as xr

from pipeline.errors import InputRefusedError
from pipeline.intake.provenance import first_and_last
from pipeline.names import same_centres
from pipeline.periods import seconds
from pipeline.units import conversion


def combine(parts: Mapping[str, xr.Dataset], *, years: tuple[int, int] | None = None) -> xr.Dataset:
    """One data set from parts that each hold some steps of some variables, lazily.

    Args:
        parts: Name of a file → its data, dimensions in our names.
        years: Parts without any step in these years are left out.

    Raises:
        InputRefusedError: Two parts have different grids, overlap in time, or hold variables at different times.
    """
    by_variables: dict[tuple[str, ...], dict[str, xr.Dataset]] = {}
    for name, part in parts.items():
        fields = tuple(sorted(str(field) for field in part.data_vars if "latitude" in part[field].dims))
        if years is None or "time" not in part.dims or _has_years(part, years):
            by_variables.setdefault(fields, {})[name] = part
    if not by_variables:
        raise InputRefusedError(f"source: no file has a step in {years}.")
    _, template = next(iter(parts.items()))
    found = _merged({names: _along_time(group, template) for names, group in by_variables.items()})
    found.encoding["spans"] = spans_of(parts)
    return found


def spans_of(parts: Mapping[str, xr.Dataset]) -> dict[str, dict[str, str | None]]:
    """Range of time of each file."""
    return {name: dict(zip(("first", "last"), first_and_last(part), strict=True)) for name, part in parts.items()}


def _merged(records: Mapping[tuple[str, ...], xr.Dataset]) -> xr.Dataset:
    """Records of different variables as one."""
    if len(records) == 1:
        return next(iter(records.values()))
    try:
        return xr.merge(records.values(), join="exact", compat="override", combine_attrs="override")
    except ValueError as error:
        spans = "; ".join(f"{', '.join(names)}: {_span(record)}" for names, record in records.items())
        raise InputRefusedError(
            f"source: the files of different variables do not fit together ({spans}). Choose common `process.years`, "
            "or mend the files."
        ) from error


def realize(runs: Mapping[int, xr.Dataset]) -> xr.Dataset:
    """Runs of the same steps on the same grid, along ``realization``.

    Raises:
        InputRefusedError: They have different steps or grids.
    """
    template = next(iter(runs.values()))
    fields = [name for name in template.data_vars if "latitude" in template[name].dims]
    _refuse_units({f"realization {run}": data for run, data in runs.items()})
    same = [_on_grid(str(run), data, template)[fields] for run, data in runs.items()]
    number = xr.Variable("realization", list(runs))
    try:
        joined = xr.concat(same, number, join="exact", coords="minimal", compat="override", combine_attrs="override")
    except ValueError as error:
        spans = "; ".join(f"{run}: {_span(data)}" for run, data in runs.items())
        raise InputRefusedError(f"source: the realizations have different steps ({spans}).") from error
    found = joined.assign({name: template[name] for name in template.data_vars if name not in fields})
    found.encoding["spans"] = {name: span for data in runs.values() for name, span in data.encoding["spans"].items()}
    return found


def _has_years(part: xr.Dataset, years: tuple[int, int]) -> bool:
    found = part["time"].dt.year
    return bool(((found >= years[0]) & (found <= years[1])).any())


def _along_time(group: Mapping[str, xr.Dataset], template: xr.Dataset) -> xr.Dataset:
    same = {name: _on_grid(name, part, template) for name, part in group.items()}
    if len(same) == 1:
        return next(iter(same.values()))
    timeless = [name for name, part in same.items() if "time" not in part.dims]
    if timeless:
        raise InputRefusedError(f"source: {timeless[0]} has no time; it cannot be put in order.")
    _refuse_calendars(same)
    _refuse_units(same)
    ordered = sorted(same.items(), key=lambda item: int(seconds(item[1]["time"][:1])[0]))
    for (name, part), (other, later) in itertools.pairwise(ordered):
        if int(seconds(later["time"][:1])[0]) <= int(seconds(part["time"][-1:])[0]):
            raise InputRefusedError(
                f"source: {other} begins at {later['time'].values[0]}, before {name} ends at "
                f"{part['time'].values[-1]}. Remove one of them, or the steps that both have; runs of one experiment "
                "go under `realizations: {1: [FILES], 2: [FILES]}`, two experiments into two sources."
            )
    return xr.concat(
        [part for _, part in ordered],
        "time",
        data_vars="minimal",
        coords="minimal",
        compat="override",
        join="override",
        combine_attrs="override",
    )


def _refuse_calendars(parts: Mapping[str, xr.Dataset]) -> None:
    """Refuse parts of different calendars."""
    known = {name: part["time"].dt.calendar for name, part in parts.items() if part["time"].dtype.kind in "MO"}
    first = next(iter(known.values()), None)
    for name, calendar in known.items():
        if calendar != first:
            raise InputRefusedError(
                f"[same_calendar] source: {name} has the {calendar} calendar, the files before it {first}. "
                "Convert it, or make it a group of its own."
            )


def _refuse_units(parts: Mapping[str, xr.Dataset]) -> None:
    """Refuse parts that give a variable in other units: one factor is applied to all of them."""
    known: dict[str, str] = {}
    for name, part in parts.items():
        for field in (str(field) for field in part.data_vars if "latitude" in part[field].dims):
            units = part[field].attrs.get("units")
            if units is not None and not _is_same(units, known.setdefault(field, units)):
                raise InputRefusedError(
                    f"[known_units] source: {name} has '{field}' in {units}, the files before it in {known[field]}. "
                    "Convert it, or make it a group of its own."
                )


def _is_same(units: str, others: str) -> bool:
    """Whether two spellings mean the same units."""
    if units == others:
        return True
    try:
        return bool(np.allclose(conversion(units, others), (1.0, 0.0)))
    except InputRefusedError:
        return False


def _on_grid(name: str, part: xr.Dataset, template: xr.Dataset) -> xr.Dataset:
    """The part with the coordinates of the first one, of which it may differ by rounding alone."""
    for dim in ("latitude", "longitude", "level"):
        if dim not in template.indexes or dim not in part.indexes:
            continue
        ours, theirs = template[dim].values, part[dim].values
        if not same_centres(ours, theirs):
            raise InputRefusedError(
                f"[same_grid] source: {name} has another {dim} ({theirs.size} values from {theirs[0]:g}) than the "
                f"files before it ({ours.size} from {ours[0]:g}). Regrid it, or make it a group of its own."
            )
        if not np.array_equal(ours, theirs):
            part = part.assign_coords({dim: template[dim]})
    return part


def _span(dataset: xr.Dataset) -> str:
    if "time" not in dataset.coords:
        return "no time"
    return f"{dataset['time'].values[0]} to {dataset['time'].values[-1]}, {dataset['time'].size} steps"
