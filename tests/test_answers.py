"""Answers: their fields, the headline rule, warnings, cards, and the question in plain words."""

import json
import re

import cftime
import numpy as np
import pytest
import xarray as xr
from scipy import stats

from pipeline.answers.answer import answer
from pipeline.answers.card import wrapped
from pipeline.answers.explain import explain
from pipeline.answers.extremes import return_level
from pipeline.answers.headline import percent
from pipeline.answers.quantities import possible
from pipeline.answers.views import exceedance, plume
from pipeline.events import QuestionError, parse
from pipeline.grid import EARTH_RADIUS_KM
from tests.asking import catalogue, forecast, in_pentads, record, with_scenarios

WARM = "tas.mean(over=west).mean(time=DJF 2004) > 5.1 degC"


def ask(text, ensemble=None, reference=None, *, settings=None, **options):
    ensemble = forecast(members=40, seed=4) if ensemble is None else ensemble
    reference = record(years=30) if reference is None else reference
    names = catalogue(ensemble, **(settings or {}))
    return answer(text, ensemble=ensemble, reference=reference, catalogue=names, **options)


def projection(*, members=40, leads=9, warming=0.4):
    parts = [forecast(members=members, leads=leads, seed=4, warming=more) for more in (warming, 0.0)]
    return with_scenarios(parts, ["high", "low"])


def refusal(text, *args, **options):
    with pytest.raises(QuestionError) as caught:
        ask(text, *args, **options)
    return caught.value


@pytest.fixture(scope="module")
def warm():
    return ask(WARM, settings={"provenance": {"model": "toy"}})


def test_every_field_is_there(warm):
    payload = json.loads(json.dumps(warm.to_json(), allow_nan=False))
    assert payload["schema"] == "answer/1"
    expected = {"headline", "question", "probability", "interval", "members", "base_rate", "ratio", "skill"}
    assert expected | {"calibration", "distribution", "provenance", "warnings", "timing_ms"} <= set(payload)
    assert payload["provenance"]["model"] == "toy"
    assert payload["provenance"]["forecast"] == "fc-2003-10-01"


def test_the_numbers_belong_together(warm):
    payload = warm.to_json()
    members, interval = payload["members"], payload["interval"]
    raw = payload["probability"]["raw"]
    assert members["event"] + members["not"] + members["unknown"] == members["total"] == 40
    assert raw == members["event"] / 40 == float(warm.members["event"].mean())
    assert interval["low"] < raw < interval["high"]
    assert payload["ratio"]["value"] == pytest.approx(raw / payload["base_rate"]["value"])
    assert payload["distribution"]["threshold_quantile"] == pytest.approx(1 - raw)
    assert payload["probability"]["calibrated"] is None
    assert payload["probability"]["calibrated_reason"]


def test_the_question_is_restated_with_everything_resolved(warm):
    question = warm.to_json()["question"]
    assert question["reads_as"] == (
        "In what share of futures is it true that the area mean of near-surface air temperature over the west (6 "
        "cells, 12.8 million km²), averaged over DJF 2004 (2003-12-01 to 2004-02-28) is above 5.1 degC (278.25 K)?"
    )
    resolved = question["resolved"]
    assert resolved["window"] == ["2003-12-01", "2004-02-28"]
    assert resolved["leads"] == [3, 5]
    assert resolved["window_means"] == "the mean of 3 months"
    assert resolved["region"]["cells"] == 6
    assert resolved["threshold"]["value"] == pytest.approx(278.25)


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("(tas.mean(over=west) > p50).any(time=DJF 2004)", "any one of 3 months"),
        ("(tas.mean(over=west) > p50).all(time=DJF 2004)", "every one of 3 months"),
        ("(tas.mean(over=west) > p50).run(time=all) >= 2 months", "the longest run within 9 months"),
        ("tas.mean(over=west).max(time=DJF 2004) > p50", "the highest of 3 months"),
        (
            "tas.mean(over=west).mean(time=each Jan 2004..2004) > p50",
            "the mean of one month in each of 1 years, pooled: one sample for each member and year",
        ),
    ],
)
def test_the_answer_says_what_the_window_means(text, means):
    assert ask(text).to_json()["question"]["resolved"]["window_means"] == means


@pytest.mark.parametrize(
    ("compared", "words"),
    [
        ("<= 2004-02", "comes by the end of 2004-02?"),
        ("< 2004-02", "comes before 2004-02?"),
        (">= 2004-02", "comes in or after 2004-02?"),
        ("> 2004-02", "comes after 2004-02?"),
        ("between 2003-12 and 2004-02", "comes between 2003-12 and 2004-02?"),
    ],
)
def test_a_first_passage_is_read_as_a_time(compared, words):
    said = ask(f"(tas.mean(over=west) > 280 K).first(time=all) {compared}").to_json()["question"]["reads_as"]
    assert said.endswith(words)
    assert "the first month of the whole forecast (2003-10-01 to 2004-06-30) in which" in said


