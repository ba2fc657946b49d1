"""Canonical names, CF attributes and units: the only module that knows foreign spellings.

Whatever the source calls its dimensions and variables, everything behind ``canonical`` says ``time``, ``latitude``,
``longitude``, ``level``, ``realization`` and the short names below, in the units below.
"""

import difflib
import re
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Literal

import numpy as np
import xarray as xr
import yaml
from pydantic import TypeAdapter

from pipeline.errors import InputRefusedError
from pipeline.periods import has_bounds, seconds, with_bounds
from pipeline.units import amount_to_flux, conversion, refuse_no_fixed_time

Span = float | Literal["period"]
"""How long an amount is added up: hours, or each step's own period."""

DIMENSIONS: Mapping[str, tuple[str, ...]] = {
    "time": ("time", "t", "valid_time", "date"),
    "latitude": ("latitude", "lat", "y", "nav_lat", "rlat"),
    "longitude": ("longitude", "lon", "x", "nav_lon", "rlon"),
    "level": ("level", "lev", "plev", "pressure", "isobaricinhpa", "pressure_level"),
    "realization": ("realization", "number", "ensemble", "member", "member_id", "ens"),
    "bnds": ("bnds", "bounds", "nv", "nbnd"),
}
"""Our names of dimensions and the spellings, in lower case, that others use."""

SAME_DEGREES = 1e-4
"""Centres that differ by no more are the same: files round differently."""

OTHER_AXES = re.compile(r"(grid|projection)_\w+|(k|kilo)?m(et(er|re)s?)?|rad(ian)?s?", re.IGNORECASE)
"""Standard names and units of axes that are not latitudes and longitudes in degrees, whatever they are called."""

PRESSURES = {"level", "pressure", "isobaricinhpa", "pressure_level"}
"""Names of levels that count in hPa by convention where the source gives no units, as the stores of ERA5 do."""


@dataclass(frozen=True)
class Variable:
    """One physical quantity on the grid.

    Attributes:
        name: Our short name, that of CMIP where it has one.
        standard_name: CF standard name.
        units: Units in the archive.
        long_name: In plain words.
        valid_range: Physically possible values, in ``units``; what lies outside is refused.
        transform: ``log``, ``sqrt`` or ``none``: how a bounded or skewed quantity is made nearly Gaussian.
        aliases: Other spellings, in lower case.
        level: The one pressure level it is taken from, hPa; None for a surface field or a whole profile.
    """

    name: str
    standard_name: str
    units: str
    long_name: str
    valid_range: tuple[float, float]
    transform: str = "none"
    aliases: tuple[str, ...] = ()
    level: float | None = None

    def attrs(self) -> dict[str, str]:
        """CF attributes of the variable."""
        return {"standard_name": self.standard_name, "units": self.units, "long_name": self.long_name}


def _read_table() -> dict[str, Variable]:
    table = yaml.safe_load(files("pipeline").joinpath("data", "variables.yaml").read_text())
    reader = TypeAdapter(dict[str, Variable])
    return reader.validate_python({name: {"name": name, **row} for name, row in table.items()})


VARIABLES: Mapping[str, Variable] = _read_table()
"""The variables that need no description in an experiment."""


PROFILE = re.compile(r"(z|zg|ta|hus|ua|va)(\d{1,4})?")
"""A variable on pressure levels, or at the one whose hPa follow its name."""


def known_variable(name: str) -> Variable | None:
    """The description of a known variable; a level in hPa may follow the name of a profile, as in ``z500``."""
    parts = PROFILE.fullmatch(name)
    if parts is None or parts[2] is None:
        return VARIABLES.get(name)
    base, level = VARIABLES[parts[1]], float(parts[2])
    return replace(base, name=name, level=level, long_name=f"{base.long_name} at {level:g} hPa")


def profile_of(name: str) -> str | None:
    """The profile that a name is one level of: ``zg`` of ``zg500``; None where it names no level."""
    parts = PROFILE.fullmatch(name)
    return parts[1] if parts and parts[2] else None


def by_level(dataset: xr.Dataset) -> xr.Dataset:
    """The data set with a variable for each level of a profile, as ``zg500``, lazily; the others are as they were."""
    if "level" not in dataset.dims:
        return dataset
    single = {}
    for name, profile in dataset.data_vars.items():
        for row, level in enumerate(dataset["level"].values if "level" in profile.dims else ()):
            field = profile.isel(level=row, drop=True)
            meaning = f"{profile.attrs.get('long_name', name)} at {level:g} hPa"
            single[f"{name}{level:g}"] = field.assign_attrs(long_name=meaning)
    return dataset.drop_dims("level").assign(single)


