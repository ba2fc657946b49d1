"""Hindcasts and calibration on the whole road: out of fold, apart from the test years, applied on reading, exported."""

import json
import re

import numpy as np
import pytest
import xarray as xr

from flows.calibrate import hindcast_truth
from flows.experience import beyond_experience
from flows.experiment_file import load_experiment
from flows.findings import read_background
from flows.progress import Reporter
from flows.run import run
from flows.starts import hindcasts
from flows.system import System, least
from flows.train import fit_system_background
from pipeline.answers.issued import ask
from pipeline.ensembles import open_background, open_ensemble
from pipeline.errors import TercileError
from pipeline.export import export_members
from pipeline.judging.scores import crps_ensemble
from pipeline.periods import dates
from pipeline.products import open_calibration
from pipeline.workspace import Workspace
from tests.conftest import experiment_text, monthly_record

pytestmark = pytest.mark.usefixtures("prefect_server")
LEARNING = ("ingest", "train", "hindcast", "calibrate")
MODEL = "persistence"
CHANGED = "climatology"
"""A model whose members calibration does not leave as they are."""


def learn(folder, record, stages=LEARNING, **changes):
    folder.mkdir(parents=True, exist_ok=True)
    record.to_netcdf(folder / "record.nc")
    (folder / "small.yaml").write_text(experiment_text(folder / "record.nc", **changes))
    experiment, workspace = load_experiment(str(folder / "small.yaml")), Workspace(folder / "ws")
    run(experiment, workspace, reporter=Reporter(), stages=stages)
    return System(experiment, workspace)


@pytest.fixture(scope="module")
def learnt(tmp_path_factory, prefect_server):
    return learn(tmp_path_factory.mktemp("learnt"), monthly_record(), (*LEARNING, "forecast"))


def hindcast(system, model=MODEL, **kwargs):
    return open_ensemble(
        system.workspace, model=model, kind="hindcast", fingerprint=system.fingerprint(model), **kwargs
    )


def test_only_a_model_that_stops_early_keeps_the_validation_years_out_of_its_background(learnt):
    early, other = (fit_system_background(learnt, None, stops_early=stops)[0] for stops in (True, False))
    mine = read_background(learnt, MODEL)
    np.testing.assert_array_equal(mine.mean["sst"], other.mean["sst"])
    assert np.nanmax(np.abs(mine.mean["sst"] - early.mean["sst"])) > 0


def test_no_fit_has_seen_what_its_hindcasts_are_judged_by(learnt):
    starts = hindcasts(learnt, MODEL)
    held = learnt.groups["obs"]
    train = learnt.mask("obs", learnt.experiment.split.train)
    position = {start: row for row, start in enumerate(dates(held["time_bnds"])[:, 0])}
    seen_by = {fold.years: train & ~fold.unseen(learnt, "obs") for fold in starts.folds}
    for number, init in enumerate(starts.init_times):
        valid = position[init] + np.arange(starts.leads)
        assert train[valid].all()
        assert not seen_by[starts.fold_of(number).years][valid].any()
    assert [fold.years for fold in starts.folds] == [(1990, 1992), (1993, 1995), (1996, 1997)]
    assert {date.month for date in starts.init_times} == set(range(1, 13))
    gaps = [np.flatnonzero(fold.unseen(learnt, "obs")) for fold in starts.folds]
    assert [part.size for part in gaps] == [36 + 3, 36 + 6, 24 + 6]


def test_hindcasts_are_stored_with_their_folds_and_their_own_background(learnt):
    data, starts = hindcast(learnt), hindcasts(learnt, MODEL)
    assert data["fold"].values.tolist() == starts.fold.tolist()
    assert data["sst"].dims == ("init_time", "lead_time", "member", "latitude", "longitude")
    assert int(data["sst"].isnull().sum()) == data["sst"].size // 35  # one of 35 cells is land
    kinds = dict(model=MODEL, fingerprint=learnt.fingerprint(MODEL))
    expected, deviation = open_background(learnt.workspace, kind="hindcast", **kinds)
    assert expected["sst"].dims == ("init_time", "lead_time", "latitude", "longitude")
    months = data["valid_time"].dt.month.isel(lead_time=0).values
    early, late = (data["fold"].values == number for number in (0, 2))
    july = expected["sst"].isel(lead_time=0, latitude=2, longitude=2).values
    shared = set(months[early]) & set(months[late])
    assert shared
    assert all(july[early & (months == m)][0] != july[late & (months == m)][0] for m in shared)
    assert float(deviation["sst"].min()) > 0


