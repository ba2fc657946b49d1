import numpy as np
import pytest
import xarray as xr

from pipeline import batches
from pipeline.grid import area_weights
from pipeline.judging import patterns
from pipeline.judging.card_rows import Bootstrap
from pipeline.judging.multivariate import energy_score, variogram_score
from pipeline.judging.patterns import SCORES, TILE, pattern_card, sum_patterns
from pipeline.judging.scores import threshold_weighted_crps
from tests.test_skill_maps import system, truth_of

ENDS = (-0.9, 0.9)


@pytest.fixture
def case():
    members = system(inits=12, leads=3, size=9, seed=1)
    tails = xr.DataArray(list(ENDS), dims="edge") + 0 * members.isel(init_time=0, lead_time=0, member=0, drop=True)
    return members, truth_of(members), tails.drop_vars("valid_time", errors="ignore"), area_weights(members)


def mean_of(sums, score):
    return float(sums[score].isel(variable=0, sum=1).sum() / sums[score].isel(variable=0, sum=0).sum())


def test_one_tile_and_the_tails_by_the_scores_themselves(case, monkeypatch):
    members, truth, tails, weights = case
    monkeypatch.setattr(patterns, "TILE", max(weights.shape))
    sums = sum_patterns(members, truth, tails, weights=weights)
    share = weights / weights.sum()
    space = ("latitude", "longitude")
    assert mean_of(sums, "energy") == pytest.approx(
        float(energy_score(members, truth, dims=space, weights=share).mean())
    )
    theirs = variogram_score(members, truth, dims=space, weights=share).mean()
    assert mean_of(sums, "variogram") == pytest.approx(float(theirs))
    upper = threshold_weighted_crps(members, truth, lower=ENDS[1]).weighted(weights).mean()
    assert mean_of(sums, "upper_tail") == pytest.approx(float(upper))
    lower = threshold_weighted_crps(members, truth, upper=ENDS[0]).weighted(weights).mean()
    assert mean_of(sums, "lower_tail") == pytest.approx(float(lower))


def test_parts_add_up_and_no_batch_changes_a_sum(case, monkeypatch):
    members, truth, tails, weights = case
    whole = sum_patterns(members, truth, tails, weights=weights)
    monkeypatch.setattr(batches, "BATCH_BYTES", members.nbytes // 5)
    xr.testing.assert_allclose(sum_patterns(members.chunk(), truth.chunk(), tails, weights=weights), whole)


def test_what_is_missing_counts_in_no_tile_of_it(case):
    members, truth, tails, weights = case
    holed = truth.copy()
    holed[2, 1, 0, 0] = np.nan
    whole, part = (sum_patterns(members, one, tails, weights=weights).isel(variable=0) for one in (truth, holed))
    for score, lost in (
        ("energy", weights[:TILE, :TILE].sum()), ("upper_tail", weights[0, 0])
    ):  # fmt: skip
        gone = (whole[score] - part[score]).isel(sum=0)
        assert float(gone[2, 1]) == pytest.approx(float(lost))
        assert float(gone.sum()) == pytest.approx(float(lost))
    never = truth.where(truth["latitude"] != truth["latitude"][0])  # a lasting mask only makes tiles smaller
    masked = sum_patterns(members, never, tails, weights=weights).isel(variable=0, sum=0)
    assert float(masked["energy"][0, 0]) == pytest.approx(float(weights[1:].sum()))


def test_each_score_sees_its_own_fault(case):
    members, truth, tails, weights = case
    rng = np.random.default_rng(0)
    shuffled = members.copy(data=rng.permuted(members.values, axis=members.dims.index("member")))  # margins stay
    mild = members.clip(*ENDS)  # no extremes
    sums = {
        name: sum_patterns(one, truth, tails, weights=weights)
        for name, one in {"right": members, "shuffled": shuffled, "mild": mild}.items()
    }
    card = pattern_card(sums, reference="right", lead_blocks=3, bootstrap=Bootstrap(draws=200))
    (blurred,), (tame,) = (card["models"][name]["tas"] for name in ("shuffled", "mild"))
    assert blurred["upper_tail_skill"] == pytest.approx(0, abs=1e-9)
    assert tame["upper_tail_skill"] < 0
    assert tame["lower_tail_skill"] < 0
    (row,) = card["models"]["right"]["tas"]
    assert set(row) >= {*SCORES, "energy_skill_low", "lead"}
    assert row["energy_skill_reason"] == "this is the reference itself"


def test_a_wrong_correlation_between_cells_costs_skill():
    """Fields that are nearly one number everywhere, and members whose cells know nothing of each other."""
    rng = np.random.default_rng(3)
    template = system(inits=40, leads=1, size=20, seed=2)
    truth = truth_of(template)

    def alike(field):
        one = [1 if dim in ("latitude", "longitude") else field.sizes[dim] for dim in field.dims]
        return field.copy(data=rng.standard_normal(one) + 0.3 * rng.standard_normal(field.shape))

    joint, happened = alike(template), alike(truth)
    loose = template.copy(data=rng.permuted(joint.values, axis=template.dims.index("member")))
    tails = xr.DataArray(list(ENDS), dims="edge") + xr.zeros_like(truth)
    weights = area_weights(template)
    sums = {n: sum_patterns(one, happened, tails, weights=weights) for n, one in {"a": joint, "b": loose}.items()}
    (row,) = pattern_card(sums, reference="a", bootstrap=Bootstrap(draws=200))["models"]["b"]["tas"]
    assert row["variogram_skill_high"] < 0
    assert row["energy_skill_high"] < 0
    assert row["upper_tail_skill"] == pytest.approx(0, abs=1e-9)
