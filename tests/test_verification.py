import json

import cftime
import numpy as np
import pytest
import xarray as xr
from scipy.stats import norm

from pipeline.judging import field_sums, scores
from pipeline.judging.card_rows import Bootstrap, lead_rows
from pipeline.judging.scorecard import scorecard
from pipeline.judging.verification import finish, merge, pool, score_ensemble, split

CALENDAR = "360_day"


def hindcast(inits=12, leads=3, size=5, shape=(4, 6), *, seed=0, bias=0.0, spread=1.0, truth=None):
    """Members and truth drawn from one normal law: a perfect ensemble, unless biased or inflated."""
    rng = np.random.default_rng(seed)
    times = np.array([cftime.datetime(1900 + n, 6, 1, calendar=CALENDAR) for n in range(inits + leads)])
    space = {"latitude": np.linspace(-30, 70, shape[0]), "longitude": np.linspace(-180, 120, shape[1])}
    if truth is None:
        truth = xr.DataArray(
            rng.normal(280, 1, (len(times), *shape)).astype("float32"),
            dims=("time", *space), coords={"time": times, **space}, attrs={"units": "K"},
        )  # fmt: skip
    valid = times[np.arange(inits)[:, None] + np.arange(leads)]
    values = rng.normal(280 + bias, spread, (inits, leads, size, *shape)).astype("float32")
    coords = {
        "init_time": [cftime.datetime(1899 + n, 12, 1, calendar=CALENDAR) for n in range(inits)],
        "lead_time": ("lead_time", np.arange(1, leads + 1), {"units": "years"}),
        "valid_time": (("init_time", "lead_time"), valid),
        **space,
    }
    dims = ("init_time", "lead_time", "member", *space)
    forecast = xr.DataArray(values, dims=dims, coords=coords, name="tas", attrs={"units": "K"})
    weights = np.cos(np.deg2rad(forecast["latitude"])) * xr.ones_like(forecast["longitude"])
    return forecast, truth, weights


def both_dims(statistics):
    return finish(pool(statistics, ("init_time", "lead_time"))).isel(variable=0, region=0)


@pytest.fixture(scope="module")
def case():
    forecast, truth, weights = hindcast()
    return forecast, truth, weights, score_ensemble(forecast, truth, weights=weights)


# --- golden numbers ---------------------------------------------------------------------------------------------------


def test_sums_by_hand():
    """Two cells of weight 1 and 3; members 1, 3, 5; truth 2 and 5.

    Cell 1: fair CRPS 5/3 - 4/3 = 1/3, plain 5/3 - 8/9 = 7/9, error 1, variance 4, rank 1.
    Cell 2: distances 4, 2, 0, mean 2: fair 2/3, plain 10/9, error -2, variance 4, ranks 2 and 3 share the tie.
    """
    forecast, truth, _ = hindcast(inits=1, leads=1, size=3, shape=(1, 2))
    forecast.values[:] = np.array([1.0, 3.0, 5.0]).reshape(3, 1, 1)
    truth.values[:] = np.array([2.0, 5.0])
    weights = xr.DataArray([[1.0, 3.0]], dims=("latitude", "longitude"), coords=truth.isel(time=0, drop=True).coords)
    sums = score_ensemble(forecast, truth, weights=weights, climatology=xr.zeros_like(truth) + 1)
    sums = sums.squeeze(drop=True)
    expected = {
        "weight": 4, "cells": 2, "missing": 0, "crps_fair": 1 / 3 + 3 * 2 / 3, "crps": 7 / 9 + 3 * 10 / 9,
        "squared_error": 1 + 3 * 4, "error": 1 - 3 * 2, "variance": 4 + 3 * 4,
        "product": 2 * 1 + 3 * 2 * 4, "forecast_square": 4 + 3 * 4, "observation_square": 1 + 3 * 16,
    }  # fmt: skip
    assert {name: sums[name].item() for name in expected} == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(sums["rank_weight"], [0, 1, 1.5, 1.5])
    done = finish(sums)
    assert done["rmse"].item() == pytest.approx(np.sqrt(13 / 4))
    assert done["bias"].item() == pytest.approx(-5 / 4)
    assert done["spread_skill"].item() == pytest.approx(np.sqrt(4 / 3 * 4 / (13 / 4)))
    assert done["anomaly_correlation"].item() == pytest.approx(26 / np.sqrt(16 * 49))
    assert done["reliability_index"].item() == pytest.approx(0.25 + 0 + 0.125 + 0.125)


