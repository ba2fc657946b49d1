"""The whole road on a small system, with real Prefect and real Dask."""

import json
import shutil
from datetime import UTC, datetime

import numpy as np
import pytest
import xarray as xr
import yaml

from flows.demands import check_demands
from flows.experiment import Experiment
from flows.experiment_file import load_experiment
from flows.ingest import ingest_group
from flows.plan import STAGES
from flows.progress import Reporter
from flows.run import run
from flows.starts import forecasts
from flows.system import System
from pipeline.answers.issued import ask, explain_question
from pipeline.archive import open_archive
from pipeline.ensemble_writer import EnsembleWriter
from pipeline.ensembles import open_ensemble
from pipeline.errors import InputRefusedError, TercileError, WorkspaceMismatchError
from pipeline.workspace import Workspace
from tests.conftest import experiment_text, monthly_record

pytestmark = pytest.mark.usefixtures("prefect_server")


def do(path, workspace, *overrides, stages=tuple(STAGES)):
    return run(load_experiment(str(path), overrides=overrides), workspace, reporter=Reporter(), stages=stages)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, prefect_server):
    """A workspace in which everything has been done, and its experiment file."""
    folder = tmp_path_factory.mktemp("road")
    monthly_record().to_netcdf(folder / "record.nc")
    (folder / "small.yaml").write_text(experiment_text(folder / "record.nc"))
    workspace = Workspace(folder / "ws")
    assert do(folder / "small.yaml", workspace) == list(STAGES)
    return workspace, folder / "small.yaml"


@pytest.fixture
def copied(finished, tmp_path):
    """The same, free to be changed."""
    shutil.copytree(finished[0].root, tmp_path / "ws")
    return Workspace(tmp_path / "ws"), finished[1]


def members(workspace, model="persistence"):
    return open_ensemble(workspace, model=model)["sst"].values


def test_a_second_run_does_nothing_and_changes_no_snapshot(finished):
    workspace, path = finished
    before = {store: workspace.snapshot(store) for store in ("archive", "ensembles", "products")}
    assert do(path, workspace) == []
    assert {store: workspace.snapshot(store) for store in before} == before


@pytest.mark.parametrize("lost", ["archive", "models", "ensembles", "products", "reports"])
def test_deleting_any_stages_output_and_running_again_restores_it(copied, lost):
    workspace, path = copied
    before, page = members(workspace), (workspace.reports / "scorecard.json").read_text()
    shutil.rmtree(workspace.root / lost)
    assert do(path, workspace)
    np.testing.assert_array_equal(members(workspace), before)
    assert json.loads((workspace.reports / "scorecard.json").read_text())["models"] == json.loads(page)["models"]
    assert (workspace.reports / "index.html").exists()
    assert ask(workspace, "prob sst.mean(over=box(lat=-5..5, lon=205..225)).mean(time=lead 1) > 280 K").headline


def test_a_card_outlives_its_snapshot_while_the_values_are_the_same(copied):
    workspace, path = copied
    (card,) = workspace.models.glob("persistence/*/card.json")
    before = card.read_bytes()
    shutil.rmtree(workspace.root / "archive")
    with pytest.raises(TercileError, match=r"has no archive yet\. Run `tercile run"):
        do(path, workspace, stages=("forecast",))
    assert do(path, workspace, stages=("ingest",)) == ["ingest"]
    assert workspace.snapshot("archive") != json.loads(before)["archive_snapshot"]
    assert "train" not in do(path, workspace)
    assert card.read_bytes() == before


@pytest.mark.parametrize("cluster", ["{kind: threads, workers: 1}", "{kind: processes, workers: 2}"])
def test_members_do_not_depend_on_the_workers(finished, tmp_path, cluster):
    other = Workspace(tmp_path / "other")
    do(finished[1], other, f"cluster={cluster}", stages=("ingest", "train", "forecast"))
    for model in ("climatology", "persistence"):
        np.testing.assert_array_equal(members(other, model), members(finished[0], model))


