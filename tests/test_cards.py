"""From an archive to tensors and back, and trained models on disk."""

import json

import cftime
import numpy as np
import pytest
import torch

from models.base import member_noise, member_rng
from models.config import ClimatologyConfig
from models.steps import Stretch, context, to_fields, training_data
from models.trained import load_model, save_model
from pipeline.background import BackgroundConfig, Sample, fit_background
from pipeline.errors import TercileError
from pipeline.names import VARIABLES, canonical
from pipeline.periods import Periods, dates, with_bounds
from tests.conftest import monthly_record


@pytest.fixture(scope="module")
def system():
    """A record, its background, and what models may see of it."""
    fields = with_bounds(canonical(monthly_record(), variables={"sst": VARIABLES["sst"]}, spelling={})).load()
    none = np.zeros((144, 0))
    train = np.arange(144) < 96
    background = fit_background(
        [Sample(fields.isel(time=train), none[train])],
        BackgroundConfig.model_validate({"harmonics": 1}),
        transforms={"sst": "none"},
    )
    validate = (np.arange(144) >= 96) & (np.arange(144) < 120)
    return fields, background, training_data([Stretch(Sample(fields, none), train, validate)], background)


def situation(fields, background, *, leads=6, history=3, first=110):
    init = dates(fields["time_bnds"])[first, 1]
    ahead = Periods.of(fields).ahead(init, leads)[1]
    bounds = np.concatenate([dates(fields["time_bnds"])[first + 1 - history : first + 1], ahead])
    return context(
        fields, background, covariates=np.zeros((len(bounds), 0)), bounds=bounds, init=init, history=history
    ), bounds


def test_models_see_standardised_anomalies_and_nothing_of_the_test_years(system):
    _, _, data = system
    (series,) = data.series
    assert series.values.shape == (144, 1, 5, 7)
    inside = series.values[:96, 0][:, data.grid.mask[0]]
    assert float(inside.mean()) == pytest.approx(0, abs=2e-3)
    assert float(inside.std()) == pytest.approx(1, abs=0.05)
    assert (series.values[120:] == 0).all()
    assert not data.grid.mask[0, 0, 0]
    assert (series.values[:, 0, 0, 0] == 0).all()
    assert float(data.grid.weights.mean()) == pytest.approx(1)
    assert not data.grid.is_global
    np.testing.assert_allclose((series.calendar**2).sum(1), 1, rtol=1e-5)


def test_a_context_holds_the_states_before_the_initial_time(system):
    fields, background, data = system
    found, _ = situation(fields, background, first=110)
    torch.testing.assert_close(found.history[-1], data.series[0].values[110])
    assert found.calendar.shape == (9, 2)
    assert found.forcing.shape == (9, 0)
    start = cftime.datetime(1850, 1, 1, calendar="proleptic_gregorian")
    assert found.init_time == (dates(fields["time_bnds"])[110, 1] - start).total_seconds()


def test_what_the_archive_holds_in_a_masked_cell_reaches_no_model(system):
    fields, background, data = system
    spoilt = fields.copy(deep=True)
    spoilt["sst"][:, 0, 0] = 1e9
    none, inside = np.zeros((144, 0)), np.arange(144)
    again = training_data([Stretch(Sample(spoilt, none), inside < 96, (inside >= 96) & (inside < 120))], background)
    assert torch.equal(again.series[0].values, data.series[0].values)
    assert torch.equal(again.grid.mask, data.grid.mask)
    assert torch.equal(situation(spoilt, background)[0].history, situation(fields, background)[0].history)


def test_a_context_without_its_past_is_refused(system):
    fields, background, _ = system
    bounds = dates(fields["time_bnds"])[109:115]
    none = np.zeros((6, 0))
    later = fields.isel(time=slice(120, None))
    with pytest.raises(TercileError, match="the archive lacks the period"):
        context(later, background, covariates=none, bounds=bounds, init=bounds[1, 1], history=2)


