"""Two small systems that reports and judgements are made of: a projection of twenty years, and monthly outlooks."""

import cftime
import numpy as np
import xarray as xr

from pipeline.judging.judgement import benchmark, judge, lay_out


def projection(seed=0, variables=("tas",)):
    """Twenty years under two scenarios that are one until 2000, on a small grid with a masked corner."""
    rng = np.random.default_rng(seed)
    space = {"latitude": [20.0, 30, 40, 50], "longitude": np.arange(230.0, 280, 10)}
    valid = np.array([[cftime.Datetime360Day(2000 + n, 6, 1) for n in range(20)]])
    warming = np.stack([0.15 * np.arange(20), 0.05 * np.arange(20)])[:, None, :, None, None, None]
    values = 282 + warming + rng.normal(0, 0.5, (2, 1, 20, 10, 4, 5))
    values[..., 0, 0] = np.nan
    dims = ("scenario", "init_time", "lead_time", "member", "latitude", "longitude")
    coords = {"scenario": ["A1B", "E1"], "lead_time": ("lead_time", np.arange(1, 21), {"units": "years"}), **space}
    attrs = {"units": "K", "long_name": "near-surface air temperature"}
    fields = {name: (dims, values.astype("float32"), attrs) for name in variables}
    return xr.Dataset(fields, coords=coords).assign_coords(valid_time=(("init_time", "lead_time"), valid))


def past(seed=1, variables=("tas",)):
    rng = np.random.default_rng(seed)
    example = projection()
    time = [cftime.Datetime360Day(year, 6, 1) for year in range(1960, 2020)]
    values = 282 + rng.normal(0, 0.5, (2, 60, 4, 5))
    values[1, :40] = values[0, :40]
    values[..., 0, 0] = np.nan
    coords = {name: example[name] for name in ("scenario", "latitude", "longitude")} | {"time": time}
    dims = ("scenario", "time", "latitude", "longitude")
    return xr.Dataset({name: (dims, values.astype("float32")) for name in variables}, coords=coords)


def monthly(variables=("sst", "pr")):
    rng = np.random.default_rng(5)
    time = xr.date_range("1990-01-01", periods=156, freq="MS")
    space = {"latitude": [-5.0, 0, 5], "longitude": np.arange(0.0, 360, 40)}
    season = 300 + 3 * np.sin(2 * np.pi * time.month.values / 12)[:, None, None]
    values = season + rng.normal(size=(156, 3, 9))
    record = xr.Dataset(
        {name: (("time", "latitude", "longitude"), values) for name in variables}, coords={"time": time, **space}
    )
    starts = [120, 132, 144]
    valid = np.stack([time[start : start + 6] for start in starts])
    forecast = np.stack([values[start : start + 6, None] + rng.normal(size=(6, 8, 3, 9)) for start in starts])
    dims = ("init_time", "lead_time", "member", "latitude", "longitude")
    attrs = {
        "sst": {"units": "K", "long_name": "sea surface temperature"},
        "pr": {"units": "kg m-2 s-1", "long_name": "precipitation"},
    }
    ensemble = xr.Dataset(
        {name: (dims, forecast, attrs[name]) for name in variables},
        coords={"lead_time": ("lead_time", np.arange(1, 7), {"units": "months"}), **space},
    ).assign_coords(valid_time=(("init_time", "lead_time"), valid))
    return ensemble, record.isel(time=slice(0, 147))


def evidence_on(ensembles, record, *, reference, years, lead_blocks=None):
    """By model, the parts that a report reads; the record both judges and is the reference climate."""
    names = list(ensembles[reference].data_vars)
    truth = lay_out({name: record[name] for name in names}, ensembles[reference])
    year = record["time"].dt.year
    past_years = record.isel(time=np.flatnonzero((year >= years[0]) & (year <= years[1])))
    past_years = past_years.isel(scenario=0, drop=True) if "scenario" in past_years.dims else past_years
    against = benchmark(truth, past_years, ensembles[reference])
    found = {}
    for name, ensemble in ensembles.items():
        other = None if name == reference else ensembles[reference]
        found[name] = vars(judge(ensemble, against, reference=other, lead_blocks=lead_blocks))
    return found