def test_members_do_not_depend_on_restarts(finished, tmp_path):
    """Half of the pieces drawn, the rest in a second run, in another order."""
    other = Workspace(tmp_path / "other")
    do(
        finished[1],
        other,
        "forecast.init_times={first: 2000-02-01, last: 2001-09-01, every: 4}",
        stages=("ingest", "train", "forecast"),
    )
    do(finished[1], other, stages=("forecast",))
    later, first = open_ensemble(other, model="persistence"), open_ensemble(finished[0], model="persistence")
    xr.testing.assert_equal(later["sst"].sortby("init_time").load(), first["sst"].load())


def test_a_changed_setting_redoes_only_what_depends_on_it(copied):
    workspace, path = copied
    assert do(
        path, workspace, "events.cold=prob sst.mean(over=box(lat=-5..5, lon=205..225)).mean(time=lead 2) < p33"
    ) == ["forecast", "report"]
    kept = members(workspace, "climatology")
    again = ["train", "hindcast", "calibrate", "forecast"]
    assert do(path, workspace, "models.persistence.kind=climatology", stages=["ingest", *again]) == again
    np.testing.assert_array_equal(members(workspace, "climatology"), kept)


@pytest.mark.parametrize(
    ("setting", "redone"),
    [
        ("reference=[1991, 1997]", ["forecast", "verify", "report"]),  # the thirds that are judged are of its years
        ("points={elsewhere: [0, 220]}", ["report"]),
        ("forecast.model=best", ["report"]),  # the same model, for another reason
    ],
)
def test_what_scores_and_report_show_is_shown_anew(copied, setting, redone):
    workspace, path = copied
    assert do(path, workspace, setting) == redone


def test_a_question_that_cannot_be_answered_keeps_no_other_from_the_report(copied):
    workspace, path = copied
    with pytest.raises(
        TercileError, match=r"index.html is written without .*\n  events.fine: p99 of 8 reference years"
    ):
        do(path, workspace, "events.fine=prob sst.mean(over=box(lat=-5..5, lon=205..225)).mean(time=lead 1) > p99")
    assert list(json.loads((workspace.reports / "answers.json").read_text())["answers"]) == ["warm"]
    assert "p99 of 8 reference years" in (workspace.reports / "index.html").read_text()


def test_one_more_step_issues_one_more_forecast(tmp_path):
    whole = monthly_record()
    whole.isel(time=slice(0, 140)).to_netcdf(tmp_path / "record.nc")
    path, workspace = tmp_path / "small.yaml", Workspace(tmp_path / "ws")
    path.write_text(experiment_text(tmp_path / "record.nc"))
    latest = "forecast.init_times=latest"
    split = "split.test=[[1999, 2000]]"
    do(path, workspace, latest, split)
    first = members(workspace)
    (tmp_path / "record.nc").unlink()
    whole.isel(time=slice(0, 141)).to_netcdf(tmp_path / "record.nc")
    assert do(path, workspace, latest, split) == ["ingest", "forecast", "verify", "report"]
    data = open_ensemble(workspace, model="persistence")
    assert [str(t)[:10] for t in data["init_time"].values] == ["2001-09-01", "2001-10-01"]
    np.testing.assert_array_equal(data["sst"].values[:1], first)


def test_what_is_ingested_while_members_are_drawn_is_left_to_the_next_run(tmp_path, monkeypatch):
    """Else ``latest`` is a month later for the workers than for the row that they fill."""
    whole, latest = monthly_record(), ("forecast.init_times=latest", "split.test=[[1999, 2000]]")
    whole.isel(time=slice(0, 140)).to_netcdf(tmp_path / "record.nc")
    path = tmp_path / "small.yaml"
    path.write_text(experiment_text(tmp_path / "record.nc"))
    alone, disturbed = Workspace(tmp_path / "alone"), Workspace(tmp_path / "disturbed")
    do(path, alone, *latest, stages=("ingest", "train", "forecast"))
    do(path, disturbed, *latest, stages=("ingest", "train"))
    drawing = EnsembleWriter.drawing

    def later(writer, **inputs):
        whole.isel(time=slice(0, 141)).to_netcdf(tmp_path / "later.nc")
        ingest_group(load_experiment(str(path), overrides=longer), disturbed, "obs")
        return drawing(writer, **inputs)

    longer = (*latest, f"sources.obs.paths=[{tmp_path / 'later.nc'}]")
    monkeypatch.setattr(EnsembleWriter, "drawing", later)
    do(path, disturbed, *latest, stages=("forecast",))
    assert open_archive(disturbed, group="obs").sizes["time"] == 141
    xr.testing.assert_equal(
        open_ensemble(disturbed, model="persistence")["sst"].load(), open_ensemble(alone, model="persistence")["sst"]
    )