def test_explaining_reads_no_member():
    ensemble = forecast()
    lazy = ensemble.copy()

    def fail(block):
        raise AssertionError("a member was read")

    lazy["tas"] = ensemble["tas"].chunk().copy(data=ensemble["tas"].chunk().data.map_blocks(fail, meta=np.empty(0)))
    found = explain(
        "(tas.mean(over=west) > p90).any(time=DJF 2004) and not (tas > 1 sigma).any(over=point(0, 121)).any(time=MAM)",
        ensemble=lazy,
        reference=record(),
        catalogue=catalogue(ensemble),
    )
    assert "its 90th percentile in obs:1991-2002 (" in found["reads_as"]
    assert len(found["resolved"]["thresholds"]) == len(found["resolved"]["windows"]) == 2
    point = found["resolved"]["regions"][1]
    assert point["cell_centre"] == [0.0, 120.0]
    assert point["distance_km"] == pytest.approx(EARTH_RADIUS_KM * np.pi / 180, abs=0.1)  # one degree along the equator
    sizes = [(each["reference_years"], each["independent"]) for each in found["resolved"]["thresholds"]]
    assert sizes == [(12, 12.0), (12, 12.0)]


def test_scenarios_are_compared_as_pairs():
    found = ask("tas.mean(over=west).mean(time=DJF 2004) > 5.1 degC scenario high vs low", projection())
    payload = found.to_json()
    high, low = (part["probability"]["raw"] for part in payload["scenarios"])
    difference = payload["difference"]
    assert high > low
    assert difference["value"] == pytest.approx(high - low)
    assert difference["correlation"] > 0.2  # the members share their noise
    assert difference["low"] < high - low < difference["high"]
    assert payload["probability_ratio"]["value"] == pytest.approx(high / low)
    assert payload["skill"]["verdict"] == "not_applicable"
    assert set(found.members["event"].dims) == {"scenario", "member"}
    assert "under high" in payload["headline"]["text"]


def test_paired_intervals_agree_with_resampling_members():
    found = ask("tas.mean(over=west).mean(time=DJF 2004) > 5.1 degC scenario high vs low", projection(members=100))
    event = found.members["event"].values
    rng = np.random.default_rng(0)
    picks = event[:, rng.integers(0, 100, (4000, 100))].mean(axis=2)
    low, high = np.quantile(picks[0] - picks[1], [0.05, 0.95])
    difference = found.to_json()["difference"]
    assert difference["low"] == pytest.approx(low, abs=0.03)
    assert difference["high"] == pytest.approx(high, abs=0.03)


def test_a_scenario_must_be_named_where_there_are_several():
    assert refusal(WARM, projection()).code == "scenario_missing"
    error = refusal(f"{WARM} scenario hihg", projection())
    assert (error.code, error.did_you_mean) == ("unknown_scenario", "high")
    assert ask(WARM, projection().isel(scenario=[0])).to_json()["provenance"]["scenario"] == "high"


def test_the_newest_forecast_is_asked_unless_another_is_named():
    ensemble = forecast(starts=2)
    text = "tas.mean(over=west).mean(time=lead 1..3) > p50"
    assert ask(text, ensemble).to_json()["provenance"]["init_time"] == "2004-10-01"
    assert ask(f"{text} forecast fc-2003-10", ensemble).to_json()["provenance"]["init_time"] == "2003-10-01"
    assert "from fc-2003-10-01 to fc-2004-10-01" in refusal(f"{text} forecast fc-1999", ensemble).text


def test_calibrated_members_leave_the_raw_share_beside_them():
    settings = {"calibration": {"state": "calibrated"}}
    without = ask(WARM, settings=settings).to_json()["probability"]
    assert without["raw"] is None
    assert without["raw_reason"]
    raw = forecast(members=40, seed=4, warming=-0.5)
    both = ask(WARM, settings=settings, raw=raw).to_json()["probability"]
    assert both["raw"] < both["calibrated"] == without["calibrated"]


def test_a_condition_leaves_members_out():
    payload = ask(f"{WARM} given pr.mean(over=west).sum(time=DJF 2004) < p50").to_json()
    members = payload["members"]
    assert members["excluded"] > 0
    assert members["event"] + members["not"] + members["excluded"] == 40
    assert 10 <= payload["base_rate"]["years"] <= 15
    assert [warning["code"] for warning in payload["warnings"]] == ["uncalibrated", "given_few", "skill_not_measured"]
    assert refusal(f"{WARM} given pr.mean(over=west).sum(time=DJF 2004) > 9 m").code == "given_too_rare"


def test_values_are_exceeded_as_often_as_asked():
    found = ask("value of tas.mean(over=west).mean(time=DJF 2004) exceeded with 25 %", forecast(members=99, seed=1))
    value = found.to_json()["value"]
    assert value["low"] < value["value"] < value["high"]
    members = found.members["value"].values
    assert (members > value["value"]).mean() == pytest.approx(0.25, abs=0.011)
    share = ask(f"tas.mean(over=west).mean(time=DJF 2004) > {value['value']:.9f} K", forecast(members=99, seed=1))
    assert share.to_json()["probability"]["raw"] == pytest.approx(0.25, abs=0.011)


