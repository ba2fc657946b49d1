import numpy as np
import pytest
import torch

from models.config import DirectRidgeConfig
from models.damping import Choice
from models.eofs import Eofs
from models.expectation import Operator, Part, growth, persisted
from models.record import training_record
from models.surroundings import Surroundings
from tests import linear_gaussian as systems


@pytest.mark.parametrize("leads", [4, 2], ids=["one window", "chained windows"])
def test_law_of_a_coupled_system_is_recovered(leads):
    system = systems.coupled_system()
    values = system.simulate(4000, seed=8)
    fitted = DirectRidgeConfig(leads=leads).build(systems.training_data(values), seed=0)
    systems.assert_law_is_recovered(fitted.model, system, start=values[-1], leads=4)


def test_without_anything_to_correct_the_ridge_is_strong_and_persistence_remains():
    system = systems.damped_system()
    values = system.simulate(400, seed=9)
    fitted = DirectRidgeConfig(leads=3, eofs=10).build(systems.training_data(values), seed=0)
    coupled = DirectRidgeConfig(leads=3, eofs=10).build(
        systems.training_data(systems.coupled_system().simulate(400, seed=9)), seed=0
    )
    assert min(fitted.notes["ridges"]) > max(coupled.notes["ridges"])


def test_errors_come_from_the_operator_that_had_not_seen_them():
    values = systems.coupled_system().simulate(300, seed=10)
    model = DirectRidgeConfig(leads=3, eofs=6, lags=1, folds=4).build(systems.training_data(values), seed=0).model
    chosen = torch.tensor([5, 150, 290])
    errors = model._errors(chosen, 3)
    for row, start in enumerate(model.starts[chosen].tolist()):
        operator = model.unseen[int(model.folds[chosen[row]])]
        forecast = operator.forecast(model.values[None, start, None].double(), torch.zeros(1, 3, 2).double())[0]
        np.testing.assert_allclose(errors[row], model.values[start + 1 : start + 4] - forecast, atol=1e-9)


def test_out_of_fold_errors_are_larger_than_fitted_ones():
    values = systems.coupled_system().simulate(120, seed=11)
    model = DirectRidgeConfig(leads=1, eofs=20, lags=2, folds=4).build(systems.training_data(values), seed=0).model
    every = torch.arange(len(model.starts))
    seen = type(model)(**{**vars(model), "unseen": (model.operator,) * len(model.unseen)})
    assert model._errors(every, 1).std() > 1.02 * seen._errors(every, 1).std()


def test_persisted_follows_the_season_of_each_lead():
    damping = torch.tensor([[[0.5], [0.2], [0.0]], [[0.4], [0.0], [0.3]]], dtype=torch.float64)
    calendar = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]], dtype=torch.float64)
    newest = torch.tensor([[[10.0]]], dtype=torch.float64)
    # lead 1: 0.5 + 0.2 · sin = 0.7; lead 2: 0.4 + 0.3 · cos = 0.7
    np.testing.assert_allclose(persisted(newest, damping, calendar), [[[7.0], [7.0]]])


def test_the_regression_is_fitted_to_what_persistence_misses():
    """Found from the projector alone, and by forecasting each field."""
    steps = 30
    generator = torch.Generator().manual_seed(6)
    data = systems.training_data(torch.randn(steps, 2, 3, 5, generator=generator), steps_per_year=6)
    record, surroundings = training_record(data), Surroundings.of(data.grid)
    persists = [Choice(1, 0.0, 0.3), Choice(3, 0.0, 0.0)]
    dampings = [torch.rand(persist.terms, 30, generator=generator).double() for persist in persists]
    part = Part.of(record, surroundings, torch.arange(steps - 2), persists, dampings, count=4)
    around = surroundings(record.values) - record.values
    for start in (0, 7, 27):
        calendar = record.calendar[None, start + 1 : start + 3]
        for lead, (persist, damping) in enumerate(zip(persists, dampings, strict=True)):
            newest = (record.values + persist.blend * around)[start]
            expected = persisted(newest[None, None], damping[None], calendar[:, lead : lead + 1])[0, 0]
            missed = part.eofs.scores(record.values[start + 1 + lead] - expected)
            torch.testing.assert_close(part.missed[start, lead], missed)


def test_an_operator_is_restored_from_its_arrays():
    values = systems.coupled_system().simulate(200, seed=12)
    operator = DirectRidgeConfig(leads=2).build(systems.training_data(values), seed=0).model.operator
    restored = Operator.restore(operator.arrays(), grid=systems.grid((2, 3, 5)))
    assert (restored.leads, restored.lags) == (operator.leads, operator.lags)
    assert all(torch.equal(tensor, operator.arrays()[name]) for name, tensor in restored.arrays().items())


@pytest.mark.parametrize(("factor", "expected"), [(0.5, 0.25), (1.2, 1.44)])
def test_growth_of_chained_windows_by_hand(factor, expected):
    """One cell with the EOF itself: lead 1 is the factor, lead 2 its square."""
    eofs = Eofs(torch.ones(1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64))
    coefficients = torch.tensor([factor, factor**2], dtype=torch.float64).reshape(2, 1, 1)
    nothing = torch.zeros(2, 1, 1, dtype=torch.float64)
    operator = Operator(eofs, coefficients, nothing, nothing[:, 0, 0], Surroundings.of(systems.grid((1, 1, 1))))
    assert growth(operator) == pytest.approx(expected)


def test_windows_that_would_grow_are_held_back():
    """A slow rise that least squares would carry on for ever."""
    steps = torch.linspace(0, 3, 90)
    noise = 0.01 * torch.randn(90, 1, 2, 3, generator=torch.Generator().manual_seed(1))
    notes = (
        DirectRidgeConfig(leads=3, folds=3)
        .build(systems.training_data(steps.exp()[:, None, None, None] * (1 + noise)), seed=0)
        .notes
    )
    assert notes["growth"] < 1


@pytest.mark.parametrize(("steps", "window"), [(25, 1), (60, 8)])
def test_windows_are_as_long_as_the_record_carries_and_longer_horizons_chain_them(steps, window):
    values = systems.coupled_system().simulate(steps, seed=13)
    fitted = DirectRidgeConfig(leads=30).build(systems.training_data(values), seed=0)
    assert fitted.notes["window"] == window
    drawn = fitted.model.sample(systems.context(values[-3:], 30), leads=30, members=range(4), seed=1)
    assert drawn.shape[:2] == (4, 30)
    assert torch.isfinite(drawn).all()


def test_a_record_too_short_for_any_window_is_refused():
    data = systems.training_data(systems.coupled_system().simulate(20, seed=13))
    with pytest.raises(ValueError, match="too few unbroken training windows"):
        DirectRidgeConfig(leads=30).build(data, seed=0)


def test_small_features_that_die_are_seen_through_their_surroundings():
    """Large anomalies persist under white noise of single cells: the surroundings tell them apart."""
    rng = np.random.default_rng(13)
    large, values = np.zeros((1, 6, 8)), []
    for _ in range(400):
        large = 0.9 * large + rng.standard_normal((1, 1, 1))
        values.append(large + 1.5 * rng.standard_normal((1, 6, 8)))
    record = systems.training_data(torch.tensor(np.stack(values), dtype=torch.float32))
    notes = DirectRidgeConfig(leads=1, eofs=1).build(record, seed=0).notes
    assert notes["surroundings"] == [0.75]
    alone = DirectRidgeConfig(leads=1).build(
        systems.training_data(systems.damped_system().simulate(400, seed=9)), seed=0
    )
    assert alone.notes["surroundings"] == [0.0]
