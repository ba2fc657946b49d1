"""From an experiment's sources into the archive: once, again, appended, corrected, refused, and asked about."""

import json
import time
from datetime import UTC, datetime

import numpy as np
import pytest

from flows.experiment_file import load_experiment, ready_experiments
from flows.ingest import ingest_group
from flows.ingest_plan import plan_ingest
from flows.plan import pending_ingest
from flows.system import System
from pipeline.archive import ingest, open_archive
from pipeline.errors import InputRefusedError, SourceChangedError, TercileError
from pipeline.events.parse import parse
from pipeline.intake.inventory import take_inventory
from pipeline.intake.provenance import read_records, step_record
from pipeline.sources import FilesSource
from pipeline.workspace import Workspace
from tests.conftest import experiment_text, monthly_record
from tests.servers import layouts
from tests.servers.web import WebServer


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TERCILE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / "ws")


@pytest.fixture
def files(tmp_path):
    """A folder with a file for each year, and an experiment on all of them."""
    folder = tmp_path / "data"
    folder.mkdir()
    for year, part in monthly_record().groupby("time.year"):
        if year < 2001:
            part.to_netcdf(folder / f"{year}.nc")
    (tmp_path / "small.yaml").write_text(experiment_text(folder / "*.nc"))
    return folder


def experiment(files, *overrides):
    return load_experiment(str(files.parent / "small.yaml"), overrides=overrides)


def test_the_same_twice_changes_no_byte(files, workspace):
    assert ingest_group(experiment(files), workspace, "obs").added == 132
    before = {path: path.read_bytes() for path in (workspace.root / "archive").rglob("*") if path.is_file()}
    again = ingest_group(experiment(files), workspace, "obs")
    assert (again.added, again.corrected, again.unchanged) == (0, 0, 132)
    assert {path: path.read_bytes() for path in (workspace.root / "archive").rglob("*") if path.is_file()} == before


def test_a_new_file_is_appended_and_each_step_knows_where_it_came_from(files, workspace):
    ingest_group(experiment(files), workspace, "obs")
    monthly_record().sel(time="2001").to_netcdf(files / "2001.nc")
    assert ingest_group(experiment(files), workspace, "obs").added == 12
    first, second = (step_record(workspace, group="obs", time=label) for label in ("1995-06-01", "2001-02-01"))
    assert (first["number"], second["number"]) == (0, 1)
    assert [origin["source"] for origin in first["origins"]] == [str(files / "1995.nc")]
    assert [origin["source"] for origin in second["origins"]] == [str(files / "2001.nc")]
    assert len(second["origins"][0]["sha256"]) == 64
    assert second["code_version"]
    with pytest.raises(TercileError, match="12 steps are labelled '1995'"):
        step_record(workspace, group="obs", time="1995")


def test_a_corrected_past_leaves_a_readable_difference(files, workspace):
    ingest_group(experiment(files), workspace, "obs")
    raw = monthly_record().sel(time="1999").copy(deep=True)
    raw["sst"][3, 2, 2] += 1.5
    raw.to_netcdf(files / "1999.nc")
    assert ingest_group(experiment(files), workspace, "obs").corrected == 1
    change = read_records(workspace, group="obs")[-1]["corrections"]["sst"]
    assert (change["steps"], change["first"][:10], round(change["largest"], 4)) == (1, "1999-04-01", 1.5)
    assert "sst by up to 1.5 at 1 steps from 1999-04-01" in "\n".join(take_inventory(workspace).lines())


def test_an_experiment_may_ask_for_the_archive_as_of_a_time(files, workspace):
    ingest_group(experiment(files), workspace, "obs")
    between = datetime.now(UTC)
    time.sleep(0.01)
    raw = monthly_record().sel(time="1999").copy(deep=True)
    raw["sst"][3, 2, 2] += 1.5
    raw.to_netcdf(files / "1999.nc")
    earlier = experiment(files, f"as_of={between.isoformat()}")
    assert pending_ingest(earlier, workspace) == []
    ingest_group(experiment(files), workspace, "obs")
    now, then = (System(asked, workspace).groups["obs"]["sst"] for asked in (experiment(files), earlier))
    assert float(now[111, 2, 2] - then[111, 2, 2]) == pytest.approx(1.5, abs=1e-4)
    assert System(earlier, workspace).issue()["as_of"] == between.isoformat()
    with pytest.raises(TercileError, match="held nothing as of 2001-01-01"):
        _ = System(experiment(files, "as_of=2001-01-01"), workspace).groups


