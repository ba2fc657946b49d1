"""Every remote source against a real server on the loopback that serves the layout of the original."""

import json
from datetime import datetime

import numpy as np
import pytest
import xarray as xr

import pipeline.sources.cds
from pipeline.archive import ingest
from pipeline.errors import InputRefusedError
from pipeline.names import known_variable
from pipeline.sources import (
    CdsSource,
    Cmip6Source,
    ErsstSource,
    FilesSource,
    HttpSource,
    NcepDailySource,
    OpendapSource,
    ZarrSource,
    formats,
)
from pipeline.workspace import Workspace
from tests.conftest import monthly_record
from tests.servers import layouts
from tests.servers.cds import CdsServer
from tests.servers.dap import dap_server
from tests.servers.web import WebServer

pytestmark = pytest.mark.filterwarnings("ignore:Consolidated metadata")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TERCILE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def web(tmp_path):
    (tmp_path / "site").mkdir()
    with WebServer(tmp_path / "site").running() as server:
        yield server


def described(*names):
    return {name: known_variable(name) for name in names}


ERA5 = {
    "spelling": {"tas": "2m_temperature", "pr": "total_precipitation_6hr"},
    "units": {"pr": "m"},
    "accumulated": {"pr": 6},
}


@pytest.mark.parametrize("version", [2, 3])
def test_weatherbench_over_http_reads_only_what_is_selected(web, version, monkeypatch):
    monkeypatch.setattr(formats, "READ_BYTES", 1)  # chunk by chunk
    raw = layouts.weatherbench(days=40, first="1999-12-22")
    raw.chunk(time=20, level=13).to_zarr(web.folder / "era5.zarr", zarr_format=version, consolidated=True)
    source = ZarrSource(
        url=f"{web.url}/era5.zarr", **ERA5, process={"years": [2000, 2000], "aggregate": {"to": "days"}}
    )
    found = source.read(described("tas", "z500", "slp", "pr"))
    assert web.sent < 200_000  # nothing but metadata and coordinates so far
    assert dict(found.sizes) == {"time": 29, "latitude": 32, "longitude": 64, "bnds": 2}  # the last day is not whole
    day = found.sel(time=["2000-01-03"]).load()
    assert web.sent < 0.5 * raw.nbytes
    same = raw.sel(time="2000-01-03")
    np.testing.assert_allclose(day["tas"][0], same["2m_temperature"].mean("time").T, rtol=1e-6)
    np.testing.assert_allclose(day["z500"][0], same["geopotential"].sel(level=500).mean("time").T, rtol=1e-6)
    rain = raw["total_precipitation_6hr"].sel(time=slice("2000-01-03T06", "2000-01-04T00"))
    np.testing.assert_allclose(day["pr"][0], rain.mean("time").T * 1000 / (6 * 3600), rtol=1e-5)
    origin = source.origins()[0]
    assert (origin.source, len(origin.sha256)) == (f"{web.url}/era5.zarr", 64)
    assert origin.version.startswith('"')


def test_weatherbench_at_one_and_a_half_degrees(web):
    raw = layouts.weatherbench(days=1, step=(240, 121))
    raw.to_zarr(web.folder / "era5.zarr", zarr_format=2, consolidated=True)
    found = ZarrSource(url=f"{web.url}/era5.zarr", **ERA5).read(described("tas", "z500", "slp", "pr"))
    assert dict(found.sizes) == {"time": 4, "latitude": 121, "longitude": 240}
    assert found["latitude"].values[[0, -1]].tolist() == [-90, 90]
    np.testing.assert_array_equal(found["slp"][2], raw["mean_sea_level_pressure"][2].T)


