"""``clim=model``: members about the model's own mean by lead, what happened about the observed one."""

import numpy as np
import pytest
import xarray as xr

from pipeline.answers.answer import answer
from pipeline.answers.explain import explain
from pipeline.answers.issued import ask, open_issued
from pipeline.answers.replay import fair_brier
from pipeline.answers.views import exceedance, plume
from pipeline.events import QuestionError
from tests import asking
from tests.issued_system import LAST, build, calibrate, record

OWN = "sst.anom(clim=model).mean(over=middle)"
BIAS = np.array([0.5, 1.0, 1.5, 2.0, 2.0, 2.5])
ROWS = np.sin(np.radians([-2.0, 2.0, 6.0])) - np.sin(np.radians([-6.0, -2.0, 2.0]))
WEIGHTS = ROWS[:, None] * np.array([0.0, 0.5, 0.5, 0.0]) / ROWS.sum()


def area_mean(values):
    """The region ``middle``: two whole columns; bands of latitude weigh by the sine of their edges."""
    return (np.asarray(values, dtype=float) * WEIGHTS).sum(axis=(-2, -1))


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return build(tmp_path_factory.mktemp("sound") / "w")


@pytest.fixture(scope="module")
def biased(tmp_path_factory):
    return build(tmp_path_factory.mktemp("biased") / "w", bias=BIAS)


@pytest.fixture(scope="module")
def past(biased):
    """Area means of the hindcasts, ``(start, lead, member)``, and the years that they began in."""
    hindcasts = open_issued(biased).hindcasts["sst"].transpose("init_time", "lead_time", "member", ...)
    return area_mean(hindcasts.values), hindcasts["init_time"].dt.year.values


def forecast_means(workspace):
    """Area means of the members, ``(lead, member)``."""
    return area_mean(open_issued(workspace).ensemble["sst"][0].transpose("lead_time", "member", ...).values)


def values(workspace, text):
    return ask(workspace, text, skill="pending").members["value"].values


def test_the_bias_of_each_lead_leaves_the_anomaly(sound, biased):
    for lead, bias in enumerate(BIAS, start=1):
        own, plain = (
            f"dist of {OWN}.mean(time=lead {lead})",
            f"dist of sst.anom.mean(over=middle).mean(time=lead {lead})",
        )
        assert values(biased, own) == pytest.approx(values(sound, own))
        assert values(biased, plain) == pytest.approx(values(sound, plain) + bias)
        assert values(sound, own).mean() == pytest.approx(values(sound, plain).mean(), abs=0.35)


@pytest.mark.parametrize(
    "question",
    [
        f"prob {OWN}.mean(time=lead 1..3) > 0.3 K",
        f"prob {OWN}.mean(time=lead 1) > p66",
        f"prob {OWN}.max(time=lead 2..4) between 0.2 sigma and 1.5 sigma",
        f"prob ({OWN} > 0.1 K).run(time=lead 1..5) >= 2 months",
        "prob (sst.anom(clim=model) > p50).frac(over=middle).mean(time=lead 1..2) >= 50 %",
        f"prob {OWN}.roll(mean=2 months).mean(time=lead 3..4) < 0.2 K",
        f"prob {OWN}.mean(time=lead 3) > 0 K given {OWN}.mean(time=lead 1) < 0.5 K",
        "prob sst.mean(over=middle).mean(time=lead 1..2).anom(clim=model:1921-1950) > 0.2 K",
        f"value of {OWN}.mean(time=lead 2) exceeded with 25 %",
        f"series of {OWN} > 0 K",
        "map of sst.anom(clim=model).mean(time=lead 1..2) > 0.3 K",
    ],
)
def test_a_constant_bias_changes_neither_answer_nor_skill(sound, biased, question):
    one, other = (ask(workspace, question).to_json() for workspace in (sound, biased))
    for part in ("headline", "probability", "base_rate", "interval", "skill", "question", "field"):
        assert one.get(part) == approximately(other.get(part))


def approximately(value):
    """Numbers may differ by rounding, at any depth."""
    if isinstance(value, dict):
        return {key: approximately(part) for key, part in value.items()}
    return pytest.approx(value, abs=1e-9) if isinstance(value, float) else value


def test_without_clim_a_bias_harms_the_skill(sound, biased):
    plain, own = (f"prob {number}.mean(time=lead 3) > 0 K" for number in ("sst.anom.mean(over=middle)", OWN))
    skill = {text: ask(biased, text).to_json()["skill"]["value"] for text in (plain, own)}
    assert skill[own] > skill[plain] + 0.3
    assert skill[own] == pytest.approx(ask(sound, plain).to_json()["skill"]["value"], abs=0.1)


