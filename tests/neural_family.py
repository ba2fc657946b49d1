"""What both neural families promise, on a small field with gaps, a mask and a fold for early stopping."""

import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load, save

from models.base import Context, Fitted, Grid, Series, TrainingData
from models.config import NetworkConfig
from models.settle import fit_settled

SHAPE = (2, 6, 8)
LEADS = 5
STEPS = 120
SMALL = {"steps": 4, "batch": 6, "history": 2, "modes": 8, "folds": 3, "noise_modes": 12}


def mask() -> torch.Tensor:
    cells = torch.ones(SHAPE, dtype=torch.bool)
    cells[0, 1, 2:4] = False
    cells[1, 3] = False
    return cells


def grid() -> Grid:
    return Grid(torch.linspace(0.6, 1.4, 6)[:, None].expand(6, 8), mask(), is_global=True)


def record(seed: int) -> Series:
    """Red noise under a forcing; ten steps in the middle and the last fifteen are in neither mask."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(STEPS, *SHAPE, generator=generator)
    for step in range(1, STEPS):
        values[step] = 0.7 * values[step - 1] + 0.7 * values[step]
    train, validate = torch.zeros(2, STEPS, dtype=torch.bool)
    train[:40] = train[50:85] = True
    validate[85:105] = True
    phase = 2 * math.pi * torch.arange(STEPS) / 12
    calendar = torch.stack([phase.sin(), phase.cos()], dim=1)
    return Series(values * mask(), calendar, torch.linspace(-1, 1, STEPS)[:, None], train, validate)


def data() -> TrainingData:
    return TrainingData((record(1), record(2)), grid())


def with_other_validation_steps() -> TrainingData:
    tripled = tuple(
        replace(one, values=torch.where(one.validate[:, None, None, None], 3 * one.values, one.values))
        for one in data().series
    )
    return TrainingData(tripled, grid())


def joined(series: Series) -> Series:
    """With the validation steps among the training steps."""
    return replace(series, train=series.train | series.validate, validate=torch.zeros_like(series.validate))


def situation(*, history: int = 2, leads: int = LEADS) -> Context:
    series = record(3)
    window = slice(60 - history, 60 + leads)
    return Context(series.values[60 - history : 60], series.calendar[window], series.forcing[window], -5_000_000_000)


def changed(**changes: torch.Tensor | int) -> Context:
    return replace(situation(), **changes)


def draw(fitted: Fitted, *, members=range(4), seed: int = 11, given: Context | None = None) -> torch.Tensor:
    return fitted.model.sample(given or situation(), leads=LEADS, members=members, seed=seed)


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class NeuralFamily:
    """Subclasses name the configuration; all tests share one fit of it."""

    config: NetworkConfig

    @pytest.fixture(scope="class")
    @classmethod
    def fitted(cls) -> Fitted:
        return cls.config.build(data(), seed=0)

    def test_a_sample_has_members_leads_and_the_grid(self, fitted):
        drawn = draw(fitted)
        assert drawn.shape == (4, LEADS, *SHAPE)
        assert drawn.dtype == torch.float32
        assert torch.isfinite(drawn).all()
        assert fitted.model.history == 2

    def test_the_curve_and_the_notes_tell_the_training(self, fitted):
        assert [row["step"] for row in fitted.curve] == [4]
        assert all(math.isfinite(value) for row in fitted.curve for value in row.values())
        assert {"step", "train", "validate"} == fitted.curve[0].keys()
        assert fitted.notes["steps_taken"] == 4
        assert fitted.notes["validation_windows"] > 0

    def test_training_moves_the_network(self, fitted):
        last = [value for name, value in fitted.model.arrays().items() if name.endswith("conv_out.weight")]
        assert len(last) == 1
        assert last[0].any()

    def test_masked_cells_stay_zero(self, fitted):
        assert not draw(fitted)[:, :, ~mask()].any()
        assert (draw(fitted)[:, :, mask()] != 0).all()

    def test_masks_leak_nothing(self, fitted):
        series = tuple(replace(one, values=torch.where(mask(), one.values, torch.nan)) for one in data().series)
        again = self.config.build(TrainingData(series, grid()), seed=0)
        assert same(again.model.arrays(), fitted.model.arrays())
        garbage = torch.where(mask(), situation().history, 1e9)
        assert torch.equal(draw(fitted, given=changed(history=garbage)), draw(fitted))

    def test_a_constant_channel_is_refused(self):
        series = record(1)
        values = series.values.clone()
        values[:, 1] = 1.5
        with pytest.raises(ValueError, match="channel 1 is constant"):
            self.config.build(TrainingData((replace(series, values=values * mask()),), grid()), seed=0)

    def test_members_do_not_depend_on_their_order_or_company(self, fitted):
        expected = draw(fitted)
        assert torch.equal(draw(fitted, members=[3, 2, 1, 0]).flip(0), expected)
        assert torch.equal(draw(fitted, members=[9, 1, 40, 7])[1], expected[1])

    def test_members_seeds_and_initial_times_differ(self, fitted):
        drawn = draw(fitted)
        assert len({row.numpy().tobytes() for row in drawn}) == 4
        assert not torch.equal(draw(fitted, seed=12), drawn)
        assert not torch.equal(draw(fitted, given=changed(init_time=86_400)), drawn)

    def test_sampling_leaves_no_trace_and_heeds_no_global_generator(self, fitted):
        before = {name: value.clone() for name, value in fitted.model.arrays().items()}
        state = torch.random.get_rng_state()
        expected = draw(fitted)
        assert torch.equal(torch.random.get_rng_state(), state)
        torch.rand(3)
        assert torch.equal(draw(fitted), expected)
        assert same(before, fitted.model.arrays())

    def test_a_longer_history_changes_nothing(self, fitted):
        assert torch.equal(draw(fitted, given=situation(history=6)), draw(fitted))

    def test_restored_models_give_the_same_bytes(self, fitted):
        arrays = load(save({name: value.contiguous().clone() for name, value in fitted.model.arrays().items()}))
        restored = self.config.restore(arrays, grid=grid())
        assert same(restored.arrays(), arrays)
        assert torch.equal(draw(replace(fitted, model=restored)), draw(fitted))

    def test_fitting_twice_gives_the_same_bytes_and_another_seed_others(self, fitted):
        torch.rand(5)
        assert same(self.config.build(data(), seed=0).model.arrays(), fitted.model.arrays())
        assert not same(self.config.build(data(), seed=1).model.arrays(), fitted.model.arrays())

    def test_steps_outside_both_masks_change_no_array(self, fitted):
        spoilt = []
        for series in data().series:
            outside = ~series.train & ~series.validate
            values = torch.where(outside[:, None, None, None], torch.nan, series.values)
            forcing = torch.where(outside[:, None], 1e6, series.forcing)
            spoilt.append(replace(series, values=values, forcing=forcing))
        assert same(
            self.config.build(TrainingData(tuple(spoilt), grid()), seed=0).model.arrays(), fitted.model.arrays()
        )

    def test_validation_steps_only_choose_when_to_stop_and_how_wide_to_spread(self, fitted):
        """With a single look there is nothing to choose: their values must not matter."""
        config = self.config.settled(fitted.notes).model_copy(update={"steps": self.config.steps})
        plain, again = (config.build(given, seed=0) for given in (data(), with_other_validation_steps()))
        assert same(again.model.arrays(), plain.model.arrays())
        assert again.curve[0]["validate"] != plain.curve[0]["validate"]

    def test_the_last_fit_takes_as_many_passes_over_all_years_as_early_stopping_chose(self, fitted):
        whole = TrainingData(tuple(joined(series) for series in data().series), grid())
        settled = fit_settled(self.config, data(), whole, seed=0)
        first, last = settled.notes["early_stopping"], settled.notes
        assert first["best_step"] == fitted.notes["best_step"]
        windows = first["training_windows"] + first["validation_windows"]
        assert last["steps_taken"] == round(first["best_step"] * windows / first["training_windows"])
        assert last["training_windows"] >= windows
        assert last["validation_windows"] == 0
        assert settled.curve == fitted.curve
        assert not same(settled.model.arrays(), fitted.model.arrays())

    def test_a_fit_on_part_of_the_record_takes_as_many_passes_over_it(self, fitted):
        notes = {**fitted.notes, "best_step": 100, "training_windows": 80, "validation_windows": 20}
        assert self.config.settled(notes).steps == 125
        assert self.config.settled(notes, share=0.6).steps == 75

    def test_forcing_beyond_experience_is_held_at_its_edge(self, fitted):
        forcing = situation().forcing
        beyond, further = (draw(fitted, given=changed(forcing=forcing + shift)) for shift in (5.0, 50.0))
        assert torch.equal(beyond, further)
        assert not torch.equal(beyond, draw(fitted))

    def test_contexts_the_model_was_not_made_for_are_refused(self, fitted):
        given = situation()
        with pytest.raises(ValueError, match="the model needs 2"):
            draw(fitted, given=situation(history=1))
        with pytest.raises(ValueError, match="the model was trained on"):
            draw(fitted, given=changed(history=given.history[..., :5]))
        with pytest.raises(ValueError, match=r"context\.forcing has shape"):
            draw(fitted, given=changed(forcing=given.forcing[:-1]))
        with pytest.raises(ValueError, match="not finite"):
            draw(fitted, given=changed(history=torch.full_like(given.history, torch.nan)))
        with pytest.raises(ValueError, match="leads is 0"):
            fitted.model.sample(given, leads=0, members=[0], seed=0)

    def test_data_that_no_fit_can_use_are_refused(self):
        series = record(1)
        short = replace(series, train=torch.arange(STEPS) < 7)
        with pytest.raises(ValueError, match="too few training years"):
            self.config.build(TrainingData((short,), grid()), seed=0)
        holed = replace(series, values=series.values.clone())
        holed.values[3, 0, 0, 0] = torch.nan
        with pytest.raises(ValueError, match="NaN or infinite values in 1 training"):
            self.config.build(TrainingData((holed,), grid()), seed=0)

    def test_a_killed_training_ends_with_the_same_bytes(self, tmp_path):
        """Killed at the second look by its own progress, before that look is on disk: it goes on from the first."""
        config = self.config.model_copy(update={"steps": 27, "batch": 2})

        def kill(step: int, total: int, row: dict[str, float]) -> None:
            if step == 27:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            config.build(data(), seed=0, progress=kill, checkpoint=tmp_path)
        resumed = config.build(data(), seed=0, checkpoint=tmp_path)
        whole = config.build(data(), seed=0)
        assert same(resumed.model.arrays(), whole.model.arrays())
        assert resumed.curve == whole.curve
        with pytest.raises(ValueError, match="other settings or data"):
            config.build(data(), seed=1, checkpoint=tmp_path)