@pytest.mark.parametrize("south", [-15, -14.3, -13.1, -11.7, -9.9])
def test_a_whole_area_is_all_of_it_and_its_share_is_in_percent(south):
    where = f"over=box(lat={south}..21, lon=91..169)"
    for verb, share in (("all", ">= 100 %"), ("any", "> 0 %")):
        plain = ask(f"(tas > 0 K).{verb}({where}).any(time=lead 1)").to_json()["members"]
        assert ask(f"(tas > 0 K).frac({where}).max(time=lead 1) {share}").to_json()["members"] == plain
    found = ask(f"dist of (tas > 0 K).frac({where}).max(time=lead 1)").to_json()
    assert found["distribution"]["units"] == "%"
    assert set(found["distribution"]["quantiles"].values()) == {100.0}
    assert found["headline"]["text"].startswith("Median 100 %")


def test_days_are_days_where_a_step_is_five_of_them():
    start = cftime.datetime(2003, 1, 1, calendar="noleap")
    ensemble = in_pentads(forecast(members=40, leads=12, seed=4), start)
    usual = in_pentads(record(years=30), start.replace(year=1991))
    warm = "(tas.mean(over=west) > 293.5 K).{}(time=all)"
    for verb in ("count", "run"):
        steps = ask(f"{warm.format(verb)} >= 2 steps", ensemble, usual).to_json()
        assert 0 < steps["members"]["event"] < 40
        for days in ("10 days", "7 days"):
            assert ask(f"{warm.format(verb)} >= {days}", ensemble, usual).to_json()["members"] == steps["members"]
    reads = ask(f"{warm.format('run')} >= 10 days", ensemble, usual).to_json()["question"]["reads_as"]
    assert reads.endswith("is at least 10 days (2 steps of 5 days)?")
    assert ask(f"dist of {warm.format('run')}", ensemble, usual).headline.endswith(" steps of 5 days.")


def test_weeks_are_seven_days_in_counts_and_running_windows():
    start = cftime.datetime(2003, 1, 1, calendar="noleap")
    ensemble = in_pentads(forecast(members=40, leads=12, seed=4), start)
    usual = in_pentads(record(years=30), start.replace(year=1991))
    count, roll = (
        "(tas.mean(over=west) > 286 K).count(time=all) >= {}",
        "series of tas.roll(mean={}).mean(over=west) > p50",
    )
    steps, weeks = (ask(count.format(long), ensemble, usual).to_json() for long in ("7 steps", "5 weeks"))
    assert 0 < steps["members"]["event"] == weeks["members"]["event"] < 40
    assert weeks["question"]["reads_as"].endswith("is at least 5 weeks (7 steps of 5 days)?")
    steps, weeks = (ask(roll.format(long), ensemble, usual).members for long in ("7 steps", "5 weeks"))
    xr.testing.assert_equal(steps["probability"], weeks["probability"])
    text = "counts and runs are in steps of this store, which are 5 days long"
    assert text in refusal(count.format("2 months"), ensemble, usual).text


def test_what_is_never_reached_is_not_said_to_come_after_the_forecast():
    never = "(tas.mean(over=west) > 900 K).first(time=all)"
    assert ask(f"{never} > 2004-06").to_json()["probability"]["raw"] == 1.0
    error = refusal(f"{never} > 2035")
    assert (error.code, error.try_) == ("beyond_horizon", ("2004-06",))


def test_a_value_of_pooled_years_lies_in_its_own_interval():
    text = "value of tas.mean(over=west).mean(time=each DJF 2004..2012) exceeded with {} %"
    for chance in (2, 50, 98):
        value = ask(text.format(chance), forecast(members=30, leads=120)).to_json()["value"]
        low, high = (end if value[name] is None else value[name] for name, end in (("low", -np.inf), ("high", np.inf)))
        assert low < value["value"] < high
        assert 30 <= value["effective"] <= 30 * 9


@pytest.mark.parametrize(("window", "what"), [("DJF 2004", "members"), ("each DJF 2004..2006", "samples")])
def test_what_is_pooled_is_counted_as_samples_in_every_headline(window, what):
    number, both = f"tas.mean(over=west).mean(time={window})", projection(members=20, leads=48)
    value = ask(f"value of {number} exceeded with 10 % scenario low", both).headline
    assert f"is exceeded by 10 % of {what} (" in value
    assert f"; nine in ten {what} from" in ask(f"dist of {number} scenario low", both).headline
    event = ask(f"prob {number} > 5.1 degC scenario high vs low", both)
    assert re.match(rf"\d+ % of {what} under high, \d+ % of {what} under low: ", event.headline)
    alone = [ask(f"prob {number} > 5.1 degC scenario {name}", both) for name in ("high", "low")]
    assert re.match(
        rf"high: \d+ % of {what}; low: \d+ % of {what}\. Difference", alone[0].compare(alone[1])["headline"]["text"]
    )