def test_weatherbench_ensembles_are_realizations_at_one_lead(web, tmp_path):
    raw = layouts.weatherbench_ensemble()
    raw.to_zarr(web.folder / "ens.zarr", zarr_format=2, consolidated=True)
    source = ZarrSource(url=f"{web.url}/ens.zarr", spelling=ERA5["spelling"], select={"prediction_timedelta": 12})
    found = source.read(described("tas"))
    expected = raw["2m_temperature"].isel(prediction_timedelta=2).transpose("number", "time", "latitude", "longitude")
    assert found["tas"].dims == ("realization", "time", "latitude", "longitude")
    np.testing.assert_array_equal(found["tas"], expected)
    assert str(found["time"].values[0])[:13] == "2020-01-01T12"
    assert ingest(Workspace(tmp_path / "ws"), found, group="ens").added == 3
    with pytest.raises(InputRefusedError, match=r"prediction_timedelta is none of.*select: {prediction_timedelta"):
        source.model_copy(update={"select": {}}).read(described("tas"))


def test_arco_ends_where_its_data_end(web):
    raw = layouts.arco()
    raw.chunk(time=1).to_zarr(web.folder / "arco.zarr", zarr_format=2, consolidated=True)
    source = ZarrSource(url=f"{web.url}/arco.zarr", accumulated={"pr": 1}, process={"aggregate": {"to": "days"}})
    found = source.read(described("tas", "pr")).load()
    # rain of a day falls until the midnight after it, so the last of three days is not whole
    assert [str(day)[:10] for day in found["time"].values] == ["2020-01-01", "2020-01-02"]
    assert not found["tas"].isnull().any()
    rain = raw["total_precipitation"].sel(time=slice("2020-01-01T01", "2020-01-02T00")).mean("time") / 3.6
    np.testing.assert_allclose(found["pr"][0].sel(latitude=30), rain.sel(latitude=30), rtol=1e-5)


def test_a_server_that_fails_now_and_then_is_asked_again(web):
    layouts.weatherbench(days=2).to_zarr(web.folder / "era5.zarr", zarr_format=3)
    source = ZarrSource(url=f"{web.url}/era5.zarr", **ERA5)
    whole = source.read(described("tas"))["tas"].load()
    name = "2m_temperature/c/0/0/0"
    for fault in ("500", "truncate"):
        web.faults[name] = [fault]
        np.testing.assert_array_equal(source.read(described("tas"))["tas"].load(), whole)
        assert not web.faults[name]


def test_no_zarr_there_is_said(web):
    with pytest.raises(InputRefusedError, match=r"no Zarr store there"):
        ZarrSource(url=f"{web.url}/nothing.zarr", tries=1).open()
    with pytest.raises(InputRefusedError, match="Check address and server"):
        ZarrSource(url="http://127.0.0.1:9/nothing.zarr", tries=1, stall=2).open()


@pytest.mark.parametrize("version", [2, 3])
def test_a_store_that_a_web_server_cannot_list_is_told_what_it_needs(web, version):
    monthly_record(years=1).to_zarr(web.folder / "bare.zarr", zarr_format=version, consolidated=False)
    with pytest.raises(InputRefusedError, match=r"bare\.zarr: no consolidated metadata.*`zarr.consolidate_metadata`"):
        ZarrSource(url=f"{web.url}/bare.zarr", tries=1).open()


@pytest.fixture(scope="module")
def s3():
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


def test_a_bucket_with_and_without_credentials(s3, tmp_path, monkeypatch):
    import boto3

    client = boto3.client(
        "s3", endpoint_url=s3, region_name="us-east-1", aws_access_key_id="me", aws_secret_access_key="secret"
    )
    client.create_bucket(Bucket="climate", ACL="public-read-write")
    raw = layouts.weatherbench(days=2)
    raw.to_zarr(tmp_path / "store", zarr_format=3)
    for path in (tmp_path / "store").rglob("*"):
        if path.is_file():
            key = f"era5.zarr/{path.relative_to(tmp_path / 'store')}"
            client.put_object(Bucket="climate", Key=key, Body=path.read_bytes(), ACL="public-read")
    for anonymous in (True, False):
        if not anonymous:
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", "me")
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        source = ZarrSource(url="s3://climate/era5.zarr", endpoint=s3, anonymous=anonymous, **ERA5)
        found = source.read(described("tas"))["tas"]
        np.testing.assert_array_equal(found, raw["2m_temperature"].transpose("time", "latitude", "longitude"))
        assert source.origins()[0].version


