"""A small monthly forecast and its reference record, to ask questions of."""

from datetime import timedelta

import cftime
import numpy as np
import xarray as xr

from pipeline.answers.catalogue import Catalogue
from pipeline.places.regions import box_area

LATITUDE = np.array([-10.0, 0.0, 15.0])
LONGITUDE = np.array([100.0, 120.0, 140.0, 160.0])
FIRST_YEAR, YEARS = 1991, 12


def months(first_year, first_month, count, *, calendar="noleap"):
    """Labels (the 15th) and ends of ``count`` months."""
    starts = []
    for number in range(count + 1):
        year, month = divmod(first_year * 12 + first_month - 1 + number, 12)
        starts.append(cftime.datetime(year, month + 1, 1, calendar=calendar))
    labels = [start.replace(day=15) for start in starts[:-1]]
    return np.array(labels), np.array([starts[:-1], starts[1:]]).T


def fields(rng, shape, month):
    """Temperatures with a season and rain that is never negative; ``month`` broadcasts against ``shape``."""
    tas = 285 + 8 * np.cos(2 * np.pi * (month - 7) / 12) + rng.normal(0, 2, shape) + np.linspace(0, 3, shape[-1])
    pr = np.maximum(rng.gamma(1.0, 3e-5, shape) - 1e-5, 0)
    return tas.astype("float32"), pr.astype("float32")


ATTRS = {
    "tas": {"units": "K", "long_name": "near-surface air temperature", "standard_name": "air_temperature"},
    "pr": {"units": "kg m-2 s-1", "long_name": "precipitation", "standard_name": "precipitation_flux"},
}


def forecast(*, members=7, leads=9, seed=0, missing=0.0, masked=False, first_month=10, warming=0.0, starts=1):
    """An ensemble from ``first_month`` 2003 on, dims ``(init_time, lead_time, member, latitude, longitude)``."""
    rng = np.random.default_rng(seed)
    pieces = []
    for start in range(starts):
        labels, bounds = months(2003 + start, first_month, leads)
        month = np.array([label.month for label in labels]).reshape(leads, 1, 1, 1)
        tas, pr = fields(rng, (leads, members, LATITUDE.size, LONGITUDE.size), month)
        pieces.append((labels, bounds, tas + np.float32(warming), pr))
    labels, bounds, tas, pr = (np.stack(part) for part in zip(*pieces, strict=True))
    for array in (tas, pr):
        array[rng.random(array.shape) < missing] = np.nan
        if masked:
            array[..., 0, 0] = np.nan
    dims = ("init_time", "lead_time", "member", "latitude", "longitude")
    return xr.Dataset(
        {"tas": (dims, tas, ATTRS["tas"]), "pr": (dims, pr, ATTRS["pr"])},
        coords={
            "init_time": bounds[:, 0, 0],
            "lead_time": ("lead_time", np.arange(1, leads + 1), {"units": "months"}),
            "member": np.arange(members),
            "latitude": LATITUDE,
            "longitude": LONGITUDE,
            "valid_time": (("init_time", "lead_time"), labels),
            "valid_time_bnds": (("init_time", "lead_time", "bnds"), bounds),
        },
    )


def record(*, seed=1, masked=False, years=YEARS):
    """The reference, ``years`` from January 1991."""
    rng = np.random.default_rng(seed)
    labels, bounds = months(FIRST_YEAR, 1, 12 * years)
    month = np.array([label.month for label in labels]).reshape(-1, 1, 1)
    tas, pr = fields(rng, (labels.size, LATITUDE.size, LONGITUDE.size), month)
    for array in (tas, pr):
        if masked:
            array[..., 0, 0] = np.nan
    dims = ("time", "latitude", "longitude")
    return xr.Dataset(
        {"tas": (dims, tas, ATTRS["tas"]), "pr": (dims, pr, ATTRS["pr"])},
        coords={
            "time": labels,
            "time_bnds": (("time", "bnds"), bounds),
            "latitude": LATITUDE,
            "longitude": LONGITUDE,
        },
        attrs={"period": f"{FIRST_YEAR}-{FIRST_YEAR + years - 1}"},
    )


def catalogue(ensemble, **settings):
    """Its catalogue, with one region of its own."""
    settings.setdefault("regions", {"west": box_area("the west", -15, 20, 95, 125)})
    settings.setdefault("reference", "obs:1991-2002")
    return Catalogue.of(ensemble, **settings)


def with_scenarios(ensembles, names):
    """Ensembles side by side along ``scenario``, first dimension."""
    data = ensembles[0].drop_vars(["tas", "pr"])
    for name in ("tas", "pr"):
        data[name] = (
            ("scenario", *ensembles[0][name].dims),
            np.stack([ensemble[name].values for ensemble in ensembles]),
            ATTRS[name],
        )
    return data.assign_coords(scenario=list(names))


def in_pentads(data, first):
    """The same numbers of a forecast or a record on steps of five days that follow each other from a date."""
    dim = "lead_time" if "lead_time" in data.dims else "time"
    ends = np.array([first + 5 * number * timedelta(days=1) for number in range(data.sizes[dim] + 1)])
    bounds = np.stack([ends[:-1], ends[1:]], axis=1)
    if dim == "time":
        return data.assign_coords(time=ends[:-1], time_bnds=(("time", "bnds"), bounds))
    held = ("init_time", "lead_time")
    data = data.assign_coords(
        init_time=ends[:1], valid_time=(held, ends[None, :-1]), valid_time_bnds=((*held, "bnds"), bounds[None])
    )
    return data.assign_coords(lead_time=("lead_time", data["lead_time"].values, {"units": "days", "step": 5}))