def test_warnings_under_two_scenarios_say_under_which():
    text = "value of tas.mean(over=west).mean(time=DJF 2004) exceeded with 10 % scenario high vs low"
    payload = ask(text, projection(members=20)).to_json()
    assert [warning["text"] for warning in payload["warnings"] if warning["code"] == "few_beyond"] == [
        f"Under {scenario}: Only 2 of 20 samples lie beyond this value." for scenario in ("high", "low")
    ]


@pytest.mark.parametrize(
    ("text", "is_beyond"),
    [
        ("prob tas.mean(over=west).mean(time=2003-10..2004-02) > 280 K scenario high", False),
        ("prob tas.mean(over=west).mean(time=DJF 2004) > 280 K scenario high vs low", False),
        ("prob tas.mean(over=west).mean(time=MAM 2004) > 280 K scenario low", False),
        ("prob tas.mean(over=west).mean(time=MAM 2004) > 280 K scenario high", True),
        ("prob tas.mean(over=west).mean(time=MAM 2004) > 280 K scenario low vs high", True),
        (
            "prob (tas.mean(over=west) > 280 K).then(pr.mean(over=west) > 1 mm/day, within=2 months)"
            ".any(time=lead 1..5) scenario high",
            True,
        ),
        ("dist of (tas.mean(over=west) > 280 K).first(time=all) scenario high", True),
        ("value of tas.mean(over=west).mean(time=MAM 2004) exceeded with 20 % scenario high", True),
        ("map of tas.mean(time=MAM 2004) > 280 K scenario high", True),
        ("series of tas.mean(over=west) > 280 K scenario high", True),
    ],
)
def test_what_looks_at_forcing_beyond_that_of_the_fits_says_so(text, is_beyond):
    beyond = {"high": {"since": "2004-03-01", "text": "high: its warming goes far."}}
    payload = ask(text, projection(), settings={"extrapolated": beyond}).to_json()
    found = [warning["text"] for warning in payload["warnings"] if warning["code"] == "extrapolated"]
    assert found == (["high: its warming goes far."] if is_beyond else [])


@pytest.mark.parametrize(
    "text", [WARM, "dist of tas.mean(over=west).mean(time=DJF 2004)", "map of tas.mean(time=DJF 2004) > 5 degC"]
)
def test_no_projection_has_past_forecasts(text):
    payload = ask(f"{text} scenario high", projection()).to_json()
    assert payload["skill"]["verdict"] == "not_applicable"


def test_lines_of_a_card_keep_a_number_and_its_sign_together():
    for width in range(60):
        assert not any(
            line.lstrip().startswith("%") for line in wrapped("x" * width + " odds 27 %, at 5 %").split("\n")
        )


def test_values_too_rare_for_the_members_are_refused():
    error = refusal("value of tas.mean(over=west).mean(time=DJF 2004) exceeded with 1 %")
    assert error.code == "too_few_members"
    assert "A 1-in-100 value cannot be read from 40 samples" in error.text


def without(ensemble, name, members):
    """An ensemble that lacks some members' January."""
    ensemble[name].values[:, 3, :members] = np.nan
    return ensemble


@pytest.mark.parametrize("asks", ["prob {} > 5.1 degC", "dist of {}", "value of {} exceeded with 30 %"])
def test_unknown_members_are_told_and_too_many_are_refused_in_every_question(asks):
    text = asks.format("tas.mean(over=west).mean(time=DJF 2004)")
    few, many = (without(forecast(members=40, seed=4), "tas", count) for count in (4, 12))
    assert {"code": "members_unknown", "text": "10 % of the members are unknown for want of data."} in ask(
        text, few
    ).to_json()["warnings"]
    assert refusal(text, many).code == "members_unknown"


@pytest.mark.parametrize("asks", ["prob {} > 5.1 degC", "dist of {}", "value of {} exceeded with 30 %"])
def test_a_condition_that_is_unknown_leaves_a_member_unknown(asks):
    given = " given pr.mean(over=west).mean(time=lead 4) > 0 mm/day"
    text = asks.format("tas.mean(over=west).mean(time=DJF 2004)") + given
    few, many = (without(forecast(members=40, seed=4), "pr", count) for count in (4, 25))
    found = ask(text, few).to_json()
    assert "members_unknown" in [warning["code"] for warning in found["warnings"]]
    if "members" in found:
        assert (found["members"]["unknown"], found["members"]["excluded"]) == (4, 0)
    if "value" in found:
        assert found["value"]["members"] == 36
    assert refusal(text, many).code == "members_unknown"


def test_few_members_that_meet_a_condition_are_told_for_distributions_too():
    wet = "pr.mean(over=west).sum(time=DJF 2004) > 180 mm"
    found = ask(f"dist of tas.mean(over=west).mean(time=DJF 2004) given {wet}").to_json()
    assert "given_few" in [warning["code"] for warning in found["warnings"]]