def test_google_cloud_storage_with_and_without_credentials(web, tmp_path, monkeypatch):
    """Its API for reading is plain HTTP below the name of the bucket; the service account's file names the server."""
    raw = layouts.weatherbench(days=2)
    raw.to_zarr(web.folder / "bucket" / "era5.zarr", zarr_format=3)
    account = {
        "gcs_base_url": web.url,
        "disable_oauth": True,
        "client_email": "",
        "private_key": "",
        "private_key_id": "",
    }
    (tmp_path / "account.json").write_text(json.dumps(account))
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT", str(tmp_path / "account.json"))
    for anonymous in (True, False):
        found = ZarrSource(url="gs://bucket/era5.zarr", anonymous=anonymous, **ERA5).read(described("tas"))["tas"]
        np.testing.assert_array_equal(found, raw["2m_temperature"].transpose("time", "latitude", "longitude"))


@pytest.fixture
def psl(web):
    """The folders of NOAA PSL, as files."""
    (web.folder / "noaa.ersst.v5").mkdir()
    layouts.ersst().to_netcdf(web.folder / "noaa.ersst.v5" / "sst.mnmean.nc")
    files = {"surface/slp": "slp", "pressure/hgt": "hgt", "surface_gauss/air.2m.gauss": "air",
             "surface_gauss/prate.sfc.gauss": "prate"}  # fmt: skip
    for path, name in files.items():
        for year in (2000, 2001):
            target = web.folder / "ncep.reanalysis" / "Dailies" / f"{path}.{year}.nc"
            target.parent.mkdir(parents=True, exist_ok=True)
            raw = layouts.ncep_daily(name, year, level=name == "hgt", gaussian="gauss" in path)
            raw.to_netcdf(target, format="NETCDF4_CLASSIC")
    return web


def test_ersst_by_http_is_fetched_once(psl):
    source = ErsstSource(base=psl.url, process={"region": "box(lat=-30..30, lon=120..290)"})
    found = source.read(described("sst"))
    assert (float(found["latitude"].min()), float(found["longitude"].max())) == (-30, 290)
    raw = layouts.ersst()["sst"].sel(lat=0, lon=200)
    np.testing.assert_allclose(found["sst"].sel(latitude=0, longitude=200), raw + 273.15, rtol=1e-6)
    sent = psl.sent
    origin = source.origins()[0]
    assert psl.sent == sent  # the server was asked, and answered that nothing had changed
    assert origin.size == (psl.folder / "noaa.ersst.v5" / "sst.mnmean.nc").stat().st_size
    assert origin.version.startswith('"')
    assert psl.requests[-1][:2] == ("GET", "noaa.ersst.v5/sst.mnmean.nc")


def test_a_changed_file_is_fetched_again(psl):
    source = ErsstSource(base=psl.url)
    first = source.origins()
    layouts.ersst(years=5).to_netcdf(psl.folder / "noaa.ersst.v5" / "sst.mnmean.nc")
    assert source.origins() != first
    assert source.open().sizes["time"] == 60


@pytest.mark.parametrize("fault", ["500", "truncate", "stall"])
def test_a_download_goes_on_after_a_fault(psl, fault):
    path = "noaa.ersst.v5/sst.mnmean.nc"
    psl.faults["sst.mnmean.nc"] = [fault, fault]
    url = f"{psl.url}/{path}"
    found = HttpSource(urls=[url], pause=0.01, stall=1).open()
    np.testing.assert_array_equal(found["sst"].values, layouts.ersst()["sst"].values)
    ranges = [request[2] for request in psl.requests if request[1] == path]
    assert (fault == "500") or any(ranges)  # what had come was not fetched again
    size = (psl.folder / path).stat().st_size
    assert psl.sent <= size + 200


def test_a_web_page_in_the_place_of_data_is_refused(psl):
    psl.faults["sst.mnmean.nc"] = ["html"]
    with pytest.raises(InputRefusedError, match="it is a web page, not data"):
        ErsstSource(base=psl.url).open()