def test_equals_the_scores_of_each_point(case):
    forecast, truth, weights, statistics = case
    observed = np.stack([truth.isel(time=slice(n, n + 3)).values for n in range(12)])
    observed = xr.DataArray(observed, dims=("init_time", "lead_time", "latitude", "longitude"))
    for name, score in {"crps_fair": scores.crps_ensemble, "squared_error": scores.squared_error}.items():
        expected = (score(forecast, observed) * weights).sum(("latitude", "longitude"))
        np.testing.assert_allclose(statistics[name].squeeze(), expected, rtol=1e-10)
    variance = (scores.ensemble_variance(forecast) * weights).sum(("latitude", "longitude"))
    np.testing.assert_allclose(statistics["variance"].squeeze(), variance, rtol=1e-10)
    ranks = scores.observation_rank(forecast, observed).astype(int).values
    counts = np.bincount(ranks.ravel(), np.broadcast_to(weights, ranks.shape).ravel(), minlength=6)
    np.testing.assert_allclose(statistics["rank_weight"].sum(("init_time", "lead_time")).squeeze(), counts, rtol=1e-10)


def test_observations_by_init_and_lead_are_taken_as_they_are(case):
    forecast, truth, weights, statistics = case
    observed = np.stack([truth.isel(time=slice(n, n + 3)).values for n in range(12)])
    observed = xr.DataArray(observed, dims=forecast.isel(member=0).dims, coords=truth.isel(time=0, drop=True).coords)
    xr.testing.assert_identical(score_ensemble(forecast, observed, weights=weights), statistics)


# --- merging ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "chunks",
    [{"init_time": 5, "member": 2}, {"latitude": 3, "longitude": 4}, {"lead_time": 2, "latitude": 1, "member": 3}],
)
def test_no_chunking_changes_a_result(case, chunks):
    forecast, truth, weights, statistics = case
    again = score_ensemble(forecast.chunk(chunks), truth.chunk(time=4, latitude=2), weights=weights)
    xr.testing.assert_allclose(again, statistics, rtol=1e-12)
    assert again["lead_time"].attrs["units"] == "years"


def test_starts_are_read_a_few_at_a_time(case, monkeypatch):
    forecast, truth, weights, statistics = case
    monkeypatch.setattr(field_sums, "_BATCH_BYTES", 5 * forecast[0].nbytes)
    xr.testing.assert_identical(score_ensemble(forecast, truth.chunk(), weights=weights), statistics)


def test_parts_in_time_and_space_merge(case):
    forecast, truth, weights, statistics = case
    parts = [
        score_ensemble(forecast[inits, leads], truth, weights=weights.where(half, 0.0))
        for inits in (slice(0, 5), slice(5, None))
        for leads in (slice(0, 2), slice(2, None))
        for half in (weights.latitude < 0, weights.latitude >= 0)
    ]
    np.random.default_rng(0).shuffle(parts)
    merged = merge(*parts)
    xr.testing.assert_allclose(merged, statistics, rtol=1e-12)
    assert merged["lead_time"].attrs["units"] == "years"
    np.testing.assert_array_equal(merged["valid_time"], statistics["valid_time"])


def test_variables_merge_side_by_side(case):
    forecast, truth, weights, statistics = case
    other = score_ensemble(forecast.rename("pr"), truth, weights=weights)
    merged = merge(statistics, other)
    assert sorted(merged["variable"].values) == ["pr", "tas"]
    xr.testing.assert_allclose(merged.sel(variable=["tas"]), statistics)
    assert list(merged["units"].values) == ["K", "K"]


def test_ensembles_of_other_sizes_do_not_merge(case):
    forecast, truth, weights, statistics = case
    small = score_ensemble(forecast.isel(member=slice(3)), truth, weights=weights)
    with pytest.raises(ValueError, match=r"ensembles of \[3, 5\] members"):
        merge(statistics, small)
    with pytest.raises(ValueError, match="nothing to merge"):
        merge()


