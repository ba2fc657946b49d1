import numpy as np
import pytest
import scores.continuous
import scores.probability
import scoringrules
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.judging import scores as ours

VALUES = st.floats(-50, 50, width=32).map(lambda v: round(v, 2))
ENSEMBLES = st.integers(2, 9).flatmap(lambda m: hnp.arrays(np.float64, (m, 3), elements=VALUES))
TRUTHS = hnp.arrays(np.float64, (3,), elements=VALUES)


def members(values, **attrs):
    return xr.DataArray(np.asarray(values, float), dims=("member", "point")[: np.ndim(values)], attrs=attrs)


def truth(values, **attrs):
    values = np.asarray(values, float)
    return xr.DataArray(values, dims=("point",)[: values.ndim], attrs=attrs)


def crps_by_pairs(x, y, *, fair):
    """The definition, over all pairs."""
    size = len(x)
    pairs = np.abs(x[:, None] - x[None]).sum((0, 1)) / (size * (size - 1) if fair else size**2)
    return np.abs(x - y).mean(0) - pairs / 2


# --- golden numbers, by hand ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "y", "fair", "plain"),
    [
        # distances to 2: 1, 1, 3, mean 5/3; pairs |1-3| 2, |1-5| 4, |3-5| 2: sum 8, mean of three 8/3, half 4/3;
        # over 9 ordered pairs 16/9, half 8/9
        ([1, 3, 5], 2, 5 / 3 - 4 / 3, 5 / 3 - 8 / 9),
        # distances to 0: 0, 1, 1, 2, 6, mean 2; pairs 1+1+2+6 + 0+1+5 + 1+5 + 4 = 26, mean of ten 2.6, half 1.3;
        # over 25 ordered pairs 52/25, half 1.04
        ([1, -1, 0, 2, 6], 0, 2 - (2 + 1 + 1 + 5 + 1 + 3 + 7 + 2 + 6 + 4) / 20, 2 - 32 / 25),
        # the truth above all members, ties among them: distances 4, 4, 1, mean 3; pairs 0 + 3 + 3 = 6
        ([0, 0, 3], 4, 3 - 1, 3 - 6 / 9),
    ],
)
def test_crps_by_hand(x, y, fair, plain):
    assert ours.crps_ensemble(members(x), truth(y)).item() == pytest.approx(fair, abs=1e-12)
    assert ours.crps_ensemble(members(x), truth(y), fair=False).item() == pytest.approx(plain, abs=1e-12)


def test_other_scores_by_hand():
    x, y = members([1, 3, 5], units="K"), truth(2, units="K")
    assert ours.squared_error(x, y).item() == pytest.approx(1.0)  # mean 3
    assert ours.ensemble_variance(x).item() == pytest.approx(4.0)  # (4 + 0 + 4) / 2
    assert ours.observation_rank(x, y).item() == 1.0  # only 1 lies below 2
    assert ours.observation_rank(x, truth(3)).item() == 1.5  # one below, one equal
    assert ours.spread_correction(3) == pytest.approx(4 / 3)
    # Hazen: levels 1/6, 1/2, 5/6; the median is 3, 0.5 * |2 - 3| = 0.5; at 5/6 it is 5: (1 - 5/6) * 3 = 0.5
    assert ours.quantile_score(x, y, level=0.5).item() == pytest.approx(0.5)
    assert ours.quantile_score(x, y, level=5 / 6).item() == pytest.approx(0.5)
    # above 2.5: members 2.5, 3, 5, truth 2.5: distances 0, 0.5, 2.5, mean 1; pairs 0.5 + 2.5 + 2 = 5, half mean 5/6
    assert ours.threshold_weighted_crps(x, y, lower=2.5).item() == pytest.approx(1 - 5 / 6)


def test_brier_by_hand():
    # two of five members: p = 0.4; (0.4 - 1)² = 0.36; fair: less 0.4 * 0.6 / 4 = 0.06
    x, y = members([1, 0, 0, 1, 0]), truth(1)
    assert ours.brier_ensemble(x, y, fair=False).item() == pytest.approx(0.36)
    assert ours.brier_ensemble(x, y).item() == pytest.approx(0.30)
    assert ours.brier(truth(0.4), y).item() == pytest.approx(0.36)


# --- properties -------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(ENSEMBLES, TRUTHS, st.booleans())
def test_crps_equals_the_definition(x, y, fair):
    got = ours.crps_ensemble(members(x), truth(y), fair=fair)
    np.testing.assert_allclose(got, crps_by_pairs(x, y, fair=fair), atol=1e-10)


