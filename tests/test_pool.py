import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from models.base import TrainingData
from models.config import (
    AnyModelConfig,
    AutoregressiveConfig,
    ClimatologyConfig,
    DampedPersistenceConfig,
    LinearInverseConfig,
    PoolConfig,
)
from models.pool import _best_weights, _simplex, owner
from tests import linear_gaussian as systems

BOTH = (ClimatologyConfig(), DampedPersistenceConfig())


def with_validation(values: torch.Tensor, *, years: int = 60) -> TrainingData:
    validate = torch.zeros(len(values), dtype=torch.bool)
    validate[-years:] = True
    series = replace(systems.series(values), train=~validate, validate=validate)
    return TrainingData((series,), systems.grid(tuple(values.shape[1:])))


def test_members_are_whole_and_those_of_their_model():
    values = systems.damped_system().simulate(300, seed=1)
    data = systems.training_data(values)
    pool = PoolConfig(models=BOTH, weights=(1, 2)).build(data, seed=0).model
    owners = owner(range(30), pool.weights)
    situation = systems.context(values[-2:], 5)
    drawn = pool.sample(situation, leads=5, members=range(30), seed=3)
    for number, config in enumerate(BOTH):
        alone = config.build(data, seed=0).model.sample(situation, leads=5, members=range(30), seed=3)
        assert torch.equal(drawn[owners == number], alone[owners == number])


@pytest.mark.parametrize("weights", [(0.5, 0.5), (0.2, 0.5, 0.3), (0.0, 1.0)])
@pytest.mark.parametrize("block", [0, 25, 950])
def test_every_block_holds_its_share_of_each_model(weights, block):
    owners = owner(range(block, block + 25), torch.tensor(weights, dtype=torch.float64))
    shares = np.bincount(owners, minlength=len(weights)) / 25
    np.testing.assert_allclose(shares, weights, atol=0.08)
    assert not shares[np.array(weights) == 0].any()


def test_weights_are_learnt_on_hindcasts():
    """A coupled system belongs to the linear inverse model; climatology has no part in its first steps."""
    values = systems.coupled_system().simulate(600, seed=2)
    config = PoolConfig(models=(ClimatologyConfig(), LinearInverseConfig()), leads=2)
    notes = config.build(with_validation(values), seed=0).notes
    assert notes["hindcasts"] > 20
    assert notes["weights"][1] >= 0.9


def test_without_a_whole_window_out_of_fold_weights_are_equal():
    data = systems.training_data(systems.white_system().simulate(200, seed=3))
    notes = PoolConfig(models=BOTH, leads=60).build(data, seed=0).notes
    assert notes["weights"] == [0.5, 0.5]
    assert notes["hindcasts"] == 0


def test_least_score_by_hand():
    errors = torch.tensor([1.0, 1.0], dtype=torch.float64)
    # two sharp models that err to either side: each alone 1, half and half 1 - ½ · 2 · ¼ · 2 = ½
    apart = torch.tensor([[0.0, 2.0], [2.0, 0.0]], dtype=torch.float64)
    assert _best_weights([(errors, apart)]) == (0.5, 0.5)
    assert _best_weights([(torch.tensor([1.0, 3.0], dtype=torch.float64), apart)]) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("ahead", "weights"),
    [((0.3, -0.1), (0.5, 0.5)), ((0.11, 0.09), (1.0, 0.0))],
    ids=["by luck: the evenest", "in each case: the better"],
)
def test_weights_not_told_from_the_best_are_even(ahead, weights):
    """The first of two models, whose members are alike, is ahead by a tenth in the mean of two cases."""
    alike = torch.zeros(2, 2, dtype=torch.float64)
    cases = [(torch.tensor([1 - gain, 1.0], dtype=torch.float64), alike) for gain in ahead]
    assert _best_weights(cases) == weights


def test_weights_in_tenths_sum_to_one():
    every = list(_simplex(3))
    assert len(every) == len(set(every)) == 66
    np.testing.assert_allclose(np.sum(every, axis=1), 1)


def test_law_of_a_pool_of_two_right_models_is_right():
    system = systems.damped_system()
    values = system.simulate(4000, seed=4)
    config = PoolConfig(models=(DampedPersistenceConfig(), LinearInverseConfig()), weights=(1, 1))
    model = config.build(systems.training_data(values), seed=0).model
    systems.assert_law_is_recovered(model, system, start=values[-1], leads=3)


def test_a_pool_is_told_from_its_kind_and_may_hold_a_pool():
    text = json.dumps(
        {
            "kind": "pool",
            "models": [{"kind": "climatology"}, {"kind": "pool", "models": [{"kind": "climatology"}] * 2}],
        }
    )
    config = TypeAdapter(AnyModelConfig).validate_json(text)
    assert config.models[1].models == (ClimatologyConfig(), ClimatologyConfig())


@pytest.mark.parametrize("weights", [(1,), (0, 0), (1, -1)])
def test_weights_that_make_no_pool_are_refused(weights):
    with pytest.raises(ValidationError):
        PoolConfig(models=BOTH, weights=weights)


def test_weights_are_judged_out_of_fold(monkeypatch):
    """The model that issues has seen every step, those that are weighed neither their fold nor the gap around it."""
    seen: list[torch.Tensor] = []
    build = LinearInverseConfig.build

    def spy(self, data, **options):
        seen.append(data.series[0].train | data.series[0].validate)
        return build(self, data, **options)

    monkeypatch.setattr(LinearInverseConfig, "build", spy)
    values = systems.coupled_system().simulate(300, seed=2)
    config = PoolConfig(models=(ClimatologyConfig(), LinearInverseConfig()), leads=2)
    config.build(systems.training_data(values), seed=0)
    assert seen[0].all()
    left_out = [(~steps).nonzero().flatten() for steps in seen[1:]]
    assert [(int(steps[0]), int(steps[-1])) for steps in left_out] == [(0, 76), (73, 151), (148, 226), (223, 299)]


def test_a_network_hindcasts_the_years_that_stopped_it():
    network = AutoregressiveConfig(steps=3, patience=None)
    values = systems.coupled_system().simulate(200, seed=2)
    config = PoolConfig(models=(LinearInverseConfig(), network), leads=2, cases=5)
    assert config.build(with_validation(values), seed=0).notes["hindcasts"] == 5
    assert config.build(systems.training_data(values), seed=0).notes["hindcasts"] == 0
