import math

import pytest
import torch

from models.config import ClimatologyConfig
from tests import linear_gaussian as systems


def numbered(steps: int, steps_per_year: int = 1):
    """Every field holds the number of its step."""
    values = torch.arange(steps, dtype=torch.float32)[:, None, None, None].expand(steps, 1, 2, 3).contiguous()
    return systems.training_data(values, steps_per_year=steps_per_year)


def draw(model, *, leads: int, members=range(8), calendar=None, seed: int = 3):
    situation = systems.context(torch.zeros(1, 1, 2, 3), leads)
    if calendar is not None:
        situation = type(situation)(situation.history, calendar, situation.forcing, situation.init_time)
    return model.sample(situation, leads=leads, members=members, seed=seed)


def test_law_of_a_system_without_memory_is_recovered():
    system = systems.white_system()
    data = systems.training_data(system.simulate(3000, seed=1))
    model = ClimatologyConfig().build(data, seed=0).model
    systems.assert_law_is_recovered(model, system, start=torch.zeros(system.shape), leads=3)


def test_blocks_are_two_unbroken_stretches_of_the_record():
    model = ClimatologyConfig(block=5).build(numbered(40), seed=0).model
    drawn = draw(model, leads=12)
    assert (drawn == drawn[..., :1, :1]).all()
    steps = drawn[:, :, 0, 0, 0].diff(dim=1)
    inside = [lead for lead in range(11) if lead % 5 != 4]
    width = (4 / 3 / 36) ** 0.2
    paces = torch.tensor([1 + width, 1 - width]) / math.hypot(1, width)
    assert torch.isclose(steps[:, inside, None], paces, atol=1e-4).any(dim=-1).all()
    assert len(drawn[:, 0, 0, 0, 0].unique()) > 4


def test_blocks_do_not_cross_gaps_in_training():
    data = numbered(40)
    train = torch.ones(40, dtype=torch.bool)
    train[17:20] = False
    series = systems.series(data.series[0].values, train=train)
    model = ClimatologyConfig(block=8).build(type(data)((series,), data.grid), seed=0).model
    starts = model.fields[model.starts, 0, 0, 0]
    assert starts.tolist() == [*range(10), *range(20, 33)]


def test_blocks_start_in_the_season_they_are_put_in():
    months = torch.arange(120) % 12
    spring = ((months >= 4) & (months <= 6)).float()[:, None, None, None].expand(-1, 1, 2, 3).contiguous()
    model = ClimatologyConfig(block=1).build(systems.training_data(spring, steps_per_year=12), seed=0).model
    phase = 2 * math.pi * torch.arange(4, 8) / 12
    calendar = torch.stack([phase.sin(), phase.cos()], dim=1)
    drawn = draw(model, leads=3, members=range(200), calendar=calendar)[:, :, 0, 0, 0]
    assert (abs(drawn[:, 0]) > 0.1).all()
    assert len(drawn[:, 0].unique()) == 2
    assert len(drawn[:, 1].unique()) > 2


def test_a_longer_forecast_continues_a_shorter_one():
    model = ClimatologyConfig(block=4).build(numbered(60), seed=0).model
    assert torch.equal(draw(model, leads=12)[:, :7], draw(model, leads=7))


def test_default_block_is_a_year_below_a_year_and_ten_steps_above():
    assert ClimatologyConfig().build(numbered(120, steps_per_year=12), seed=0).model.block == 12
    assert ClimatologyConfig().build(numbered(60), seed=0).model.block == 10


def test_a_block_longer_than_any_run_is_refused():
    with pytest.raises(ValueError, match="no unbroken training run holds a block of 50 steps"):
        ClimatologyConfig(block=50).build(numbered(40), seed=0)
