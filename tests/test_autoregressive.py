"""The autoregressive family: the promises of all networks, and the linear-Gaussian law it starts from."""

import pytest
import torch

from models.config import AutoregressiveConfig
from tests.linear_gaussian import LinearGaussian, context, coupled_system, training_data
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
    """One timid step of training: mean and spread of two leads against the closed form.

    A regression on 30 cells over 2000 steps, asked at one deviation, errs by sqrt(30 / 2000) = 0.12 deviations, of one
    sign over many cells at once; 400 members know a deviation to 4 % in each cell.
    """
    config = AutoregressiveConfig(steps=1, batch=2, history=1, modes=30, noise_modes=30, learning_rate=1e-6)
    model = config.build(training_data(system.simulate(2000, seed=1)), seed=0).model
    start = system.simulate(1, seed=9)
    mean, covariance = system.law(start.double().numpy().reshape(-1), 2)
    drawn = model.sample(context(start, 2), leads=2, members=range(400), seed=3).flatten(2).double()
    deviation = torch.tensor(covariance).diagonal(dim1=1, dim2=2).sqrt()
    assert ((drawn.mean(dim=0) - torch.tensor(mean)) / deviation).abs().mean() < 0.2
    assert float((drawn.std(dim=0) / deviation).mean()) == pytest.approx(1.0, abs=0.04)
