import re
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import yaml
from pydantic import TypeAdapter

from pipeline.errors import InputRefusedError
from pipeline.names import VARIABLES, canonical, known_variable
from pipeline.periods import infer_cadence
from pipeline.sources import FilesSource, SampleSource, Source
from tests.conftest import monthly_record
from tests.servers import layouts


def test_the_embedded_sample_is_what_it_says():
    scenarios = {name: SampleSource(scenario=name) for name in ("A1B", "E1")}
    tas = {
        name: canonical(source.open(), variables={"tas": VARIABLES["tas"]}, spelling={})
        for name, source in scenarios.items()
    }
    assert dict(tas["A1B"].sizes) == {"time": 240, "latitude": 37, "longitude": 49, "bnds": 2}
    assert str(infer_cadence(tas["E1"]["time"])) == "years"
    same = (tas["A1B"]["tas"] == tas["E1"]["tas"]).all(["latitude", "longitude"]).values
    assert same[:140].all()  # one run until 1999
    assert not same[140:].any()
    origin = scenarios["E1"].origins()[0]
    assert (origin.source, len(origin.sha256)) == ("E1_north_america.nc", 64)
    assert origin.version == "iris-sample-data 2.5.2"


def test_files_split_over_time_are_one_record(tmp_path):
    whole = monthly_record()
    for number, part in enumerate((slice(0, 50), slice(50, 144))):
        whole.isel(time=part).to_netcdf(tmp_path / f"part{number}.nc")
    source = FilesSource(paths=[str(tmp_path / "part*.nc")])
    np.testing.assert_array_equal(source.open()["sst"], whole["sst"])
    assert [origin.source for origin in source.origins()] == [str(tmp_path / name) for name in ("part0.nc", "part1.nc")]


def test_realizations_become_a_dimension(tmp_path):
    for run in (1, 2):
        monthly_record(seed=run).to_netcdf(tmp_path / f"run{run}.nc")
    source = FilesSource(realizations={run: [str(tmp_path / f"run{run}.nc")] for run in (1, 2)})
    assert source.open()["sst"].sizes["realization"] == 2
    np.testing.assert_array_equal(source.open()["sst"].sel(realization=2), monthly_record(seed=2)["sst"])


def test_zarr_folders_are_files_too(tmp_path):
    monthly_record().to_zarr(tmp_path / "record.zarr")
    source = FilesSource(paths=[str(tmp_path / "record.zarr")])
    np.testing.assert_array_equal(source.open()["sst"], monthly_record()["sst"])
    assert source.origins()[0].size > 0


def test_nothing_there_and_nothing_readable_are_said_plainly(tmp_path):
    with pytest.raises(InputRefusedError, match=r"no file matches '.*missing\.nc'.*looked from"):
        FilesSource(paths=[str(tmp_path / "missing.nc")]).open()
    (tmp_path / "broken.nc").write_bytes(b"CDF\x01 and no more")
    with pytest.raises(InputRefusedError, match="cannot read"):
        FilesSource(paths=[str(tmp_path / "broken.nc")]).open()
    with pytest.raises(InputRefusedError, match="no files"):
        FilesSource().open()


@pytest.mark.parametrize(
    "form", ["NETCDF3_CLASSIC", "NETCDF3_64BIT", "NETCDF4", "NETCDF4_CLASSIC", "h5netcdf", "zarr2", "zarr3"]
)
def test_every_format_gives_the_same_values(tmp_path, form):
    raw = monthly_record()
    path = tmp_path / "record"
    if form.startswith("zarr"):
        raw.to_zarr(path, zarr_format=int(form[-1]), consolidated=form == "zarr2")
    elif form == "h5netcdf":
        raw.to_netcdf(path, engine="h5netcdf", encoding={"sst": {"chunksizes": (12, 5, 7), "compression": "gzip"}})
    else:
        raw.to_netcdf(path, format=form)
    found = FilesSource(paths=[str(path)]).read({"sst": VARIABLES["sst"]})
    np.testing.assert_array_equal(found["sst"], raw["sst"])
    np.testing.assert_array_equal(found["time"], raw["time"])


