"""The autoregressive family: the promises of all networks, and the linear-Gaussian law it starts from."""

import pytest
import torch

from models.config import AutoregressiveConfig
from tests.linear_gaussian import LinearGaussian, assert_law_is_recovered, coupled_system, training_data
from tests.neural_family import SMALL, NeuralFamily, draw, situation


class TestAutoregressive(NeuralFamily):
    config = AutoregressiveConfig(**SMALL)

    def test_the_first_leads_do_not_depend_on_how_many_follow(self, fitted):
        shorter = fitted.model.sample(situation(leads=3), leads=3, members=range(4), seed=11)
        assert torch.equal(shorter, draw(fitted)[:, :3])


@pytest.fixture(scope="module")
def system() -> LinearGaussian:
    return coupled_system()


def test_it_starts_as_the_linear_model_with_its_residual_law(system):
    """One timid step of training: mean, spread, lagged covariance and CRPS of its leads against the closed form."""
    config = AutoregressiveConfig(steps=1, batch=2, history=1, modes=30, noise_modes=30, learning_rate=1e-6)
    values = system.simulate(2000, seed=1)
    model = config.build(training_data(values), seed=0).model
    assert_law_is_recovered(model, system, start=values[-1], leads=2, count=400)
