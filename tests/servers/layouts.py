"""Small data sets in the layouts of the originals: their names, order of dimensions, attributes, packing and chunks."""

import tempfile
from pathlib import Path

import cftime
import numpy as np
import xarray as xr

RNG_SEED = 11


def smooth(shape, *, seed=RNG_SEED, mean=0.0, spread=1.0):
    """Noise that never repeats a field."""
    return (mean + spread * np.random.default_rng(seed).standard_normal(shape)).astype("float32")


def ersst(*, years=4, first=1854):
    """NOAA ERSSTv5 ``sst.mnmean.nc``: latitudes from the north, days since 1800, bounds that the file leaves empty."""
    months = [np.datetime64(f"{first + m // 12}-{m % 12 + 1:02d}-01", "ns") for m in range(12 * years)]
    lat, lon = np.arange(88, -89, -2.0, dtype="float32"), np.arange(0, 360, 2.0, dtype="float32")
    values = smooth((len(months), lat.size, lon.size), mean=15, spread=4).clip(-1.8, 33)
    values[:, 20:30, 40:60] = np.nan  # land
    data = xr.Dataset(
        {
            "sst": (
                ("time", "lat", "lon"),
                values,
                {"long_name": "Monthly Means of Sea Surface Temperature", "units": "degC", "level_desc": "Surface",
                 "var_desc": "Sea Surface Temperature", "dataset": "NOAA Extended Reconstructed SST V5",
                 "statistic": "Mean", "parent_stat": "Individual Values",
                 "actual_range": np.array([-1.8, 42.3], "float32"), "valid_range": np.array([-5, 40], "float32")},
            ),
            "time_bnds": (("time", "nbnds"), np.full((len(months), 2), 9.96921e36)),
        },
        coords={
            "time": ("time", months, {"long_name": "Time", "delta_t": "0000-01-00 00:00:00", "axis": "T",
                                      "avg_period": "0000-01-00 00:00:00", "standard_name": "time"}),
            "lat": ("lat", lat, {"units": "degrees_north", "standard_name": "latitude", "axis": "Y"}),
            "lon": ("lon", lon, {"units": "degrees_east", "standard_name": "longitude", "axis": "X"}),
        },
        attrs={"title": "NOAA ERSSTv5 (in situ only)", "Conventions": "CF-1.2, ACDD-1.3"},
    )  # fmt: skip
    data["time"].encoding = {"units": "days since 1800-1-1 00:00:00", "dtype": "float64"}
    data["sst"].encoding = {
        "missing_value": np.float32(-9.96921e36), "_FillValue": None, "dtype": "float32", "zlib": True,
        "chunksizes": (1, lat.size, lon.size),
    }  # fmt: skip
    data.encoding = {"unlimited_dims": {"time"}}
    return data


NCEP = {
    "slp": ("Pascals", 101300, 700, 1.0, 119765.0),
    "hgt": ("m", 5500, 90, 1.0, 32066.0),
    "air": ("degK", 285, 5, 0.01, 477.65),
    "prate": ("Kg/m^2/s", 3e-5, 3e-6, 1e-7, 0.0032765),
}
"""Name of the originals → units, mean, spread, ``scale_factor`` and ``add_offset`` of their packing."""


def ncep_daily(name, year, *, level=False, gaussian=False):
    """One year of an NCEP/NCAR daily file: hours since 1800, packed as short integers, from the north."""
    days = np.arange(np.datetime64(f"{year}-01-01"), np.datetime64(f"{year + 1}-01-01")).astype("datetime64[ns]")
    lat, lon = np.linspace(90, -90, 73, dtype="float32")[::6], np.arange(0, 360, 2.5, dtype="float32")[::6]
    if gaussian:
        lat, lon = (
            np.linspace(88.542, -88.542, 94, dtype="float32")[::8],
            np.arange(0, 360, 1.875, dtype="float32")[::8],
        )
    shape = (days.size, 3, lat.size, lon.size) if level else (days.size, lat.size, lon.size)
    units, mean, spread, scale, offset = NCEP[name]
    dims = ("time", "level", "lat", "lon") if level else ("time", "lat", "lon")
    coords = {
        "time": ("time", days, {"long_name": "Time", "delta_t": "0000-00-01 00:00:00", "standard_name": "time"}),
        "lat": ("lat", lat, {"units": "degrees_north", "standard_name": "latitude", "axis": "Y"}),
        "lon": ("lon", lon, {"units": "degrees_east", "standard_name": "longitude", "axis": "X"}),
    }
    if level:
        coords["level"] = ("level", np.array([1000, 500, 250], "float32"), {"units": "millibar", "positive": "down"})
    attrs = {
        "units": units, "statistic": "Mean", "parent_stat": "Individual Obs", "level_desc": "Surface",
        "dataset": "NCEP Reanalysis Daily Averages", "valid_range": np.array([-32765, -765], "int16"),
        "unpacked_valid_range": np.array([mean / 2, mean * 2], "float32"),
    }  # fmt: skip
    values = smooth(shape, seed=year, mean=mean, spread=spread)
    data = xr.Dataset({name: (dims, values, attrs)}, coords=coords, attrs={"Conventions": "COARDS"})
    data["time"].encoding = {"units": "hours since 1800-01-01 00:00:0.0", "dtype": "float64"}
    data[name].encoding = {
        "dtype": "int16", "scale_factor": np.float32(scale), "add_offset": np.float32(offset),
        "_FillValue": np.int16(-32767),
    }  # fmt: skip
    data.encoding = {"unlimited_dims": {"time"}}
    return data


