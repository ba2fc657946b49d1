import math
from dataclasses import replace

import pytest
import torch

from models.base import TrainingData
from models.record import steps_per_year, training_record, year_folds
from tests import linear_gaussian as systems

SHAPE = (1, 2, 3)


def noise(steps: int, *, seed: int = 1) -> torch.Tensor:
    return torch.randn(steps, *SHAPE, generator=torch.Generator().manual_seed(seed))


def gapped(steps: int = 60, *, hole: slice = slice(20, 25)) -> TrainingData:
    train = torch.ones(steps, dtype=torch.bool)
    train[hole] = False
    return TrainingData((systems.series(noise(steps), train=train),), systems.grid(SHAPE))


def test_record_keeps_training_steps_alone():
    record = training_record(gapped())
    assert record.time.tolist() == [*range(20), *range(25, 60)]
    assert record.values.dtype == torch.float64


def test_validation_steps_count_as_training_steps():
    data = gapped()
    hole = ~data.series[0].train
    both = training_record(TrainingData((replace(data.series[0], validate=hole),), data.grid))
    assert torch.equal(both.time, torch.arange(60))
    assert both.run.unique().numel() == 1


def test_windows_cross_neither_gaps_nor_series():
    one = gapped()
    record = training_record(TrainingData(one.series * 2, one.grid))
    anchors = record.anchors(before=2, after=3)
    spans = [record.time[anchor - 2 : anchor + 4].diff() for anchor in anchors]
    assert all((span == 1).all() for span in spans)
    assert len(anchors) == 2 * (20 - 5 + 35 - 5)


@pytest.mark.parametrize("hole", [slice(20, 25), slice(0, 0)])
def test_folds_hold_each_window_once_and_no_fit_sees_a_held_target(hole):
    record = training_record(gapped(hole=hole))
    before, after = 1, 2
    folds = year_folds(record, before=before, after=after, count=5)
    held = torch.cat([fold.held for fold in folds])
    assert sorted(held.tolist()) == record.anchors(before=before, after=after).tolist()
    for fold in folds:
        targets = {int(record.time[anchor + lead]) for anchor in fold.held for lead in range(1, after + 1)}
        seen = {int(record.time[anchor + lead]) for anchor in fold.fit for lead in range(-before, after + 1)}
        assert not targets & seen


def test_folds_hold_the_same_steps_out_of_every_realization():
    data = TrainingData((systems.series(noise(40)), systems.series(noise(40, seed=2))), systems.grid(SHAPE))
    record = training_record(data)
    for fold in year_folds(record, before=0, after=1, count=4):
        first, second = (record.time[fold.held[fold.held // 40 == number]].tolist() for number in (0, 1))
        assert first == second


@pytest.mark.parametrize("steps", [1, 4, 12, 365.25])
def test_steps_per_year_are_told_from_the_calendar(steps):
    if steps == 1:
        assert steps_per_year(torch.zeros(10, 2)) == 1
    else:
        phase = 2 * math.pi * torch.arange(900) / steps
        assert steps_per_year(torch.stack([phase.sin(), phase.cos()], dim=1)) == pytest.approx(steps, rel=1e-3)


def test_values_under_the_mask_do_not_count():
    mask = torch.ones(SHAPE, dtype=torch.bool)
    mask[0, 1, 2] = False
    values = noise(30)
    values[:, 0, 1, 2] = torch.nan
    record = training_record(TrainingData((systems.series(values),), systems.grid(SHAPE, mask=mask)))
    assert not record.values[:, -1].any()
    assert record.weights[-1] == 0


def bad(change) -> TrainingData:
    values = noise(40)
    change(values)
    return TrainingData((systems.series(values),), systems.grid(SHAPE))


def test_values_that_are_not_finite_are_refused_with_their_place():
    with pytest.raises(ValueError, match=r"series 0 .* at 1 training steps, first at step 7"):
        training_record(bad(lambda values: values[7].fill_(torch.nan)))


def test_a_constant_channel_is_refused():
    with pytest.raises(ValueError, match="channel 0 is constant"):
        training_record(bad(lambda values: values.fill_(1.5)))


def test_a_masked_channel_is_refused():
    data = bad(lambda values: None)
    masked = systems.grid(SHAPE, mask=torch.zeros(SHAPE, dtype=torch.bool))
    with pytest.raises(ValueError, match="channel 0 is masked everywhere"):
        training_record(TrainingData(data.series, masked))


def test_too_few_steps_or_years_are_refused():
    short = TrainingData((systems.series(noise(8)),), systems.grid(SHAPE))
    with pytest.raises(ValueError, match="holds 8 steps"):
        training_record(short)
    two_years = TrainingData((systems.series(noise(24), steps_per_year=12),), systems.grid(SHAPE))
    with pytest.raises(ValueError, match=r"2.0 years.*at least 12 steps and 3 years"):
        training_record(two_years)


def test_no_series_is_refused():
    with pytest.raises(ValueError, match="no series"):
        training_record(TrainingData((), systems.grid(SHAPE)))


def test_runs_too_short_for_the_windows_are_refused():
    train = torch.arange(60) % 4 != 0
    data = TrainingData((systems.series(noise(60), train=train),), systems.grid(SHAPE))
    with pytest.raises(ValueError, match="too few unbroken training windows of 6 steps"):
        year_folds(training_record(data), before=0, after=5, count=4)