@pytest.mark.parametrize("edition", [1, 2])
def test_grib_of_surface_fields_and_profiles(tmp_path, edition):
    values = layouts.grib(tmp_path / "era5.grib", edition=edition)
    source = FilesSource(paths=[str(tmp_path / "era5.grib")])
    found = source.read({name: known_variable(name) for name in ("tas", "slp", "ta500")})
    np.testing.assert_allclose(found["tas"], values[:, 0, ::-1], atol=0.01)
    np.testing.assert_allclose(found["slp"], values[:, 1, ::-1] + 100000, atol=0.01)
    np.testing.assert_allclose(found["ta500"], values[:, 2, ::-1], atol=0.01)
    assert [str(label)[:7] for label in found["time"].values[:2]] == ["2000-01", "2000-02"]
    assert [path.name for path in tmp_path.iterdir()] == ["era5.grib"]  # no index is left beside it


def test_grib_of_an_ensemble(tmp_path):
    values = layouts.grib_ensemble(tmp_path / "ens.grib")
    found = FilesSource(paths=[str(tmp_path / "ens.grib")]).read({"tas": known_variable("tas")})
    assert found["tas"].dims == ("realization", "time", "latitude", "longitude")
    np.testing.assert_allclose(found["tas"], values[:, :, ::-1], atol=0.01)


def test_many_files_of_one_variable_each(tmp_path):
    whole = monthly_record().rename(sst="tas")
    whole["psl"] = (whole["tas"] * 0 + 101000).assign_attrs(units="Pa", standard_name="air_pressure_at_mean_sea_level")
    whole["tas"].attrs["standard_name"] = "air_temperature"
    for step in range(144):
        for name in ("tas", "psl"):
            whole[[name]].isel(time=[step]).to_netcdf(tmp_path / f"{name}_{step:04d}.nc")
    source = FilesSource(paths=[str(tmp_path / "tas_*.nc"), str(tmp_path / "psl_*.nc")])
    found = source.read({name: VARIABLES[name] for name in ("tas", "slp")})
    np.testing.assert_array_equal(found["tas"], whole["tas"])


def test_files_that_do_not_fit_are_named(tmp_path):
    raw = monthly_record()
    raw.isel(time=slice(0, 60)).to_netcdf(tmp_path / "a.nc")
    raw.isel(time=slice(50, 144)).to_netcdf(tmp_path / "b.nc")
    with pytest.raises(InputRefusedError, match=r"b\.nc begins at 1994-03.*a\.nc ends at 1994-12"):
        FilesSource(paths=[str(tmp_path / "*.nc")]).open()
    raw.isel(time=slice(60, 144), lat=slice(3)).to_netcdf(tmp_path / "b.nc")
    with pytest.raises(InputRefusedError, match=r"\[same_grid\].*b\.nc has another latitude \(3 values"):
        FilesSource(paths=[str(tmp_path / "*.nc")]).open()
    raw.rename(sst="tos").isel(time=slice(60, 144)).to_netcdf(tmp_path / "b.nc")
    with pytest.raises(
        InputRefusedError, match=r"different variables do not fit together \(sst: .* 60 steps; tos: .* 84"
    ):
        FilesSource(paths=[str(tmp_path / "*.nc")]).open()


def test_centres_that_differ_by_rounding_are_the_same(tmp_path):
    raw = monthly_record()
    raw.isel(time=slice(0, 60)).to_netcdf(tmp_path / "a.nc")
    other = raw.isel(time=slice(60, 144)).assign_coords(lat=raw["lat"].astype("float32") + np.float32(1e-6))
    other.to_netcdf(tmp_path / "b.nc")
    found = FilesSource(paths=[str(tmp_path / "*.nc")]).open()
    np.testing.assert_array_equal(found["sst"], raw["sst"])


def test_years_choose_files_and_steps(tmp_path):
    raw = monthly_record()
    for year, part in raw.groupby("time.year"):
        part.to_netcdf(tmp_path / f"{year}.nc")
    source = FilesSource(paths=[str(tmp_path / "*.nc")], process={"years": [1995, 1996]})
    assert source.read({"sst": VARIABLES["sst"]}).sizes["time"] == 24