def canonical(
    dataset: xr.Dataset,
    *,
    variables: Mapping[str, Variable],
    spelling: Mapping[str, str],
    units: Mapping[str, str] | None = None,
    accumulated: Mapping[str, Span] | None = None,
) -> xr.Dataset:
    """The wanted variables in our names, dimension order and units, lazily.

    Latitude ascends, longitude ascends without a repeated cyclic point, bounds of time stay. Missing values stay as
    they are: what may be missing is for the gates to say.

    Args:
        dataset: As the source gives it.
        variables: Short name → description, for each wanted variable.
        spelling: Short name → the source's own name, where it cannot be recognised.
        units: Short name → units, where the source gives none or wrong ones.
        accumulated: Short name → hours over which the source adds a flux up into an amount, or ``period`` where that is
            each step's own period.

    Returns:
        Variables with dims ``([realization], time, [level], latitude, longitude)`` and, where the source has them,
        ``time_bnds(time, bnds)``.

    Raises:
        InputRefusedError: A variable or a dimension is missing, or units cannot be converted.
    """
    dataset = rename_dimensions(dataset)
    _refuse_missing(dataset)
    found = find_fields(dataset, variables=variables, spelling=spelling)
    fields = {}
    for name, source in found.items():
        given = (units or {}).get(name) or dataset[source].attrs.get("units")
        fields[name] = _convert(_at_level(dataset[source], variables[name]), variables[name], given, accumulated or {})
    kept = xr.Dataset(fields)
    kept = kept.isel({dim: 0 for dim, size in kept.sizes.items() if size == 1 and str(dim) not in DIMENSIONS})
    bounds = dataset["time"].attrs.get("bounds", "time_bnds") if "time" in dataset else "time_bnds"
    if bounds in dataset:
        kept["time_bnds"] = dataset[bounds].rename({dataset[bounds].dims[-1]: "bnds"})
    kept = labelled_inside(kept)
    kept = _spread(kept, [name for name, span in (accumulated or {}).items() if span == "period" and name in kept])
    order = ("realization", "time", "level", "latitude", "longitude", "bnds")
    wanted = [name for name in kept.coords if name in order]
    kept = kept.reset_coords(drop=True).assign_coords({name: kept[name].variable for name in wanted})
    return _ordered(kept).transpose(*order, missing_dims="ignore")


def same_centres(ours: np.ndarray, theirs: np.ndarray, *, within: float = SAME_DEGREES) -> bool:
    """Whether two axes have the same values, but for rounding."""
    return ours.shape == theirs.shape and np.allclose(ours, theirs, rtol=0, atol=within)


def nearest(word: str, known: Iterable[str]) -> str:
    """A sentence that offers what the user may have meant, and what there is."""
    known = sorted(known)
    ranked = sorted(known, key=lambda name: _likeness(word, name), reverse=True)
    guess = f" Did you mean '{ranked[0]}'?" if ranked and _likeness(word, ranked[0])[0] >= 0.5 else ""
    return f"{guess} There is: {', '.join(known) or 'nothing'}."


def _likeness(word: str, name: str) -> tuple[float, bool]:
    """How alike two words are; of two that are equally like it, a name of ours wins over an alias."""
    return difflib.SequenceMatcher(None, word.lower(), name.lower()).ratio(), name in VARIABLES


def rename_dimensions(dataset: xr.Dataset) -> xr.Dataset:
    """The data set with its dimensions and their coordinates in our names."""
    renames: dict[Hashable, str] = {}
    for name in list(dataset.dims) + list(dataset.coords):
        ours = _dimension_of(dataset, name)
        if ours and ours != name and ours not in dataset.variables and ours not in renames.values():
            renames[name] = ours
    in_hpa = {renamed.lower() for renamed in map(str, dataset.dims) if renames.get(renamed, renamed) == "level"}
    dataset = dataset.rename(renames)
    if in_hpa & PRESSURES and "level" in dataset.coords:
        dataset["level"].attrs.setdefault("units", "hPa")
    return dataset


def labelled_inside(dataset: xr.Dataset) -> xr.Dataset:
    """The data set with labels that lie in their periods; dimensions are in our names.

    Some models (CESM) label a period by its very end, which by its date belongs to the next one. Where all labels do,
    the beginning of the period takes its place.
    """
    if "time" not in dataset.indexes:
        return dataset
    name = str(dataset["time"].attrs.get("bounds", "time_bnds"))
    if name not in dataset.variables or not has_bounds(dataset, name):
        return dataset
    starts, ends = dataset[name].values.T
    if not (dataset["time"].values == ends).all() or not (starts < ends).all():
        return dataset
    return dataset.assign_coords(time=("time", starts, dataset["time"].attrs))


