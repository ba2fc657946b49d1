import numpy as np
import pytest
import torch

from models.config import LinearInverseConfig, VectorAutoregressiveConfig
from models.linear import _propagator, _spectral_radius, _stable
from tests import linear_gaussian as systems

CONFIGS = [LinearInverseConfig(), VectorAutoregressiveConfig()]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.kind)
def test_law_of_a_coupled_system_is_recovered(config):
    system = systems.coupled_system()
    values = system.simulate(4000, seed=4)
    fitted = config.build(systems.training_data(values), seed=0)
    systems.assert_law_is_recovered(fitted.model, system, start=values[-1], leads=4)


def test_second_lag_is_found_where_there_is_one():
    generator = torch.Generator().manual_seed(2)
    noise = torch.randn(1500, 1, 2, 3, generator=generator)
    values = torch.zeros_like(noise)
    for step in range(2, 1500):
        values[step] = 1.2 * values[step - 1] - 0.6 * values[step - 2] + noise[step]
    data = systems.training_data(values)
    vector, inverse = (
        config(eofs=6).build(data, seed=0) for config in (VectorAutoregressiveConfig, LinearInverseConfig)
    )
    assert vector.notes["lags"] == 2
    assert inverse.notes["lags"] == 1
    assert vector.notes["error"] < 0.8 * inverse.notes["error"]


def test_a_choice_given_is_kept():
    data = systems.training_data(systems.coupled_system().simulate(300, seed=5))
    notes = VectorAutoregressiveConfig(eofs=7, lags=2, ridge=0.5, folds=4).build(data, seed=0).notes
    assert (notes["eofs"], notes["lags"], notes["ridge"], notes["folds"]) == (7, 2, 0.5, 4)


def test_lags_from_level_and_tendencies_by_hand():
    coefficients = torch.tensor([2.0, 3.0, 5.0]).reshape(3, 1, 1)
    # 2 a0 + 3 (a0 - a1) + 5 (a1 - a2)
    assert _propagator(coefficients).flatten().tolist() == [5.0, 2.0, -5.0]


def test_spectral_radius_of_a_scalar_recursion():
    # x² = 1.2 x - 0.6 has the complex roots of size √0.6
    propagator = torch.tensor([1.2, -0.6], dtype=torch.float64).reshape(2, 1, 1)
    assert _spectral_radius(propagator) == pytest.approx(np.sqrt(0.6))


def test_a_growing_propagator_is_drawn_in():
    propagator = torch.tensor([[[1.1, 0.3], [0.0, 0.9]], [[0.1, 0.0], [0.2, 0.1]]], dtype=torch.float64)
    assert _spectral_radius(propagator) > 1
    assert _spectral_radius(_stable(propagator)) == pytest.approx(0.999)
    decaying = 0.5 * propagator
    assert torch.equal(_stable(decaying), decaying)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.kind)
def test_a_thousand_steps_keep_the_climate(config):
    system = systems.coupled_system()
    values = system.simulate(1500, seed=6)
    model = config.build(systems.training_data(values), seed=0).model
    drawn = model.sample(systems.context(10 * values[-3:], 1000), leads=1000, members=range(5), seed=1)
    assert float(drawn[:, 100:].std(dim=(0, 1)).mean()) == pytest.approx(float(values.std(dim=0).mean()), rel=0.08)