def weatherbench(*, days=12, first="2000-01-01", step=(64, 32)):
    """WeatherBench 2's ERA5, 6-hourly: longitude before latitude, ``level`` without units, fields of no time beside.

    ``step`` is (64, 32) at 5.6 degrees, or (240, 121) at 1.5 degrees with rows at the poles.
    """
    time = np.arange(np.datetime64(first, "h"), np.datetime64(first, "h") + 24 * days, 6).astype("datetime64[ns]")
    lon, lat = np.arange(step[0]) * 360 / step[0], (np.arange(step[1]) + 0.5) * 180 / step[1] - 90
    lat = np.linspace(-90, 90, step[1]) if step[1] % 2 else lat
    level = np.array([50, 100, 150, 200, 250, 300, 400, 500, 600, 700, 850, 925, 1000])
    flat, deep = (time.size, lon.size, lat.size), (time.size, level.size, lon.size, lat.size)
    heights = 9.81 * 7000 * np.log(1010 / level)
    fields = {
        "2m_temperature": (("time", "longitude", "latitude"), smooth(flat, mean=285, spread=5),
                           {"long_name": "2 metre temperature", "short_name": "t2m", "units": "K"}),
        "mean_sea_level_pressure": (
            ("time", "longitude", "latitude"), smooth(flat, seed=2, mean=101300, spread=600),
            {"long_name": "Mean sea level pressure", "short_name": "msl", "units": "Pa",
             "standard_name": "air_pressure_at_mean_sea_level"},
        ),
        "geopotential_at_surface": (
            ("longitude", "latitude"), smooth(step, seed=5, mean=3000, spread=9),
            {"units": "m**2 s**-2", "standard_name": "geopotential"},
        ),
        "total_precipitation_6hr": (
            ("time", "longitude", "latitude"),
            np.abs(smooth(flat, seed=3, spread=2e-3)),
            {"long_name": "Precipitation"},
        ),
        "geopotential": (
            ("time", "level", "longitude", "latitude"),
            smooth(deep, seed=4, spread=300) + heights[None, :, None, None].astype("float32"),
            {"units": "m**2 s**-2", "standard_name": "geopotential"},
        ),
    }  # fmt: skip
    data = xr.Dataset(fields, coords={"time": time, "level": level, "longitude": lon, "latitude": lat})
    data["time"].encoding = {"units": "hours since 1959-01-01", "dtype": "int64"}
    return data


def weatherbench_ensemble(*, days=3, members=3):
    """WeatherBench 2's forecasts of an ensemble: ``number``, and lead times in hours beside the time of issue."""
    time = (np.datetime64("2020-01-01") + np.arange(days)).astype("datetime64[ns]")
    lon, lat = np.arange(64) * 360 / 64, (np.arange(32) + 0.5) * 180 / 32 - 90
    dims = ("time", "number", "prediction_timedelta", "longitude", "latitude")
    values = smooth((days, members, 3, 64, 32), mean=285, spread=5)
    data = xr.Dataset(
        {"2m_temperature": (dims, values, {"units": "K"})},
        coords={
            "time": time, "number": np.arange(1, members + 1), "longitude": lon, "latitude": lat,
            "prediction_timedelta": ("prediction_timedelta", [0, 6, 12], {"units": "hours"}),
        },
    )  # fmt: skip
    return data.chunk(time=1, number=members, prediction_timedelta=1)