def test_bounds_cell_methods_and_realizations_survive(tmp_path):
    raw = layouts.cmip("tas", first=2000, years=2, seed=1)
    for run in (1, 2):
        raw.assign(tas=(raw["tas"] + run).assign_attrs(raw["tas"].attrs)).to_netcdf(tmp_path / f"r{run}.nc")
    source = FilesSource(realizations={run: [str(tmp_path / f"r{run}.nc")] for run in (1, 2)})
    found = source.read({"tas": VARIABLES["tas"]})
    assert found["tas"].dims == ("realization", "time", "latitude", "longitude")
    assert found["time_bnds"].dims == ("time", "bnds")
    np.testing.assert_array_equal(found["time_bnds"], raw["time_bnds"])
    assert found["tas"].attrs["cell_methods"] == "area: time: mean"


def test_realizations_of_different_length_are_named(tmp_path):
    monthly_record().to_netcdf(tmp_path / "1.nc")
    monthly_record(years=10).to_netcdf(tmp_path / "2.nc")
    source = FilesSource(realizations={run: [str(tmp_path / f"{run}.nc")] for run in (1, 2)})
    with pytest.raises(InputRefusedError, match=r"different steps \(1: .* 144 steps; 2: .* 120 steps\)"):
        source.open()


def test_a_checksum_is_reckoned_again_when_the_file_changes(tmp_path, monkeypatch):
    monkeypatch.setenv("TERCILE_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "record.nc"
    monthly_record().to_netcdf(path)
    source = FilesSource(paths=[str(path)])
    first = source.origins()
    assert source.origins() == first
    monthly_record(seed=4).to_netcdf(path)
    assert source.origins() != first


@pytest.mark.filterwarnings("ignore:Consolidated metadata")
def test_a_local_store_is_known_to_change_when_one_chunk_does(tmp_path):
    store = tmp_path / "record.zarr"
    monthly_record().chunk(time=12).to_zarr(store, zarr_format=3)
    source = FilesSource(paths=[str(store)])
    first = source.origins()
    assert source.origins() == first
    chunk = store / "sst" / "c" / "5" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes())
    assert source.origins() != first


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<!DOCTYPE html><html>", "is a web page, not data"),
        (b"PK\x03\x04 a zip", "neither NetCDF, HDF5, GRIB nor Zarr"),
        (b"", "neither NetCDF"),
        (b"GRIB and no more", "as grib"),
    ],
)
def test_what_is_no_data_is_called_by_its_name(tmp_path, content, message):
    (tmp_path / "file.nc").write_bytes(content)
    with pytest.raises(InputRefusedError, match=message):
        FilesSource(paths=[str(tmp_path / "file.nc")]).open()


def test_files_of_different_calendars_are_named(tmp_path):
    monthly_record(years=2, calendar="360_day").to_netcdf(tmp_path / "a.nc")
    monthly_record(years=2, first=1992).to_netcdf(tmp_path / "b.nc")
    with pytest.raises(InputRefusedError, match=r"\[same_calendar\] .*b\.nc has the proleptic.* 360_day"):
        FilesSource(paths=[str(tmp_path / "*.nc")]).open()


def test_axes_without_values_are_not_numbered(tmp_path):
    monthly_record().drop_vars(["lat", "lon"]).to_netcdf(tmp_path / "a.nc")
    with pytest.raises(InputRefusedError, match="latitude, longitude: a dimension without values"):
        FilesSource(paths=[str(tmp_path / "a.nc")]).read({"sst": VARIABLES["sst"]})


@pytest.mark.parametrize("calendar", ["standard", "360_day"])
def test_a_forecast_at_one_lead_is_labelled_by_when_it_holds(tmp_path, calendar):
    raw = monthly_record(years=1, calendar=calendar)
    leads = np.array([0, 24], "timedelta64[h]")
    raw.assign(sst=raw["sst"].expand_dims(prediction_timedelta=leads, axis=1)).to_netcdf(tmp_path / "a.nc")
    source = FilesSource(paths=[str(tmp_path / "a.nc")], select={"prediction_timedelta": 24})
    assert str(source.read({"sst": VARIABLES["sst"]})["time"].values[0])[:10] == "1990-01-02"


def test_every_source_of_the_handbook_is_one():
    text = (Path(__file__).parent.parent / "docs" / "sources.md").read_text()
    snippets = [yaml.safe_load(part) for part in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]
    found = [source for snippet in snippets for source in snippet.values()]
    for source in found:
        TypeAdapter(Source).validate_python({"variables": ["tas"], **source})
    kinds = {source["kind"] for source in found} | set(re.findall(r"`{kind: ([\w-]+)", text))
    assert kinds == {"files", "zarr", "http", "opendap", "ersst-v5", "ncep-daily", "cmip6", "cds", "sample"}