@settings(max_examples=40, deadline=None)
@given(ENSEMBLES, TRUTHS, st.randoms(use_true_random=False))
def test_order_of_members_does_not_matter(x, y, random):
    order = random.sample(range(len(x)), len(x))
    for score in (ours.crps_ensemble, ours.squared_error, ours.observation_rank):
        one, other = score(members(x), truth(y)), score(members(x[order]), truth(y))
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(ENSEMBLES, TRUTHS, st.floats(-1000, 1000), st.floats(0.1, 10))
def test_shift_and_scale(x, y, shift, scale):
    moved = ours.crps_ensemble(members(x * scale + shift), truth(y * scale + shift))
    np.testing.assert_allclose(moved, scale * ours.crps_ensemble(members(x), truth(y)), atol=1e-8)


@settings(max_examples=40, deadline=None)
@given(ENSEMBLES, TRUTHS, st.floats(-20, 20))
def test_two_threshold_weights_add_up_to_the_crps(x, y, threshold):
    parts = [
        ours.threshold_weighted_crps(members(x), truth(y), lower=threshold),
        ours.threshold_weighted_crps(members(x), truth(y), upper=threshold),
    ]
    np.testing.assert_allclose(sum(parts), ours.crps_ensemble(members(x), truth(y)), atol=1e-9)


@pytest.mark.parametrize("size", [2, 3, 5, 8, 31, 50, 64, 65, 200])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_size_and_tile_remainder(size, dtype):
    rng = np.random.default_rng(size)
    x, y = rng.normal(290, 3, (size, 131)).astype(dtype), rng.normal(290, 3, 131).astype(dtype)
    got = ours.crps_ensemble(members(x).astype(dtype), truth(y).astype(dtype))
    np.testing.assert_allclose(got, crps_by_pairs(x.astype(float), y.astype(float), fair=True), rtol=1e-10)


def test_pascals_in_float32_lose_no_digits():
    rng = np.random.default_rng(3)
    x, y = (101_325 + rng.normal(0, 0.5, shape).astype("float32") for shape in ((50, 40), (40,)))
    expected = crps_by_pairs(x.astype(float), y.astype(float), fair=True)
    np.testing.assert_allclose(ours.crps_ensemble(members(x), truth(y)), expected, rtol=1e-12)


def test_constant_members_have_no_spread():
    x = members(np.full((5, 2), 287.3))
    assert (ours.ensemble_variance(x) == 0).all()
    np.testing.assert_allclose(ours.crps_ensemble(x, truth([287.3, 280.3])), [0.0, 7.0], atol=1e-12)
    np.testing.assert_array_equal(ours.observation_rank(x, truth([287.3, 280.3])), [2.5, 0.0])


# --- independent implementations --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sample():
    rng = np.random.default_rng(0)
    return members(rng.gamma(2.0, 2.0, (20, 300))), truth(rng.gamma(2.0, 2.0, 300))


def test_agrees_with_scoringrules(sample):
    x, y = sample
    for fair, estimator in ((True, "fair"), (False, "nrg")):
        theirs = scoringrules.crps_ensemble(y.values, x.values.T, estimator=estimator)
        np.testing.assert_allclose(ours.crps_ensemble(x, y, fair=fair), theirs, rtol=1e-9)
    theirs = scoringrules.twcrps_ensemble(y.values, x.values.T, 2.0, 6.0, estimator="fair")
    np.testing.assert_allclose(ours.threshold_weighted_crps(x, y, lower=2.0, upper=6.0), theirs, atol=1e-9)


def test_agrees_with_scores(sample):
    x, y = sample
    theirs = scores.probability.crps_for_ensemble(x, y, "member", method="fair", preserve_dims=["point"])
    np.testing.assert_allclose(ours.crps_ensemble(x, y), theirs, rtol=1e-9)
    theirs = scores.probability.tail_tw_crps_for_ensemble(
        x, y, "member", 5.0, tail="upper", method="ecdf", preserve_dims=["point"]
    )
    np.testing.assert_allclose(ours.threshold_weighted_crps(x, y, lower=5.0, fair=False), theirs, atol=1e-9)
    median = x.median("member")
    theirs = scores.continuous.quantile_score(median, y, 0.5, preserve_dims=["point"])
    np.testing.assert_allclose(ours.quantile_score(x, y, level=0.5), theirs, rtol=1e-9)