@pytest.mark.slow
def test_scores_of_a_part_are_not_taken_for_those_of_all(tmp_path, experiment_file):
    workspace, few = Workspace(tmp_path / "ws"), "forecast.init_times=['1999-02-01', '2000-02-01']"
    do(experiment_file, workspace, few, stages=("ingest", "train", "forecast"))

    def judged():
        assert do(experiment_file, workspace, stages=("verify",)) == ["verify"]
        card = json.loads((workspace.reports / "scorecard.json").read_text())
        return card["models"]["persistence"]["sst"][0]["cases"], "calibrated" in card

    assert judged() == (2, False)
    do(experiment_file, workspace, stages=("forecast",))
    assert judged() == (8, False)
    do(experiment_file, workspace, stages=("hindcast", "calibrate"))
    assert judged() == (8, True)
    assert do(experiment_file, workspace, stages=("verify",)) == []


@pytest.mark.slow
def test_a_model_that_was_changed_is_judged_from_the_starts_that_all_hold(tmp_path, experiment_file):
    road, workspace = ("ingest", "train", "forecast", "verify"), Workspace(tmp_path / "ws")
    first, other = (f"forecast.init_times=['{year}-02-01']" for year in (1999, 2000))
    do(experiment_file, workspace, first, stages=road)
    do(experiment_file, workspace, other, "models.persistence={kind: linear_inverse}", stages=road)
    models = json.loads((workspace.reports / "scorecard.json").read_text())["models"]
    assert {name: rows["sst"][0]["cases"] for name, rows in models.items()} == {"climatology": 3, "persistence": 3}


def test_a_card_names_the_snapshot_that_its_model_was_trained_on(tmp_path, experiment_file):
    workspace = Workspace(tmp_path / "ws")
    do(experiment_file, workspace, stages=("ingest",))
    first, then = workspace.snapshot("archive"), datetime.now(UTC).isoformat()
    monthly_record(seed=4).to_netcdf(tmp_path / "corrected.nc")
    do(experiment_file, workspace, f"sources.obs.paths=[{tmp_path / 'corrected.nc'}]", stages=("ingest",))
    assert workspace.snapshot("archive") != first
    do(experiment_file, workspace, f"as_of={then}", stages=("train",))
    (card,) = workspace.models.glob("persistence/*/card.json")
    assert json.loads(card.read_text())["archive_snapshot"] == first


@pytest.mark.parametrize(
    "corrected",
    ["1999-06-01", "1997-03-01"],
    ids=["a state that its members start from", "the pathway of its past alone"],
)
def test_members_of_every_scenario_are_drawn_anew_where_what_they_start_from_was_corrected(tmp_path, corrected):
    record = monthly_record()
    groups = {name: {"kind": "files", "paths": [str(tmp_path / f"{name}.nc")]} for name in ("one", "other")}
    spans = {"train": [1990, 1995], "validate": [1996, 1996], "test": [1999, 2001]}
    changes = {
        "sources": groups,
        "split": {role: [{"group": "one", "years": years}] for role, years in spans.items()},
        "reference": {"group": "one", "years": [1990, 1995]},
        "background": {"covariate": {"kind": "warming", "variable": "sst", "reference": [1990, 1993], "window": 3}},
    }
    path, workspace = tmp_path / "small.yaml", Workspace(tmp_path / "ws")
    path.write_text(experiment_text(tmp_path / "record.nc", **changes))
    experiment = load_experiment(
        str(path), overrides=("forecast.scenarios=[one, other]", "forecast.init_times=['1999-07-01']")
    )

    def inputs(changed=None):
        for name in groups:
            kept = record["sst"].where(record["time"] != np.datetime64(changed or "NaT"), record["sst"] + 1)
            (record.assign(sst=kept.assign_attrs(record["sst"].attrs)) if name == "other" else record).to_netcdf(
                tmp_path / f"{name}.nc"
            )
            ingest_group(experiment, workspace, name)
        system = System(experiment, workspace)
        return system.inputs_hash(forecasts(system), 0, history=1)

    assert inputs() != inputs(corrected)


