from dataclasses import replace

import numpy as np
import pytest
import torch

from models.base import TrainingData
from models.config import ResidualBlocksConfig
from tests import linear_gaussian as systems

SHAPE = (1, 5, 8)


def forced(*, steps: int, seed: int, warming: torch.Tensor, response: float = 1.5) -> TrainingData:
    """White noise and a response that differs from cell to cell."""
    noise = torch.randn(steps, *SHAPE, generator=torch.Generator().manual_seed(seed))
    values = noise + warming[:, None, None, None] * pattern(response)
    series = replace(systems.series(values), forcing=warming[:, None])
    return TrainingData((series,), systems.grid(SHAPE))


def pattern(response: float) -> torch.Tensor:
    return response * torch.linspace(0.5, 1.5, 40).reshape(SHAPE)


def draw(model, *, warming: torch.Tensor, members: int = 100, seed: int = 5) -> torch.Tensor:
    situation = systems.context(torch.zeros(1, *SHAPE), len(warming))
    situation = replace(situation, forcing=torch.cat([warming[:1], warming])[:, None])
    return model.sample(situation, leads=len(warming), members=range(members), seed=seed)


def test_law_of_a_damped_system_is_recovered():
    system = systems.damped_system()
    values = system.simulate(4000, seed=2)
    fitted = ResidualBlocksConfig().build(systems.training_data(values), seed=0)
    systems.assert_law_is_recovered(fitted.model, system, start=values[-1], leads=4)


def test_blocks_that_are_joined_keep_the_law():
    system = systems.damped_system()
    values = system.simulate(4000, seed=3)
    fitted = ResidualBlocksConfig(block=1).build(systems.training_data(values), seed=0)
    systems.assert_law_is_recovered(fitted.model, system, start=values[-1], leads=4)


def test_a_response_to_the_forcing_is_found():
    warming = torch.linspace(-1, 1, 400)
    model = ResidualBlocksConfig().build(forced(steps=400, seed=1, warming=warming), seed=0).model
    mean = draw(model, warming=torch.tensor([0.0, 1.0, 2.0]), members=800).mean(dim=0)
    for lead, forcing in enumerate([0.0, 1.0, 2.0]):
        np.testing.assert_allclose(mean[lead], forcing * pattern(1.5), atol=0.3 + 0.2 * forcing)


@pytest.mark.parametrize(("uncertain", "low", "high"), [(True, 0.84, 0.94), (False, 0.0, 0.80)])
def test_members_spread_where_the_forcing_leaves_the_record(uncertain, low, high):
    warming = torch.linspace(-1, 1, 60)
    strong = torch.full((20,), 6.0)
    coverage = []
    for seed in range(8):
        data = forced(steps=60, seed=seed, warming=warming)
        model = ResidualBlocksConfig(uncertain_response=uncertain).build(data, seed=0).model
        truth = forced(steps=20, seed=100 + seed, warming=strong).series[0].values
        lower, upper = torch.quantile(draw(model, warming=strong), torch.tensor([0.05, 0.95]), dim=0)
        coverage.append(((truth >= lower) & (truth <= upper)).float().mean())
    assert low < float(torch.stack(coverage).mean()) < high


def test_within_the_record_the_spread_is_that_of_unseen_years():
    """The law of a year never seen is N(0, 1 + terms / steps) here, by the theory of least squares."""
    warming = torch.linspace(-1, 1, 40)
    deviations = []
    for seed in range(30):
        model = ResidualBlocksConfig().build(forced(steps=40, seed=seed, warming=warming), seed=0).model
        deviations.append(draw(model, warming=warming, members=40).std(dim=0).mean())
    assert float(torch.stack(deviations).mean()) == pytest.approx(np.sqrt(1 + 2 / 40), rel=0.03)


def test_no_member_draws_a_year_again_while_others_are_left():
    config = ResidualBlocksConfig(block=5, link=False, uncertain_response=False)
    model = config.build(forced(steps=60, seed=6, warming=torch.zeros(60)), seed=0).model
    drawn = draw(model, warming=torch.zeros(20), members=30).flatten(2)
    assert all(len(torch.unique(member, dim=0)) == 20 for member in drawn)
    longer = draw(model, warming=torch.zeros(200), members=3).flatten(2)
    assert all(len(torch.unique(member, dim=0)) < 200 for member in longer)


def test_without_a_link_the_initial_state_does_not_matter():
    values = systems.damped_system().simulate(300, seed=4)
    model = ResidualBlocksConfig(link=False).build(systems.training_data(values), seed=0).model
    drawn = [
        model.sample(systems.context(size * values[-1:], 3), leads=3, members=range(5), seed=1) for size in (0.0, 5.0)
    ]
    assert torch.equal(*drawn)


def test_other_forcings_than_those_of_the_fit_are_refused():
    model = ResidualBlocksConfig().build(forced(steps=60, seed=1, warming=torch.linspace(-1, 1, 60)), seed=0).model
    with pytest.raises(ValueError, match="the context has 0 forcings, but the model was fitted with 1"):
        model.sample(systems.context(torch.zeros(1, *SHAPE), 3), leads=3, members=range(2), seed=1)


def test_a_forcing_that_never_varies_does_no_harm():
    data = forced(steps=60, seed=1, warming=torch.zeros(60))
    assert torch.isfinite(draw(ResidualBlocksConfig().build(data, seed=0).model, warming=torch.zeros(5))).all()


def test_a_block_longer_than_any_run_is_refused():
    with pytest.raises(ValueError, match="no unbroken training run holds a block of 60 steps"):
        ResidualBlocksConfig(block=60).build(forced(steps=60, seed=1, warming=torch.linspace(-1, 1, 60)), seed=0)


@pytest.mark.parametrize("history", [0, 1])
def test_a_block_begins_in_its_own_season_whether_a_state_is_known_or_not(history):
    """A record that says by how many months it lies after January, from -5 to 6, drawn for a January."""
    months = torch.arange(480) % 12
    record = systems.series(torch.zeros(480, *SHAPE), steps_per_year=12)
    model = ResidualBlocksConfig(block=1, link=False).build(forced_by_nothing(record), seed=0).model
    after = ((months + 5) % 12 - 5).float()
    model = replace(model, residuals=after[:, None].expand(-1, 40), pattern=torch.zeros_like(model.pattern))
    model = replace(model, scatter=torch.zeros_like(model.scatter))
    situation = systems.context(torch.zeros(history, *SHAPE), 2)
    situation = replace(situation, calendar=record.calendar[12 - history : 14])
    drawn = model.sample(situation, leads=2, members=range(300), seed=1)
    assert set(drawn[:, 0].unique().tolist()) == {-1.0, 0.0, 1.0}
    assert set(drawn[:, 1].unique().tolist()) == {0.0, 1.0, 2.0}


def forced_by_nothing(record):
    noise = torch.randn(record.values.shape, generator=torch.Generator().manual_seed(1))
    return TrainingData((replace(record, values=noise),), systems.grid(SHAPE))