def arco(*, hours=72, spare=48):
    """ARCO-ERA5: hourly, latitudes from the north, one field in a chunk, an axis of time longer than its data."""
    time = (np.datetime64("2020-01-01", "h") + np.arange(hours + spare)).astype("datetime64[ns]")
    lat, lon = np.linspace(90, -90, 19, dtype="float32"), np.arange(0, 360, 10, dtype="float32")
    shape = (time.size, lat.size, lon.size)
    temperature, rain = smooth(shape, mean=285, spread=5), np.abs(smooth(shape, seed=3, spread=2e-4))
    temperature[hours:], rain[hours:] = np.nan, np.nan
    dims = ("time", "latitude", "longitude")
    data = xr.Dataset(
        {
            "2m_temperature": (dims, temperature, {"units": "K", "short_name": "t2m"}),
            "total_precipitation": (dims, rain, {"units": "m", "short_name": "tp"}),
        },
        coords={
            "time": time,
            "latitude": ("latitude", lat, {"units": "degrees_north"}),
            "longitude": ("longitude", lon, {"units": "degrees_east"}),
        },
        attrs={
            "valid_time_start": "2020-01-01",
            "valid_time_stop": str(time[hours - 1])[:13],
            "valid_time_stop_era5t": str(time[hours - 1])[:13],
            "last_updated": "2026-01-01 00:00:00",
        },
    )
    data["time"].encoding = {"units": "hours since 1900-01-01", "dtype": "int64"}
    return data