def test_other_members_or_another_experiment_are_refused_and_named(finished):
    workspace, path = finished
    with pytest.raises(WorkspaceMismatchError, match="members: here 6, asked for 8"):
        do(path, workspace, "forecast.members=8")
    with pytest.raises(WorkspaceMismatchError, match="experiment: here 'small', asked for 'other'"):
        do(path, workspace, "name=other")


def test_another_grid_is_refused_and_leaves_the_archive_as_it_was(copied, tmp_path):
    workspace, path = copied
    before = workspace.snapshot("archive")
    monthly_record(latitudes=6).to_netcdf(tmp_path / "other.nc")
    with pytest.raises(InputRefusedError, match=r"\[same_grid\] obs: latitude: the archive has 5 values"):
        do(path, workspace, f"sources.obs.paths=[{tmp_path / 'other.nc'}]")
    assert workspace.snapshot("archive") == before


def test_test_years_touch_no_fit(finished, tmp_path):
    """Altering the test years changes no byte of a model or a background."""
    altered = monthly_record()
    later = altered["time"].dt.year >= 1999
    altered["sst"] = altered["sst"].where(~later, altered["sst"] + 3).assign_attrs(altered["sst"].attrs)
    altered.to_netcdf(tmp_path / "altered.nc")
    path = tmp_path / "small.yaml"
    path.write_text(experiment_text(tmp_path / "altered.nc"))
    workspace = Workspace(tmp_path / "ws")
    do(path, workspace, stages=("ingest", "train"))
    system = System(load_experiment(str(path)), workspace)
    for model in ("climatology", "persistence"):
        here = system.model_folder(model)
        there = finished[0].models / model / system.fingerprint(model)
        assert (here / "weights.safetensors").read_bytes() == (there / "weights.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("split.test=[[1999, 2010]]", "split: obs 1999–2010 lies outside the data of 'obs', 1990–2001"),
        ("reference=[1980, 1995]", "reference: obs 1980–1995 lies outside the data of 'obs', 1990–2001"),
        ("regions.far=box(lat=80..85, lon=0..10)", r"regions.far: box\(lat=80..85, lon=0..10\) lies outside the grid"),
        ("split.train=[1990, 1991]", "forecast: `model: best` is chosen on hindcasts, which take at least 3 training"),
        ("points.pole=[89, 0]", r"points.pole: point\(89, 0\) lies outside the grid"),
    ],
)
def test_years_and_places_outside_the_data_and_too_few_years_are_refused(tmp_path, experiment_file, setting, message):
    with pytest.raises(TercileError, match=message):
        do(experiment_file, Workspace(tmp_path / "ws"), setting, "forecast.model=best", stages=("ingest", "train"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.assign_coords(latitude=data["latitude"] + 1), "different values of latitude"),
        (lambda data: data.isel(longitude=slice(5)), r"different values of longitude.*the same `process.regrid`"),
        (lambda data: data.assign_coords(level=500.0), "different values of level"),
        (lambda data: data.isel(time=slice(None, None, 12)), "'obs' comes in months, 'other' in years"),
        (lambda data: data.convert_calendar("noleap"), "one calendar; there are 'obs' proleptic_gregorian, 'other' no"),
    ],
)
def test_groups_on_other_axes_than_the_models_are_refused(finished, change, message):
    source = {"kind": "files", "paths": [str(finished[1])]}
    spans = {"test": [{"group": "other", "years": [1999, 2001]}], "train": [{"group": "obs", "years": [1990, 1997]}]}
    settings = {"sources": dict.fromkeys(("obs", "other"), source), "split": spans, "reference": spans["train"][0]}
    text = yaml.safe_load(experiment_text("", **settings))
    text["forecast"] |= {"scenarios": ["obs", "other"]}
    system = System(Experiment.model_validate(text), finished[0])
    held = open_archive(finished[0], group="obs", with_dask=False)
    vars(system)["groups"] = {"obs": held, "other": held}
    check_demands(system)
    vars(system)["groups"] = {"obs": held, "other": change(held)}
    with pytest.raises(TercileError, match=message):
        check_demands(system)