def test_parts_by_season_and_year_add_up(case):
    statistics = case[3]
    for by, count in (("season", 4), ("year", 14)):
        parts = split(statistics, by=by)
        assert parts.sizes[by] == count
        together, whole = (part.drop_vars(["valid_time", "units"]) for part in (pool(parts, (by,)), statistics))
        xr.testing.assert_allclose(together, whole, check_dim_order=False)
    assert split(statistics, by="season").sel(season="DJF")["cells"].sum() == 0
    assert split(statistics, by="year").sel(year=1900)["cells"].sum() == 24  # the first start's first lead alone


def test_regions_and_scenarios_are_kept(case):
    forecast, truth, weights, statistics = case
    names = xr.DataArray(["north", "south"], dims="region")
    masks = [weights.where(weights.latitude > 0), weights.where(weights.latitude <= 0)]
    regions = xr.concat(masks, dim="region").assign_coords(region=names.values)
    scenarios = xr.concat([forecast, forecast + 1], dim="scenario").assign_coords(scenario=["a", "b"])
    got = score_ensemble(scenarios.rename("tas"), truth, weights=regions)
    assert got.sizes["scenario"] == got.sizes["region"] == 2
    total = got["crps"].sel(scenario="a").sum("region")
    np.testing.assert_allclose(total, statistics["crps"].isel(region=0), rtol=1e-6)
    assert (got["error"].sel(scenario="b") > got["error"].sel(scenario="a")).all()


# --- a perfect ensemble, and imperfect ones ---------------------------------------------------------------------------


@pytest.mark.parametrize("size", [5, 50])
def test_a_perfect_ensemble_looks_perfect(size):
    forecast, truth, weights = hindcast(inits=60, leads=1, size=size, shape=(8, 10), seed=size)
    done = both_dims(score_ensemble(forecast, truth, weights=weights))
    cells = done["cells"].item()
    assert abs(done["crps_fair"] - 1 / np.sqrt(np.pi)) < 4 * 0.4 / np.sqrt(cells)
    assert abs(done["crps"] - (1 + 1 / size) / np.sqrt(np.pi)) < 4 * 0.4 / np.sqrt(cells)
    assert abs(done["spread_skill"] - 1) < 4 / np.sqrt(2 * cells)
    assert abs(done["rmse"] - np.sqrt(1 + 1 / size)) < 4 * np.sqrt((1 + 1 / size) / 2 / cells)
    flat = 1 / (size + 1)
    assert (abs(done["rank_frequency"] - flat) < 5 * np.sqrt(flat / cells)).all()
    assert done["rank_frequency"].sum() == pytest.approx(1)


def test_faults_show():
    def score(**fault):
        forecast, truth, weights = hindcast(inits=40, leads=1, size=10, **fault)
        return both_dims(score_ensemble(forecast, truth, weights=weights))

    biased, narrow, wide = score(bias=1.0), score(spread=0.5), score(spread=2.0)
    assert biased["bias"] == pytest.approx(1.0, abs=0.15)
    assert biased["rank_frequency"][0] > 3 * biased["rank_frequency"][-1]
    assert narrow["spread_skill"] < 0.6
    assert wide["spread_skill"] > 1.6
    assert narrow["rank_frequency"][[0, -1]].sum() > 0.4 > 0.1 > wide["rank_frequency"][[0, -1]].sum()


# --- the scorecard ----------------------------------------------------------------------------------------------------


def statistics_of(**how):
    forecast, truth, weights = hindcast(**how)
    return score_ensemble(forecast, truth, weights=weights)


def rows_of(card, model, variable="tas"):
    return card["models"][model][variable]


