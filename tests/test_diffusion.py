"""The diffusion family: the promises of all networks, its conditions, and the law that it starts from."""

import numpy as np
import pytest
import torch

from models.config import DiffusionConfig
from models.diffusion import calls_per_window
from models.law import Law, fit_law
from models.samplers import SAMPLERS
from tests.linear_gaussian import LinearGaussian, assert_law_is_recovered, coupled_system, training_data
from tests.neural_family import LEADS, SHAPE, SMALL, NeuralFamily, changed, draw, mask, situation


class TestDiffusion(NeuralFamily):
    """A window of three steps: five leads take two windows, the second one cut."""

    config = DiffusionConfig(**SMALL, window=3, sampler_steps=4)

    @pytest.mark.parametrize("name", sorted(SAMPLERS))
    @pytest.mark.parametrize("guidance", [1.0, 0.5])
    def test_every_sampler_draws_in_as_many_calls_as_are_said(self, fitted, name, guidance):
        config = self.config.model_copy(update={"sampler": name, "guidance": guidance})
        model, calls = config.restore(fitted.model.arrays(), grid=fitted.model.grid), []
        model.denoiser.backbone.register_forward_hook(lambda *_: calls.append(1))
        drawn = model.sample(situation(), leads=LEADS, members=range(2), seed=1)
        assert len(calls) == 2 * calls_per_window(config)
        assert drawn.shape == (2, LEADS, *SHAPE)
        assert torch.isfinite(drawn).all()
        assert not drawn[:, :, ~mask()].any()

    def test_without_the_state_the_history_is_ignored(self, fitted):
        drawn = [
            fitted.model.sample(given, leads=LEADS, members=range(2), seed=1, drop=["state"])
            for given in (situation(), changed(history=situation().history + 2 * mask()))
        ]
        assert torch.equal(*drawn)
        assert not torch.equal(drawn[0], draw(fitted, members=range(2), seed=1))

    @pytest.mark.parametrize("condition", ["calendar", "forcing"])
    def test_a_dropped_condition_is_ignored(self, fitted, condition):
        other = changed(**{condition: getattr(situation(), condition).flip(0)})
        kept, flipped, dropped, both = (
            fitted.model.sample(given, leads=LEADS, members=range(2), seed=1, drop=drop)
            for given, drop in ((situation(), []), (other, []), (situation(), [condition]), (other, [condition]))
        )
        assert torch.equal(dropped, both)
        assert not torch.equal(kept, flipped)

    def test_guidance_departs_from_the_conditional_law(self, fitted):
        plain, guided = (
            fitted.model.sample(situation(), leads=LEADS, members=range(2), seed=1, guidance=strength)
            for strength in (1.0, 1.5)
        )
        assert torch.isfinite(guided).all()
        assert not torch.allclose(plain, guided, atol=1e-3)

    def test_guidance_is_an_option_of_the_configuration(self, fitted):
        config = self.config.model_copy(update={"guidance": 1.5})
        model = config.restore(fitted.model.arrays(), grid=fitted.model.grid)
        asked = fitted.model.sample(situation(), leads=LEADS, members=range(2), seed=1, guidance=1.5)
        assert torch.equal(model.sample(situation(), leads=LEADS, members=range(2), seed=1), asked)

    def test_a_start_from_nothing_is_one_without_the_state(self, fitted):
        given = situation()
        nothing = changed(history=given.history[:0], calendar=given.calendar[2:], forcing=given.forcing[2:])
        drawn = fitted.model.sample(nothing, leads=LEADS, members=range(2), seed=1)
        dropped = fitted.model.sample(given, leads=LEADS, members=range(2), seed=1, drop=["state"])
        assert torch.equal(drawn[:, :3], dropped[:, :3])

    def test_an_unknown_condition_is_refused(self, fitted):
        with pytest.raises(ValueError, match="drop names"):
            fitted.model.sample(situation(), leads=LEADS, members=[0], seed=1, drop=["season"])


def test_a_record_whose_folds_leave_no_windows_is_refused():
    with pytest.raises(ValueError, match="4 of 28 windows of 3 \\+ 10 steps share no step with fold 2 of 5"):
        DiffusionConfig().build(training_data(coupled_system().simulate(40, seed=3)), seed=0)


@pytest.fixture(scope="module")
def system() -> LinearGaussian:
    return coupled_system()


@pytest.fixture(scope="module")
def law(system) -> Law:
    windows = system.simulate(602, seed=1).flatten(1).unfold(0, 3, 1).transpose(1, 2)
    return fit_law(windows, torch.arange(600) // 200, 6)


def test_the_frame_of_the_law_is_orthogonal(law):
    """There and back gives the window again, and white noise keeps its energy."""
    window = torch.randn(4, 3, 2, 3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    elements = law.analyse(window)
    assert elements.shape == (4, 3 * 6 + 3 * 30)
    assert torch.allclose(law.synthesise(elements, window.shape[1:]), window, atol=1e-5)
    assert torch.allclose(elements.square().sum(dim=1), window.flatten(1).square().sum(dim=1), rtol=1e-5)


def test_the_law_has_the_variance_of_the_sample(system, law):
    """Its variance per lead, the mean over cells, is that of 600 windows in which it was fitted."""
    windows = system.simulate(602, seed=1).flatten(1).unfold(0, 3, 1)
    expected = windows.square().mean(dim=(0, 1))
    assert torch.allclose(law.per_lead(law.elements()[None])[0], expected, rtol=0.02)


def test_it_starts_as_the_linear_model_with_its_residual_law(system):
    """One timid step of training: mean, spread, lagged covariance and CRPS of its leads against the closed form."""
    config = DiffusionConfig(
        steps=1, batch=2, history=1, modes=30, noise_modes=30, window=3, sampler_steps=4, learning_rate=1e-6
    )
    values = system.simulate(2000, seed=1)
    model = config.build(training_data(values), seed=0).model
    assert_law_is_recovered(model, system, start=values[-1], leads=3)


def test_a_single_cell_has_its_law_too():
    """As of an index: no EOF is left where half of the cells are to vary beyond them."""
    system = LinearGaussian(np.array([[0.7]]), np.array([[0.51]]), (1, 1, 1))
    config = DiffusionConfig(steps=1, batch=2, history=1, window=3, sampler_steps=4, learning_rate=1e-6)
    values = system.simulate(2000, seed=1)
    model = config.build(training_data(values), seed=0).model
    assert_law_is_recovered(model, system, start=values[-1], leads=3)