def cmip(name, *, first, years, seed, calendar="noleap"):
    """One run of one CMIP6 variable, monthly: mid-month labels with bounds, longitudes from 0, a scalar height."""
    starts = [cftime.datetime(first + m // 12, m % 12 + 1, 1, calendar=calendar) for m in range(12 * years + 1)]
    bounds = np.array([starts[:-1], starts[1:]]).T
    labels = np.array([start + (stop - start) / 2 for start, stop in bounds])
    lat, lon = np.linspace(-87.5, 87.5, 8), np.arange(0, 360, 30.0)
    kind = {"tas": ("air_temperature", "K", 285, 5), "pr": ("precipitation_flux", "kg m-2 s-1", 3e-5, 1e-6)}[name]
    data = xr.Dataset(
        {
            name: (
                ("time", "lat", "lon"),
                smooth((labels.size, lat.size, lon.size), seed=seed, mean=kind[2], spread=kind[3]),
                {
                    "standard_name": kind[0],
                    "units": kind[1],
                    "cell_methods": "area: time: mean",
                    "cell_measures": "area: areacella",
                    "comment": "as the model gives it",
                    "original_name": "ST",
                },
            ),
            "time_bnds": (("time", "bnds"), bounds),
            "lat_bnds": (("lat", "bnds"), np.stack([lat - 12.5, lat + 12.5], 1)),
            "lon_bnds": (("lon", "bnds"), np.stack([lon - 15, lon + 15], 1)),
        },
        coords={
            "time": ("time", labels, {"bounds": "time_bnds", "axis": "T", "standard_name": "time"}),
            "lat": ("lat", lat, {"units": "degrees_north", "bounds": "lat_bnds", "standard_name": "latitude"}),
            "lon": ("lon", lon, {"units": "degrees_east", "bounds": "lon_bnds", "standard_name": "longitude"}),
            "height": ((), 2.0, {"units": "m", "positive": "up", "standard_name": "height"}),
        },
        attrs={"Conventions": "CF-1.7 CMIP-6.2", "mip_era": "CMIP6", "source_id": "MODEL", "grid_label": "gn"},
    )
    data["time"].encoding = {"units": "days since 1850-01-01", "calendar": calendar, "dtype": "float64"}
    data["time_bnds"].encoding = dict(data["time"].encoding)
    return data


SHORT = {
    "2m_temperature": ("t2m", "K", 285, 5),
    "mean_sea_level_pressure": ("msl", "Pa", 101300, 600),
    "total_precipitation": ("tp", "m", 3e-3, 3e-4),
}
"""The store's long names → short name in its files, units, mean and spread."""


def cds_result(process, request):
    """What the Climate Data Store makes of a request: ``valid_time``, ``expver`` and ``number``, short names."""
    daily = "daily" in process
    if daily:
        dates = [f"{y}-{m}-{d}" for y in request["year"] for m in request["month"] for d in request["day"]]
        dates = [date for date in dates if _is_date(date)]
    else:
        dates = [f"{y}-{m}-01" for y in request["year"] for m in request["month"]]
    north, west, south, east = request.get("area", [90, -180, -90, 180])
    lat, lon = np.arange(north, south - 1, -15.0), np.arange(west, east + 0.1 - (east - west == 360), 15.0)
    time = np.array(dates, dtype="datetime64[ns]")
    fields = {}
    for name in request["variable"]:
        short, units, mean, spread = SHORT[name]
        seed = int(time[0].astype("int64") // 10**15)
        values = smooth((time.size, lat.size, lon.size), seed=seed, mean=mean, spread=spread)
        fields[short] = (
            ("valid_time", "latitude", "longitude"),
            values,
            {"units": units, "GRIB_paramId": 167, "standard_name": "unknown", "GRIB_stepType": "avgua"},
        )
    data = xr.Dataset(
        fields,
        coords={
            "valid_time": time,
            "latitude": ("latitude", lat, {"units": "degrees_north"}),
            "longitude": ("longitude", lon, {"units": "degrees_east"}),
            "number": ((), 0),
            "expver": ("valid_time", np.array(["0001"] * time.size)),
        },
        attrs={"GRIB_centre": "ecmf", "Conventions": "CF-1.7"},
    )
    data["valid_time"].encoding = {"units": "days since 1990-01-01" if daily else "seconds since 1970-01-01"}
    with tempfile.TemporaryDirectory() as folder:
        data.to_netcdf(Path(folder) / "data.nc")
        return (Path(folder) / "data.nc").read_bytes()


def _is_date(text):
    try:
        np.datetime64(text)
    except ValueError:
        return False
    return True


def grib_ensemble(path, *, days=3, members=2):
    """Daily fields of the members of an ensemble, as GRIB 2; ``(member, time, latitude, longitude)``."""
    import eccodes

    values = smooth((members, days, 5, 8), mean=280, spread=3)
    with path.open("wb") as handle:
        for member in range(members):
            for day in range(days):
                message = eccodes.codes_grib_new_from_samples("regular_ll_sfc_grib2")
                keys = {
                    "productDefinitionTemplateNumber": 1, "Ni": 8, "Nj": 5, "latitudeOfFirstGridPointInDegrees": 60,
                    "latitudeOfLastGridPointInDegrees": -60, "longitudeOfFirstGridPointInDegrees": 0,
                    "longitudeOfLastGridPointInDegrees": 315, "iDirectionIncrementInDegrees": 45,
                    "jDirectionIncrementInDegrees": 30, "dataDate": 20000101 + day, "dataTime": 0, "shortName": "2t",
                    "numberOfForecastsInEnsemble": members, "perturbationNumber": member + 1,
                }  # fmt: skip
                for key, value in keys.items():
                    eccodes.codes_set(message, key, value)
                eccodes.codes_set_values(message, values[member, day].astype("float64").ravel())
                eccodes.codes_write(message, handle)
                eccodes.codes_release(message)
    return values


def grib(path, *, months=6, edition=2):
    """Monthly means of two surface fields and a profile, as GRIB, latitudes from the north."""
    import eccodes

    lat, lon = np.arange(60, -61, -30.0), np.arange(0, 360, 45.0)
    values = smooth((months, 4, lat.size, lon.size), mean=280, spread=3)
    with path.open("wb") as handle:
        for month in range(months):
            for number, (name, level) in enumerate((("2t", 2), ("msl", 0), ("t", 500), ("t", 850))):
                message = eccodes.codes_grib_new_from_samples(f"regular_ll_pl_grib{edition}")
                keys = {
                    "Ni": lon.size, "Nj": lat.size, "latitudeOfFirstGridPointInDegrees": 60,
                    "latitudeOfLastGridPointInDegrees": -60, "longitudeOfFirstGridPointInDegrees": 0,
                    "longitudeOfLastGridPointInDegrees": 315, "iDirectionIncrementInDegrees": 45,
                    "jDirectionIncrementInDegrees": 30, "dataDate": 20000001 + 100 * (month + 1), "dataTime": 0,
                    "shortName": name,
                }  # fmt: skip
                if name == "t":
                    keys |= {"typeOfLevel": "isobaricInhPa", "level": level}
                for key, value in keys.items():
                    eccodes.codes_set(message, key, value)
                field = values[month, number] + (100000 if name == "msl" else 0)
                eccodes.codes_set_values(message, field.astype("float64").ravel())
                eccodes.codes_write(message, handle)
                eccodes.codes_release(message)
    return values