def test_the_truth_of_hindcasts_is_the_training_record_and_nothing_else(learnt):
    data, starts = hindcast(learnt), hindcasts(learnt, MODEL)
    truth = hindcast_truth(learnt, starts, "sst", data).compute()
    record = learnt.groups["obs"]["sst"]
    for row, lead in ((0, 0), (5, 2), (-1, 1)):
        label = data["valid_time"].values[row, lead]
        np.testing.assert_array_equal(truth.isel(init_time=row, lead_time=lead), record.sel(time=label))
    assert int(data["valid_time"].dt.year.max()) <= 1997


def test_altered_test_years_change_no_byte_of_what_was_learnt(learnt, tmp_path):
    record = monthly_record()
    record["sst"][{"time": slice(108, None)}] += 3.0
    other = learn(tmp_path, record)
    for model in learnt.experiment.models:
        assert other.fingerprint(model) == learnt.fingerprint(model)
        files = [path.relative_to(learnt.workspace.models) for path in learnt.workspace.models.rglob("*.safetensors")]
        assert len(files) == 2 * (1 + 3)
        for name in files:
            assert (other.workspace.models / name).read_bytes() == (learnt.workspace.models / name).read_bytes()
        mine, theirs = (hindcast(system, model)["sst"].values for system in (learnt, other))
        np.testing.assert_array_equal(mine, theirs)
        mine, theirs = (coefficients(system, model).values for system in (learnt, other))
        np.testing.assert_array_equal(mine, theirs)


def coefficients(system, model=MODEL):
    found = open_calibration(system.workspace, model=model, fingerprint=system.fingerprint(model))
    return found["sst"].compute()


def test_altered_years_of_a_fold_change_no_byte_of_its_models(learnt, tmp_path):
    record = monthly_record()
    record["sst"][{"time": slice(0, 36)}] += 2.0
    other = learn(tmp_path, record, ("ingest", "train", "hindcast"))
    for model in learnt.experiment.models:
        weights = [
            next((s.model_folder(model) / "folds").glob("1990-1992-*/weights.safetensors")) for s in (learnt, other)
        ]
        assert weights[0].read_bytes() == weights[1].read_bytes()
        weights = [s.model_folder(model) / "weights.safetensors" for s in (learnt, other)]
        assert weights[0].read_bytes() != weights[1].read_bytes()


def test_calibrated_members_are_read_where_raw_ones_are_stored(learnt):
    raw = open_ensemble(learnt.workspace, model=CHANGED)
    calibrated = open_ensemble(str(learnt.workspace.root), model=CHANGED, calibrated=True)
    assert calibrated["sst"].dims == raw["sst"].dims
    assert calibrated["sst"].attrs == raw["sst"].attrs
    xr.testing.assert_identical(calibrated["valid_time"], raw["valid_time"])
    values, before = calibrated["sst"].compute(), raw["sst"].compute()
    assert not np.array_equal(values, before, equal_nan=True)
    np.testing.assert_array_equal(values.isnull(), before.isnull())
    about = calibrated.attrs["calibration"]
    assert about["members"] == 6
    assert about["hindcasts"] == hindcasts(learnt, CHANGED).init_times.size
    assert [row["lead_first"] for row in about["learnt"]["sst"]] == [1, 2, 3]


def test_calibration_does_on_stored_members_what_its_formula_says(learnt):
    kinds = dict(model=CHANGED, fingerprint=learnt.fingerprint(CHANGED))
    expected, deviation = open_background(learnt.workspace, kind="forecast", **kinds)
    raw, calibrated = (open_ensemble(learnt.workspace, model=CHANGED, calibrated=is_on) for is_on in (False, True))
    place = dict(init_time=2, lead_time=1, latitude=3, longitude=4)
    season = (int(raw["valid_time"].dt.month[2, 1]) % 12) // 3
    own = coefficients(learnt, CHANGED).sel(fold=-1).isel(lead_time=1, season=season, latitude=3, longitude=4)
    alpha, beta, tau = own.values
    e, d = (float(part["sst"].isel(place)) for part in (expected, deviation))
    x = (raw["sst"].isel(place).values - e) / d
    wanted = e + d * (alpha + beta * x.mean() + tau * (x - x.mean()))
    np.testing.assert_allclose(calibrated["sst"].isel(place).values, wanted, rtol=1e-6)


def test_calibrated_hindcasts_are_no_worse_than_raw_ones(learnt):
    starts = hindcasts(learnt, MODEL)
    truth = hindcast_truth(learnt, starts, "sst", hindcast(learnt))
    raw, calibrated = (
        float(crps_ensemble(hindcast(learnt, calibrated=is_on)["sst"], truth, fair=False).mean())
        for is_on in (False, True)
    )
    assert calibrated < 1.01 * raw