def test_a_record_with_gaps_leaves_a_threshold_without_its_reference():
    usual = record(years=30)
    usual["tas"].values[::12] = np.nan
    found = ask(WARM, reference=usual).to_json()
    assert found["base_rate"] is None
    assert found["base_rate_reason"] == "The reference record does not say whether this event happened."
    assert found["distribution"] is None


def test_a_running_sum_of_a_rate_is_an_amount_as_that_of_a_window_is():
    rain, ensemble = "pr.mean(over=west)", forecast(members=40, seed=4)
    window = ask(f"dist of {rain}.sum(time=DJF 2004)", ensemble)
    running = ask(f"dist of {rain}.roll(sum=3 months).max(time=2004-02)", ensemble)
    np.testing.assert_allclose(running.members["value"], window.members["value"])
    assert running.to_json()["distribution"]["units"] == window.to_json()["distribution"]["units"]
    amounts = ask(f"prob {rain}.roll(sum=3 months).max(time=2004-02) > 180 mm", ensemble).to_json()
    assert 0 < amounts["members"]["event"] < 40


def test_what_a_refusal_of_a_rare_value_suggests_does():
    value = "value of tas.mean(over=west).mean(time=DJF 2004) {}"
    for rare, could in (("exceeded with 1 %", "exceeded with 12 %"), ("exceeded with 99 %", "exceeded with 88 %")):
        assert refusal(value.format(rare)).try_ == (could,)
        assert ask(value.format(could)).to_json()["value"]["value"] > 0
    assert refusal(value.format("exceeded with 1 %"), forecast(members=4)).try_ == ()
    error = refusal(
        "level of tas.mean(over=west).max(time=each DJF 2004..2005) return 2 years", forecast(members=5, leads=20)
    )
    assert "of 2 years cannot be read from 10 samples; 20 are needed" in error.text


def test_return_levels_are_counted_or_extrapolated_and_say_so():
    ensemble = forecast(members=30, leads=120)
    level = "level of tas.mean(over=west).max(time=each year 2004..2012) return {} years"
    ten, hundred = (ask(level.format(years), ensemble).to_json()["value"] for years in (10, 400))
    assert (ten["extrapolated"], hundred["extrapolated"]) == (False, True)
    assert ten["value"] < hundred["value"]
    assert hundred["low"] < hundred["value"] < hundred["high"]
    assert refusal(level.format(5000), ensemble).code == "too_few_members"


def test_a_level_goes_no_further_than_what_can_be():
    """Members reach 300 K; the tail that is fitted to them goes on."""
    level = "level of tas.max(over=west).max(time=each year 2004..2012) return 400 years"
    ensemble = forecast(members=30, leads=120, seed=4)
    free = ask(level, ensemble).to_json()["value"]
    most = (free["low"] + free["value"]) / 2
    held = ask(level, ensemble, settings={"valid_ranges": {"tas": (150, most)}})
    found = held.to_json()
    assert [found["value"][part] for part in ("low", "value", "high")] == [free["low"], most, most]
    assert "level_held" in {warning["code"] for warning in found["warnings"]}
    assert f"150 to {most:.4g} K" in held.text
    year = "time=each year 2004..2012"
    for text, limits in (
        (f"(tas > 285 K).frac(over=west).mean({year})", (0, 100)),
        (f"(tas.mean(over=west) > 285 K).run({year})", (0, 12)),
        (f"tas.anom.mean(over=west).max({year})", (-np.inf, np.inf)),
    ):
        inquiry = ask(f"dist of {text}", ensemble).inquiry
        assert possible(inquiry.question.subject, inquiry.members.catalogue, inquiry.timeline) == limits


@pytest.mark.parametrize(
    ("asked", "threshold", "said"),
    [
        ("value of {} exceeded with 10 %", 400, "0 months is reached by all of the members and exceeded by none"),
        ("value of {} exceeded with 10 %", 285, "7 months is reached by {} of the members and exceeded by none"),
        (
            "level of {} return 2 years",
            400,
            "0 months is reached by all of the samples and exceeded by none; it is the",
        ),
    ],
)
def test_a_value_that_many_members_have_is_not_said_to_be_exceeded(asked, threshold, said):
    when = "each year 2004..2005" if asked.startswith("level") else "2004"
    count = f"(tas.mean(over=west) > {threshold} K).count(time={when})"
    found = ask(asked.format(count), forecast(members=30, leads=40, seed=4))
    share = float((found.members["value"] >= found.to_json()["value"]["value"]).mean())
    assert found.headline.startswith(said.format(percent(share)))


def test_no_tail_is_fitted_to_counts():
    """A year of 12 months had 42591579091 of them."""
    text = "level of (tas.mean(over=west) > 282 K).count(time=each year 2004..2012) return {} years"
    ensemble = forecast(members=30, leads=120, seed=4)
    error = refusal(text.format(400), ensemble)
    assert error.code == "too_few_members"
    assert "159 of them are 7 months, and no tail can be fitted" in error.text
    assert error.try_ == ("return 54 years",)
    assert ask(text.format(54), ensemble).to_json()["value"]["value"] <= 12


