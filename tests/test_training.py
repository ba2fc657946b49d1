"""The training loop: resumed runs end with the same bytes, the best weights are kept, errors are loud."""

import json
from dataclasses import replace

import pytest
import torch
from torch import Generator, Tensor, nn

from models.networks import initialise
from models.training import Outcome, Schedule, generator, shuffled, train

SCHEDULE = Schedule(steps=30, learning_rate=0.05, weight_decay=0.01, evaluate_every=10)
SLOPE = torch.tensor([[1.0, -2.0, 0.5]])


class Toy(nn.Module):
    """A small network whose weights start from a seed."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
        initialise(self, generator(0, 0))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Looks:
    """A validation loss from a list, that remembers the weights it was asked about."""

    def __init__(self, network: nn.Module, losses: list[float]) -> None:
        self.network = network
        self.losses = losses
        self.seen: list[dict[str, Tensor]] = []

    def __call__(self) -> float:
        assert not self.network.training
        self.seen.append(weights(self.network))
        return self.losses[len(self.seen) - 1]


def weights(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def toy_loss(network: nn.Module):
    def loss(step: int, noise: Generator) -> Tensor:
        x = torch.randn(16, 3, generator=noise)
        return (network(x) - x @ SLOPE.T).square().mean()

    return loss


def fixed_validation(network: nn.Module):
    def validate() -> float:
        x = torch.randn(64, 3, generator=generator(9))
        with torch.no_grad():
            return float((network(x) - x @ SLOPE.T).square().mean())

    return validate


def run(network: nn.Module, *, schedule=SCHEDULE, seed=1, validate=fixed_validation, **options) -> Outcome:
    look = None if validate is None else validate(network)
    return train(network, toy_loss(network), look, schedule=schedule, seed=seed, identity={"toy": 1}, **options)


def kill_at(step: int):
    def progress(now: int, total: int, row: dict[str, float]) -> None:
        if now == step:
            raise KeyboardInterrupt

    return progress


def test_training_learns():
    """The toy's target has variance 1 + 4 + 0.25; a few hundred steps leave a tenth of it."""
    network = Toy()
    outcome = run(network, schedule=replace(SCHEDULE, steps=400, evaluate_every=100, ema=0.9))
    assert outcome.curve[-1]["validate"] < 0.525
    assert not network.training
    assert fixed_validation(network)() == pytest.approx(min(row["validate"] for row in outcome.curve))


@pytest.mark.parametrize("killed", [20, 30])
@pytest.mark.parametrize("validate", [fixed_validation, None], ids=["validated", "not validated"])
def test_a_resumed_training_equals_an_uninterrupted_one(tmp_path, killed, validate):
    whole, resumed = Toy(), Toy()
    expected = run(whole, validate=validate)
    with pytest.raises(KeyboardInterrupt):
        run(Toy(), validate=validate, progress=kill_at(killed), checkpoint=tmp_path)
    assert (tmp_path / "training.safetensors").exists()
    torch.rand(4)
    assert run(resumed, validate=validate, checkpoint=tmp_path) == expected
    assert same(weights(resumed), weights(whole))


def test_a_finished_training_is_not_trained_again(tmp_path):
    first, second = Toy(), Toy()
    expected = run(first, checkpoint=tmp_path)
    called = []
    assert run(second, checkpoint=tmp_path, progress=lambda *row: called.append(row)) == expected
    assert not called
    assert same(weights(first), weights(second))


def test_a_checkpoint_leaves_no_partial_file_and_can_be_read(tmp_path):
    run(Toy(), checkpoint=tmp_path / "new" / "folder")
    assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == ["training.safetensors"]
    assert json.dumps(run(Toy()).curve)


@pytest.mark.parametrize(
    "other", [{"seed": 2}, {"schedule": replace(SCHEDULE, learning_rate=0.1)}], ids=["seed", "learning rate"]
)
def test_a_checkpoint_of_another_training_is_refused(tmp_path, other):
    run(Toy(), checkpoint=tmp_path)
    with pytest.raises(ValueError, match="delete it to start anew"):
        run(Toy(), checkpoint=tmp_path, **other)