def _dimension_of(dataset: xr.Dataset, name: Hashable) -> str | None:
    if name not in dataset.dims:
        return None
    attrs = dataset[name].attrs if name in dataset.variables else {}
    standard, units = (str(attrs.get(key, "")).lower() for key in ("standard_name", "units"))
    for ours, unit in (("latitude", "north"), ("longitude", "east")):
        if standard == ours or units in (f"degrees_{unit}", f"degree_{unit}"):
            return ours
    known = next((ours for ours, spellings in DIMENSIONS.items() if str(name).lower() in spellings), None)
    is_time = standard == "time" or (name in dataset.indexes and dataset[name].dtype.kind == "M")
    return "time" if known is None and is_time else known


def find_fields(
    dataset: xr.Dataset, *, variables: Mapping[str, Variable], spelling: Mapping[str, str]
) -> dict[str, str]:
    """Short name → the source's own name, for each wanted variable; dimensions of the data set are in our names.

    Raises:
        InputRefusedError: A variable is missing, or several could be it.
    """
    return {name: _find(dataset, variable, spelling.get(name)) for name, variable in variables.items()}


def _find(dataset: xr.Dataset, variable: Variable, spelling: str | None) -> str:
    available = [str(name) for name in dataset.data_vars if "latitude" in dataset[name].dims]
    if spelling is not None:
        if spelling in available:
            return spelling
        raise InputRefusedError(
            f"[known_variable] variable '{variable.name}': no '{spelling}' in the source.{nearest(spelling, available)}"
        )
    profile = PROFILE.fullmatch(variable.name)
    spellings = {variable.name, *variable.aliases} | ({profile[1]} if profile else set())
    by_name = [name for name in available if name.lower() in spellings]
    by_standard = [name for name in available if dataset[name].attrs.get("standard_name") == variable.standard_name]
    for candidates in (by_name, by_standard):
        if len(candidates) == 1:
            return candidates[0]
    raise InputRefusedError(
        f"[known_variable] variable '{variable.name}': {'several' if by_name or by_standard else 'none'} in the source "
        f"could be it.{nearest(variable.name, available)} "
        f"Name it in the experiment with `spelling: {{{variable.name}: NAME}}`."
    )


def level_hpa(level: xr.DataArray) -> np.ndarray:
    """Pressure levels in hPa.

    Raises:
        InputRefusedError: The coordinate does not say what it counts in.
    """
    units = level.attrs.get("units")
    if units is None:
        raise InputRefusedError("[known_units] level: the source gives no units. Add a `units` attribute to the file.")
    factor, offset = conversion(units, "hPa", of="level")
    return np.asarray(level.values * factor + offset, dtype="float64")


def _at_level(array: xr.DataArray, variable: Variable) -> xr.DataArray:
    """A profile on levels in hPa, or the one level that a variable is taken from."""
    if "level" not in array.coords:
        if variable.level is not None:
            raise InputRefusedError(
                f"[known_variable] variable '{variable.name}': '{array.name}' of the source has no pressure levels."
            )
        return array
    levels = level_hpa(array["level"])
    if variable.level is None:
        axis = ("level", levels, {"standard_name": "air_pressure", "units": "hPa", "positive": "down"})
        return array.assign_coords(level=axis) if "level" in array.dims else array.drop_vars("level")
    at = np.flatnonzero(np.isclose(levels, variable.level))
    if not at.size:
        have = ", ".join(f"{level:g}" for level in np.atleast_1d(levels))
        raise InputRefusedError(
            f"[known_variable] variable '{variable.name}': no level {variable.level:g} hPa in the source; "
            f"it has {have}."
        )
    return (array.isel(level=int(at[0])) if "level" in array.dims else array).drop_vars("level")


def _convert(
    array: xr.DataArray, variable: Variable, units: str | None, accumulated: Mapping[str, Span]
) -> xr.DataArray:
    if units is None:
        raise InputRefusedError(
            f"[known_units] variable '{variable.name}': the source gives no units. Add a `units` attribute to the "
            f"file, in any spelling that converts to {variable.units}, or say `units: {{{variable.name}: UNITS}}` in "
            "the experiment's source."
        )
    refuse_no_fixed_time(variable.name, units)
    span = accumulated.get(variable.name)
    hours = 1 / 3600 if span == "period" else span
    of = f"variable '{variable.name}' ('{array.name}' of the source)"
    try:
        if hours is None:
            factor, offset = conversion(units, variable.units, of=of)
        else:
            factor, offset = amount_to_flux(units, hours, of=of), 0.0
    except InputRefusedError as error:
        remedy = f"If they are others in truth, say `units: {{{variable.name}: UNITS}}` in the experiment's source."
        raise InputRefusedError(f"{error} {remedy}") from error
    converted = array if (factor, offset) == (1.0, 0.0) else array * factor + offset
    attrs = variable.attrs() | {"cell_methods": array.attrs.get("cell_methods", "time: mean")}
    attrs |= {} if hours is None else {"cell_methods": "time: mean"}
    return converted.astype("float32", copy=False).drop_attrs(deep=False).assign_attrs(attrs)


