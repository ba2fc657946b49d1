"""Canonical names, CF attributes and units: the only module that knows foreign spellings.

Whatever the source calls its dimensions and variables, everything behind ``canonical`` says ``time``, ``latitude``,
``longitude``, ``level``, ``realization`` and the short names below, in the units below.
"""

import difflib
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files

import cf_xarray.units
import pint
import xarray as xr
import yaml
from pydantic import TypeAdapter

from pipeline.errors import InputRefusedError

UNITS = cf_xarray.units.units
"""The pint registry that reads CF's spelling of units (``kg m-2 s-1``, ``degC``, ``degrees_north``)."""

DIMENSIONS: Mapping[str, tuple[str, ...]] = {
    "time": ("time", "t", "valid_time", "date"),
    "latitude": ("latitude", "lat", "y", "nav_lat", "rlat"),
    "longitude": ("longitude", "lon", "x", "nav_lon", "rlon"),
    "level": ("level", "lev", "plev", "pressure", "isobaricinhpa", "pressure_level"),
    "realization": ("realization", "number", "ensemble", "member", "member_id", "ens"),
    "bnds": ("bnds", "bounds", "nv", "nbnd"),
}
"""Our names of dimensions and the spellings, in lower case, that others use."""


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
    """

    name: str
    standard_name: str
    units: str
    long_name: str
    valid_range: tuple[float, float]
    transform: str = "none"
    aliases: tuple[str, ...] = ()

    def attrs(self) -> dict[str, str]:
        """CF attributes of the variable."""
        return {"standard_name": self.standard_name, "units": self.units, "long_name": self.long_name}


def _read_table() -> dict[str, Variable]:
    table = yaml.safe_load(files("pipeline").joinpath("data", "variables.yaml").read_text())
    reader = TypeAdapter(dict[str, Variable])
    return reader.validate_python({name: {"name": name, **row} for name, row in table.items()})


VARIABLES: Mapping[str, Variable] = _read_table()
"""The variables that need no description in an experiment."""


def canonical(dataset: xr.Dataset, *, variables: Mapping[str, Variable], spelling: Mapping[str, str]) -> xr.Dataset:
    """The wanted variables in our names, dimension order and units, lazily.

    Latitude ascends, longitude ascends without a repeated cyclic point, bounds of time stay. Missing values stay as
    they are: what may be missing is for the gates to say.

    Args:
        dataset: As the source gives it.
        variables: Short name → description, for each wanted variable.
        spelling: Short name → the source's own name, where it cannot be recognised.

    Returns:
        Variables with dims ``([realization], time, [level], latitude, longitude)`` and, where the source has them,
        ``time_bnds(time, bnds)``.

    Raises:
        InputRefusedError: A variable or a dimension is missing, or units cannot be converted.
    """
    dataset = _rename_dimensions(dataset)
    found = {name: _find(dataset, variable, spelling.get(name)) for name, variable in variables.items()}
    kept = xr.Dataset({name: _convert(dataset[source], variables[name]) for name, source in found.items()})
    bounds = dataset["time"].attrs.get("bounds", "time_bnds") if "time" in dataset else "time_bnds"
    if bounds in dataset:
        kept["time_bnds"] = dataset[bounds].rename({dataset[bounds].dims[-1]: "bnds"})
    order = ("realization", "time", "level", "latitude", "longitude", "bnds")
    wanted = [name for name in kept.coords if name in order]
    kept = kept.reset_coords(drop=True).assign_coords({name: kept[name].variable for name in wanted})
    return _ordered(kept).transpose(*order, missing_dims="ignore")


def nearest(word: str, known: Iterable[str]) -> str:
    """A sentence that offers what the user may have meant, and what there is."""
    known = sorted(known)
    close = difflib.get_close_matches(word.lower(), [name.lower() for name in known], n=1, cutoff=0.5)
    guess = next((f" Did you mean '{name}'?" for name in known if close and name.lower() == close[0]), "")
    return f"{guess} There is: {', '.join(known) or 'nothing'}."


def conversion(source: str, target: str) -> tuple[float, float]:
    """Factor and offset that take values in ``source`` units to ``target`` units.

    Raises:
        InputRefusedError: Unknown units, or units of another quantity.
    """
    for spelling in (source, source.lower()):  # Ferret writes M/S, which is also molar per siemens
        try:
            zero, one = (UNITS.Quantity(value, spelling).to(target).magnitude for value in (0.0, 1.0))
        except (pint.PintError, ValueError, AttributeError, TypeError) as error:
            refusal = error
        else:
            return one - zero, zero
    raise InputRefusedError(f"units: cannot convert '{source}' to '{target}' ({refusal}).") from refusal


def _rename_dimensions(dataset: xr.Dataset) -> xr.Dataset:
    renames: dict[Hashable, str] = {}
    for name in list(dataset.dims) + list(dataset.coords):
        ours = _dimension_of(dataset, name)
        if ours and ours != name and ours not in dataset.variables and ours not in renames.values():
            renames[name] = ours
    return dataset.rename(renames)


def _dimension_of(dataset: xr.Dataset, name: Hashable) -> str | None:
    attrs = dataset[name].attrs if name in dataset.variables else {}
    text = f"{attrs.get('standard_name', '')} {attrs.get('units', '')}".lower()
    if name in dataset.dims:
        if "degrees_north" in text or "degree_north" in text:
            return "latitude"
        if "degrees_east" in text or "degree_east" in text:
            return "longitude"
        return next((ours for ours, spellings in DIMENSIONS.items() if str(name).lower() in spellings), None)
    return None


def _find(dataset: xr.Dataset, variable: Variable, spelling: str | None) -> str:
    available = [str(name) for name in dataset.data_vars if "latitude" in dataset[name].dims]
    if spelling is not None:
        if spelling in available:
            return spelling
        raise InputRefusedError(
            f"variable '{variable.name}': no '{spelling}' in the source.{nearest(spelling, available)}"
        )
    spellings = {variable.name, *variable.aliases}
    by_name = [name for name in available if name.lower() in spellings]
    by_standard = [name for name in available if dataset[name].attrs.get("standard_name") == variable.standard_name]
    for candidates in (by_name, by_standard):
        if len(candidates) == 1:
            return candidates[0]
    raise InputRefusedError(
        f"variable '{variable.name}': {'several' if by_name or by_standard else 'none'} in the source could be it."
        f"{nearest(variable.name, available)} Name it in the experiment with `spelling: {{{variable.name}: NAME}}`."
    )


def _convert(array: xr.DataArray, variable: Variable) -> xr.DataArray:
    units = array.attrs.get("units")
    if units is None:
        raise InputRefusedError(
            f"variable '{variable.name}': the source gives no units. Add a `units` attribute to the file, in any "
            f"spelling that converts to {variable.units}."
        )
    factor, offset = conversion(units, variable.units)
    converted = array if (factor, offset) == (1.0, 0.0) else array * factor + offset
    attrs = variable.attrs() | {"cell_methods": array.attrs.get("cell_methods", "time: mean")}
    return converted.astype("float32").assign_attrs(attrs).drop_attrs(deep=False).assign_attrs(attrs)


def _ordered(dataset: xr.Dataset) -> xr.Dataset:
    missing = {"time", "latitude", "longitude"} - set(dataset.dims)
    if missing:
        raise InputRefusedError(
            f"dimension {', '.join(sorted(missing))} not found; the source has {', '.join(map(str, dataset.dims))}."
        )
    dataset = dataset.sortby("latitude")
    west = float(dataset["longitude"].min())
    turned = (dataset["longitude"] - west) % 360 + west
    dataset = dataset.assign_coords(longitude=turned).drop_duplicates("longitude").sortby("longitude")
    if (
        float(dataset["longitude"][0]) >= 360
        or float(dataset["longitude"][-1]) >= 360 > float(dataset["longitude"][0]) > 0
    ):
        dataset = dataset.assign_coords(longitude=dataset["longitude"] % 360).sortby("longitude")
    dataset["latitude"].attrs = {"standard_name": "latitude", "units": "degrees_north", "axis": "Y"}
    dataset["longitude"].attrs = {"standard_name": "longitude", "units": "degrees_east", "axis": "X"}
    return dataset