def test_a_server_that_stays_down_is_given_up_with_what_came_kept(psl, cache):
    psl.faults["sst.mnmean.nc"] = ["truncate"] + ["500"] * 9
    source = ErsstSource(base=psl.url, tries=3, pause=0.01)
    with pytest.raises(InputRefusedError, match=r"answered 500 .*, 3 times.*run the same command again"):
        source.open()
    assert list(cache.rglob("*.part"))
    psl.faults.clear()
    assert source.open().sizes["time"] == 48
    with pytest.raises(InputRefusedError, match="answered 404"):
        HttpSource(urls=[f"{psl.url}/nothing.nc"]).open()


def test_an_address_that_leads_nowhere_is_refused(psl):
    psl.faults["sst.mnmean.nc"] = ["loop"] * 99
    with pytest.raises(InputRefusedError, match=r"no answer \(TooManyRedirects.*Check address and server"):
        HttpSource(urls=[f"{psl.url}/noaa.ersst.v5/sst.mnmean.nc"], tries=1).open()
    for url in ("sst.nc", "ftp://example.org/sst.nc"):
        with pytest.raises(ValueError, match="https"):
            HttpSource(urls=[url])


def test_a_file_that_changes_between_two_requests_is_not_glued_together(psl):
    target = psl.folder / "noaa.ersst.v5" / "sst.mnmean.nc"
    later = layouts.ersst(years=6)

    def change():
        later.to_netcdf(target)

    psl.faults["sst.mnmean.nc"] = ["truncate", change]
    found = HttpSource(urls=[f"{psl.url}/noaa.ersst.v5/sst.mnmean.nc"], pause=0.01).open()
    np.testing.assert_array_equal(found["sst"].values, later["sst"].values)


def test_ncep_daily_takes_a_file_for_each_year_and_variable(psl):
    source = NcepDailySource(base=psl.url, variables=["slp", "zg500"], process={"years": [2000, 2001]})
    found = source.read(described("slp", "zg500"))
    assert found.sizes["time"] == 366 + 365
    raw = layouts.ncep_daily("hgt", 2001, level=True)["hgt"].sel(level=500)
    np.testing.assert_allclose(found["zg500"][366], raw[0, ::-1], atol=0.51)  # packed in steps of 1 m
    assert found["slp"].attrs["units"] == "Pa"
    surface = NcepDailySource(base=psl.url, variables=["tas", "pr"], process={"years": [2000, 2000]})
    fluxes = surface.read(described("tas", "pr"))
    raw = layouts.ncep_daily("prate", 2000, gaussian=True)["prate"]
    np.testing.assert_allclose(fluxes["pr"], raw[:, ::-1], atol=1e-7)
    assert 280 < float(fluxes["tas"].mean()) < 290
    with pytest.raises(ValueError, match="ncep-daily has no 'sst'"):
        NcepDailySource(variables=["sst"], process={"years": [2000, 2001]})


def test_opendap_reads_only_the_selection(psl):
    with dap_server(psl.folder) as (url, requests):
        source = ErsstSource(access="opendap", base=url, process={"years": [1855, 1855]})
        found = source.read(described("sst"))
        np.testing.assert_allclose(
            found["sst"].sel(latitude=0, longitude=200),
            layouts.ersst()["sst"].sel(time="1855", lat=0, lon=200) + 273.15,
            rtol=1e-6,
        )
        # One step more than the year has: its bounds, which are empty here, could have said that it is of the year.
        assert [query for _, query in requests if query.startswith("sst")] == ["sst[12:1:24][0:1:88][0:1:179]"]
        origin = source.origins()[0]
        assert origin.first.startswith("1854-01-01")
    with pytest.raises(InputRefusedError, match="Check address and server"):
        OpendapSource(urls=[f"{psl.url}/nothing"], tries=1).open()


@pytest.mark.parametrize("fault", ["cut", "500", "stall"])
def test_an_opendap_server_that_fails_lets_nothing_in(psl, tmp_path, fault):
    with dap_server(psl.folder, faults={"sst[": [fault] * 9}) as (url, _):
        source = ErsstSource(access="opendap", base=url, tries=1)
        data = source.transport().model_copy(update={"stall": 1.0}).read(described("sst"))
        with pytest.raises(InputRefusedError, match=r"cannot read sst from 1854-01-01 \(in .*Nothing was written"):
            ingest(Workspace(tmp_path / "ws"), data, group="obs")
    assert Workspace(tmp_path / "ws").groups("archive") == []


