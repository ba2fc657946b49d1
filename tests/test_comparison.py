import json

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

from flows.cli import app
from pipeline.errors import TercileError
from pipeline.judging.comparison import compare_runs
from pipeline.judging.evidence import save_evidence
from pipeline.judging.judgement import Benchmark, judge
from pipeline.workspace import Workspace
from tests.test_skill_maps import system, truth_of


def verified(folder, *, truth_seed=99, models=("persistence",), kind="raw", step=1, **how):
    """A workspace as `tercile verify` leaves it, as far as a comparison reads it."""
    members = system(**{"inits": 24, **how})
    members["lead_time"].attrs["step"] = step
    truth = {"tas": truth_of(system(inits=24, leads=members.sizes["lead_time"]), seed=truth_seed)}
    truth = {
        "tas": truth["tas"]
        .isel(init_time=slice(members.sizes["init_time"]))
        .assign_coords(members.isel(member=0).coords)
    }
    normal = {"tas": truth["tas"] * 0}
    edges = {"tas": xr.concat([normal["tas"] - 0.4, normal["tas"] + 0.4], "edge")}
    found = judge(members.to_dataset(name="tas"), Benchmark(truth, normal, edges, edges), reference=None)
    workspace = Workspace(folder)
    save_evidence(workspace.reports / "evidence.nc", {kind: dict.fromkeys(models, found)})
    (workspace.reports / "scorecard.json").write_text(json.dumps({"lead_blocks": None}))
    return workspace


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    return verified(tmp_path_factory.mktemp("first"), seed=1)


@pytest.fixture(scope="module")
def biased(tmp_path_factory):
    return verified(tmp_path_factory.mktemp("biased"), seed=2, error=1.0, columns=slice(None))


def test_a_run_does_not_differ_from_itself(first):
    found = compare_runs(first, first)
    assert [row["lead"] for row in found["rows"]] == ["1", "2"]
    for row in found["rows"]:
        assert (row["gain"], row["gain_low"], row["gain_high"], row["p_value"]) == (0, 0, 0, None)
        assert row["crps_first"] == row["crps_second"]
        assert (row["cases"], row["unpaired"]) == (24, 0)


def test_a_worse_run_is_found_worse_with_an_interval_and_a_small_p_value(first, biased):
    for row in compare_runs(first, biased)["rows"]:
        assert row["gain"] == pytest.approx(1 - row["crps_second"] / row["crps_first"])
        assert row["gain_high"] < 0
        assert row["p_value"] < 0.01
    for row in compare_runs(biased, first)["rows"]:
        assert row["gain_low"] > 0


def test_only_shared_starts_are_paired_and_the_rest_is_counted(first, tmp_path):
    shorter = verified(tmp_path / "second", seed=2, inits=15)
    for row in compare_runs(first, shorter)["rows"]:
        assert (row["cases"], row["unpaired"]) == (15, 0)


def test_other_sizes_are_compared_on_the_fair_score_unless_calibrated(first, tmp_path):
    larger = verified(tmp_path / "second", seed=2, size=12)
    assert {row["score"] for row in compare_runs(first, larger)["rows"]} == {"crps_fair"}
    one = verified(tmp_path / "third", seed=1, kind="calibrated")
    other = verified(tmp_path / "fourth", seed=2, size=12, kind="calibrated")
    with pytest.raises(TercileError, match="8 and 12 calibrated members"):
        compare_runs(one, other)
    assert {row["model"] for row in compare_runs(one, one)["rows"]} == {"persistence, calibrated"}


def test_what_cannot_be_compared_is_said(first, tmp_path):
    with pytest.raises(TercileError, match="leads 1–2 days in the first run, 1–3 days in the second"):
        compare_runs(first, verified(tmp_path / "leads", leads=3))
    weekly = verified(tmp_path / "weeks", step=7)
    assert compare_runs(weekly, weekly)["rows"][0]["lead_units"] == "steps of 7 days"
    with pytest.raises(TercileError, match="leads 1–2 days in the first run, 1–2 steps of 7 days in the second"):
        compare_runs(first, weekly)
    with pytest.raises(TercileError, match="judged by another truth"):
        compare_runs(first, verified(tmp_path / "truth", truth_seed=7))
    with pytest.raises(TercileError, match=r"share no model: persistence and persistance.* Did you mean"):
        compare_runs(first, verified(tmp_path / "names", models=("persistance",)))
    with pytest.raises(TercileError, match=r"is not there\. Run `tercile verify`"):
        compare_runs(first, Workspace(tmp_path / "nothing"))
    empty = Workspace(tmp_path / "empty")
    save_evidence(empty.reports / "evidence.nc", {})
    with pytest.raises(TercileError, match="scored nothing yet"):
        compare_runs(first, empty)


def test_starts_that_never_meet_are_refused(first, tmp_path):
    later = verified(tmp_path / "second", seed=2)
    tree = xr.open_datatree(later.reports / "evidence.nc", engine="netcdf4").load()
    tree.close()
    moved = tree.map_over_datasets(
        lambda part: (
            part.assign_coords(init_time=part["init_time"] + np.timedelta64(5, "D"))
            if "init_time" in part.coords
            else part
        )
    )
    moved.to_netcdf(later.reports / "evidence.nc", engine="netcdf4")
    with pytest.raises(TercileError, match="share no init_time"):
        compare_runs(first, later)


def test_the_command_prints_a_table_or_json_and_fails_with_a_message(first, biased, tmp_path):
    runner = CliRunner()
    shown = runner.invoke(app, ["verify", "--compare", str(first.root), str(biased.root)])
    assert shown.exit_code == 0, shown.output
    assert "▼" in shown.output
    assert "persistence" in shown.output
    found = runner.invoke(app, ["verify", "--compare", str(first.root), str(biased.root), "--json"])
    assert json.loads(found.output) == compare_runs(first, biased)
    lost = runner.invoke(app, ["verify", "--compare", str(first.root), str(tmp_path / "nothing")])
    assert lost.exit_code == 3
    assert runner.invoke(app, ["verify"]).exit_code == 2