def test_water_is_said_in_millimetres_and_thresholds_with_it():
    rate, total = (f"pr.mean(over=west).{verb}(time=DJF 2004)" for verb in ("mean", "sum"))
    for text, units, seconds in ((rate, "mm per day", 86_400), (total, "mm", 1)):
        stored = ask(f"dist of {text}").inquiry.values(parse(f"dist of {text}").subject).known().ravel()
        found = ask(f"dist of {text}")
        assert found.to_json()["distribution"]["units"] == found.members["value"].attrs["units"] == units
        np.testing.assert_allclose(found.members["value"], seconds * stored, rtol=1e-6)
        middle = float(np.median(found.members["value"]))
        event = ask(f"prob {text} > {middle:.9g} {units}")
        assert event.to_json()["members"]["event"] == 20
        curve = exceedance(event.inquiry)
        assert (curve["units"], curve["thresholds"]) == (units, [pytest.approx(middle, rel=1e-6)])
        threshold = event.to_json()["question"]["resolved"]["threshold"]
        assert (threshold["units"], threshold["value"]) == (units, pytest.approx(middle, rel=1e-6))
        own = event.to_json()["distribution"]
        assert own["quantiles"] == pytest.approx(found.to_json()["distribution"]["quantiles"])
    assert "mm per day)" in ask(f"prob {rate} > p66").to_json()["question"]["reads_as"]
    assert ask(f"prob {rate} > 2 mm/day").to_json()["question"]["reads_as"].endswith("is above 2 mm/day?")
    course = plume(ask(f"prob {rate} > 1 mm/day").inquiry)
    assert (course["units"], course["thresholds"]) == ("mm per day", [pytest.approx(1)])
    assert 0.1 < np.nanmedian(course["members"][""]) < 20


@pytest.mark.parametrize(("place", "scale"), [(5, 1.2), (101_000, 300), (4e-5, 1e-5)])  # mm, Pa, kg m-2 s-1
def test_an_extrapolated_level_is_the_same_in_any_units(place, scale):
    values = stats.genextreme.rvs(-0.1, size=(20, 20), random_state=np.random.default_rng(1))
    unit, found = return_level(values, 200), return_level(place + scale * values, 200)
    assert (found.low, found.value, found.high) == pytest.approx(
        [place + scale * end for end in (unit.low, unit.value, unit.high)], rel=1e-3
    )
    assert unit.low < stats.genextreme.isf(1 / 200, -0.1) < unit.high
    assert found.fit > 0.05


def test_a_first_passage_keeps_those_who_never_get_there():
    soon = ask("dist of (tas.mean(over=west) > p50).first(time=lead 1..9)").to_json()["passage"]
    assert sum(soon["by_step"].values()) == round(soon["reached"] * 40)
    assert soon["median"].startswith("2003-")
    late = ask("dist of (tas.mean(over=west) > record).first(time=lead 1..4)")
    assert late.to_json()["passage"]["median"] is None
    assert "by 2004-01." in late.headline
    sooner = ask("dist of (tas.mean(over=west) > p50).first(time=lead 3..9)")
    leads, dates = sooner.members["value"], sooner.members["date"].where(np.isfinite(sooner.members["value"]), "")
    assert leads.min() == 3
    assert (dates[leads == 3] == "2003-12").all()
    for step, count in sooner.to_json()["passage"]["by_step"].items():
        assert (dates == step).sum() == count
    assert (dates == "").sum() == np.isinf(leads).sum()
    always, never = (ask(f"dist of (tas.mean(over=west) > {x} K).first(time=lead 1..4)") for x in (0, 900))
    assert always.headline == "Half of the members get there by 2003-10; all by 2004-01."
    assert "  reached     10 % by 2003-10, 50 % by 2003-10, 90 % by 2003-10\n" in always.text
    assert never.headline == "None of 40 members get there by 2004-01."
    assert "  reached     all never\n" in never.text


def test_runs_that_an_edge_of_the_window_cuts_are_counted():
    answer = ask("prob (tas.mean(over=west) > p50).run(time=lead 2..7) >= 3 months")
    warm = answer.inquiry.values(answer.inquiry.question.subject.source.source)
    cut = 0
    for member in warm.low[0, :, 1:7, 0, 0]:
        spells = "".join("x" if step else " " for step in member).split(" ")
        longest = max(map(len, spells))
        cut += longest > 0 and longest in (len(spells[0]), len(spells[-1]))
    assert 0 < cut < 40
    assert answer.to_json()["members"]["spell_touches_edge"] == cut
    assert f"  runs        cut by an edge of the window in {cut} members\n" in answer.text
    anywhere = ask("prob (tas > p50).run(time=lead 2..7).max(over=west) >= 3 months").to_json()
    assert "spell_touches_edge" not in anywhere["members"]