def test_fields_come_back_in_physical_units(system):
    fields, background, _ = system
    _, bounds = situation(fields, background, leads=4)
    quiet = to_fields(torch.zeros(2, 4, 1, 5, 7), background, fields, bounds=bounds[3:], covariates=np.zeros((4, 0)))
    expected = background.expected("sst", np.array([(m + 0.5) / 12 for m in (3, 4, 5, 6)]), np.zeros((4, 0)))
    assert quiet["sst"].shape == (2, 4, 5, 7)
    np.testing.assert_allclose(quiet["sst"][0, :, 2, 2], expected[:, 2, 2], atol=0.2)
    assert np.isnan(quiet["sst"][:, :, 0, 0]).all()


def test_a_model_comes_back_to_the_last_bit(system, tmp_path):
    fields, background, data = system
    config = ClimatologyConfig()
    fitted = config.build(data, seed=1)
    save_model(tmp_path / "m", fitted, config, background=background, grid=data.grid, card={"name": "m"})
    again = load_model(tmp_path / "m")
    found, _ = situation(fields, background)
    wanted = fitted.model.sample(found, leads=6, members=range(4), seed=5)
    torch.testing.assert_close(again.model.sample(found, leads=6, members=range(4), seed=5), wanted, rtol=0, atol=0)
    for name, array in background.arrays().items():
        np.testing.assert_array_equal(again.background.arrays()[name], array)
    assert {path.name for path in (tmp_path / "m").iterdir()} == {"card.json", "weights.safetensors"}


def test_truncated_or_altered_weights_are_refused(system, tmp_path):
    _, background, data = system
    config = ClimatologyConfig()
    save_model(tmp_path, config.build(data, seed=1), config, background=background, grid=data.grid, card={})
    weights = (tmp_path / "weights.safetensors").read_bytes()
    for spoilt in (weights[:-10], weights[:-1] + bytes([weights[-1] ^ 1])):
        (tmp_path / "weights.safetensors").write_bytes(spoilt)
        with pytest.raises(TercileError, match="truncated or altered"):
            load_model(tmp_path)
    card = json.loads((tmp_path / "card.json").read_text())
    (tmp_path / "card.json").write_text(json.dumps({**card, "version": 0}))
    (tmp_path / "weights.safetensors").write_bytes(weights)
    with pytest.raises(TercileError, match="version 0 of its family"):
        load_model(tmp_path)
    (tmp_path / "card.json").write_text(json.dumps({**card, "schema_version": 2}))
    with pytest.raises(TercileError, match=r"card.json has schema_version 2; this program reads 1"):
        load_model(tmp_path)
    with pytest.raises(TercileError, match="Run `tercile train`"):
        load_model(tmp_path / "none")


@pytest.mark.parametrize("spoilt", ["", "{", "[]", '{"name": "m"}', '{"weights_sha256": 5, "config": {}}'])
def test_a_spoilt_card_is_refused(system, tmp_path, spoilt):
    _, background, data = system
    config = ClimatologyConfig()
    save_model(tmp_path, config.build(data, seed=1), config, background=background, grid=data.grid, card={})
    (tmp_path / "card.json").write_text(spoilt)
    with pytest.raises(TercileError, match=r"is no card of a model .*Delete the folder and train again"):
        load_model(tmp_path)


def test_noise_is_a_function_of_its_key_alone():
    noise = member_noise(3, -86_400, [0, 1, 7], 2, (4, 5))
    torch.testing.assert_close(member_noise(3, -86_400, [7], 2, (4, 5))[0], noise[2], rtol=0, atol=0)
    keys = [(3, 0, 0, 0), (4, 0, 0, 0), (3, 1, 0, 0), (3, 0, 1, 0), (3, 0, 0, 1)]
    draws = [member_rng(*key).standard_normal() for key in keys]
    assert len(set(draws)) == len(keys)
    many = member_noise(1, 0, range(200), 0, (50,))
    assert float(many.mean()) == pytest.approx(0, abs=0.03)
    assert float(many.std()) == pytest.approx(1, abs=0.03)
