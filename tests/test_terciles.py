import numpy as np
import pytest
import xarray as xr

from pipeline import batches
from pipeline.grid import area_weights
from pipeline.judging.card_rows import Bootstrap
from pipeline.judging.categories import rps_ensemble
from pipeline.judging.terciles import CATEGORIES, count_terciles, share_table, tercile_card
from tests.test_skill_maps import system, truth_of

EDGES = xr.DataArray([-0.43, 0.43], dims="edge")


def edges_for(members):
    field = xr.zeros_like(members.isel(init_time=0, lead_time=0, member=0, drop=True))
    return (EDGES + field).drop_vars("valid_time", errors="ignore")


@pytest.fixture
def case():
    members = system(inits=12, leads=3, size=9, seed=1)
    truth = truth_of(members)
    truth[2, 1, 3, 3] = np.nan
    return members, truth, edges_for(members), area_weights(members)


def test_counts_by_hand(case):
    members, truth, edges, weights = case
    counts = count_terciles(members, truth, edges, weights=weights)
    said = (members.values[4, 2] < -0.43).sum(axis=0)
    happened = truth.values[4, 2] < -0.43
    for count in range(10):
        one = counts.sel(category="below").isel(variable=0, init_time=4, lead_time=2, count=count)
        assert one["weight"] == pytest.approx(weights.values[said == count].sum())
        assert one["events"] == pytest.approx(weights.values[(said == count) & happened].sum())
    total = counts["weight"].sum("count").isel(variable=0)
    assert float(total[2, 1, 0]) == pytest.approx(float(weights.sum() - weights[3, 3]))
    np.testing.assert_allclose(total.isel(category=0), total.isel(category=1))


def test_no_batch_changes_a_count_and_parts_add_up(case, monkeypatch):
    members, truth, edges, weights = case
    whole = count_terciles(members, truth, edges, weights=weights)
    monkeypatch.setattr(batches, "BATCH_BYTES", members.nbytes // 4)
    xr.testing.assert_allclose(count_terciles(members.chunk(), truth.chunk(), edges, weights=weights), whole)
    west = weights.where(weights["longitude"] < 103, 0.0)
    parts = [count_terciles(members, truth, edges, weights=part) for part in (west, weights - west)]
    np.testing.assert_allclose(parts[0]["weight"] + parts[1]["weight"], whole["weight"])


def test_ranked_probability_score_is_that_of_the_members(case):
    members, truth, edges, weights = case
    counts = {"a": count_terciles(members, truth, edges, weights=weights)}
    card = tercile_card(counts, reference="a", lead_blocks=3)
    (row,) = card["models"]["a"]["tas"]
    plain = rps_ensemble(members, truth, edges=edges, fair=False)
    assert row["rps"] == pytest.approx(plain.weighted(weights).mean().item())
    assert row["rpss"] is None
    assert row["rpss_reason"] == "this is the reference itself"
    assert (row["lead"], row["lead_units"], row["cases"]) == ("1-3", "days", 36)


def test_scores_of_a_perfect_a_useless_and_an_honest_forecast():
    """Members about the truth beat blind ones; a constant third has no discrimination and an area of one half."""
    blind = system(inits=30, leads=1, size=30, seed=1)
    truth = truth_of(blind)
    sharp = blind * 0.2 + truth
    constant = blind.copy(data=np.broadcast_to(np.repeat([-2.0, 0.0, 2.0], 10)[:, None, None], blind.shape).copy())
    weights = area_weights(blind)
    counts = {
        name: count_terciles(members.rename("tas"), truth, edges_for(blind), weights=weights)
        for name, members in {"constant": constant, "blind": blind, "sharp": sharp}.items()
    }
    card = tercile_card(counts, reference="constant", bootstrap=Bootstrap(draws=200))
    rows = {name: card["models"][name]["tas"][0] for name in counts}
    assert rows["sharp"]["rpss_low"] > 0.6
    assert rows["blind"]["rpss_high"] < 0  # noise about the climatological share costs
    for category in CATEGORIES:
        useless, honest = rows["constant"][category], rows["sharp"][category]
        assert useless["roc_area"] == 0.5
        assert useless["discrimination"] == pytest.approx(0, abs=1e-12)
        assert useless["brier"] == pytest.approx(
            useless["miscalibration"] - useless["discrimination"] + useless["uncertainty"]
        )
        assert honest["roc_area"] > 0.95
        assert honest["base_rate"] == pytest.approx(1 / 3, abs=0.06)
        assert honest["value"][2] > 0.6
        assert max(useless["value"]) <= 1e-9


def test_an_event_that_never_happens_has_no_area_and_no_value(case):
    members, truth, edges, weights = case
    far = edges.copy(data=np.broadcast_to(np.array([-50.0, 50.0])[:, None, None], edges.shape).copy())
    card = tercile_card({"a": count_terciles(members, truth, far, weights=weights)}, reference="a")
    row = card["models"]["a"]["tas"][0]["above"]
    assert row["base_rate"] == 0
    assert row["roc_area"] is None
    assert row["value"] == [None] * len(card["cost_loss"])


def test_unknown_truth_and_missing_members_are_counted_nowhere(case):
    members, truth, edges, weights = case
    nothing = count_terciles(members, truth * np.nan, edges, weights=weights)
    assert float(nothing["weight"].sum()) == 0
    assert share_table(nothing.sum(("variable", "init_time", "lead_time")).sel(category="below")) is None
    (row, *_) = tercile_card({"a": nothing, "b": nothing}, reference="a")["models"]["b"]["tas"]
    assert (row["rps"], row["rpss"], row["below"], row["rpss_reason"]) == (None, None, None, "no case was counted")
    holed = members.copy()
    holed[:, :, 4, 0, 0] = np.nan
    lost = count_terciles(holed, truth, edges, weights=weights)["weight"].sum("count")
    whole = count_terciles(members, truth, edges, weights=weights)["weight"].sum("count")
    np.testing.assert_allclose((whole - lost)[0, 0, 0, 0], weights[0, 0])