def test_maps_and_series_are_the_same_count_everywhere():
    field = ask("map of tas.mean(time=DJF 2004) > p66.7").members
    assert field["probability"].dims == ("latitude", "longitude")
    one = ask("tas.mean(over=point(0, 120)).mean(time=DJF 2004) > p66.7").to_json()
    cell = field.sel(latitude=0, longitude=120)
    assert float(cell["probability"]) == one["probability"]["raw"]
    assert float(cell["base_rate"]) == pytest.approx(one["base_rate"]["value"])
    assert float(cell["low"]) == pytest.approx(one["interval"]["low"])
    series = ask("series of tas.mean(over=west) > p66.7").members
    assert series.sizes["lead_time"] == 9
    single = ask("(tas.mean(over=west) > p66.7).any(time=2004-01)").to_json()
    assert float(series["probability"][3]) == single["probability"]["raw"]
    assert float(series["base_rate"][3]) == pytest.approx(single["base_rate"]["value"])


def test_maps_in_bands_are_the_same_maps(monkeypatch):
    text = "map of (tas.anom > 1 sigma).any(time=DJF 2004)"
    whole = ask(text, forecast(masked=True), record(masked=True)).members
    monkeypatch.setattr("pipeline.answers.fields.BAND_VALUES", 1)
    xr.testing.assert_identical(ask(text, forecast(masked=True), record(masked=True)).members, whole)
    assert np.isnan(whole["probability"][0, 0])


@pytest.mark.parametrize(
    ("text", "code", "sentence"),
    [
        (
            "temp.mean(over=west).mean(time=2004-01) > 1 K",
            "unknown_variable",
            "No variable 'temp'. This store has tas (near-surface air temperature, K), pr",
        ),
        ("tas.mean(over=wset).mean(time=2004-01) > 1 K", "unknown_region", "No region 'wset'. Did you mean west?"),
        (
            "tas.mean(over=west).mean(time=2004-01) > 27",
            "unit_missing",
            "27 of what? tas is in K. Write 27 degC or 300.15 K.",
        ),
        (
            "tas.mean(over=west).mean(time=2004-01) > 27 mm",
            "unit_wrong",
            "'27 mm' is a length; tas is a temperature (K).",
        ),
        (
            "(tas.mean(over=west) > p50).count(time=DJF 2004) >= 5 days",
            "unit_wrong",
            "counts and runs are in steps of this store, which are months",
        ),
        (
            "(tas.roll(mean=10 days) > p50).any(over=west).any(time=DJF 2004)",
            "unit_wrong",
            "no whole number of this store's steps",
        ),
        ("tas.mean(over=west).mean(time=2004-01) > 0.5 degC", "anomaly_offset", "write tas.anom"),
        (
            "tas.mean(over=west).mean(time=2004-01) > p99",
            "percentile_too_fine",
            "p99 of 30 reference years: the finest is p96.",
        ),
        (
            "tas.anom(clim=hist:1961-1990).mean(over=west).mean(time=2004-01) > 1 K",
            "reference_period",
            "which holds 1991-2020",
        ),
        (
            "tas.roll(mean=3 months).mean(over=west).max(time=all) > 280 K",
            "before_init",
            "The running window of lead 1 begins before this forecast does; the first whole one is that of lead 3.",
        ),
        (
            "tas.roll(mean=30 months).mean(over=west).max(time=all) > 280 K",
            "beyond_horizon",
            "30 months are longer than this forecast, which ends at lead 9: not one running mean is whole.",
        ),
        (
            "tas.anom(clim=model:1991-2000).mean(over=west).mean(time=2004-01) > 1 K",
            "reference_period",
            "No hindcasts are stored, so the model's own climatology is not known. The reference record is "
            "obs:1991-2002: write .anom.",
        ),
    ],
)
def test_refusals(text, code, sentence):
    error = refusal(text)
    assert error.code == code
    assert sentence in error.text


def test_mostly_masked_regions_are_refused_and_partly_masked_ones_warn():
    ensemble, reference = forecast(members=20), record()
    for dataset in (ensemble, reference):
        dataset["tas"][..., :2, :2] = np.nan
    error = refusal("tas.mean(over=west).mean(time=DJF 2004) > 5.1 degC", ensemble, reference)
    assert error.code == "mostly_masked"
    assert error.text == "Only 35 % of the west has data (tas has none in the rest); a region needs 50 %."
    part = ask("tas.mean(over=box(lat=-15..20, lon=95..165)).mean(time=DJF 2004) > 5.1 degC", ensemble, reference)
    assert "partly_masked" in {warning["code"] for warning in part.to_json()["warnings"]}


@pytest.mark.parametrize(
    ("threshold", "code"), [("30 K", "threshold_looks_wrong"), ("7 degC", "threshold_never_seen"), ("5.1 degC", None)]
)
def test_thresholds_far_out_warn(threshold, code):
    payload = ask(f"tas.mean(over=west).mean(time=DJF 2004) > {threshold}").to_json()
    codes = {warning["code"] for warning in payload["warnings"]} - {"uncalibrated", "skill_not_measured"}
    assert codes == ({code} if code else set())


