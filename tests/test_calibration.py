"""A forecast system whose law is known: truth = signal + noise, members = what the model believes of it."""

from datetime import timedelta

import numpy as np
import pytest
import xarray as xr

from pipeline.calibration import expected_crps, fit_calibration, summarise
from pipeline.errors import TercileError
from pipeline.judging.scores import crps_ensemble
from pipeline.member_by_member import calibrate, departures, season_numbers, stretched

STARTS, LEADS, MEMBERS, CELLS = 160, 2, 20, (6, 8)
DIMS = ("init_time", "lead_time", "member", "latitude", "longitude")


def system(*, bias=0.0, sharpen=1.0, stretch=1.0, signal=0.8, transform="none", seed=0, starts=STARTS):
    """Members that would be drawn from the truth's own law but for a planted fault, and the truth.

    Signal and noise have variances ``signal²`` and ``1 - signal²``: the climatology is the standard normal law.
    """
    rng = np.random.default_rng(seed)
    wave = rng.standard_normal((starts, LEADS, 1, 1, 1)) * np.ones(CELLS)
    noise = np.sqrt(1 - signal**2)
    centre = signal * wave
    truth = (centre + noise * rng.standard_normal((starts, LEADS, 1, *CELLS)))[:, :, 0]
    members = bias + sharpen * centre + stretch * noise * rng.standard_normal((starts, LEADS, MEMBERS, *CELLS))
    coords = {
        "init_time": xr.date_range("1990-01-01", periods=starts, freq="35D", use_cftime=True, calendar="noleap"),
        "lead_time": ("lead_time", [1, 2], {"units": "days"}),
        "latitude": np.linspace(0, 50, 6),
        "longitude": np.linspace(0, 70, 8),
    }
    valid = coords["init_time"].values[:, None] + np.array([0, 1]) * np.timedelta64(1, "D").astype("O")
    data = xr.Dataset({"x": (DIMS, members.astype("float32")), "truth": ((*DIMS[:2], *DIMS[3:]), truth)}, coords=coords)
    data = data.assign_coords(valid_time=(("init_time", "lead_time"), valid))
    level = xr.full_like(data["truth"], 5.0)
    if transform == "sqrt":
        data = (data + 5.0).clip(min=0) ** 2
    else:
        data = data + 5.0
    return data.chunk(init_time=20), level.chunk(init_time=20), xr.ones_like(level).chunk(init_time=20)


def learn(data, expected, deviation, *, fold=None, pool_leads=False, transform="none", seen=1.0):
    cases = summarise(data["x"], expected, deviation, data["truth"], transform=transform)
    weights = xr.DataArray(np.ones(CELLS), dims=("latitude", "longitude"))
    fold = np.arange(data.sizes["init_time"]) * 5 // data.sizes["init_time"] if fold is None else fold
    season = season_numbers(data)
    return fit_calibration(
        cases, weights=weights, fold=fold, season=season, members=MEMBERS, pool_leads=pool_leads, seen=seen
    )


def applied(learnt, data, expected, deviation, *, fold=-1, transform="none"):
    folds, season = np.full(data.sizes["init_time"], fold), season_numbers(data)
    given = (data["x"], expected, deviation, learnt.coefficients)
    return calibrate(*given, fold=folds, season=season, transform=transform)


def crps(members, truth):
    return float(crps_ensemble(members, truth.compute(), fair=False).mean())


def repaired(fault, **kwargs):
    """CRPS on starts that calibration never saw: raw, calibrated, and of members drawn from the true law."""
    learnt = learn(*system(**fault, **kwargs))
    data, expected, deviation = system(**fault, **kwargs, seed=1)
    good = system(seed=1, **kwargs)[0]
    return (
        crps(data["x"].compute(), data["truth"]),
        crps(applied(learnt, data, expected, deviation), data["truth"]),
        crps(good["x"].compute(), good["truth"]),
    )


@pytest.mark.parametrize(
    ("fault", "cost"),
    [
        ({"bias": 0.7}, 0.01),
        ({"stretch": 0.4}, 0.01),
        ({"stretch": 2.0}, 0.07),  # the mean of 20 wide members is noisier: √(0.425 / (0.36 · 1.05)) = 1.06
        ({"sharpen": 1.6}, 0.01),
        ({"bias": -0.5, "stretch": 0.5}, 0.01),
    ],
)
def test_a_planted_fault_is_repaired(fault, cost):
    raw, calibrated, perfect = repaired(fault)
    assert raw > 1.04 * perfect
    assert calibrated < (1 + cost) * perfect


def test_a_perfect_ensemble_is_left_alone():
    learnt = learn(*system())
    data, expected, deviation = system(seed=1)
    calibrated = applied(learnt, data, expected, deviation)
    assert crps(calibrated, data["truth"]) < 1.003 * crps(data["x"].compute(), data["truth"])
    area = learnt.summary[0]
    assert area["beta"] == pytest.approx(1, abs=0.1)
    assert area["tau"] == pytest.approx(1, abs=0.03)
    assert area["alpha"] == pytest.approx(0, abs=0.06)


