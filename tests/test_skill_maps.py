import numpy as np
import pytest
import xarray as xr

from pipeline import batches
from pipeline.judging.scores import crps_ensemble
from pipeline.judging.skill_maps import finish_maps, paired_maps


def system(inits=40, leads=2, size=8, shape=(5, 6), *, seed=0, error=0.0, columns=slice(0)):
    """Members that are the truth's law; in some columns of cells their mean is off by ``error``."""
    rng = np.random.default_rng(seed)
    start = np.datetime64("2000-01-01", "ns")
    valid = start + np.timedelta64(10, "D") * np.arange(inits)[:, None] + np.timedelta64(1, "D") * np.arange(leads)
    values = rng.normal(size=(inits, leads, size, *shape))
    values[..., columns] += error
    coords = {
        "init_time": valid[:, 0],
        "lead_time": ("lead_time", np.arange(1, leads + 1), {"units": "days"}),
        "latitude": np.linspace(-20.0, 20, shape[0]),
        "longitude": np.arange(100.0, 100 + shape[1]),
    }
    dims = ("init_time", "lead_time", "member", "latitude", "longitude")
    members = xr.DataArray(values, dims=dims, coords=coords, attrs={"units": "K"}, name="tas")
    return members.assign_coords(valid_time=(("init_time", "lead_time"), valid))


def truth_of(members, seed=99):
    truth = members.isel(member=0, drop=True)
    return truth.copy(data=np.random.default_rng(seed).normal(size=truth.shape))


def test_sums_are_those_of_the_scores():
    own, other = system(seed=1), system(seed=2)
    truth = truth_of(own)
    truth[3, 0, 2, 2] = np.nan
    maps = paired_maps(own, other, truth)
    first, second = (crps_ensemble(members, truth, fair=False) for members in (own, other))
    np.testing.assert_allclose(maps["own"], first.sum("init_time").rename(lead_time="lead"), rtol=1e-5)
    difference = (first - second).fillna(0.0).values
    np.testing.assert_allclose(maps["square"], (difference**2).sum(0), rtol=1e-5)
    np.testing.assert_allclose(maps["lagged"], (difference[1:] * difference[:-1]).sum(0), rtol=1e-4, atol=1e-6)
    assert int(maps["cases"][0, 2, 2]) == 39
    assert maps["lead"].values.tolist() == ["1", "2"]
    skill = finish_maps(maps)["skill"]
    known = second.where(first.notnull()).sum("init_time")
    np.testing.assert_allclose(skill, 1 - first.sum("init_time") / known, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("lead_blocks", [None, 2])
def test_a_few_starts_at_a_time_give_the_same_sums(monkeypatch, lead_blocks):
    own, other = system(inits=12, seed=1), system(inits=12, seed=2)
    truth = truth_of(own)
    whole = paired_maps(own, other, truth, lead_blocks=lead_blocks)
    monkeypatch.setattr(batches, "BATCH_BYTES", own.nbytes // 5)
    xr.testing.assert_allclose(paired_maps(own.chunk(), other.chunk(), truth, lead_blocks=lead_blocks), whole)


def test_pooled_leads_are_cases_of_their_own():
    own, other = system(inits=1, leads=20, seed=1), system(inits=1, leads=20, seed=2)
    maps = paired_maps(own, other, truth_of(own), lead_blocks=10)
    assert maps["lead"].values.tolist() == ["1-10", "11-20"]
    assert (maps["cases"] == 10).all()
    assert finish_maps(maps)["verdict"].notnull().all()
    assert (finish_maps(maps.sum("lead"))["skill"].sizes) == {"latitude": 5, "longitude": 6}


def test_planted_skill_is_found_where_it_is_and_nowhere_else():
    good = system(inits=80, shape=(8, 10), seed=1)
    bad = system(inits=80, shape=(8, 10), seed=2, error=2.0, columns=slice(0, 4))
    found = finish_maps(paired_maps(good, bad, truth_of(good)))
    inside, outside = found["verdict"][..., :4], found["verdict"][..., 4:]
    assert (inside == 1).all()
    assert float((outside != 0).mean()) < 0.1
    back = finish_maps(paired_maps(bad, good, truth_of(good)))
    assert (back["verdict"][..., :4] == -1).all()
    assert (back["skill"][..., :4] < 0).all()


def test_without_skill_anywhere_whole_maps_stay_empty_nine_times_in_ten():
    """Benjamini and Hochberg: where no cell differs, a map has any discovery with the chance of the rate itself."""
    discoveries = []
    for seed in range(30):
        own, other = system(leads=1, seed=2 * seed), system(leads=1, seed=2 * seed + 1)
        verdict = finish_maps(paired_maps(own, other, truth_of(own, seed=1000 + seed)))["verdict"]
        discoveries.append(bool((verdict != 0).any()))
    assert np.mean(discoveries) < 0.25  # 0.1 and its sampling error


def test_a_long_memory_counts_for_fewer_cases():
    rng = np.random.default_rng(4)
    cases, space = 60, {"latitude": 1, "longitude": 1}

    def p_value(series):
        sums = {"cases": cases, "own": (series + 2).sum(), "other": 2.0 * cases, "square": (series**2).sum()}
        sums["lagged"] = (series[1:] * series[:-1]).sum()
        maps = xr.Dataset({name: (tuple(space), np.full((1, 1), value)) for name, value in sums.items()})
        return finish_maps(maps)["p_value"].item()

    noise = rng.normal(size=cases)
    slow = np.zeros(cases)
    for n in range(1, cases):
        slow[n] = 0.9 * slow[n - 1] + noise[n]
    slow *= noise.std() / slow.std()
    shift = 0.35
    assert p_value(noise - noise.mean() + shift) < 0.02
    assert p_value(slow - slow.mean() + shift) > 0.2


def test_too_few_cases_and_equal_ensembles_show_nothing():
    few = system(inits=9, leads=1)
    assert finish_maps(paired_maps(few, system(inits=9, leads=1, seed=5), truth_of(few)))["verdict"].isnull().all()
    own = system()
    same = finish_maps(paired_maps(own, own, truth_of(own)))
    assert (same["verdict"] == 0).all()
    assert (same["p_value"] == 1).all()
    assert (same["skill"] == 0).all()


def test_unequal_ensembles_are_compared_on_the_fair_score():
    own, other = system(size=8, seed=1), system(size=5, seed=2)
    truth = truth_of(own)
    maps = paired_maps(own, other, truth)
    np.testing.assert_allclose(maps["other"], crps_ensemble(other, truth).sum("init_time"), rtol=1e-5)


def test_truth_is_matched_by_its_label_and_masked_cells_stay_unknown():
    own, other = system(inits=15, leads=1, seed=1), system(inits=15, leads=1, seed=2)
    laid = truth_of(own)
    laid[..., 0, 0] = np.nan
    by_time = laid.isel(lead_time=0, drop=True).drop_vars("valid_time").rename(init_time="time")
    maps = paired_maps(own, other, by_time)
    np.testing.assert_allclose(maps["own"], paired_maps(own, other, laid)["own"])
    found = finish_maps(maps)
    assert found["verdict"][0, 0, 0].isnull()
    assert found["skill"][0, 0, 0].isnull()
    assert found["verdict"].notnull().sum() == 29