def test_a_forecast_beyond_the_end_of_a_scenario_is_refused_before_anything_is_fitted(finished):
    warming = {"kind": "warming", "variable": "sst", "reference": [1990, 1994]}
    text = yaml.safe_load(experiment_text("", background={"covariate": warming}))
    text["sources"] = dict.fromkeys(("obs", "other"), text["sources"]["obs"])
    spans = {part: [{"group": "obs", "years": years}] for part, years in text["split"].items()}
    text |= {"split": spans, "reference": spans["train"][0]}
    text["forecast"] |= {"scenarios": ["obs", "other"], "init_times": ["1999-01-01"], "leads": 36}
    held = open_archive(finished[0], group="obs", with_dask=False)
    system, short = (System(Experiment.model_validate(text), finished[0]) for _ in range(2))
    vars(system)["groups"] = {"obs": held, "other": held}
    check_demands(system)
    vars(short)["groups"] = {"obs": held, "other": held.isel(time=slice(None, -12))}
    with pytest.raises(TercileError, match=r"36 leads .* beyond 'other', which ends at 2001-01-01.*at most 24 leads"):
        check_demands(short)


def test_a_start_before_the_scenario_says_where_its_history_belongs(tmp_path, experiment_file):
    settings = ["forecast.scenarios=[obs]", "forecast.init_times=['1980-01-01']"]
    message = r"no period of 'obs' ends at 1980-01-01.*; ends go from 1990-02-01.*begins with its historical run"
    with pytest.raises(TercileError, match=message):
        do(experiment_file, Workspace(tmp_path / "ws"), *settings, stages=("ingest", "train", "forecast"))


def test_realizations_that_are_not_there_are_refused(tmp_path):
    monthly_record(realizations=2).to_netcdf(tmp_path / "record.nc")
    path = tmp_path / "small.yaml"
    path.write_text(experiment_text(tmp_path / "record.nc"))
    test = "split.test=[{group: obs, years: [1999, 2001], realizations: [1, 7]}]"
    with pytest.raises(TercileError, match=r"split: 'obs' has realizations \[.*\], not \[7\]"):
        do(path, Workspace(tmp_path / "ws"), test, stages=("ingest", "train"))


def test_the_archive_keeps_where_it_came_from(finished):
    record = json.loads(open_archive(finished[0], group="obs").attrs["provenance"])[0]
    assert record["origins"][0]["source"] == str(finished[1].parent / "record.nc")
    assert len(record["origins"][0]["sha256"]) == 64
    assert record["ingested_at"].startswith("20")


def test_the_scorecard_holds_the_contract(finished):
    card = json.loads((finished[0].reports / "scorecard.json").read_text())
    rows = card["models"]["persistence"]["sst"]
    assert [row["lead_first"] for row in rows] == [1, 2, 3]
    for name in (
        "crps_fair",
        "crps",
        "crps_skill",
        "spread_skill",
        "rmse",
        "cases",
        "crps_skill_low",
        "crps_skill_high",
    ):
        assert name in rows[0]
    assert rows[0]["crps_skill"] > 0.1  # an AR(1) of 0.8 a month is predictable
    assert rows[0]["crps_skill"] > rows[2]["crps_skill"]