def test_a_second_run_learns_nothing_again_and_a_changed_fold_does(learnt):
    before = learnt.workspace.snapshot("products")
    assert run(learnt.experiment, learnt.workspace, reporter=Reporter(), stages=LEARNING) == []
    assert learnt.workspace.snapshot("products") == before


@pytest.mark.slow
def test_hindcasts_of_other_folds_are_calibrated_and_judged_by_their_own(tmp_path):
    before = {"folds": 4, "starts": 20}
    learn(tmp_path, monthly_record(), (*LEARNING, "forecast"), hindcast=before)
    system = learn(tmp_path, monthly_record(), (*LEARNING, "forecast"), hindcast={"folds": 2, "starts": 13})
    starts = hindcasts(system, MODEL)
    assert hindcast(system)["fold"].values.tolist() == starts.fold.tolist()
    assert coefficients(system)["fold"].values.tolist() == [-1, 0, 1]
    assert np.isfinite(hindcast(system, calibrated=True)["sst"].isel(latitude=2, longitude=2)).all()
    alone = learn(tmp_path / "alone", monthly_record(), LEARNING, hindcast={"folds": 2, "starts": 13})
    np.testing.assert_array_equal(coefficients(system), coefficients(alone))
    question = "prob sst.mean(over=box(lat=-5..5, lon=205..225)).mean(time=lead 1) > 288 K"
    assert len(ask(system.workspace, question).to_json()["skill"]["past"]) <= starts.init_times.size


def test_without_hindcasts_calibrated_members_are_refused_with_a_remedy(tmp_path):
    system = learn(tmp_path, monthly_record(), (*LEARNING, "forecast"), hindcast={"models": []})
    assert hindcasts(system, MODEL) is None
    with pytest.raises(TercileError, match=r"not calibrated yet\. Run `tercile hindcast`"):
        open_ensemble(system.workspace, model=MODEL, calibrated=True)


def test_the_card_of_a_folds_model_says_what_it_has_not_seen(learnt):
    cards = [
        json.loads(path.read_text()) for path in sorted((learnt.model_folder(MODEL) / "folds").glob("*/card.json"))
    ]
    assert [card["left_out"] for card in cards] == ["1990-1992-gap3", "1993-1995-gap3", "1996-1997-gap3"]


def test_a_folds_share_of_the_record_counts_its_gaps(learnt):
    """Of nine years of months, one of them for validation; the last fold ends where the training years do."""
    shares = [fold.share_seen(learnt) for fold in hindcasts(learnt, MODEL).folds]
    assert shares == [1 - 39 / 108, 1 - 42 / 108, 1 - 30 / 108]


def test_the_best_of_the_hindcasts_issues_and_may_speak_of_probability(learnt):
    """An AR(1) field is forecast by persistence; climatology is the worse of the two."""
    experiment = load_experiment(
        str(learnt.workspace.root.parent / "small.yaml"), overrides=["forecast.model=best", "hindcast.starts=20"]
    )
    assert System(experiment, learnt.workspace).issuing == MODEL
    answer = ask(learnt.workspace, "prob sst.mean(over=box(lat=-5..5, lon=205..225)).mean(time=lead 1) > p66")
    payload = answer.to_json()
    assert payload["calibration"]["state"] == "calibrated"
    assert 1 < payload["skill"]["cases"] <= hindcasts(learnt, MODEL).init_times.size  # starts of the same season


def test_a_model_that_ties_with_the_reference_issues_in_its_place():
    scores = {"climatology": 0.5906, "linear": 0.5907, "blocks": 0.5911, "network": 0.61}
    assert least(scores, reference="climatology") == "linear"
    assert least(scores | {"climatology": 0.58}, reference="climatology") == "climatology"
    assert least(scores, reference="blocks") == "climatology"


def test_the_best_cannot_be_chosen_without_hindcasts(tmp_path):
    monthly_record().to_netcdf(tmp_path / "record.nc")
    path = tmp_path / "small.yaml"
    path.write_text(experiment_text(tmp_path / "record.nc", hindcast={"models": []}))
    with pytest.raises(TercileError, match="`model: best` is chosen on hindcasts"):
        load_experiment(str(path), overrides=["forecast.model=best"])


