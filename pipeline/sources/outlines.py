"""Axes of records that are published in a fixed layout, so that a plan can be made where no network is.

An outline has no values: it says how large a record is, and goes through the same processing as the record itself.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import dask.array
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.names import PROFILE, known_variable
from pipeline.periods import Cadence

PRESSURES_13 = (50, 100, 150, 200, 250, 300, 400, 500, 600, 700, 850, 925, 1000)
PRESSURES_37 = (
    1, 2, 3, 5, 7, 10, 20, 30, 50, 70, *range(100, 251, 25), *range(300, 751, 50), *range(775, 1001, 25),
)  # fmt: skip
CMIP6_GRIDS: Mapping[str, tuple[int, int]] = {
    "ACCESS-CM2": (144, 192), "ACCESS-ESM1-5": (145, 192), "BCC-CSM2-MR": (160, 320), "CESM2": (192, 288),
    "CESM2-WACCM": (192, 288), "CMCC-ESM2": (192, 288), "CNRM-CM6-1": (128, 256), "CNRM-ESM2-1": (128, 256),
    "CanESM5": (64, 128), "EC-Earth3": (256, 512), "GFDL-ESM4": (180, 288), "GISS-E2-1-G": (90, 144),
    "HadGEM3-GC31-LL": (144, 192), "INM-CM5-0": (120, 180), "IPSL-CM6A-LR": (143, 144), "KACE-1-0-G": (144, 192),
    "MIROC6": (128, 256), "MPI-ESM1-2-HR": (192, 384), "MPI-ESM1-2-LR": (96, 192), "MRI-ESM2-0": (160, 320),
    "NorESM2-LM": (96, 144), "NorESM2-MM": (192, 288), "TaiESM1": (192, 288), "UKESM1-0-LL": (144, 192),
}  # fmt: skip
"""Rows and columns of each model's atmosphere."""
TABLES: Mapping[str, Cadence] = {
    "Amon": Cadence("months"), "day": Cadence("days"), "6hrPlev": Cadence("hours", 6), "3hr": Cadence("hours", 3),
}  # fmt: skip
"""CMIP6 tables of the atmosphere's grid."""
WEATHERBENCH = re.compile(r"/(\d{4})-(\d{4}(?:_\d\d_\d\d)?)-(?:(full_37|wb13)-)?(\d+)h-(\d+)x(\d+)")
ARCO = re.compile(r"/full_37-(\d+)h-0p25deg")


def outline(
    names: Sequence[str],
    time: NDArray[np.datetime64],
    latitude: NDArray[np.float64],
    longitude: NDArray[np.float64],
    *,
    levels: Sequence[float] = PRESSURES_13,
    members: int = 1,
    dtype: str = "float32",
) -> xr.Dataset:
    """A record without values, in our names and units.

    Args:
        names: Short names of the variables.
        time: Labels.
        latitude: Centres, degrees north.
        longitude: Centres, degrees east.
        levels: Of the variables that are profiles, or are taken from one, hPa.
        members: Realizations, where there are several.
        dtype: How a value is stored.
    """
    coords = {"realization": np.arange(1, members + 1), "time": time, "level": np.asarray(levels, dtype="float64")}
    coords |= {"latitude": latitude, "longitude": longitude}
    encoding = {"dtype": np.dtype(dtype), "preferred_chunks": {"level": len(levels)}}
    fields = {}
    for name in names:
        left_out = (set() if PROFILE.fullmatch(name) else {"level"}) | ({"realization"} if members == 1 else set())
        dims = [dim for dim in coords if dim not in left_out]
        variable = known_variable(name)
        values = dask.array.zeros([coords[dim].size for dim in dims], chunks=-1, dtype="float32")
        fields[name] = xr.Variable(dims, values, variable.attrs() if variable else {}, encoding)
    used = {dim for variable in fields.values() for dim in variable.dims}
    found = xr.Dataset(fields, coords={dim: values for dim, values in coords.items() if dim in used})
    if "level" in found.coords:
        found["level"].attrs["units"] = "hPa"
    return found


def every(cadence: Cadence, first: str, last: str | None = None) -> NDArray[np.datetime64]:
    """Labels from the first to the last date; to the last whole month before today where none is given."""
    end = np.datetime64(last, "D") + 1 if last else np.datetime64(datetime.now(UTC).strftime("%Y-%m"), "D")
    if cadence.unit in ("hours", "days"):
        step = timedelta(**{cadence.unit: cadence.step})
        return np.arange(np.datetime64(first, "s"), end, np.timedelta64(step)).astype("datetime64[s]")
    return np.arange(np.datetime64(first[:7], "M"), end.astype("datetime64[M]"), 1).astype("datetime64[s]")


def centres(rows: int, columns: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of a global grid; an odd number of rows has one at each pole."""
    cells = (np.arange(rows) + 0.5) * 180 / rows - 90
    return np.linspace(-90, 90, rows) if rows % 2 else cells, np.arange(columns) * 360 / columns


def zarr_outline(url: str, names: Sequence[str]) -> xr.Dataset | None:
    """Of a store of WeatherBench 2 or ARCO-ERA5, by its address; None for any other."""
    if found := ARCO.search(url):
        labels = every(Cadence("hours", int(found[1])), "1940-01-01")
        return outline(names, labels, *centres(721, 1440), levels=PRESSURES_37)
    if found := WEATHERBENCH.search(url):
        first, last, levels, hours, columns, rows = found.groups()
        last = last.replace("_", "-") if "_" in last else f"{last}-12-31"
        labels = every(Cadence("hours", int(hours)), f"{first}-01-01", last)
        pressures = PRESSURES_37 if levels == "full_37" else PRESSURES_13
        return outline(names, labels, *centres(int(rows), int(columns)), levels=pressures)
    return None


def cmip6_outline(
    model: str, experiments: Sequence[str], table: str, members: int, names: Sequence[str]
) -> xr.Dataset | None:
    """Of runs whose model, table and experiments are known; None for any other."""
    are_known = all(name == "historical" or re.fullmatch(r"ssp\d{3}", name) for name in experiments)
    if model not in CMIP6_GRIDS or table not in TABLES or not are_known:
        return None
    first = "1850-01-01" if experiments[0] == "historical" else "2015-01-01"
    last = "2014-12-31" if experiments[-1] == "historical" else "2100-12-31"
    labels = every(TABLES[table], first, last)
    return outline(names, labels, *centres(*CMIP6_GRIDS[model]), members=members)
