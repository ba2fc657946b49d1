"""What all statistical families promise: members as DESIGN defines them, no leakage, nothing under the mask."""

import math

import pytest
import torch
from safetensors.torch import load, save

from models.base import Context, Grid, Series, TrainingData
from models.config import (
    ClimatologyConfig,
    DampedPersistenceConfig,
    DirectRidgeConfig,
    LinearInverseConfig,
    ModelConfig,
    PoolConfig,
    ResidualBlocksConfig,
    VectorAutoregressiveConfig,
)

CONFIGS: list[ModelConfig] = [
    ClimatologyConfig(),
    DampedPersistenceConfig(folds=4),
    LinearInverseConfig(folds=4),
    VectorAutoregressiveConfig(folds=4),
    DirectRidgeConfig(folds=4, leads=4),
    ResidualBlocksConfig(folds=4),
    PoolConfig(models=(LinearInverseConfig(folds=4), ResidualBlocksConfig(folds=4)), leads=3, cases=4),
]
SHAPE = (2, 4, 6)
LEADS = 9

every_family = pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.kind)


def monthly_series(seed: int, *, steps: int = 180) -> Series:
    """Red noise with a forcing; two years in the middle and the last three are not for training."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(steps, *SHAPE, generator=generator)
    for step in range(1, steps):
        values[step] = 0.7 * values[step - 1] + values[step]
    phase = 2 * math.pi * torch.arange(steps) / 12
    train = torch.ones(steps, dtype=torch.bool)
    train[60:84] = False
    train[-36:] = False
    validate = torch.zeros(steps, dtype=torch.bool)
    validate[-36:-12] = True
    return Series(
        values=values * mask(),
        calendar=torch.stack([phase.sin(), phase.cos()], dim=1),
        forcing=torch.linspace(-1, 1, steps)[:, None],
        train=train,
        validate=validate,
    )


def mask() -> torch.Tensor:
    cells = torch.ones(SHAPE, dtype=torch.bool)
    cells[0, 1, 2:4] = False
    cells[1, 3] = False
    return cells


def grid() -> Grid:
    return Grid(weights=torch.linspace(0.6, 1.4, 4)[:, None].expand(4, 6), mask=mask(), is_global=True)


def data() -> TrainingData:
    return TrainingData((monthly_series(1), monthly_series(2)), grid())


def situation(*, history: int = 4, change: float = 0.0) -> Context:
    series = monthly_series(3)
    stop = 160
    return Context(
        history=series.values[stop - history : stop] + change,
        calendar=series.calendar[stop - history : stop + LEADS],
        forcing=series.forcing[stop - history : stop + LEADS],
        init_time=-5_000_000_000,
    )


def draw(model, *, members=range(6), seed: int = 11, given: Context | None = None) -> torch.Tensor:
    return model.sample(given or situation(), leads=LEADS, members=members, seed=seed)


@pytest.fixture(scope="module")
def models():
    return {config: config.build(data(), seed=0).model for config in CONFIGS}


@every_family
def test_a_sample_has_members_leads_and_the_grid(models, config):
    drawn = draw(models[config])
    assert drawn.shape == (6, LEADS, *SHAPE)
    assert drawn.dtype == torch.float32
    assert torch.isfinite(drawn).all()


@every_family
def test_members_do_not_depend_on_their_order_or_on_what_else_runs(models, config):
    expected = draw(models[config])
    torch.rand(3)
    assert torch.equal(draw(models[config], members=[5, 4, 3, 2, 1, 0]).flip(0), expected)
    assert torch.equal(draw(models[config]), expected)


@every_family
def test_members_seeds_and_initial_times_differ(models, config):
    drawn = draw(models[config])
    assert len({row.numpy().tobytes() for row in drawn}) == 6
    assert not torch.equal(draw(models[config], seed=12), drawn)
    given = situation()
    later = Context(given.history, given.calendar, given.forcing, init_time=86_400)
    assert not torch.equal(draw(models[config], given=later), drawn)


@every_family
def test_a_longer_history_changes_nothing(models, config):
    assert torch.equal(draw(models[config], given=situation(history=7)), draw(models[config]))


@every_family
def test_restored_models_give_the_same_bytes(models, config):
    arrays = load(save(models[config].arrays()))
    restored = config.restore(arrays, grid=grid())
    assert torch.equal(draw(restored), draw(models[config]))
    again = restored.arrays()
    assert again.keys() == arrays.keys()
    assert all(torch.equal(again[name], arrays[name]) and again[name].dtype == arrays[name].dtype for name in arrays)


@every_family
def test_years_outside_training_change_no_array(models, config):
    spoilt = []
    for series in data().series:
        outside = ~series.train & ~series.validate
        values = torch.where(outside[:, None, None, None], torch.nan, series.values)
        spoilt.append(Series(values, series.calendar, series.forcing, series.train, series.validate))
    arrays = config.build(TrainingData(tuple(spoilt), grid()), seed=0).model.arrays()
    assert all(torch.equal(tensor, models[config].arrays()[name]) for name, tensor in arrays.items())


@every_family
def test_masks_leak_nothing(models, config):
    spoilt = tuple(
        Series(torch.where(mask(), one.values, 1e9), one.calendar, one.forcing, one.train, one.validate)
        for one in data().series
    )
    model = config.build(TrainingData(spoilt, grid()), seed=0).model
    given = situation()
    garbage = torch.where(mask(), given.history, torch.nan)
    drawn = draw(model, given=Context(garbage, given.calendar, given.forcing, given.init_time))
    assert torch.equal(drawn, draw(models[config]))
    assert not drawn[:, :, ~mask()].any()


@every_family
def test_a_thousand_steps_keep_the_climate(models, config):
    series = monthly_series(4, steps=1004)
    given = Context(10 * series.values[:4], series.calendar, torch.zeros(1004, 1), init_time=0)
    drawn = models[config].sample(given, leads=1000, members=range(4), seed=2)
    climate = torch.cat([one.values[one.train] for one in data().series])
    ratio = drawn[:, 200:].std(dim=(0, 1))[mask()] / climate.std(dim=0)[mask()]
    assert float(ratio.mean()) == pytest.approx(1, abs=0.1)


@every_family
def test_fitting_twice_gives_the_same_bytes(models, config):
    arrays = config.build(data(), seed=0).model.arrays()
    assert all(torch.equal(tensor, models[config].arrays()[name]) for name, tensor in arrays.items())


@every_family
def test_another_grid_is_refused(models, config):
    given = situation()
    wider = torch.cat([given.history, given.history], dim=-1)
    with pytest.raises(ValueError, match="only on the grid it was fitted on"):
        draw(models[config], given=Context(wider, given.calendar, given.forcing, given.init_time))


@every_family
def test_training_data_that_no_fit_can_use_are_refused(config):
    series = monthly_series(1)
    train = torch.zeros_like(series.train)
    train[:20] = True
    short = Series(series.values, series.calendar, series.forcing, train, torch.zeros_like(train))
    with pytest.raises(ValueError, match="years"):
        config.build(TrainingData((short,), grid()), seed=0)


@every_family
def test_values_that_no_fit_can_use_are_refused(config):
    series = monthly_series(1)
    holed, constant = series.values.clone(), series.values.clone()
    holed[3, 0, 0, 0] = torch.nan
    constant[:, 1] = 1.5 * mask()[1]
    for values, words in (
        (holed, "NaN or infinite values in 1 training|not finite"),
        (constant, "channel 1 is constant"),
    ):
        spoilt = Series(values, series.calendar, series.forcing, series.train, series.validate)
        with pytest.raises(ValueError, match=words):
            config.build(TrainingData((spoilt,), grid()), seed=0)


@every_family
def test_rolling_the_longitude_rolls_every_member(models, config):
    """The grid closes the circle and the mask rolls along; only rounding and ties between patterns may differ."""
    turned = Grid(grid().weights, mask().roll(2, dims=2), is_global=True)
    rolled = tuple(
        Series(one.values.roll(2, dims=3), one.calendar, one.forcing, one.train, one.validate) for one in data().series
    )
    model = config.build(TrainingData(rolled, turned), seed=0).model
    given = situation()
    there = Context(given.history.roll(2, dims=3), given.calendar, given.forcing, given.init_time)
    expected = draw(models[config])
    assert torch.allclose(draw(model, given=there), expected.roll(2, dims=4), atol=1e-3)


@pytest.mark.parametrize("config", CONFIGS[:-1], ids=lambda config: config.kind)
def test_steps_that_the_context_does_not_describe_are_refused(models, config):
    """A lead beyond the calendar would be given the season of another step."""
    model = models[config]
    for leads, words in ((0, "leads is 0"), (LEADS + 2, "describes 9"), (LEADS - 2, "describes 9")):
        with pytest.raises(ValueError, match=words):
            model.sample(situation(), leads=leads, members=range(2), seed=1)
    if model.history > 1:
        with pytest.raises(ValueError, match="the model needs"):
            draw(model, given=situation(history=model.history - 1))