def test_one_step_alone_follows_on_what_is_held(files, workspace, tmp_path):
    ingest_group(experiment(files), workspace, "obs")
    monthly_record().isel(time=[132]).to_netcdf(tmp_path / "new.nc")
    variables = experiment(files).described()
    data = FilesSource(paths=[str(tmp_path / "new.nc")]).read(variables)
    assert ingest(workspace, data, group="obs").added == 1
    held = open_archive(workspace, group="obs")
    assert [str(end)[:10] for end in held["time_bnds"].values[-1]] == ["2001-01-01", "2001-02-01"]


def test_what_is_refused_leaves_a_report_and_nothing_else(files, workspace):
    ingest_group(experiment(files), workspace, "obs")
    snapshot = workspace.snapshot("archive")
    raw = monthly_record().sel(time="2001").copy(deep=True)
    raw["sst"][3, 2, 2] = -999.0
    raw.to_netcdf(files / "2001.nc")
    with pytest.raises(
        InputRefusedError, match=r"\[undeclared_fill\] obs: variable 'sst': -999 K .* 2001-04-01 \(in .*/2001\.nc\)"
    ):
        ingest_group(experiment(files), workspace, "obs")
    assert workspace.snapshot("archive") == snapshot
    report = {line["gate"]: line for line in json.loads((workspace.reports / "gates.json").read_text())["obs"]}
    assert "looks like an undeclared fill value" in report["undeclared_fill"]["found"][0]
    assert report["no_gaps"]["found"] == []
    kept = read_records(workspace, group="obs")[-1]["gates"]
    assert not any(line["found"] for line in kept)
    eased = experiment(files, "gates.undeclared_fill=warn", "gates.possible_values={severity: warn, limit: 3}")
    assert ingest_group(eased, workspace, "obs").added == 12


def test_a_source_that_changes_under_the_reader_is_refused(files, workspace, monkeypatch):
    from pipeline.intake.checks import Checks

    look = Checks.look

    def look_and_change(checks, block):
        monthly_record(seed=9).sel(time="1990").to_netcdf(files.parent / "other.nc")
        (files.parent / "other.nc").replace(files / "1990.nc")
        look(checks, block)

    monkeypatch.setattr(Checks, "look", look_and_change)
    asked, origins = [], FilesSource.origins
    monkeypatch.setattr(FilesSource, "origins", lambda source: asked.append(source) or origins(source))
    with pytest.raises(SourceChangedError, match="the source changed while it was read"):
        ingest_group(experiment(files), workspace, "obs")
    assert workspace.groups("archive") == []
    assert len(asked) == 2  # before reading and after it


def test_a_store_that_is_written_anew_between_two_requests_is_refused(tmp_path, workspace):
    (tmp_path / "site").mkdir()
    with WebServer(tmp_path / "site").running() as web:

        def write(days):
            raw = layouts.weatherbench(days=days, first="1990-01-01").chunk(time=4)
            raw.to_zarr(web.folder / "wb.zarr", zarr_format=2, consolidated=True, mode="w")

        write(9)
        web.faults["2m_temperature/3.0.0"] = [lambda: write(11)]
        daily = load_experiment("era5-daily", overrides=[f"sources.era5.url={web.url}/wb.zarr"])
        with pytest.raises(InputRefusedError, match="the source changed while it was read"):
            ingest_group(daily, workspace, "era5")
        assert workspace.groups("archive") == []
        assert ingest_group(daily, workspace, "era5").added == 10


def test_processing_is_recorded(tmp_path, workspace):
    layouts.weatherbench(days=20).to_netcdf(tmp_path / "wb.nc")
    source = {
        "kind": "files", "paths": [str(tmp_path / "wb.nc")], "spelling": {"tas": "2m_temperature"},
        "process": {"aggregate": {"to": "days", "how": {"tas": "max"}}, "regrid": {"step": 30}},
    }  # fmt: skip
    text = experiment_text(tmp_path, sources={"obs": source}, variables=["tas"], events={})
    (tmp_path / "e.yaml").write_text(text)
    assert ingest_group(load_experiment(str(tmp_path / "e.yaml")), workspace, "obs").added == 20
    held = open_archive(workspace, group="obs")["tas"]
    assert (held.shape, held.attrs["cell_methods"]) == ((20, 6, 12), "time: maximum")
    record = read_records(workspace, group="obs")[0]["processing"]
    assert record["aggregate"]["how"] == {"tas": "max"}
    assert record["regrid"]["step"] == 30