def test_a_right_mean_is_kept_and_its_spread_stretched():
    for row in learn(*system(stretch=0.5)).summary:
        assert (row["keeps"], row["alpha"], row["beta"]) == ("mean", 0.0, 1.0)
        assert row["tau"] == pytest.approx(2, rel=0.05)
    assert {row["keeps"] for row in learn(*system(bias=0.3, stretch=0.5)).summary} == {"nothing"}


def test_forecasts_of_a_fit_on_more_years_are_spread_less_than_its_hindcasts_err():
    """A background that rests on few years errs: by half the climate's variance in hindcasts, by 0.3 in forecasts."""

    def from_few_years(excess, seed):
        data, expected, deviation = system(seed=seed)
        error = np.sqrt(excess) * np.random.default_rng(seed).standard_normal((STARTS, 1, *CELLS))
        return data.assign(truth=data["truth"] + error), expected, deviation

    learnt = [learn(*from_few_years(0.5, 1), seen=seen) for seen in (1.0, 0.6)]
    data, expected, deviation = from_few_years(0.3, 2)
    wide, right = (applied(one, data, expected, deviation) for one in learnt)
    truth = data["truth"].compute()

    def spread_skill(members):
        return float(np.sqrt(members.var("member", ddof=1).mean() / ((members.mean("member") - truth) ** 2).mean()))

    assert spread_skill(wide.compute()) > 1.08
    assert spread_skill(right.compute()) == pytest.approx(1, abs=0.05)
    assert crps(right, truth) < crps(wide, truth)
    promised, hindcasts = (expected_crps(one.summary) for one in reversed(learnt))
    found = crps((right - expected) / deviation, (truth - expected) / deviation)
    assert found < promised < 0.95 * hindcasts
    assert promised == pytest.approx(found, rel=0.06)
    hindcast = [applied(one, *from_few_years(0.5, 1), fold=0).compute() for one in learnt]
    xr.testing.assert_identical(*hindcast)


def test_the_summary_tells_the_coefficients_that_forecasts_get():
    data, expected, deviation = system(stretch=0.5)
    error = 0.7 * np.random.default_rng(7).standard_normal((STARTS, 1, *CELLS))
    learnt = learn(data.assign(truth=data["truth"] + error), expected, deviation, seen=0.6)
    spread_by_members = applied(learnt, data, expected, deviation).std("member") / data["x"].std("member")
    for lead, row in enumerate(learnt.summary):
        assert row["narrower"] < 0.95
        assert row["shrinkage"] is None  # one number for the whole area, so that there is one to compare with
        assert row["tau"] == pytest.approx(float(spread_by_members.isel(lead_time=lead).mean()), rel=1e-4)


def test_without_skill_it_goes_back_to_the_climatology():
    data, expected, deviation = system(seed=3)
    scrambled = data.assign(truth=data["truth"].roll(init_time=40))
    learnt = learn(scrambled, expected, deviation)
    fresh, expected, deviation = system(seed=4)
    fresh = fresh.assign(truth=fresh["truth"].roll(init_time=40))
    calibrated = applied(learnt, fresh, expected, deviation)
    rng = np.random.default_rng(5)
    climatology = fresh["x"].copy(data=5 + rng.standard_normal(fresh["x"].shape).astype("float32"))
    assert [row["beta"] for row in learnt.summary] == pytest.approx([0, 0], abs=0.2)
    assert crps(calibrated, fresh["truth"]) < 1.01 * crps(climatology.compute(), fresh["truth"])
    assert crps(calibrated, fresh["truth"]) < 0.9 * crps(fresh["x"].compute(), fresh["truth"])


def test_local_faults_are_repaired_where_they_are():
    def skewed(seed):
        data, expected, deviation = system(seed=seed)
        faulty = data["x"].where(data["x"]["longitude"] > 30, data["x"] + 1.0)
        return data.assign(x=faulty), expected, deviation

    learnt = learn(*skewed(0))
    data, expected, deviation = skewed(1)
    calibrated = applied(learnt, data, expected, deviation)
    perfect = system(seed=1)[0]
    assert crps(calibrated, data["truth"]) < 1.02 * crps(perfect["x"].compute(), data["truth"])
    assert learnt.summary[0]["shrinkage"] is not None


def test_members_stay_in_order_and_keep_their_anomalies():
    data, expected, deviation = system(bias=0.4, stretch=0.5)
    calibrated = applied(learn(data, expected, deviation), data, expected, deviation)
    before, after = (x - x.mean("member") for x in (data["x"].compute(), calibrated))
    ratio = (after / before).isel(init_time=7, lead_time=1)
    assert float(ratio.std("member").max()) < 1e-3
    assert calibrated.dims == data["x"].dims


def test_bounded_variables_are_calibrated_in_transformed_units():
    learnt = learn(*system(stretch=0.4, transform="sqrt"), transform="sqrt")
    data, expected, deviation = system(stretch=0.4, transform="sqrt", seed=1)
    calibrated = applied(learnt, data, expected, deviation, transform="sqrt")
    assert float(calibrated.min()) >= 0
    assert crps(calibrated, data["truth"]) < 0.96 * crps(data["x"].compute(), data["truth"])