def _spread(dataset: xr.Dataset, names: list[str]) -> xr.Dataset:
    """Amounts of whole periods as fluxes: divided by the length of each period."""
    if not names:
        return dataset
    lengths = np.diff(seconds(with_bounds(dataset)["time_bnds"]), axis=1)[:, 0].astype("float32")
    spread = {name: (dataset[name] / xr.DataArray(lengths, dims="time")) for name in names}
    return dataset.assign({name: field.assign_attrs(dataset[name].attrs) for name, field in spread.items()})


def _refuse_missing(dataset: xr.Dataset) -> None:
    """Refuse what has no dimension of time, latitude or longitude."""
    missing = {"time", "latitude", "longitude"} - set(dataset.dims)
    if missing:
        raise InputRefusedError(
            f"[known_grid] dimension {', '.join(sorted(missing))} not found; the source has "
            f"{', '.join(map(str, dataset.dims))}. Name dimensions as CF does, or give them a `standard_name`. "
            "Latitude and longitude must be one-dimensional: regrid a curvilinear or unstructured grid first."
        )


def _ordered(dataset: xr.Dataset) -> xr.Dataset:
    _refuse_missing(dataset)
    bare = [name for name in ("latitude", "longitude") if name not in dataset.coords]
    if bare:
        raise InputRefusedError(
            f"[known_grid] {', '.join(bare)}: a dimension without values of its own. Add them to the file as a "
            "variable of that one dimension; regrid a curvilinear grid first."
        )
    for name in ("latitude", "longitude"):
        told = [str(dataset[name].attrs.get(key, "")) for key in ("standard_name", "units")]
        if any(OTHER_AXES.fullmatch(text) for text in told):
            raise InputRefusedError(
                f"[known_grid] {name}: the source's axis is {' in '.join(filter(None, told))}, no {name} in degrees. "
                "Regrid a rotated or projected grid to latitudes and longitudes first."
            )
    foreign = sorted({str(dim) for dim in dataset.dims} - {*DIMENSIONS})
    if foreign:
        raise InputRefusedError(
            f"[known_grid] dimension {', '.join(foreign)} is none of {', '.join(DIMENSIONS)}. Take one of its "
            f"values with `select: {{{foreign[0]}: VALUE}}` in the source."
        )
    dataset = _ascending(dataset, "latitude")
    dataset = dataset.assign_coords(longitude=_counted_eastward(dataset["longitude"]))
    if dataset.indexes["longitude"].has_duplicates:
        dataset = dataset.drop_duplicates("longitude")
    dataset = _ascending(dataset, "longitude")
    dataset["latitude"].attrs = {"standard_name": "latitude", "units": "degrees_north", "axis": "Y"}
    dataset["longitude"].attrs = {"standard_name": "longitude", "units": "degrees_east", "axis": "X"}
    return dataset


def _counted_eastward(longitude: xr.DataArray) -> xr.DataArray:
    """Longitudes without a hole, each below 360.

    The circle begins where the source begins it; an area begins at its western edge, be that east or west of the seam
    of the source's spelling: 350, 355, 0, 5 is -10, -5, 0, 5.
    """
    spelled = longitude.astype("float64")
    west = float(spelled.min())
    east_of = (spelled - west) % 360
    east_of = east_of.where(east_of < 360 - SAME_DEGREES, 0.0)  # the first centre once more, but for rounding
    around = np.unique(east_of)
    gaps = np.diff(around, prepend=around[-1] - 360)
    if gaps.max() < 1.5 * np.median(gaps):
        circle = west + east_of
        return circle % 360 if circle.max() >= 360 else circle
    edge = around[gaps.argmax()] if gaps.max() > 1.5 * gaps[0] else 0.0
    area = west + edge + (east_of - edge) % 360
    return area - 360 * max(0, area.max().item() // 360)


def _ascending(dataset: xr.Dataset, name: str) -> xr.Dataset:
    """Sorted along a coordinate; slices where a slice will do, since a lazy source reads them best."""
    index = dataset.indexes[name]
    if index.is_monotonic_increasing:
        return dataset
    if index.is_monotonic_decreasing:
        return dataset.isel({name: slice(None, None, -1)})
    return dataset.sortby(name)