def labelled_by_ends(years=3):
    """Months as CESM labels them: by the first instant of the next one, with their bounds."""
    whole = monthly_record(years=years)
    starts = np.append(whole["time"].values, np.datetime64(f"{1990 + years}-01-01", "ns"))
    ends = ("time", starts[1:], {"bounds": "time_bounds"})
    return whole, whole.assign_coords(time=ends).assign(
        time_bounds=(("time", "nbnd"), np.stack([starts[:-1], starts[1:]], axis=1))
    )


def test_a_label_at_the_end_of_its_period_does_not_name_the_next_one(tmp_path):
    whole, cesm = labelled_by_ends()
    for year, rows in ((1990, slice(0, 12)), (1991, slice(12, 24)), (1992, slice(24, 36))):
        cesm.isel(time=rows).to_netcdf(tmp_path / f"{year}.nc")
    settings = {"paths": [str(tmp_path / "*.nc")]}
    sst = {"sst": VARIABLES["sst"]}
    monthly = FilesSource(**settings, process={"years": [1991, 1991]}).read(sst)
    np.testing.assert_array_equal(monthly["time"], whole["time"][12:24])
    np.testing.assert_array_equal(monthly["sst"], whole["sst"][12:24])
    assert monthly.encoding["spans"][str(tmp_path / "1991.nc")]["first"] == "1991-01-01T00:00:00"
    yearly = FilesSource(**settings, process={"aggregate": {"to": "years"}}).read(sst)
    days = whole["time"].dt.days_in_month
    np.testing.assert_allclose(
        yearly["sst"][1], whole["sst"][12:24].weighted(days[12:24]).mean("time", skipna=False), rtol=1e-6
    )
    assert [str(label)[:10] for label in yearly["time"].values] == ["1990-01-01", "1991-01-01", "1992-01-01"]


def test_hours_that_an_amount_is_added_up_over_are_not_taken_off_a_label_twice(tmp_path):
    """Daily totals that say their bounds belong to their own day, wherever in it or at its end the label lies."""
    days = np.datetime64("2000-01-01", "ns") + np.arange(61) * np.timedelta64(1, "D")
    values = np.arange(60.0)[:, None, None] * np.ones((1, 2, 3))
    found = []
    for label in (days[1:], days[:-1] + np.timedelta64(12, "h")):
        axes = {"time": ("time", label, {"bounds": "time_bnds"}), "lat": [0.0, 1.0], "lon": [0.0, 1.0, 2.0]}
        fields = {"tp": (("time", "lat", "lon"), values, {"units": "mm"})}
        bounds = {"time_bnds": (("time", "bnds"), np.stack([days[:-1], days[1:]], axis=1))}
        xr.Dataset(fields | bounds, coords=axes).to_netcdf(tmp_path / "rain.nc")
        source = FilesSource(
            paths=[str(tmp_path / "rain.nc")], accumulated={"pr": 24}, process={"aggregate": {"to": "months"}}
        )
        found.append(source.read({"pr": VARIABLES["pr"]})["pr"].values[:, 0, 0] * 86_400)
    np.testing.assert_allclose(found, [[values[:31].mean(), values[31:60].mean()]] * 2, rtol=1e-6)


@pytest.mark.parametrize("is_run", [False, True])
def test_files_in_other_units_are_named_and_other_spellings_are_none(tmp_path, is_run):
    whole = monthly_record()
    parts = [whole, whole] if is_run else [whole.isel(time=slice(0, 50)), whole.isel(time=slice(50, None))]
    paths = [tmp_path / f"{number}.nc" for number in range(2)]
    for units, is_other in (("kelvin", False), ("degC", True)):
        for path, part, spelled in zip(paths, parts, ("K", units), strict=True):
            part.assign(sst=part["sst"].assign_attrs(units=spelled)).to_netcdf(path)
        source = (
            FilesSource(realizations={n: [str(path)] for n, path in enumerate(paths)})
            if is_run
            else FilesSource(paths=[str(path) for path in paths])
        )
        if is_other:
            with pytest.raises(InputRefusedError, match=r"1(\.nc)? has 'sst' in degC, the files before it in K"):
                source.open()
        else:
            assert source.open().sizes["time"] == 144