def test_scorecard_holds_the_contract():
    _, truth, _ = hindcast(inits=30)
    models = {
        "climatology": statistics_of(inits=30, seed=1, truth=truth),
        "biased": statistics_of(inits=30, seed=2, bias=1.0, truth=truth),
        "twin": statistics_of(inits=30, seed=3, truth=truth),
    }
    card = scorecard(models, reference="climatology", bootstrap=Bootstrap(draws=300))
    assert json.loads(json.dumps(card, allow_nan=False)) == card
    assert (card["reference"], card["confidence"], list(card["models"])) == ("climatology", 0.9, list(models))
    first = rows_of(card, "climatology")[0]
    assert (first["units"], first["region"], first["lead"], first["lead_units"]) == ("K", "all", "1", "years")
    weekly = models["twin"].assign_coords(lead_time=models["twin"]["lead_time"].assign_attrs(units="days", step=7))
    assert lead_rows(weekly)[0][1]["lead_units"] == "steps of 7 days"
    assert (first["members"], first["cases"], first["cells"], first["missing"]) == (5, 30, 720, 0)
    assert first["crps_skill_reason"] == "this is the reference itself"
    for row, twin in zip(rows_of(card, "biased"), rows_of(card, "twin"), strict=True):
        assert row["crps_fair_skill_low"] <= row["crps_fair_skill"] <= row["crps_fair_skill_high"] < 0
        assert row["p_value"] < 0.01
        assert row["versus"]["climatology"]["crps_skill"] == row["crps_skill"]
        mirrored = 1 - 1 / (1 - row["versus"]["twin"]["crps_skill"])
        assert twin["versus"]["biased"]["crps_skill"] == pytest.approx(mirrored)
        assert twin["spread_skill_low"] < twin["spread_skill"] < twin["spread_skill_high"]
    assert scorecard(models, reference="climatology", bootstrap=Bootstrap(draws=300)) == card
    assert scorecard(models, reference="climatology", bootstrap=Bootstrap(draws=300, seed=1)) != card


def test_one_initial_time_pools_valid_years():
    _, truth, _ = hindcast(inits=1, leads=50)
    models = {name: statistics_of(inits=1, leads=50, seed=n, truth=truth) for n, name in enumerate(("a", "b"))}
    rows = rows_of(scorecard(models, reference="a"), "b")
    assert [(row["lead"], row["cases"]) for row in rows] == [("1-20", 20), ("21-40", 20), ("41-50", 10)]
    assert all(row["crps_skill_low"] is not None for row in rows)
    short = rows_of(scorecard(models, reference="a", lead_blocks=5), "b")
    assert len(short) == 10
    assert short[0]["crps_skill"] is not None
    assert (short[0]["crps_skill_low"], short[0]["crps_skill_reason"]) == (None, "5 cases; an interval needs 10")


def test_only_shared_cases_are_compared(case):
    forecast, truth, weights, statistics = case
    other = score_ensemble((forecast[:10] + 1).rename("tas"), truth, weights=weights)
    row = rows_of(
        scorecard({"one": statistics, "two": other.assign_coords(units=statistics.units)}, reference="two"), "one"
    )[0]
    assert (row["cases"], row["unpaired"]) == (12, 2)
    small = score_ensemble(forecast.isel(member=slice(3)), truth, weights=weights)
    row = rows_of(scorecard({"one": statistics, "two": small}, reference="two"), "one")[0]
    assert "ensembles of 5 and 3 members" in row["crps_skill_reason"]
    assert row["crps_fair_skill"] is not None


def test_a_row_that_the_reference_lacks_says_so(case):
    statistics = case[3]
    rows = rows_of(scorecard({"one": statistics, "two": statistics.isel(lead_time=[0])}, reference="two"), "one")
    assert [row["crps_skill_reason"] for row in rows[:2]] == [None, "the other model has no such row"]


def test_interval_covers_the_true_skill_about_as_often_as_it_says():
    """The CRPS of N(b, 1) for a truth from N(0, 1) is E|N(b, 2)| - 1/√π."""
    bias, trials, cases = 0.7, 40, 30
    mean_distance = 2 / np.sqrt(np.pi) * np.exp(-(bias**2) / 4) + bias * (1 - 2 * norm.cdf(-bias / np.sqrt(2)))
    true = 1 - (mean_distance - 1 / np.sqrt(np.pi)) * np.sqrt(np.pi)
    how = {"inits": trials * cases, "leads": 1, "shape": (1, 4)}
    _, truth, _ = hindcast(**how, seed=99)
    models = {"a": statistics_of(**how, truth=truth, seed=1), "b": statistics_of(**how, truth=truth, seed=2, bias=bias)}
    inside = 0
    for start in range(0, trials * cases, cases):
        some = {name: sums.isel(init_time=slice(start, start + cases)) for name, sums in models.items()}
        row = rows_of(scorecard(some, reference="a", bootstrap=Bootstrap(draws=300)), "b")[0]
        inside += row["crps_fair_skill_low"] <= true <= row["crps_fair_skill_high"]
    assert 29 <= inside <= 40  # 36 are expected; below 29 lies half a per cent of the binomial