def test_what_is_dry_stays_dry_where_members_are_left_as_they_are():
    rng = np.random.default_rng(0)
    members = (np.maximum(rng.normal(0.3, 1, (50, 20)), 0) ** 2 * 1e-4).astype("float32")
    expected, deviation = (rng.uniform(0.002, 0.01, (50, 1)).astype("float32") for _ in range(2))
    mean, apart = departures(members, expected, deviation, member_axis=-1, transform="sqrt")
    unchanged = np.array([0, 1, 1], "float32")[:, None, None]
    calibrated = stretched(mean, apart, expected, deviation, unchanged, transform="sqrt")
    assert (members == 0).sum() > 100
    np.testing.assert_array_equal(calibrated == 0, members == 0)
    np.testing.assert_allclose(calibrated, members, rtol=1e-2)


def test_a_hindcast_gets_what_was_learnt_without_its_fold():
    data, expected, deviation = system(starts=50)
    fold = np.repeat([0, 1, 2, 3, 4], 10)
    first = learn(data, expected, deviation, fold=fold).coefficients
    other = data.assign(truth=data["truth"].where(xr.DataArray(fold, dims="init_time") != 2, 9.0))
    second = learn(other, expected, deviation, fold=fold).coefficients
    same = {n: np.array_equal(first.sel(fold=n), second.sel(fold=n)) for n in (-1, 2)}
    assert same == {-1: False, 2: True}
    mixed = calibrate(data["x"], expected, deviation, first, fold=fold, season=season_numbers(data)).compute()
    alone = applied(learn(data, expected, deviation, fold=fold), data, expected, deviation, fold=3)
    np.testing.assert_array_equal(mixed.isel(init_time=slice(30, 40)), alone.isel(init_time=slice(30, 40)))


def test_seasons_may_differ():
    def seasonal(seed):
        data, expected, deviation = system(seed=seed, starts=320)
        summer = season_numbers(data) == 2
        return data.assign(x=data["x"] + summer * 1.0), expected, deviation

    learnt = learn(*seasonal(0))
    data, expected, deviation = seasonal(1)
    calibrated = applied(learnt, data, expected, deviation)
    perfect = system(seed=1, starts=320)[0]
    assert crps(calibrated, data["truth"]) < 1.03 * crps(perfect["x"].compute(), perfect["truth"])


def test_unknown_truth_counts_nowhere_and_masked_cells_stay_masked():
    data, expected, deviation = system(bias=0.5)
    land = data["latitude"] > 40
    holes = data.assign(truth=data["truth"].where(~land), x=data["x"].where(~land))
    learnt = learn(holes, expected, deviation)
    whole = learn(data, expected, deviation)
    calibrated = applied(learnt, holes, expected, deviation)
    assert bool(calibrated.where(land, drop=True).isnull().all())
    assert bool(calibrated.where(~land, drop=True).notnull().all())
    assert learnt.summary[0]["alpha"] == pytest.approx(whole.summary[0]["alpha"], abs=0.05)


def test_too_little_to_learn_from_is_refused():
    with pytest.raises(TercileError, match="4 hindcasts are too few"):
        learn(*system(starts=4))
    data, expected, deviation = system(starts=10)
    with pytest.raises(TercileError, match="no hindcast has met its truth"):
        learn(data.assign(truth=data["truth"] * np.nan), expected, deviation)


def in_season(parts, day):
    """The same cases, a year apart, at a day of the year and forty days later."""
    starts = xr.date_range("1840-01-01", periods=STARTS, freq="365D", use_cftime=True, calendar="noleap")
    starts = starts + timedelta(day)
    valid = starts.values[:, None] + np.array([0, 40]) * np.timedelta64(1, "D").astype("O")
    data, *background = (part.assign_coords(init_time=starts) for part in parts)
    return data.assign_coords(valid_time=(("init_time", "lead_time"), valid)), *background


def test_a_season_that_no_hindcast_has_met_takes_what_holds_for_all():
    """Hindcasts of winter and spring alone, too wide at one lead and too narrow at the other; a forecast of autumn."""
    data, expected, deviation = system()
    factor = xr.DataArray([3.0, 0.3], dims="lead_time")
    centre = data["x"].mean("member")
    data["x"] = (centre + factor * (data["x"] - centre)).transpose(*DIMS)
    winter, autumn = (in_season((data, expected, deviation), day) for day in (40, 260))
    learnt = learn(*winter)
    assert learnt.coefficients.sizes["season"] == 4
    every = ["init_time", "latitude", "longitude"]
    stretch = [
        (applied(learnt, *one).std("member") / one[0]["x"].std("member")).mean(every).values for one in (winter, autumn)
    ]
    assert stretch[0][0] < 0.5 < 2.0 < stretch[0][1]
    np.testing.assert_allclose(stretch[1], stretch[0], rtol=0.05)