def test_an_answer_is_what_plain_loops_give(biased, past):
    hindcasts, _ = past
    means = [np.mean([np.mean(start[lead]) for start in hindcasts]) for lead in range(6)]
    members = [np.mean([forecast_means(biased)[lead, k] - means[lead] for lead in (1, 2)]) for k in range(20)]
    found = values(biased, f"dist of {OWN}.mean(time=lead 2..3)")
    assert found == pytest.approx(np.array(members), abs=0.01)  # months weigh by their days
    lead = forecast_means(biased)[1] - means[1]
    assert values(biased, f"dist of {OWN}.mean(time=lead 2)") == pytest.approx(lead)


def test_a_percentile_is_that_of_the_hindcasts_each_about_the_others(biased, past):
    hindcasts, _ = past
    anomalies = []
    for row, start in enumerate(hindcasts):
        others = [other[0].mean() for place, other in enumerate(hindcasts) if place != row]
        anomalies += [value - np.mean(others) for value in start[0]]
    limit = np.quantile(anomalies, 0.3, method="weibull")
    found = ask(biased, f"prob {OWN}.mean(time=lead 1) > p30", skill="pending").to_json()
    own = forecast_means(biased)[0] - hindcasts[:, 0].mean()
    assert found["distribution"]["threshold"] == pytest.approx(limit)
    assert found["probability"]["raw"] == np.mean(own > limit)
    years = ask(biased, f"prob {OWN}.mean(time=lead 1) > p30").to_json()["skill"]["past"]
    judged = np.quantile(anomalies[20:], 0.3, method="weibull")
    assert years[0]["share"] == np.mean(np.array(anomalies[:20]) > judged)


def test_a_judged_start_is_left_out_of_its_mean_and_what_happened_is_about_the_record(biased, past):
    hindcasts, years = past
    truth = record()["sst"]
    observed = truth.sel(time=truth["time"].dt.month == 10)
    october = dict(zip(observed["time"].dt.year.values, area_mean(observed.values), strict=True))
    normal = np.mean([value for year, value in october.items() if year <= 1950])
    said, seen = [], []
    for row, year in enumerate(years):
        mean = np.mean([start[0].mean() for place, start in enumerate(hindcasts) if place != row])
        said.append(np.mean(hindcasts[row, 0] - mean > 0.2))
        seen.append(float(october[year] - normal > 0.2))
    said, seen, n = np.array(said), np.array(seen), len(seen)
    skill = ask(biased, f"prob {OWN}.mean(time=lead 1) > 0.2 K").to_json()["skill"]
    assert [case["share"] for case in skill["past"]] == pytest.approx(said)
    assert [case["happened"] for case in skill["past"]] == [bool(outcome) for outcome in seen]
    usual = sum(((seen.sum() - outcome) / (n - 1) - outcome) ** 2 for outcome in seen)
    assert skill["value"] == pytest.approx(1 - fair_brier(said, seen, np.full(n, 20.0)).sum() / usual)


def test_a_forecast_of_the_hindcasts_years_is_not_part_of_its_own_mean(tmp_path):
    workspace = build(tmp_path / "w", start=(1950, 10), bias=BIAS)
    hindcasts = open_issued(workspace).hindcasts["sst"].transpose("init_time", "lead_time", "member", ...)
    others = hindcasts.sel(init_time=hindcasts["init_time"].dt.year != 1950)
    expected = forecast_means(workspace)[0] - area_mean(others.values)[:, 0].mean()
    assert values(workspace, f"dist of {OWN}.mean(time=lead 1)") == pytest.approx(expected)
    assert ask(workspace, f"dist of {OWN}.mean(time=lead 1)").to_json()["provenance"]["model_reference"] == (
        "model:1911-1958, 47 hindcast starts"
    )


def test_neighbouring_starts_join_as_far_as_they_reach(tmp_path):
    workspace = build(tmp_path / "w", start=(1960, 6), hindcast_months=(4, 5, 6, 7), first=1943, bias=BIAS)
    hindcasts = open_issued(workspace).hindcasts["sst"].transpose("init_time", "lead_time", "member", ...)
    means, months = area_mean(hindcasts.values).mean(axis=2), hindcasts["init_time"].dt.month.values
    july = np.mean([mean[7 - month] for mean, month in zip(means, months, strict=True) if month >= 5])
    found = ask(workspace, f"dist of {OWN}.mean(time=lead 2)")
    assert found.members["value"].values == pytest.approx(forecast_means(workspace)[1] - july)
    starts = {"lead 2": 3 * 16, "lead 6": 2 * 16, "lead 1": 2 * 16, "all": 16}
    for window, count in starts.items():
        label = ask(workspace, f"dist of {OWN}.mean(time={window})").to_json()["provenance"]["model_reference"]
        assert label == f"model:1943-{LAST - 2}, {count} hindcast starts"
    assert set(plume(found.inquiry)["members"][""][0]) >= {None}  # what a neighbouring start does not reach