def test_a_web_page_in_the_place_of_opendap_is_refused(psl):
    with (
        dap_server(psl.folder, faults={"": ["html"] * 9}) as (url, _),
        pytest.raises(InputRefusedError, match=r"sst\.mnmean\.nc: .*Check address and server"),
    ):
        ErsstSource(access="opendap", base=url, tries=1).open()


def test_an_opendap_server_that_fails_once_is_asked_again(psl):
    with dap_server(psl.folder, faults={"sst[": ["500"]}) as (url, _):
        source = ErsstSource(access="opendap", base=url, tries=3, pause=0.01)
        assert not source.read(described("sst"))["sst"].load().isnull().all()


@pytest.mark.parametrize("fault", ["500", "truncate", "stall", "html"])
def test_a_chunk_that_never_comes_right_lets_nothing_in(web, tmp_path, fault):
    layouts.weatherbench(days=2).to_zarr(web.folder / "era5.zarr", zarr_format=3)
    data = ZarrSource(url=f"{web.url}/era5.zarr", tries=1, stall=1, **ERA5).read(described("tas"))
    web.faults["2m_temperature/c/0/0/0"] = [fault] * 99
    with pytest.raises(InputRefusedError, match=r"cannot read tas from 2000-01-01 \(in http.*Nothing was written"):
        ingest(Workspace(tmp_path / "ws"), data, group="era5")
    assert Workspace(tmp_path / "ws").groups("archive") == []


RUNS = [("historical", 2000, 3), ("ssp126", 2003, 2), ("ssp585", 2003, 2)]
MEMBERS = ["r1i1p1f1", "r2i1p1f1"]


@pytest.fixture
def pangeo(web):
    """A catalogue in Pangeo's columns, and the stores that it names."""
    rows = ["activity_id,institution_id,source_id,experiment_id,member_id,table_id,variable_id,grid_label,zstore,"
            "dcpp_init_year,version"]  # fmt: skip
    for number, (experiment, first, years) in enumerate(RUNS):
        for member in MEMBERS:
            for name in ("tas", "pr"):
                for version in (20180101, 20190429):
                    path = f"CMIP/{experiment}/{member}/Amon/{name}/gn/v{version}"
                    seed = hash((number, member, name, version)) % 1000
                    data = layouts.cmip(name, first=first, years=years, seed=seed)
                    if version == 20190429 or name == "tas":
                        data.to_zarr(web.folder / path, zarr_format=2, consolidated=True)
                    rows.append(f"CMIP,INST,MODEL,{experiment},{member},Amon,{name},gn,gs://cmip6/{path}/,,{version}")
    (web.folder / "catalogue.csv").write_text("\n".join(rows))
    return {"catalogue": f"{web.url}/catalogue.csv", "rewrite": {"gs://cmip6/": f"{web.url}/"}, "model": "MODEL"}


@pytest.mark.parametrize("scenario", ["ssp126", "ssp585"])
def test_cmip6_from_the_catalogue(pangeo, web, scenario):
    source = Cmip6Source(**pangeo, experiments=["historical", scenario], members=MEMBERS, variables=["tas", "pr"])
    found = source.read(described("tas", "pr"))
    assert dict(found.sizes) == {"realization": 2, "time": 60, "latitude": 8, "longitude": 12, "bnds": 2}
    newest = xr.open_zarr(web.folder / f"CMIP/{scenario}/r2i1p1f1/Amon/tas/gn/v20190429")["tas"]
    np.testing.assert_array_equal(found["tas"].sel(realization=2)[36:], newest)
    assert found["time"].dt.calendar == "noleap"
    assert len(source.origins()) == 8
    assert found["tas"].attrs["cell_methods"] == "area: time: mean"


