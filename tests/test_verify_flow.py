"""Verification and report in the road, with real Prefect and real stores."""

import json
import shutil

import numpy as np
import pytest
import yaml

from flows.experiment_file import load_experiment
from flows.findings import failure_findings, read_background
from flows.progress import Reporter
from flows.run import run
from flows.system import System
from flows.verify import _told, is_calibrated, judge_models, lead_blocks, opened
from pipeline.ensembles import open_ensemble
from pipeline.errors import TercileError
from pipeline.judging.comparison import compare_runs
from pipeline.judging.evidence import read_evidence
from pipeline.judging.failures import Finding
from pipeline.workspace import Workspace
from tests.conftest import experiment_text, monthly_record

pytestmark = pytest.mark.usefixtures("prefect_server")
STAGES = ("ingest", "train", "forecast", "verify", "report")


@pytest.fixture(scope="module")
def verified(tmp_path_factory, prefect_server):
    """A workspace whose forecasts have met their truth: monthly starts, three leads, no hindcasts."""
    folder = tmp_path_factory.mktemp("verified")
    monthly_record(years=40).to_netcdf(folder / "record.nc")
    text = yaml.safe_load(experiment_text(folder / "record.nc"))
    text["forecast"]["init_times"]["every"] = 2
    text["split"]["test"] = [1999, 2029]  # long enough to be checked against: months are not independent
    text["hindcast"] = {"models": []}
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(text))
    workspace, experiment = Workspace(folder / "ws"), load_experiment(str(path))
    run(experiment, workspace, reporter=Reporter(), stages=STAGES)
    return workspace, experiment


@pytest.fixture(scope="module")
def card(verified):
    return json.loads((verified[0].reports / "scorecard.json").read_text())


def test_the_scorecard_keeps_its_contract_and_gains_what_a_forecaster_asks(card):
    row = card["models"]["persistence"]["sst"][0]
    contract = {"crps", "crps_fair", "crps_skill", "crps_skill_low", "crps_skill_high", "spread_skill", "rmse", "cases"}
    assert contract <= set(row)
    assert {"overall", "terciles", "realism", "checks", "models_warnings", "lead_blocks"} <= set(card)
    assert len(card["models"]["persistence"]["sst"]) == 3
    assert len(card["overall"]["persistence"]["sst"]) == 1
    assert row["crps_skill"] > 0.1  # the record remembers 0.8 of a month
    tercile = card["terciles"]["models"]["persistence"]["sst"][0]
    assert tercile["rpss"] > 0
    assert tercile["below"]["roc_area"] > 0.7
    assert row["anomaly_correlation"] > 0.5
    assert "calibrated" not in card


def test_evidence_holds_maps_of_every_model_but_the_reference(verified):
    held = read_evidence(verified[0].reports / "evidence.nc")
    assert set(held) == {"climatology", "persistence"}
    assert held["persistence"]["maps"].sizes["lead"] == 3
    assert not held["climatology"]["maps"].data_vars
    assert int(held["persistence"]["maps"]["cases"].isel(latitude=0, longitude=0).max()) == 0  # land
    assert int(held["persistence"]["maps"]["cases"].max()) > 10


def test_the_report_shows_it_and_fetches_nothing(verified):
    page = (verified[0].reports / "index.html").read_text()
    assert 'id="figure-skillmap-sst-persistence-1-3"' in page
    assert 'id="figure-reliability-sst-above"' in page
    assert "persistence issues: the experiment names it" in page
    assert "persistence on sst: better than climatology" in page
    assert "src=" not in page


def test_verifying_twice_gives_the_same_file(verified, tmp_path):
    workspace, experiment = verified
    shutil.copytree(workspace.root, tmp_path / "ws")
    again = Workspace(tmp_path / "ws")
    shutil.rmtree(again.reports)
    run(experiment, again, reporter=Reporter(), stages=("verify",))
    assert (again.reports / "scorecard.json").read_text() == (workspace.reports / "scorecard.json").read_text()
    assert {row["gain"] for row in compare_runs(workspace, again)["rows"]} == {0.0}


def test_a_model_that_was_never_calibrated_is_judged_raw_alone(verified):
    system = System(verified[1], verified[0])
    assert not is_calibrated(system, "persistence")
    assert set(judge_models(system, Reporter())) == {"raw"}
    with pytest.raises(TercileError, match="not calibrated yet"):
        opened(system, "persistence", calibrated=True)
    assert lead_blocks(system) is None


def test_checks_find_a_collapsed_ensemble_and_pass_a_good_one(verified):
    system = System(verified[1], verified[0])
    members = open_ensemble(verified[0], model="climatology").load()
    passed = {finding.name: finding for finding in failure_findings(system, "climatology", members)}
    assert set(passed) == {"spread collapse", "mode collapse"}  # too short for drift, and no network
    assert not [finding for finding in passed.values() if finding.raised]
    mean = members["sst"].mean("member")
    collapsed = members.assign(sst=(mean + 0.1 * (members["sst"] - mean)).transpose(*members["sst"].dims))
    raised = {finding.name for finding in failure_findings(system, "climatology", collapsed) if finding.raised}
    assert "spread collapse" in raised


def test_a_finding_that_is_not_finite_is_told_in_plain_json():
    told = _told(Finding("drift", float("inf"), 0.5, True, "the rollout holds missing or infinite values"))
    assert json.loads(json.dumps(told, allow_nan=False))["value"] is None


def test_backgrounds_are_read_without_their_models(verified):
    system = System(verified[1], verified[0])
    background = read_background(system, "persistence")
    assert dict(background.transforms) == {"sst": "none"}
    assert np.isnan(background.mean["sst"][:, 0, 0]).all()  # land
    assert np.isfinite(background.mean["sst"][:, 1, 1]).all()


def test_forecasts_that_met_no_truth_make_an_honest_scorecard(verified, tmp_path):
    experiment = verified[1].model_copy(update={"split": verified[1].split.model_copy(update={"test": [
        verified[1].split.test[0].model_copy(update={"years": (2001, 2001)})
    ]})})  # fmt: skip
    config = experiment.forecast.model_copy(update={"init_times": ["1999-02-01"]})
    experiment = experiment.model_copy(update={"forecast": config})
    workspace = Workspace(tmp_path / "ws")
    run(experiment, workspace, reporter=Reporter(), stages=STAGES)
    card = json.loads((workspace.reports / "scorecard.json").read_text())
    assert card["models"] == {}
    assert card["reason"] == "no forecast of the test years has met its truth yet"
    assert "Nothing could be scored yet" in (workspace.reports / "index.html").read_text()


def test_too_few_independent_held_out_fields_check_nothing(verified):
    workspace, experiment = verified
    span = experiment.split.test[0].model_copy(update={"years": (1999, 2001)})
    split = experiment.split.model_copy(update={"test": [span]})
    system = System(experiment.model_copy(update={"split": split}), workspace)
    assert failure_findings(system, "climatology", open_ensemble(workspace, model="climatology")) == []