def test_the_best_look_decides_the_weights():
    network = Toy()
    looks = Looks(network, [3.0, 1.0, 2.0])
    outcome = run(network, validate=lambda _: looks)
    assert outcome.best_step == 20
    assert same(weights(network), looks.seen[1])
    assert not same(looks.seen[1], looks.seen[2])


def test_patience_ends_a_training_that_no_longer_gets_better():
    """Best at step 10; with patience 2 the looks at 20, 30 are waited for and the first step after them ends it."""
    network = Toy()
    looks = Looks(network, [1.0] + [2.0] * 9)
    schedule = replace(SCHEDULE, steps=100, patience=2)
    outcome = run(network, schedule=schedule, validate=lambda _: looks)
    assert outcome.best_step == 10
    assert 30 < outcome.steps_taken <= 40
    assert same(weights(network), looks.seen[0])


def test_without_validation_the_last_average_is_kept():
    outcome = run(Toy(), validate=None, schedule=replace(SCHEDULE, steps=25, patience=1))
    assert outcome.best_step == outcome.steps_taken == 25
    assert [row["step"] for row in outcome.curve] == [10, 20, 25]
    assert all("validate" not in row for row in outcome.curve)


def test_progress_hears_of_each_look():
    heard = []
    outcome = run(Toy(), progress=lambda step, total, row: heard.append((step, total, row)))
    assert [(step, total) for step, total, _ in heard] == [(10, 30), (20, 30), (30, 30)]
    assert [row["validate"] for _, _, row in heard] == [row["validate"] for row in outcome.curve]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_an_error(value):
    network = Toy()

    def loss(step: int, noise: Generator) -> Tensor:
        return network.layers[0].weight.sum() * (value if step == 3 else 1.0)

    with pytest.raises(FloatingPointError, match="at step 3; lower learning_rate"):
        train(network, loss, None, schedule=SCHEDULE, seed=0, identity={})


def test_seeds_differ_and_the_global_generator_is_left_alone():
    networks = [Toy() for _ in range(3)]
    state = torch.random.get_rng_state()
    for network, seed in zip(networks, (1, 1, 2), strict=True):
        run(network, seed=seed)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert same(weights(networks[0]), weights(networks[1]))
    assert not same(weights(networks[0]), weights(networks[2]))


def test_an_average_over_one_step_by_hand():
    """Decay min(0.5, 1/11) = 1/11: a weight that goes from w to w' is averaged to w / 11 + 10 w' / 11.

    AdamW's first step is the rate, here 0.1 by the warm-up's end, against the gradient's sign: from 1 to 0.9, and the
    average is 1/11 + 9/11 = 10/11.
    """
    network = nn.Linear(1, 1, bias=False)
    nn.init.ones_(network.weight)
    schedule = Schedule(steps=1, learning_rate=0.1, weight_decay=0.0, ema=0.5)
    train(network, lambda step, noise: network.weight.sum(), None, schedule=schedule, seed=0, identity={})
    assert float(network.weight) == pytest.approx(10 / 11, abs=1e-5)


def test_every_epoch_shows_every_row_once():
    """Ten rows in batches of three: three batches of nine different rows, another order in the next epoch."""
    epochs = [torch.cat([shuffled(10, 3, 3 * epoch + place, seed=0) for place in range(3)]) for epoch in (0, 1)]
    assert all(len(set(rows.tolist())) == 9 for rows in epochs)
    assert not torch.equal(*epochs)
    assert torch.equal(shuffled(10, 3, 4, seed=0), epochs[1][3:6])
    assert sorted(shuffled(4, 16, 7, seed=0).tolist()) == [0, 1, 2, 3]


def test_generators_are_keyed():
    keys = [(0, 0), (0, 1), (1, 0), (0, 1, 0), (1, 0, 0)]
    draws = [float(torch.rand(1, generator=generator(*key), dtype=torch.float64)) for key in keys]
    assert len(set(draws)) == len(keys)
    assert float(torch.rand(1, generator=generator(0, 1), dtype=torch.float64)) == draws[1]
