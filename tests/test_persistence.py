import math

import numpy as np
import pytest
import torch

from models.config import DampedPersistenceConfig
from models.damping import Pairs, seasonal_damping, seasonal_terms, shrink_damping
from tests import linear_gaussian as systems


def test_law_of_a_damped_system_is_recovered():
    system = systems.damped_system()
    values = system.simulate(4000, seed=2)
    fitted = DampedPersistenceConfig().build(systems.training_data(values), seed=0)
    systems.assert_law_is_recovered(fitted.model, system, start=values[-1], leads=4)
    np.testing.assert_allclose(fitted.model.damping[0], np.diagonal(system.propagator), atol=0.05)


def test_damping_that_follows_the_season_is_found():
    phase = 2 * math.pi * torch.arange(12 * 200) / 12
    damping = 0.5 + 0.4 * phase.sin()
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(len(phase), 1, 2, 2, generator=generator)
    values = torch.zeros_like(noise)
    for step in range(1, len(phase)):
        values[step] = damping[step] * values[step - 1] + noise[step]
    fitted = DampedPersistenceConfig().build(systems.training_data(values, steps_per_year=12), seed=0)
    assert fitted.notes["seasonal"]
    calendar = torch.stack([phase[:12].sin(), phase[:12].cos()], dim=1).double()
    found = seasonal_damping(fitted.model.damping, calendar).mean(dim=1)
    np.testing.assert_allclose(found, damping[:12], atol=0.06)


def test_damping_of_a_few_pairs_by_hand():
    before = torch.tensor([[1.0, 2.0, 0.0], [2.0, -1.0, 0.0]], dtype=torch.float64)
    after = torch.tensor([[0.5, 1.0, 0.0], [1.0, 0.5, 0.0]], dtype=torch.float64)
    weights = torch.tensor([1.0, 3.0, 0.0], dtype=torch.float64)
    terms = torch.ones(2, 1, dtype=torch.float64)
    pairs = Pairs.of(before, after, terms)
    cells = pairs.damping()
    np.testing.assert_allclose(cells, [[0.5, 0.3, 0.0]], atol=1e-8)  # (0.5 + 2) / 5 and (2 - 0.5) / 5
    np.testing.assert_allclose(pairs.error(cells)[:2], [0.0, 0.8], atol=1e-8)  # (1 - 0.6)² + (0.5 + 0.3)²
    drawn_in = shrink_damping(cells, weights, channels=1, shrinkage=1.0)
    np.testing.assert_allclose(drawn_in, [[0.35, 0.35, 0.0]], atol=1e-8)  # (1 · 0.5 + 3 · 0.3) / 4


def test_sums_over_parts_of_the_pairs_are_those_of_each_part():
    generator = torch.Generator().manual_seed(4)
    before, after, terms = (torch.randn(9, count, generator=generator).double() for count in (4, 4, 3))
    rows = [torch.tensor([0, 2, 5]), torch.arange(3, 9)]
    parts = torch.stack([torch.isin(torch.arange(9), row) for row in rows]).double()
    for row, found in zip(rows, Pairs.of_parts(before, after, terms, parts), strict=True):
        alone = Pairs.of(before[row], after[row], terms[row])
        for name, value in vars(alone).items():
            torch.testing.assert_close(vars(found)[name], value, msg=name)


@pytest.mark.parametrize(
    ("coefficients", "held"), [((1.4, 0, 0), (0.999, 0, 0)), ((-0.8, 0.3, 0.4), (-0.8, 0.1194, 0.1592))]
)
def test_damping_never_reaches_one_in_any_season(coefficients, held):
    """A mean of -0.8 leaves a swing of 0.199, where 0.5 was fitted: 0.3 · 0.398 and 0.4 · 0.398."""
    cells = torch.tensor(coefficients, dtype=torch.float64)[:, None]
    found = shrink_damping(cells, torch.ones(1, dtype=torch.float64), channels=1, shrinkage=0.0)
    np.testing.assert_allclose(found[:, 0], held, atol=1e-12)
    phase = torch.linspace(0, 2 * math.pi, 100, dtype=torch.float64)
    assert seasonal_damping(found, torch.stack([phase.sin(), phase.cos()], dim=1)).abs().max() < 1


def test_terms_of_a_calendar_without_seasons_are_constant():
    calendar = torch.zeros(3, 2)
    assert torch.equal(seasonal_terms(calendar, 1), torch.ones(3, 1))


def test_a_thousand_steps_keep_the_climate():
    system = systems.damped_system()
    values = system.simulate(1500, seed=3)
    model = DampedPersistenceConfig().build(systems.training_data(values), seed=0).model
    drawn = model.sample(systems.context(10 * values[-1:], 1000), leads=1000, members=range(5), seed=1)
    assert float(drawn[:, 100:].std(dim=(0, 1)).mean()) == pytest.approx(float(values.std(dim=0).mean()), rel=0.08)