def test_no_hindcast_starts_before_what_a_folds_fit_may_look_at(tmp_path):
    """A fold may choose three lags where the fit of all years chose one; the record begins with 1990."""
    models = {"climatology": {"kind": "climatology"}, MODEL: {"kind": "vector_autoregressive"}}
    system = learn(tmp_path, monthly_record(), ("ingest", "train"), models=models)
    assert system.history(MODEL) == 1
    assert hindcasts(system, MODEL).init_times.min().isoformat() >= "1990-04-01"
    assert hindcasts(system, "climatology").init_times.min() == hindcasts(system, MODEL).init_times.min()


def test_starts_go_through_all_seasons_of_a_year_of_360_days(tmp_path):
    """Of 2880 days every 48th would be a start, on fifteen days of the year alone."""
    days = xr.date_range("1990-01-01", periods=12 * 360, calendar="360_day", use_cftime=True)
    record = monthly_record(years=360).assign_coords(time=days)
    models = {"climatology": {"kind": "climatology"}}
    changes = {"models": models, "events": {}, "forecast": {"model": "climatology", "leads": 3, "members": 4}}
    system = learn(tmp_path, record, ("ingest", "train"), hindcast={"folds": 3, "starts": 59}, **changes)
    found = hindcasts(system, "climatology").init_times
    assert len({(date.month, date.day) for date in found}) == len(found) > 50


def test_members_start_from_the_run_that_judges_them(tmp_path):
    """Training and hindcasts are of run 0, the test is of run 1; three degrees tell their states apart."""
    record = monthly_record(realizations=2)
    record["sst"][{"realization": 1, "time": slice(108, None)}] += 3.0
    spans = {
        "train": [{"group": "obs", "years": [1990, 1997], "realizations": [0]}],
        "test": [{"group": "obs", "years": [1999, 2001], "realizations": [1]}],
    }
    reference = {"group": "obs", "years": [1990, 1997], "realizations": [0]}
    system = learn(tmp_path, record, (*LEARNING, "forecast"), split=spans, reference=reference)
    members = open_ensemble(system.workspace, model=MODEL)["sst"].isel(lead_time=0).mean("member")
    truth = record["sst"].isel(realization=1).sel(time=slice("1999", "2001"))
    cycle = 5 * np.cos(2 * np.pi * (members["valid_time"].dt.month - 1) / 12)
    assert float((members - cycle).mean() - truth.mean()) == pytest.approx(0.0, abs=0.9)
    assert float(hindcast(system)["sst"].mean()) == pytest.approx(288, abs=0.9)
    assert "hindcast_run" not in system.issue()


@pytest.mark.slow
def test_an_answer_judges_hindcasts_by_the_run_that_they_started_from(tmp_path):
    """Run 0 is colder by ten degrees: judged by it, no hindcast of run 1 would ever have come true."""
    record = monthly_record(realizations=2)
    record["sst"][{"realization": 0}] -= 10.0
    spans = {
        "train": [{"group": "obs", "years": [1990, 1997], "realizations": [1]}],
        "test": [{"group": "obs", "years": [1999, 2001], "realizations": [1]}],
    }
    reference = {"group": "obs", "years": [1990, 1997], "realizations": [1]}
    system = learn(tmp_path, record, (*LEARNING, "forecast"), split=spans, reference=reference)
    assert system.issue()["hindcast_run"] == 1
    answer = ask(system.workspace, "prob sst.mean(over=box(lat=-5..5, lon=205..225)).mean(time=lead 1) > p66")
    assert {case["happened"] for case in answer.to_json()["skill"]["past"]} == {False, True}


def test_a_start_that_lacks_what_training_had_is_said(tmp_path, capsys):
    """Of the starts, that of June 2000 lacks a cell; later ones are added, and later still the cell is mended."""
    record, stages = monthly_record(), ("ingest", "train", "forecast")
    record["sst"][{"time": 124, "lat": 2, "lon": 3}] = np.nan  # May 2000; the cell at 0, 0 never had a value
    earlier, few = ["2000-02-01", "2000-06-01"], {"model": MODEL, "leads": 3, "members": 6, "block": 4}
    system = learn(tmp_path, record, stages, forecast={**few, "init_times": earlier})
    told = capsys.readouterr().err
    assert "persistence: 1 of 2 starts lack values of sst that training had, up to 1 of them" in told
    learn(tmp_path, record, stages, forecast={**few, "init_times": [*earlier, "2000-10-01"]})
    assert incomplete_starts(system) == {
        "2000-06": [
            "obs: the state at 2000-06-01 lacks 1 of 34 values of sst that training had; there the forecast begins "
            "from what is usual."
        ]
    }
    learn(tmp_path, monthly_record(), stages, forecast={**few, "init_times": earlier})
    assert incomplete_starts(system) == {}