def test_questions_are_answered_and_restated_from_the_store_alone(finished):
    question = "prob sst.mean(over=box(lat=-5..5, lon=205..225)).mean(time=lead 1) > p66"
    answer = ask(finished[0], question).to_json()
    assert 0 < answer["interval"]["low"] < answer["interval"]["high"] < 1
    assert answer["members"]["total"] == 6
    assert answer["base_rate"]["value"] == pytest.approx(1 / 3, abs=0.1)
    assert answer["provenance"]["model"]["name"] == "persistence"
    assert "sea surface temperature" in explain_question(finished[0], question)["reads_as"]


def test_a_profile_is_asked_level_by_level(tmp_path):
    sst = monthly_record()["sst"].reset_coords(drop=True)
    attrs = {"units": "m", "standard_name": "geopotential_height"}
    zg = (sst + xr.DataArray([1212.0, 5212.0], dims="plev")).fillna(0.0).assign_attrs(attrs)
    pressure = ("plev", [85000.0, 50000.0], {"units": "Pa", "standard_name": "air_pressure"})
    zg.to_dataset(name="zg").assign_coords(plev=pressure).to_netcdf(tmp_path / "record.nc")
    low, high = (f"prob zg{level}.mean(over=point(0, 215)).mean(time=lead 1) > p66" for level in (850, 500))
    path, workspace = tmp_path / "levels.yaml", Workspace(tmp_path / "ws")
    path.write_text(experiment_text(tmp_path / "record.nc", variables=["zg"], events={"low": low, "high": high}))
    do(path, workspace, stages=tuple(stage for stage in STAGES if stage not in ("verify", "report")))
    answers = [ask(workspace, question).to_json() for question in (low, high)]
    drawn = open_ensemble(workspace, model="persistence", calibrated=True).isel(init_time=-1, lead_time=0)
    assert drawn["level"].attrs["units"] == "hPa"
    for level, answer in zip((850, 500), answers, strict=True):
        (limit,) = (row["value"] for row in answer["question"]["resolved"]["thresholds"])
        above = drawn["zg"].sel(level=level, latitude=0, longitude=215) > limit
        assert answer["members"]["event"] == int(above.sum())
        assert f"geopotential height at {level} hPa" in answer["question"]["reads_as"]
    with pytest.raises(TercileError, match=r"No variable 'zg'.*zg850 .*zg500"):
        ask(workspace, high.replace("zg500", "zg"))


def test_six_hourly_forecasts_follow_the_hour_of_the_day(tmp_path):
    """Noon is 8 K warmer than midnight and the noise has half a kelvin: no member may miss the hour."""
    time = xr.date_range("1990-01-01", "1993-12-31T18", freq="6h", calendar="noleap", use_cftime=True)
    hour = np.array([date.hour for date in time])
    noise = np.random.default_rng(0).normal(0, 0.5, (time.size, 3, 4))
    sst = 290 - 4 * np.cos(2 * np.pi * hour / 24)[:, None, None] + noise
    axes = {"lat": ("lat", [0.0, 5, 10], {"units": "degrees_north"}), "lon": ("lon", [0.0, 5, 10, 15])}
    axes["lon"] = (*axes["lon"], {"units": "degrees_east"})
    record = xr.Dataset(
        {"sst": (("time", "lat", "lon"), sst.astype("float32"), {"units": "K"})}, {"time": time, **axes}
    )
    record.to_netcdf(tmp_path / "record.nc")
    split = {"train": [1990, 1991], "validate": [1992, 1992], "test": [1993, 1993]}
    text = yaml.safe_load(experiment_text(tmp_path / "record.nc", split=split, reference=[1990, 1992], events={}))
    text["forecast"] |= {"init_times": ["1993-07-01"], "leads": 8, "members": 8}
    (tmp_path / "hours.yaml").write_text(yaml.safe_dump(text))
    workspace = Workspace(tmp_path / "ws")
    do(tmp_path / "hours.yaml", workspace, stages=("ingest", "train", "forecast"))
    for model in ("climatology", "persistence"):
        mean = open_ensemble(workspace, model=model)["sst"].mean(("init_time", "member", "latitude", "longitude"))
        np.testing.assert_allclose(mean, 2 * [286, 290, 294, 290], atol=0.5)