def test_cmip6_that_is_not_there_is_named(pangeo):
    with pytest.raises(InputRefusedError, match=r"no member_id 'r9i1p1f1' in the catalogue.*r1i1p1f1"):
        Cmip6Source(**pangeo, experiments=["historical"], members=["r9i1p1f1"], variables=["tas"]).open()
    with pytest.raises(InputRefusedError, match=r"no table 'day' of model 'MODEL' .* There is: Amon\."):
        Cmip6Source(**pangeo, experiments=["historical"], table="day", variables=["tas"]).open()
    with pytest.raises(InputRefusedError, match=r"no model 'MODL' .* Did you mean 'MODEL'\?"):
        Cmip6Source(**{**pangeo, "model": "MODL"}, experiments=["historical"], variables=["tas"]).open()


def test_cmip6_from_esgf_folders(tmp_path):
    for experiment, first, years in RUNS[:2]:
        for version in ("v20180101", "v20190429"):
            path = tmp_path / f"CMIP6/CMIP/INST/MODEL/{experiment}/r1i1p1f1/Amon/tas/gn/{version}"
            path.mkdir(parents=True)
            data = layouts.cmip("tas", first=first, years=years, seed=first + int(version[-1]))
            for year, part in data.groupby("time.year"):
                part.to_netcdf(path / f"tas_Amon_MODEL_{experiment}_r1i1p1f1_gn_{year}01-{year}12.nc")
    source = Cmip6Source(root=str(tmp_path), model="MODEL", experiments=["historical", "ssp126"], variables=["tas"])
    found = source.read(described("tas"))
    expected = layouts.cmip("tas", first=2000, years=3, seed=2009)["tas"]
    np.testing.assert_array_equal(found["tas"][:36], expected)
    assert len(source.origins()) == 5
    with pytest.raises(InputRefusedError, match=r"0 grids \(none\) match"):
        source.model_copy(update={"model": "OTHER"}).open()
    with pytest.raises(InputRefusedError, match=r"v20190429\S+\.nc is no catalogue"):  # nor is it text
        source.model_copy(update={"root": None, "catalogue": str(next(path.glob("*.nc")))}).open()
    (path.parent / "v20200101").mkdir()
    with pytest.raises(InputRefusedError, match=r"no NetCDF file in .*v20200101"):
        source.open()


@pytest.fixture
def cds(monkeypatch):
    with CdsServer(largest=200).running() as server:
        monkeypatch.setenv("CDSAPI_URL", server.url)
        monkeypatch.setenv("CDSAPI_KEY", "sesame")
        yield server


def monthly(**settings):
    fixed = {"variables": ["tas", "slp"], "process": {"years": [2000, 2009]}, "limit": 100, "poll": 0.01}
    return CdsSource(**{**fixed, **settings})


def test_cds_splits_what_is_too_large_for_one_request(cds):
    source = monthly()
    found = source.read(described("tas", "slp"))
    assert [len(request["year"]) for request in cds.submitted] == [4, 4, 2]
    assert found.sizes["time"] == 120
    assert len(source.origins()) == 3
    assert len(cds.submitted) == 3  # all else came from the cache
    with pytest.raises(InputRefusedError, match="Your request is too large"):
        monthly(limit=1000).open()


def test_cds_precipitation_is_an_amount_of_a_day(cds):
    source = monthly(variables=["pr"], accumulated={"pr": 24}, process={"years": [2000, 2000]})
    found = source.read(described("pr"))["pr"]
    assert float(found.mean()) == pytest.approx(3 / 86400, rel=0.01)


def test_cds_daily_is_asked_month_by_month_where_it_must(cds):
    box = "box(lat=0..60, lon=-30..30)"
    source = monthly(cadence="daily", variables=["tas"], process={"years": [2001, 2001], "region": box})
    found = source.read(described("tas"))
    assert [request["month"] for request in cds.submitted] == [
        ["01", "02", "03"], ["04", "05", "06"], ["07", "08", "09"], ["10", "11", "12"],
    ]  # fmt: skip
    assert cds.submitted[0]["area"] == [60, -30, 0, 30]
    assert found.sizes["time"] == 365
    assert found["longitude"].values[[0, -1]].tolist() == [-30, 30]