def incomplete_starts(system):
    """By month of the start, what answers warn of its state."""
    found, question = {}, "prob sst.mean(over=point(0, 210)).mean(time=lead 1) > 1 K"
    for start in ("2000-02", "2000-06", "2000-10"):
        payload = ask(system.workspace, f"{question} forecast fc-{start}")
        texts = [one["text"] for one in payload.to_json()["warnings"] if one["code"] == "start_incomplete"]
        found |= {start: texts} if texts else {}
    return found


def test_a_projection_ends_with_the_record_where_no_forcing_is_known_beyond(tmp_path):
    """Of 32 years in three folds the last has one year less than the others."""
    record = monthly_record(years=32).groupby("time.year").mean().rename(year="time")
    record = record.assign_coords(time=xr.date_range("1990-01-01", periods=32, freq="YS"))
    record["sst"].attrs = monthly_record()["sst"].attrs
    files = {name: tmp_path / f"{name}.nc" for name in ("known", "other")}
    for path in files.values():
        record.to_netcdf(path)
    years = {"years": [1990, 2021]}
    system = learn(
        tmp_path / "system",
        record,
        LEARNING,
        sources={name: {"kind": "files", "paths": [str(path)]} for name, path in files.items()},
        split={"train": [{"group": "known", **years}], "test": [{"group": "other", **years}]},
        reference={"group": "known", **years},
        background={"covariate": {"kind": "warming", "variable": "sst", "reference": [1990, 1992]}},
        models={"climatology": {"kind": "climatology", "block": 2}},
        forecast={"model": "climatology", "scenarios": ["other"], "init_times": ["1991-01-01"], "leads": 20},
        hindcast={"folds": 3, "gap": 1},
        events={},
    )
    starts = hindcasts(system, "climatology")
    assert [date.year for date in starts.init_times] == [1991, 2001, 2012]
    assert starts.leads == 10
    assert beyond_experience(system) == {}
    fewer = ["split.train=[{group: known, years: [1990, 1994]}]", "background.covariate.window=1"]
    system = System(load_experiment(str(tmp_path / "system" / "small.yaml"), overrides=fewer), system.workspace)
    said = system.issue()["extrapolated"]["other"]
    range_of = r"\S+ to \S+ K"
    assert re.match(f"other: its warming goes from {range_of}, models were fitted on {range_of}: beyond", said["text"])
    assert f"from {said['since']}, " in said["text"]
    assert "1991-01-01" <= said["since"] <= "2010-01-01"


def reread(path):
    return xr.open_dataset(path, decode_times=xr.coders.CFDatetimeCoder(time_unit="s"), decode_timedelta=False)


@pytest.mark.parametrize("calibrated", [True, False])
def test_an_exported_ensemble_is_the_one_that_is_stored(learnt, tmp_path, calibrated):
    path = export_members(learnt.workspace, tmp_path / "out" / "members.nc", calibrated=calibrated)
    stored = open_ensemble(learnt.workspace, model=MODEL, calibrated=calibrated)
    with reread(path) as found:
        np.testing.assert_array_equal(found["sst"], stored["sst"])
        assert found["sst"].attrs["units"] == "K"
        assert found["lead_time"].attrs["units"] == "months"
        assert found["lead_time"].values.tolist() == [1, 2, 3]
        xr.testing.assert_equal(found["valid_time"].drop_vars("valid_time_bnds", errors="ignore"), stored["valid_time"])
        assert found.attrs["members"] == ("calibrated" if calibrated else "as drawn")
    assert [item.name for item in path.parent.iterdir()] == ["members.nc"]


def test_leads_of_several_hours_are_of_that_length_to_other_tools(learnt, tmp_path, monkeypatch):
    stored = open_ensemble(learnt.workspace, model=MODEL)
    stored["lead_time"].attrs |= {"units": "hours", "step": 6}
    monkeypatch.setattr("pipeline.export.open_ensemble", lambda *_, **__: stored)
    with reread(export_members(learnt.workspace, tmp_path / "x.nc", calibrated=False)) as found:
        assert found["lead_time"].attrs["units"] == "6 hours"


def test_hindcasts_and_other_models_can_be_exported_too(learnt, tmp_path):
    path = export_members(learnt.workspace, tmp_path / "h.nc", model="climatology", kind="hindcast", calibrated=False)
    with reread(path) as found:
        assert found.sizes["init_time"] == 19
        assert found["fold"].max() == 2


def test_nothing_issued_is_told(tmp_path):
    with pytest.raises(TercileError, match=r"issued nothing yet|has no products"):
        export_members(Workspace(tmp_path / "ws"), tmp_path / "x.nc")
