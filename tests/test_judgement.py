import json

import cftime
import numpy as np
import pytest
import xarray as xr

from pipeline.errors import TercileError
from pipeline.grid import area_weights
from pipeline.judging import judgement
from pipeline.judging.evidence import read_evidence, save_evidence
from pipeline.judging.judgement import benchmark, judge, judged_card, lay_out, merge_evidence
from tests.reported_systems import past, projection
from tests.test_skill_maps import system, truth_of

LEADS = 10


@pytest.fixture(scope="module")
def forced():
    """Two models' projections of twenty years, what came about, and the evidence on both."""
    ensembles = {"climatology": projection(0), "linear": projection(5)}
    truth = lay_out({"tas": past()["tas"]}, ensembles["climatology"])
    record = past().isel(scenario=0, drop=True).isel(time=slice(0, 40))
    against = benchmark(truth, record, ensembles["climatology"])
    evidence = {
        name: judge(
            ensemble.chunk(member=5),
            against,
            reference=None if name == "climatology" else ensembles["climatology"],
            lead_blocks=LEADS,
        )
        for name, ensemble in ensembles.items()
    }
    return ensembles, against, evidence


def seasonal(seed=1, months=36):
    """Monthly starts and truth with an annual cycle, and the record before them, all in one calendar."""
    rng = np.random.default_rng(seed)
    dates = [cftime.datetime(1990 + m // 12, m % 12 + 1, 1, calendar="noleap") for m in range(240)]
    space = {"latitude": [0.0, 10, 20], "longitude": [200.0, 210, 220, 230]}
    cycle = 10 * np.cos(2 * np.pi * np.arange(240) / 12)[:, None, None]
    values = cycle + rng.normal(size=(240, 3, 4))
    record = xr.DataArray(values, dims=("time", *space), coords={"time": dates, **space}, name="sst").to_dataset()
    starts = np.arange(240 - months - 3, 240 - 3)
    valid = np.array([[dates[start + lead] for lead in range(3)] for start in starts])
    members = cycle[starts[:, None] + np.arange(3)][:, :, None] + rng.normal(size=(len(starts), 3, 20, 3, 4))
    dims = ("init_time", "lead_time", "member", *space)
    lead = ("lead_time", [1, 2, 3], {"units": "months"})
    ensemble = xr.Dataset(
        {"sst": (dims, members, {"units": "K"})}, coords={"init_time": valid[:, 0], "lead_time": lead, **space}
    ).assign_coords(valid_time=(dims[:2], valid))
    return ensemble, record


def test_truth_is_laid_out_by_label_or_taken_as_it_is():
    ensemble, record = seasonal()
    laid = lay_out({"sst": record["sst"]}, ensemble)
    assert laid["sst"].dims == ("init_time", "lead_time", "latitude", "longitude")
    np.testing.assert_array_equal(laid["sst"][5, 2], record["sst"].sel(time=ensemble["valid_time"].values[5, 2]))
    again = lay_out(laid, ensemble)
    xr.testing.assert_equal(again["sst"], laid["sst"])
    assert lay_out({"sst": record["sst"].isel(time=slice(0, 100))}, ensemble) is None
    assert lay_out({"sst": record["sst"] * np.nan}, ensemble) is None


def test_normal_and_thirds_are_of_the_same_month():
    ensemble, record = seasonal()
    truth = lay_out({"sst": record["sst"]}, ensemble)
    against = benchmark(truth, record, ensemble)
    place = (7, 1, 2, 3)
    month = ensemble["valid_time"].values[place[:2]].month
    mine = record["sst"].values[[date.month == month for date in record["time"].values], 2, 3]
    assert float(against.normal["sst"].values[place]) == pytest.approx(mine.mean())
    edges = against.edges["sst"].transpose("edge", ...).values[:, *place]
    np.testing.assert_allclose(edges, np.quantile(mine, [1 / 3, 2 / 3]))
    tails = against.tails["sst"].transpose("edge", ...).values[:, *place]
    np.testing.assert_allclose(tails, np.quantile(mine, [0.1, 0.9]))


def test_thirds_of_a_projection_are_those_of_the_reference_model(forced):
    ensembles, against, _ = forced
    edges = against.edges["tas"].transpose("edge", ...).values
    members = ensembles["climatology"]["tas"].transpose("member", ...).values
    np.testing.assert_allclose(edges, np.quantile(members, [1 / 3, 2 / 3], axis=0), rtol=1e-5)


def test_the_card_holds_every_part_and_is_plain(forced):
    card = judged_card(forced[2], reference="climatology", lead_blocks=LEADS)
    assert json.loads(json.dumps(card)) == card
    assert {"models", "overall", "parts", "terciles", "patterns", "realism", "reference", "lead_blocks"} <= set(card)
    rows = card["models"]["linear"]["tas"]
    assert [(row["scenario"], row["lead"]) for row in rows] == [
        ("A1B", "1-10"), ("E1", "1-10"), ("A1B", "11-20"), ("E1", "11-20"),
    ]  # fmt: skip
    assert all(row["anomaly_correlation"] is not None for row in rows)
    assert [row["lead"] for row in card["overall"]["linear"]["tas"]] == ["1-20", "1-20"]
    pooled = card["overall"]["linear"]["tas"][0]
    assert pooled["crps"] == pytest.approx(np.mean([row["crps"] for row in rows if row["scenario"] == "A1B"]))
    terciles = card["terciles"]["models"]["linear"]["tas"]
    assert [(row["scenario"], row["lead"]) for row in terciles] == [(row["scenario"], row["lead"]) for row in rows]
    assert terciles[0]["below"]["uncertainty"] > 0
    assert {row["scenario"] for row in card["realism"]["linear"]["tas"]} == {"A1B", "E1"}
    assert len(card["patterns"]["models"]["linear"]["tas"]) == len(rows)
    assert card["parts"] == {}  # one initial time of annual data, and no regions


def test_the_card_is_parted_by_region_season_and_year():
    ensemble, record = seasonal()
    truth = lay_out({"sst": record["sst"]}, ensemble)
    against, weights = benchmark(truth, record, ensemble), area_weights(ensemble)
    south = weights.where(weights["latitude"] < 15, 0.0)
    regions = xr.concat([south, weights - south], xr.Variable("region", ["south", "north"]))
    found = judge(ensemble, against, reference=None, regions=regions)
    card = judged_card({"self": found}, reference="self")
    assert set(card["parts"]) == {"region", "season", "year"}
    (whole,) = card["overall"]["self"]["sst"]
    for by, names in (("region", ["south", "north"]), ("season", ["DJF", "MAM", "JJA", "SON"])):
        rows = card["parts"][by]["self"]["sst"]
        assert [row[by] for row in rows] == names
        assert sum(row["cells"] for row in rows) == whole["cells"]
    assert len(card["models"]["self"]["sst"]) == ensemble.sizes["lead_time"]


def test_an_ensemble_too_large_for_memory_is_judged_alike(forced, monkeypatch):
    ensembles, against, evidence = forced
    monkeypatch.setattr(judgement, "IN_MEMORY", 0)
    lazy = judge(ensembles["linear"].chunk(member=3), against, reference=ensembles["climatology"], lead_blocks=LEADS)
    xr.testing.assert_allclose(lazy.statistics, evidence["linear"].statistics)
    xr.testing.assert_allclose(lazy.terciles, evidence["linear"].terciles)
    xr.testing.assert_allclose(lazy.maps, evidence["linear"].maps)


def test_evidence_survives_the_file_and_is_written_whole(forced, tmp_path):
    evidence, path = forced[2], tmp_path / "reports" / "evidence.nc"
    save_evidence(path, {"raw": evidence, "calibrated": {"linear": evidence["linear"]}})
    held = read_evidence(path)
    assert set(held) == {"climatology", "linear"}
    for part in ("statistics", "terciles", "patterns", "maps", "spectra"):
        xr.testing.assert_allclose(held["linear"][part], getattr(evidence["linear"], part))
    assert held["linear"]["statistics"]["lead_time"].attrs["units"] == "years"
    assert not held["climatology"]["maps"].data_vars
    assert set(read_evidence(path, kind="calibrated")) == {"linear"}
    save_evidence(path, {})
    assert read_evidence(path) == {}
    assert [file.name for file in path.parent.iterdir()] == ["evidence.nc"]
    with pytest.raises(TercileError, match="Run `tercile verify`"):
        read_evidence(tmp_path / "nowhere.nc")


def test_a_month_judged_at_a_time_is_the_whole():
    """A hindcast that is drawn, judged and dropped leaves the sums of one that was kept."""
    ensemble, record = seasonal(months=12)
    rival = ensemble.assign(sst=ensemble["sst"] + 0.3)

    def judged(part):
        one, other = ensemble.isel(init_time=part), rival.isel(init_time=part)
        truth = lay_out({"sst": record["sst"]}, one)
        return judge(one, benchmark(truth, record, one), reference=other, lead_blocks=1)

    whole = judged(slice(None))
    merged = merge_evidence(*(judged([start]) for start in range(12)))
    xr.testing.assert_allclose(merged.statistics.sortby("init_time"), whole.statistics)
    for name in ("terciles", "patterns"):
        left, right = (getattr(each, name).sortby("init_time") for each in (merged, whole))
        for score in right.data_vars:
            np.testing.assert_allclose(left[score], right[score])
    for name in ("cases", "own", "other", "square"):
        np.testing.assert_allclose(merged.maps[name], whole.maps[name], rtol=1e-5)
    card = judged_card({"a": merged, "b": merged}, reference="b")
    assert card["models"]["a"]["sst"][0]["crps_skill"] == pytest.approx(0)


def test_a_reference_that_was_not_judged_is_named():
    members = system(inits=12).to_dataset(name="tas")
    truth = {"tas": truth_of(members["tas"])}
    normal = {"tas": truth["tas"] * 0}
    edges = {"tas": xr.concat([normal["tas"] - 0.4, normal["tas"] + 0.4], "edge")}
    found = {"a": judge(members, judgement.Benchmark(truth, normal, edges, edges), reference=None)}
    with pytest.raises(TercileError, match="'x' is not among the models"):
        judged_card(found, reference="x")