def test_pooled_years_are_compared_with_their_own_lead(tmp_path):
    workspace = build(tmp_path / "w", leads=24, start=(1958, 1), hindcast_months=(1,), first=1930)
    hindcasts = open_issued(workspace).hindcasts["sst"].transpose("init_time", "lead_time", "member", ...)
    others = area_mean(hindcasts.sel(init_time=hindcasts["init_time"].dt.year != 1958).values)
    expected = forecast_means(workspace)[[2, 14]] - others[:, [2, 14]].mean(axis=(0, 2))[:, None]
    found = values(workspace, f"dist of {OWN}.mean(time=each Mar 1958..1959)")
    assert found == pytest.approx(expected.T)
    level = ask(workspace, f"level of {OWN}.max(time=each MAM 1958..1959) return 5 years").to_json()["value"]
    assert level["low"] < level["value"] < level["high"]
    skill = ask(workspace, f"prob {OWN}.mean(time=each Mar 1958..1959) > 0 K").to_json()["skill"]
    assert skill["cases"] == 2 * skill["hindcasts"] > 0


def test_each_kind_of_members_is_compared_with_its_own_hindcasts(tmp_path):
    workspace = build(tmp_path / "w")
    question = f"prob {OWN}.mean(time=lead 1..2) > -0.7 K"
    drawn = ask(workspace, question).to_json()
    calibrate(workspace, alpha=2.0)
    found = ask(workspace, question).to_json()
    assert found["probability"]["calibrated"] == found["probability"]["raw"] == drawn["probability"]["raw"]
    assert found["skill"]["past"] == drawn["skill"]["past"]
    plain = ask(workspace, question.replace("(clim=model)", "")).to_json()["probability"]
    assert plain["calibrated"] == 1.0 > plain["raw"]
    sure = found["interval"]
    calibrate(workspace, wobble=0.2)  # each refit shifts forecast and hindcasts alike
    assert ask(workspace, question).to_json()["interval"] == pytest.approx(sure)


@pytest.mark.parametrize(
    "event",
    ["sst.anom(clim=model){}.mean(time=lead 2..3) > 0.3 K", "sst.anom(clim=model){}.mean(time=lead 1) > p66"],
)
def test_a_cell_of_a_map_is_the_question_at_its_place(tmp_path, event, monkeypatch):
    workspace = build(tmp_path / "w", bias=BIAS)
    calibrate(workspace, beta=0.8, tau=1.1, wobble=0.2)
    found = ask(workspace, f"map of {event.format('')}", skill="everywhere")
    for latitude, longitude in ((-4, 188), (4, 212)):
        asked = f"prob {event.format(f'.mean(over=point({latitude}, {longitude}))')}"
        single, cell = ask(workspace, asked).to_json(), found.members.sel(latitude=latitude, longitude=longitude)
        assert float(cell["probability"]) == single["probability"]["calibrated"]
        assert [float(cell[end]) for end in ("low", "high")] == pytest.approx(
            [single["interval"][end] for end in ("low", "high")]
        )
        assert float(cell["skill"]) == pytest.approx(single["skill"]["value"], abs=1e-6)
    monkeypatch.setattr("pipeline.answers.fields.BATCH_VALUES", 1)  # each row is a band of its own
    monkeypatch.setattr("pipeline.answers.hindcasts.BATCH_VALUES", 1)
    again = ask(workspace, f"map of {event.format('')}", skill="pending").members
    xr.testing.assert_allclose(again, found.members[list(again)])
    assert found.to_json()["provenance"]["model_reference"] == "model:1911-1958, 48 hindcast starts"


def test_what_it_was_compared_with_is_told(biased):
    found = ask(biased, f"prob {OWN}.mean(time=lead 1) > p66")
    payload, label = found.to_json(), "model:1911-1958, 48 hindcast starts"
    assert payload["provenance"]["model_reference"] == label
    assert payload["provenance"]["reference"] == payload["base_rate"]["source"] == "obs:1901-1950"
    assert f"(against the mean of {label})" in payload["question"]["reads_as"]
    assert payload["question"]["reads_as"].endswith(f"is above its 66th percentile in {label}?")
    threshold = payload["question"]["resolved"]["threshold"]
    assert (threshold["value"], threshold["range"], threshold["reference"]) == (None, None, label)
    some = ask(biased, f"dist of {OWN.replace('model', 'model:1931-1950')}.mean(time=lead 1)").to_json()
    assert some["provenance"]["model_reference"] == "model:1931-1950, 20 hindcast starts"
    assert (
        "model_reference" not in ask(biased, "dist of sst.mean(over=middle).mean(time=lead 1)").to_json()["provenance"]
    )
    record_high = ask(biased, f"prob {OWN}.mean(time=lead 1) > record", skill="pending").to_json()["question"]
    assert record_high["resolved"]["threshold"]["reference"] == "obs:1901-1950"
    assert record_high["resolved"]["threshold"]["value"] == pytest.approx(1.6615, abs=1e-4)