# --- bad input --------------------------------------------------------------------------------------------------------


def test_leads_beyond_the_archive_count_no_cells(case):
    forecast, truth, weights, statistics = case
    partial = score_ensemble(forecast, truth.isel(time=slice(0, 9)), weights=weights)
    assert partial["cells"].sum() == 24 * 24  # 7 starts with three leads, then 2 and 1
    np.testing.assert_allclose(partial["crps"][:, :7], statistics["crps"][:, :7])
    assert partial["crps"].notnull().all()
    gone = finish(pool(partial.isel(init_time=slice(9, None)), ("init_time", "lead_time")))
    assert gone["cells"] == 0
    assert gone[["crps", "spread_skill", "reliability_index", "rmse"]].isnull().all().to_dataarray().all()
    row = rows_of(scorecard({"a": partial.isel(init_time=slice(9, None))}, reference="a"), "a")[0]
    assert (row["cases"], row["crps"], row["spread_skill_reason"]) == (0, None, "no case was counted")


def test_missing_members_are_counted_and_masked_cells_are_not(case):
    forecast, truth, weights, statistics = case
    holed = forecast.copy(deep=True)
    holed[2, 1, 3, 0, 0] = np.nan
    got = score_ensemble(holed, truth, weights=weights)
    assert got["missing"].sum() == got["missing"][0, 2, 1, 0] == 1
    assert got["cells"].sum() == statistics["cells"].sum() - 1
    row = rows_of(scorecard({"a": got, "b": statistics}, reference="b"), "a")[1]
    assert (row["missing"], row["unpaired"], row["cases"]) == (1, 1, 12)
    land = truth.where(truth.longitude > 0)
    masked = score_ensemble(forecast.where(forecast.longitude > 0), land, weights=weights)
    assert masked["missing"].sum() == 0
    assert (masked["cells"] == 8).all()


def test_a_constant_field_gives_reasons_not_nan():
    forecast, truth, weights = hindcast()
    same = score_ensemble(xr.full_like(forecast, 280.0), xr.full_like(truth, 280.0), weights=weights)
    row = rows_of(scorecard({"a": same, "b": same}, reference="a"), "b")[0]
    assert row["crps"] == 0
    assert "division by zero" in row["crps_skill_reason"]
    assert "division by zero" in row["spread_skill_reason"]
    assert row["p_value"] is None


def test_bad_input_is_named():
    forecast, truth, weights = hindcast()
    standard = truth.assign_coords(
        time=np.arange("1900-06", "1915-06", 12, dtype="datetime64[M]").astype("datetime64[ns]")
    )
    shifted = truth.assign_coords(time=[date.replace(day=2) for date in truth["time"].values])
    cases = [
        ((forecast.isel(member=[0]), truth), "one member"),
        ((forecast.isel(member=0), truth), r"lacks \['member'\]"),
        ((forecast.drop_vars("valid_time"), truth), "lacks .*valid_time"),
        ((forecast, truth.assign_coords(latitude=truth.latitude + 1)), "observation: is on another latitude"),
        ((forecast, truth.isel(longitude=slice(3))), "observation: is on another longitude"),
        ((forecast, truth.assign_attrs(units="degC")), "'degC', forecast in 'K'"),
        ((forecast, standard), "calendar 'proleptic_gregorian', forecast on '360_day'"),
        ((forecast, shifted), "none of the valid times 1900-06-01"),
        ((forecast, xr.concat([truth, truth[:1]], dim="time")), "1900-06-01 00:00:00 more than once"),
        ((forecast, truth.expand_dims(realization=2)), "has the dim 'realization', which forecast lacks"),
    ]
    for arguments, message in cases:
        with pytest.raises(ValueError, match=message):
            score_ensemble(*arguments, weights=weights)
    with pytest.raises(ValueError, match="weights: is on another latitude"):
        score_ensemble(forecast, truth, weights=weights.isel(latitude=slice(2)))
    with pytest.raises(ValueError, match=r"reference: 'x' is not among the models \['a'\]"):
        scorecard({"a": score_ensemble(forecast, truth, weights=weights)}, reference="x")