def test_twice_the_mean_quantile_score_is_the_crps(sample):
    x, y = sample
    levels = (np.arange(x.sizes["member"]) + 0.5) / x.sizes["member"]
    mean = sum(ours.quantile_score(x, y, level=level) for level in levels) / levels.size
    np.testing.assert_allclose(2 * mean, ours.crps_ensemble(x, y, fair=False), rtol=1e-9)


# --- expectation ------------------------------------------------------------------------------------------------------


def test_fair_score_does_not_depend_on_the_number_of_members():
    rng = np.random.default_rng(5)
    y = truth(rng.normal(size=20_000))
    exact = 1 / np.sqrt(np.pi)  # standard normal forecast of a standard normal truth
    for size in (5, 50):
        got = ours.crps_ensemble(members(rng.normal(size=(size, y.size))), y)
        assert abs(got.mean() - exact) < 4 * got.std() / np.sqrt(y.size)
        plain = ours.crps_ensemble(members(rng.normal(size=(size, y.size))), y, fair=False)
        assert abs(plain.mean() - exact * (1 + 1 / size)) < 4 * plain.std() / np.sqrt(y.size)


# --- laziness, masks, attributes, messages ----------------------------------------------------------------------------


def test_stays_lazy_and_chunks_change_nothing(sample):
    x, y = sample
    whole = ours.crps_ensemble(x, y)
    lazy = ours.crps_ensemble(x.chunk(member=7, point=90), y.chunk(point=50))
    assert lazy.chunks is not None
    np.testing.assert_array_equal(lazy, whole)
    assert ours.quantile_score(x.chunk(member=7), y, level=0.3).chunks is not None


def test_members_may_stand_anywhere(sample):
    x, y = sample
    x = x.rename(member="number").expand_dims(level=2)
    got = ours.crps_ensemble(x.transpose("point", "number", "level"), y, member_dim="number")
    assert got.dims == ("point", "level")
    np.testing.assert_array_equal(got.isel(level=1), ours.crps_ensemble(*sample))


def test_missing_values_stay_missing():
    x, y = members(np.arange(15.0).reshape(5, 3)), truth([1, np.nan, 3])
    x[2, 2] = np.nan
    for score in (ours.crps_ensemble, ours.squared_error, ours.observation_rank, ours.brier_ensemble):
        np.testing.assert_array_equal(np.isnan(score(x, y)), [False, True, True])
    np.testing.assert_array_equal(np.isnan(ours.quantile_score(x, y, level=0.5)), [False, True, True])
    np.testing.assert_array_equal(np.isnan(ours.ensemble_variance(x)), [False, False, True])


def test_units_survive():
    x, y = members([[1, 2], [3, 4]], units="m s-1"), truth([1, 2], units="m s-1")
    assert ours.crps_ensemble(x, y).attrs == {"units": "m s-1"}
    assert ours.squared_error(x, y).attrs == {"units": "(m s-1)^2"}
    assert ours.threshold_weighted_crps(x, y, lower=1.5).attrs == {"units": "m s-1"}
    assert ours.observation_rank(x, y).attrs == {"units": "1"}


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (members([[1.0, 2.0]]), truth([1, 2]), "1 member.*at least 2"),
        (truth([1, 2]), truth([1, 2]), "no 'member'"),
        (members([[1, 2], [3, 4]]), truth([1, 2, 3]), "observation: its point differs"),
        (members([[1, 2], [3, 4]], units="K"), truth([1, 2], units="degC"), "'degC', forecast in 'K'"),
        (members([[1, 2], [3, 4]]), xr.DataArray([1.0, 2.0], dims="time"), r"\['time'\] that forecast lacks"),
        (
            members([[1, 2], [3, 4]]).assign_coords(point=[0, 1]),
            truth([1, 2]).assign_coords(point=[0, 2]),
            "2 from 0 to 2 against 2 from 0 to 1",
        ),
    ],
)
def test_bad_input_is_named(x, y, message):
    with pytest.raises(ValueError, match=message):
        ours.crps_ensemble(x, y)


def test_bad_parameters_are_named():
    x, y = members([[1, 2], [3, 4]]), truth([1, 2])
    with pytest.raises(ValueError, match=r"level: got 1\.5"):
        ours.quantile_score(x, y, level=1.5)
    with pytest.raises(ValueError, match="lower and upper: got 3 and 1"):
        ours.threshold_weighted_crps(x, y, lower=3, upper=1)