def test_cds_daily_maxima_are_those_of_the_variable_that_is_asked_for(tmp_path):
    named = {"variables": ["tasmax", "slp"], "spelling": {"tasmax": "2m_temperature"}}
    source = monthly(cadence="daily", statistic="daily_maximum", process={"years": [2001, 2001]}, **named)
    request = source.requests()[0]
    assert request["variable"] == ["2m_temperature", "mean_sea_level_pressure"]
    (tmp_path / "a.nc").write_bytes(layouts.cds_result(source.dataset, {**request, "area": [30, 0, 0, 30]}))
    found = source.prepared(FilesSource(paths=[str(tmp_path / "a.nc")]).open(), described("tasmax", "slp"))
    assert 270 < float(found["tasmax"].mean()) < 300
    assert found["tasmax"].attrs["cell_methods"] == "time: maximum"


@pytest.mark.parametrize("fault", ["fail", "expire"])
def test_cds_asks_again_for_what_failed_or_expired(cds, fault):
    cds.faults[:] = [fault]
    assert monthly(process={"years": [2000, 2001]}).open().sizes["time"] == 24
    assert len(cds.submitted) == 2
    cds.faults[:] = [fault] * 3
    with pytest.raises(InputRefusedError, match=r"cds: 3 request\(s\) failed, the last with"):
        monthly(process={"years": [2002, 2003]}).open()


def test_cds_goes_on_with_what_is_queued_after_a_restart(cds):
    cds.faults[:] = ["slow"]
    source = monthly(process={"years": [2000, 2001]}, patience=0.05)
    with pytest.raises(InputRefusedError, match=r"job-0 is still queued. Run the same command later"):
        source.open()
    cds.jobs["job-0"]["fault"] = None
    assert source.open().sizes["time"] == 24
    assert len(cds.submitted) == 1


@pytest.mark.parametrize(("fault", "message"), [("html", "it is a web page, not data"), ("cut", "IncompleteRead")])
def test_cds_refuses_what_is_no_data(cds, cache, fault, message):
    cds.faults[:] = [fault]
    with pytest.raises(InputRefusedError, match=message):
        monthly(process={"years": [2000, 2001]}, tries=1).open()
    assert not list(cache.rglob("*.nc"))
    cds.jobs["job-0"]["fault"] = None
    assert monthly(process={"years": [2000, 2001]}).open().sizes["time"] == 24
    assert len(cds.submitted) == 1


def test_cds_says_what_is_wrong_with_the_key(cds, monkeypatch):
    monkeypatch.setenv("CDSAPI_KEY", "wrong")
    with pytest.raises(InputRefusedError, match="Check CDSAPI_KEY"):
        monthly().open()
    monkeypatch.setenv("CDSAPI_KEY", "1234:of-the-store-before")
    with pytest.raises(InputRefusedError, match=r"no address and key of today's form .* into ~/\.cdsapirc"):
        monthly().open()
    monkeypatch.delenv("CDSAPI_KEY")
    monkeypatch.setenv("CDSAPI_RC", "/nowhere")
    with pytest.raises(InputRefusedError, match=r"no address and key .*configuration file: /nowhere"):
        monthly().open()


@pytest.mark.parametrize("cadence", ["monthly", "daily"])
def test_cds_asks_for_a_year_that_is_not_over_anew_with_each_month(monkeypatch, cadence):
    source = monthly(cadence=cadence, variables=["tas"], process={"years": [2024, 2030]}, limit=372)

    def asked(today):
        clock = type("Clock", (datetime,), {"now": lambda zone: datetime.fromisoformat(today).replace(tzinfo=zone)})
        monkeypatch.setattr(pipeline.sources.cds, "datetime", clock)
        last = source.requests()[-1]
        assert str(source.outline()["time"].values[-1])[:7] == f"{last['year'][-1]}-{last['month'][-1]}"
        return [(request["year"][-1], len(request["month"])) for request in source.requests()]

    assert asked("2025-01-31") == [("2024", 12)]  # January is published a week after its end
    assert asked("2025-03-06") == [("2024", 12), ("2025", 1)]
    assert asked("2025-03-09") == [("2024", 12), ("2025", 2)]
    assert asked("2026-01-09")[-1] == ("2025", 12)
    with pytest.raises(InputRefusedError, match="no month of 2024–2030 is published yet"):
        asked("2023-05-01")