def test_a_percentile_that_many_dry_years_share_is_told():
    here = "pr.mean(over=point(0, 120)).mean(time=lead 4)"
    payload = ask(f"{here} <= p20").to_json()
    (said,) = (warning["text"] for warning in payload["warnings"] if warning["code"] == "threshold_shared")
    dry, years = map(int, re.match(r"(\d+) of (\d+) reference years are just at the threshold, 0", said).groups())
    assert payload["base_rate"]["events"] == dry > 0.1 * years
    assert "threshold_shared" not in str(ask(f"{here} <= p80").to_json()["warnings"])


def test_volumes_of_water_far_out_are_compared_in_their_own_unit():
    payload = ask("pr.sum(over=west).sum(time=DJF 2004) > 1 km3").to_json()
    said = " ".join(warning["text"] for warning in payload["warnings"])
    assert re.search(r"1 km3 lies beyond all 29 reference years \(lowest [0-9.]{3,6} km3\)", said)


def test_thresholds_below_zero_warn_with_a_minus_sign():
    payload = ask("tas.anom.mean(over=west).mean(time=DJF 2004) < -4 K").to_json()
    (said,) = (warning["text"] for warning in payload["warnings"] if warning["code"] == "threshold_never_seen")
    assert said.startswith("−4 K lies beyond all 29 reference years (lowest −")


def test_a_warming_that_all_members_pass_is_no_wrong_unit():
    """Far beyond the reference, and among the members of both scenarios."""
    text = "tas.anom.mean(over=west).mean(time=2003-10..2005-09) > 12 K scenario high vs low"
    payload = ask(text, projection(leads=24, warming=24.0)).to_json()
    assert [part["probability"]["raw"] for part in payload["scenarios"]] == [1.0, 0.0]
    (said,) = (warning["text"] for warning in payload["warnings"] if warning["code"] == "threshold_never_seen")
    assert "12 K lies beyond all 28 overlapping reference windows of 2 years (highest " in said
    assert "; the event is in 40 of 40 samples under high and 0 of 40 under low. There is" in said


def test_ties_are_counted():
    ensemble = forecast(members=10)
    ensemble["tas"][0, :, :3] = 278.25
    payload = ask("tas.mean(over=west).mean(time=DJF 2004) > 5.1 degC", ensemble).to_json()
    assert payload["members"]["ties"] == 3
    payload = ask("tas.mean(over=west).mean(time=DJF 2004) between 5.1 and 9 degC", ensemble).to_json()
    assert (payload["members"]["ties"], payload["distribution"]) == (None, None)
    why = "The event is not one number against one threshold."
    assert payload["members"]["ties_reason"] == payload["distribution_reason"] == why


def test_a_window_longer_than_the_record_has_no_base_rate():
    ensemble = forecast(leads=48, members=20)
    payload = ask("tas.mean(over=west).mean(time=all) > 280 K", ensemble, record(years=3)).to_json()
    for field in ("base_rate", "ratio", "distribution"):
        assert payload[field] is None
        assert "too few to replay a window of 4 years" in payload[f"{field}_reason"]


def test_maps_and_series_that_the_record_is_too_short_for_have_no_base_rate():
    ensemble = forecast(leads=48, members=20)
    answer = ask("map of tas.mean(time=all) > 280 K", ensemble, record(years=3))
    assert answer.members["base_rate"].isnull().all()
    assert answer.members["probability"].notnull().all()
    assert "too few to replay a window of 4 years" in answer.to_json()["base_rate_reason"]
    assert "base rate   The reference record has 3 years" in answer.text
    months = ask("series of tas.mean(over=west) > 280 K", ensemble, record(years=3)).members
    assert months["base_rate"].notnull().all()


def test_a_level_out_of_range_and_another_grid_are_refused():
    with pytest.raises(ValueError, match="a coverage from"):
        ask(WARM, level=90)
    with pytest.raises(ValueError, match="its latitude differs"):
        ask(WARM, reference=record().assign_coords(latitude=[0.0, 1.0, 2.0]))


@pytest.mark.parametrize(
    "text",
    [
        WARM,
        f"{WARM} scenario high vs low",
        "value of tas.mean(over=west).mean(time=DJF 2004) exceeded with 25 % scenario low",
        "map of tas.mean(time=DJF 2004) > p50 scenario low",
    ],
)
def test_cards_say_it_all(text):
    found = ask(text, projection() if "scenario" in text else None)
    card, html = found.text, found._repr_html_()
    assert max(len(line) for line in card.splitlines()) <= 78
    start = found.headline.split()[0]
    assert card.startswith(start)
    assert start in html
    assert html.count("<section") == html.count("</section>") == 1
    assert "<script" not in html
    assert str(found) == card


def test_html_is_escaped():
    ensemble = forecast(members=20)
    ensemble["tas"].attrs["long_name"] = "<b>warmth</b>"
    assert "<b>warmth" not in ask(WARM, ensemble)._repr_html_()


def test_a_map_of_which_nothing_is_known_is_an_error():
    assert refusal("map of tas.mean(time=all) > 200 K", forecast(missing=1.0)).code == "members_unknown"