def test_the_inventory_tells_gaps_sizes_and_damage(files, workspace):
    eased = experiment(files, "gates.no_gaps=warn", "gates.constant_cadence=warn")
    (files / "1995.nc").unlink()
    ingest_group(eased, workspace, "obs")
    found = take_inventory(workspace, verify=True)
    group = found.groups[0]
    assert (group.steps, group.cadence, group.gaps) == (120, "months", [("1995-01-01", "1996-01-01")])
    assert group.faults == []
    assert found.is_sound
    assert json.loads(json.dumps(found.to_json()))["groups"][0]["variables"]["sst"]["units"] == "K"
    chunks = sorted((workspace.root / "archive" / "chunks").iterdir(), key=lambda path: -path.stat().st_size)
    data = bytearray(chunks[0].read_bytes())
    data[len(data) // 2] ^= 255
    chunks[0].write_bytes(bytes(data))
    found = take_inventory(workspace, verify=True)
    assert not found.is_sound
    lines = "\n".join(found.lines())
    assert "verified  " in lines
    assert "reads as it was written" not in lines.replace("does not read as", "")
    assert "2000-12-01, 120 months, proleptic_gregorian calendar, 1 gap(s)" in lines
    assert "realization" not in lines
    assert "time 120, latitude 5, longitude 7, time: mean" in lines
    assert "warned    [no_gaps] obs: time: 1 gap(s) or overlap(s), the first between 1994-12-01 (in " in lines
    assert f"from {files / '1990.nc'} … {files / '2000.nc'}, 10 in all" in lines


@pytest.mark.parametrize("name", sorted(ready_experiments()))
def test_ready_experiments_say_what_they_would_fetch_without_a_network(name):
    ready = load_experiment(name)
    for question in ready.events.values():
        parse(question)
    for plan in plan_ingest(ready):
        lines = "\n".join(plan.lines())
        assert plan.addresses
        assert plan.first < plan.last
        assert plan.fetched_bytes > 1e6
        assert set(plan.chunks) == set(plan.shapes) == set(ready.variables)
        assert all(f"  writes    {name} (" in lines for name in ready.variables)
        json.dumps(plan.to_json())


def test_a_dry_run_asks_servers_for_sizes_and_axes_only(tmp_path):
    (tmp_path / "site").mkdir()
    with WebServer(tmp_path / "site").running() as web:
        (web.folder / "noaa.ersst.v5").mkdir()
        layouts.ersst(first=1990, years=10).to_netcdf(web.folder / "noaa.ersst.v5" / "sst.mnmean.nc")
        layouts.weatherbench(days=9, first="1990-01-01").chunk(level=13).to_zarr(
            web.folder / "wb.zarr", zarr_format=2, consolidated=True
        )
        enso = load_experiment("enso", overrides=[f"sources.ersst.base={web.url}"])
        (plan,) = plan_ingest(enso)
        assert plan.fetched_bytes == (web.folder / "noaa.ersst.v5" / "sst.mnmean.nc").stat().st_size
        daily = load_experiment("era5-daily", overrides=[f"sources.era5.url={web.url}/wb.zarr"])
        (plan,) = plan_ingest(daily)
        assert plan.basis == "server"
        assert (plan.first, plan.last) == ("1990-01-01", "1990-01-08")
        assert plan.shapes["z500"] == [8, 32, 64]
        assert plan.fetched_bytes == 4 * (3 + 13) * 36 * 32 * 64  # a chunk of the store holds all 13 levels
        assert web.sent < 100_000


def test_a_dry_run_tells_what_an_ingest_would_refuse(tmp_path):
    (tmp_path / "record.nc").write_bytes(b"no NetCDF")
    (tmp_path / "small.yaml").write_text(experiment_text(tmp_path / "record.nc"))
    (plan,) = plan_ingest(load_experiment(str(tmp_path / "small.yaml")))
    assert "record.nc" in plan.refused
    assert list(plan.lines())[-1] == f"  refused   {plan.refused}"


def test_enso_and_era5_go_into_the_archive_from_their_servers(tmp_path, workspace):
    (tmp_path / "site").mkdir()
    with WebServer(tmp_path / "site").running() as web:
        (web.folder / "noaa.ersst.v5").mkdir()
        raw = layouts.ersst(first=1990, years=10)
        raw.to_netcdf(web.folder / "noaa.ersst.v5" / "sst.mnmean.nc")
        layouts.weatherbench(days=9, first="1990-01-01").to_zarr(
            web.folder / "wb.zarr", zarr_format=2, consolidated=True
        )
        enso = load_experiment("enso", overrides=[f"sources.ersst.base={web.url}"])
        assert ingest_group(enso, workspace, "ersst").added == 120
        daily = load_experiment("era5-daily", overrides=[f"sources.era5.url={web.url}/wb.zarr"])
        assert ingest_group(daily, workspace, "era5").added == 8
    held = open_archive(workspace, group="ersst")
    expected = raw["sst"].sel(lon=slice(120, 290)).sel(lat=slice(30, -30)).isel(lat=slice(None, None, -1)) + 273.15
    np.testing.assert_allclose(held["sst"], expected, rtol=1e-6)
    assert set(open_archive(workspace, group="era5").data_vars) >= {"tas", "z500", "slp", "pr"}