def test_the_curves_beside_an_answer_are_of_the_same_numbers(sound, biased):
    question = f"prob {OWN}.mean(time=lead 1) > p66"
    one, other = (ask(workspace, question, skill="pending").inquiry for workspace in (sound, biased))
    assert exceedance(one)["values"][""] == pytest.approx(exceedance(other)["values"][""], abs=1e-6)
    assert exceedance(one)["thresholds"] == pytest.approx(exceedance(other)["thresholds"])
    for rows in zip(plume(one)["members"][""], plume(other)["members"][""], strict=True):
        assert rows[0] == pytest.approx(rows[1], abs=1e-6)


def toy(text, hindcasts, *, ensemble=None, explained=False):
    ensemble = asking.forecast(members=12, seed=4) if ensemble is None else ensemble
    setting = {"ensemble": ensemble, "reference": asking.record(), "catalogue": asking.catalogue(ensemble)}
    if explained:
        return explain(text, **setting, hindcasts=hindcasts)
    return answer(text, **setting, hindcasts=[hindcasts])


TOY = "tas.anom(clim=model).mean(over=west).mean(time=DJF 2004)"


def test_few_start_years_warn_and_fewer_are_refused():
    warnings = {
        each["code"]: each["text"] for each in toy(f"dist of {TOY}", asking.forecast(starts=8)).to_json()["warnings"]
    }
    assert warnings["model_climate_thin"] == ("The model's own climatology rests on 7 start years, fewer than 15.")
    with pytest.raises(QuestionError) as caught:
        toy(f"dist of {TOY}", asking.forecast(starts=5))
    assert (caught.value.code, caught.value.where, caught.value.try_) == ("reference_period", "clim=model", (".anom",))
    assert caught.value.text == (
        "The model's own climatology needs 5 start years of hindcasts that reach 2004-02; 4 are stored. The reference "
        "record is obs:1991-2002: write .anom."
    )
    with pytest.raises(QuestionError, match="that reach 2004-02; 0 are stored"):
        toy(f"dist of {TOY}", asking.forecast(starts=20, leads=4))
    with pytest.raises(QuestionError, match="p95 of 7 reference years: the finest is p87"):
        toy(f"prob {TOY} > p95", asking.forecast(starts=8))


def test_starts_that_are_not_all_stored_are_left_out():
    hindcasts = asking.forecast(starts=16, seed=7)
    hindcasts["tas"][3] = np.nan
    done = np.ones((16, 2), dtype=bool)
    done[3, 1] = False
    found = toy(f"dist of {TOY}", hindcasts.assign(done=(("init_time", "block"), done)))
    assert found.to_json()["provenance"]["model_reference"] == "model:2004-2018, 14 hindcast starts"
    assert np.isfinite(found.members["value"]).all()


def test_scenario_runs_have_no_climatology_by_lead():
    parts = [asking.forecast(members=12, seed=4, warming=more) for more in (0.4, 0.0)]
    with pytest.raises(QuestionError) as caught:
        toy(f"prob {TOY} > 1 K scenario high", None, ensemble=asking.with_scenarios(parts, ["high", "low"]))
    assert caught.value.code == "reference_period"
    assert caught.value.text == (
        "A scenario run has no hindcasts, so no climatology by lead. The reference record is obs:1991-2002: "
        "write .anom."
    )


def test_explaining_reads_no_hindcast():
    hindcasts = asking.forecast(starts=16).chunk()

    def fail(block):
        raise AssertionError("a hindcast was read")

    hindcasts["tas"] = hindcasts["tas"].copy(data=hindcasts["tas"].data.map_blocks(fail, meta=np.empty(0)))
    found = toy(f"prob {TOY} > 2 sigma", hindcasts, explained=True)
    assert found["resolved"]["threshold"]["reference"] == "model:2004-2018, 15 hindcast starts"
    assert found["reads_as"].endswith("is above 2 sigma in model:2004-2018, 15 hindcast starts?")
