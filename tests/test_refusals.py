"""Every refusal and warning of the specification, word for word as the person reads it."""

import re
from datetime import UTC, datetime

import numpy as np
import pytest
import xarray as xr

from pipeline.answers.answer import answer
from pipeline.answers.explain import explain
from pipeline.answers.freshness import overdue
from pipeline.events import QuestionError
from tests.asking import catalogue, forecast, record
from tests.test_answers import WARM, ask, projection

MEAN = "tas.mean(over=west).mean(time={})"
MARCH = MEAN.format("2004-03")

REFUSALS = {
    "unknown_variable": (
        "temp.mean(over=west).mean(time=2004-01) > 1 K",
        "No variable 'temp'. This store has tas (near-surface air temperature, K), pr (precipitation, kg m-2 s-1). Did "
        "you mean tas?",
    ),
    "unknown_region": (
        "tas.mean(over=nino3.4).mean(time=2004-01) > 1 K",
        "No region 'nino3.4'. Did you mean nino34? Others near: nino12, nino3, nino4. Or give box(lat=…, lon=…), "
        "point(lat, lon) or polygon(lat lon, …).",
    ),
    "unit_missing": (f"{MARCH} > 27", "27 of what? tas is in K. Write 27 degC or 300.15 K."),
    "unit_wrong": (f"{MARCH} > 27 mm", "'27 mm' is a length; tas is a temperature (K)."),
    "anomaly_offset": (
        f"{MARCH} > 0.5 degC",
        "0.5 degC on tas without .anom is an absolute 0.5 degC, far from every member. For '0.5 degC above normal' "
        "write tas.anom.",
    ),
    "still_varies": (
        "tas.mean(over=west) > 280 K",
        "The event still varies in time: say time=<window> (.mean .any .all .count .run .first), or ask for a series.",
    ),
    "wrong_kind": (
        "(tas > 280 K).mean(over=west) > 1",
        ".mean() is for numbers; on a condition use .any .all .frac .count .run or .first.",
    ),
    "region_outside": (
        "tas.mean(over=box(lat=70..85, lon=100..120)).mean(time=2004-01) > 280 K",
        "box(lat=70..85, lon=100..120) lies outside the grid (lat -15..22.5, lon 90..170).",
    ),
    "beyond_horizon": (
        f"{MEAN.format('DJF 2006')} > 280 K",
        "DJF 2006 needs lead 27-29; this forecast ends at lead 9 (2004-06). Latest season wholly inside: AMJ 2004.",
    ),
    "before_init": (
        f"{MEAN.format('2003-05')} > 280 K",
        "2003-05 was before this forecast began (2003-10-01); its first step is 2003-10. Use the analysis, or an "
        "earlier forecast.",
    ),
    "too_few_members": (
        "value of tas.mean(over=west).mean(time=DJF 2004) exceeded with 1 %",
        "A 1-in-100 value cannot be read from 40 samples: the rarest that they resolve is about 1 in 40, and 5 cases "
        "would need 500. Try a commoner value, or pool years (each …).",
    ),
    "ambiguous_P90": (
        "value of tas.mean(over=west).mean(time=DJF 2004) exceeded with P90",
        "'value P90' means opposite things in statistics and energy. Write 'exceeded with 10 %' or 'not exceeded with "
        "90 %'.",
    ),
    "given_too_rare": (
        f"{WARM} given tas.mean(over=west).mean(time=2004-01) > record",
        "Only 3 of 40 members meet the 'given' condition; at least 10 are needed.",
    ),
    "percentile_too_fine": (f"{MARCH} > p99", "p99 of 30 reference years: the finest is p96."),
    "unknown_forecast": (
        f"{WARM} forecast 1999-01-01",
        "No forecast '1999-01-01'. There is one, fc-2003-10-01.",
    ),
    "unknown_scenario": (f"{WARM} scenario A1B", "No scenario 'A1B'; this store has no scenarios."),
    "parse": (
        "prob tas.mean(over=west",
        "Expected ')', found the end.\n  prob tas.mean(over=west\n                         ^\nFor example: prob "
        "tas.mean(over=point(40.4, -3.7)).mean(time=2027-07) > 27 degC",
    ),
}

NEED_MEMBERS = {"anomaly_offset", "given_too_rare"}


@pytest.mark.parametrize("code", REFUSALS)
def test_refused_in_these_words(code):
    text, words = REFUSALS[code]
    with pytest.raises(QuestionError) as caught:
        ask(text)
    assert (caught.value.code, caught.value.text) == (code, words)


PART = "box(lat=0..40, lon=100..120)"


@pytest.mark.parametrize(
    "text",
    [
        *(text for code, (text, _) in REFUSALS.items() if code not in NEED_MEMBERS),
        f"prob tas.sum(over={PART}).mean(time=DJF 2004) > p50",
        f"prob {MARCH} > p50 given tas.sum(over={PART}).mean(time=DJF 2004) > p50",
        "prob tas.anom(clim=hist:1950-1960).mean(over=west).mean(time=DJF 2004) > 1 K",
        "prob tas.roll(mean=30 months).mean(over=west).max(time=all) > 280 K",
    ],
)
def test_explaining_refuses_what_needs_no_member_in_the_same_words(text):
    ensemble, reference = forecast(members=40, seed=4), record(years=30)
    names, said = catalogue(ensemble), []
    for explain_or_ask in (explain, answer):
        with pytest.raises(QuestionError) as caught:
            explain_or_ask(text, ensemble=ensemble, reference=reference, catalogue=names, partial=True)
        said.append((caught.value.code, caught.value.text))
    assert said[0] == said[1]


def test_masked_regions_are_refused_in_these_words():
    ensemble, reference = forecast(members=20), record()
    for dataset in (ensemble, reference):
        dataset["tas"][..., :2, :2] = np.nan
    with pytest.raises(
        QuestionError, match=r"^Only 35 % of the west has data \(tas has none in the rest\); a region needs 50 %\.$"
    ):
        ask(WARM, ensemble, reference)


def test_exit_codes_tell_wrong_from_missing_and_refused():
    codes = {"unknown_forecast": 3, "too_few_members": 4, "given_too_rare": 4, "unknown_region": 2}
    for code, expected in codes.items():
        with pytest.raises(QuestionError) as caught:
            ask(REFUSALS[code][0])
        assert caught.value.exit_code == expected


@pytest.mark.parametrize(
    "text", [WARM, "map of tas.mean(time=2004-01) > 280 K", "dist of tas.mean(over=west).mean(time=all)"]
)
def test_a_single_member_is_refused(text):
    with pytest.raises(QuestionError, match=r"^One member has no share of members; at least two are needed"):
        ask(text, forecast(members=1))


def warnings(payload):
    return {warning["code"]: warning["text"] for warning in payload["warnings"]}


@pytest.mark.parametrize(
    ("code", "text", "words"),
    [
        (
            "threshold_looks_wrong",
            f"{MEAN.format('DJF 2004')} > 30 K",
            "30 K is lower than anything in 29 reference years (lowest 276.87 K). Did you mean 30 degF?",
        ),
        (
            "threshold_looks_wrong",
            f"{MEAN.format('DJF 2004')} > 4000 K",
            "4000 K is higher than anything in 29 reference years (highest 279.03 K). Is the unit right?",
        ),
        (
            "threshold_never_seen",
            f"{MEAN.format('DJF 2004')} > 7 degC",
            "7 degC lies beyond all 29 reference years (highest 5.88 degC); 0 of 40 samples have the event. There "
            "is no record of this system being right so far out.",
        ),
        (
            "threshold_looks_wrong",
            "tas.mean(over=box(lat=-15..20, lon=95..165)).mean(time=DJF 2004) > 270 K",
            "270 K is lower than anything in 29 reference years (lowest 278.57 K). Is the unit right?",
        ),
        (
            "region_smaller_than_cell",
            "tas.mean(over=box(lat=-1..1, lon=119..121)).mean(time=DJF 2004) > 280 K",
            "the box 1S to 1N, 119E to 121E covers 2 % of one cell. You get that cell's climate.",
        ),
        ("uncalibrated", WARM, "The members were not calibrated on past forecasts."),
        (
            "skill_not_measured",
            WARM,
            "The skill of this question was not measured. No past forecasts are stored to replay this question on.",
        ),
    ],
)
def test_warned_in_these_words(code, text, words):
    assert warnings(ask(text).to_json())[code] == words


def test_a_threshold_that_the_reference_never_saw_is_told_what_past_forecasts_met():
    text = f"{MEAN.format('DJF 2004')} > 7 degC"
    for events, words in (
        (0, "There is no record in 24 past cases of this system being right so far out."),
        (6, "It came true in 6 of 24 past cases."),
    ):
        skill = {"verdict": "not_measured", "cases": 24, "events": events}
        assert warnings(ask(text, skill=skill).to_json())["threshold_never_seen"].endswith(words)


def test_what_lies_just_on_the_grid_is_not_wholly_outside_it():
    with pytest.raises(QuestionError, match="lies 99 % outside the grid"):
        ask("tas.mean(over=box(lat=22..80, lon=100..120)).mean(time=DJF 2004) > 280 K")


@pytest.mark.parametrize("compared", ["< 2003-05", "> 2003-05"])
def test_a_first_passage_is_not_compared_with_what_has_passed(compared):
    with pytest.raises(QuestionError, match=r"^2003-05 was before this forecast began \(2003-10-01\)") as error:
        ask(f"(tas.mean(over=west) > 280 K).first(time=all) {compared}")
    assert error.value.code == "before_init"


def test_a_calibration_out_of_date_is_said_and_not_used():
    payload = ask(WARM, settings={"calibration": {"state": "stale"}}).to_json()
    assert warnings(payload)["calibration_stale"] == "The calibration is out of date, so it was not used."
    assert payload["probability"]["calibrated"] is None
    assert "Not calibrated any more, so not a probability." in payload["headline"]["text"]


def test_scenarios_without_a_common_window_are_not_compared():
    ensemble = projection()
    ensemble["tas"][1] = np.nan
    with pytest.raises(QuestionError) as caught:
        ask(f"{WARM} scenario high vs low", ensemble)
    assert caught.value.code == "scenario_mismatch"
    assert caught.value.text == "high has 40 members with data for 2003-12..2004-02, low has none: no common window."


def test_a_level_inside_a_trend_is_an_average():
    ensemble = forecast(leads=120, members=20)
    ensemble["tas"] = ensemble["tas"] + xr.DataArray(np.arange(120) / 12, dims="lead_time").astype("float32")
    text = "level of tas.mean(over=west).max(time=each year 2004..2012) return 5 years"
    found = warnings(ask(text, ensemble).to_json())["stationarity"]
    assert re.fullmatch(
        r"The mean rises [\d.]+ K inside 2004..2012; a level with a return period is an average over the window.", found
    )


def test_no_skill_is_warned_of_and_leads_the_answer():
    skill = {"verdict": "no_evidence", "value": 0.02, "low": -0.09, "high": 0.11, "hindcasts": 24}
    payload = ask(WARM, skill=skill).to_json()
    assert warnings(payload)["no_skill"] == "Past forecasts of this event were no better than its usual odds."
    assert payload["headline"]["text"].startswith("Usual odds ")
    assert payload["headline"]["text"].endswith(
        "This system has shown no skill for this kind of question (Brier skill 0.02, 90 % interval −0.09 to 0.11, 24 "
        f"past forecasts). Its members say {100 * payload['probability']['raw']:.0f} %; we do not recommend using that "
        "number."
    )


def test_an_event_that_no_member_has_is_a_bound():
    payload = ask(f"{MEAN.format('DJF 2004')} > 8 degC", forecast(members=20)).to_json()
    assert payload["headline"]["text"].startswith(
        "Fewer than 1 in 7 (0 of 20 members; the true chance could be as high as 14 %)"
    )


def test_the_part_of_a_region_on_the_grid_is_used_only_when_allowed():
    number = "tas.mean(over=box(lat=0..40, lon=100..120))"
    with pytest.raises(QuestionError, match="lies 40 % outside the grid"):
        ask(f"{number}.mean(time=DJF 2004) > 280 K")
    words = "40 % of the box 0N to 40N, 100E to 120E is outside the grid; the rest was used."
    for text in (
        f"{number}.mean(time=DJF 2004) > 280 K",
        f"series of {number} > 280 K",
        f"dist of {number}.mean(time=DJF 2004)",
        f"value of {number}.mean(time=DJF 2004) exceeded with 20 %",
    ):
        found = warnings(ask(text, partial=True).to_json())
        assert (found["region_partly_outside"], "uncalibrated" in found) == (words, True)
    with pytest.raises(QuestionError, match=r"^40 % of the box .* is outside the grid: the sum over a part is none"):
        ask(f"{number}.mean(time=DJF 2004) > p50".replace("mean(over", "sum(over"), partial=True)


def running(stored, *, members=20, block=2, starts=1):
    """A run of which so many members of the newest initial time are stored."""
    ensemble = forecast(members=members, starts=starts, seed=4)
    done = np.ones((starts, members // block), dtype="int8")
    done[-1, stored // block :] = 0
    ensemble["tas"][-1, :, stored:] = np.nan
    return ensemble.assign(done=(("init_time", "block"), done)).assign_attrs(block=block)


def test_an_unfinished_run_answers_from_what_is_stored_and_says_so():
    payload = ask(WARM, running(18)).to_json()
    assert warnings(payload)["members_incomplete"] == "18 of 20 members are stored; run still going."
    assert payload["members"]["total"] == 18
    assert payload["members"]["unknown"] == 0


def test_too_little_of_a_run_is_refused_unless_a_part_will_do():
    with pytest.raises(QuestionError) as caught:
        ask(WARM, running(12))
    assert (caught.value.code, caught.value.exit_code) == ("members_incomplete", 4)
    assert caught.value.text == (
        "12 of 20 members are stored; run still going. Below 80 % they answer only where a part is allowed (--partial; "
        "over HTTP partial=true)."
    )
    assert ask(WARM, running(12), partial=True).to_json()["members"]["total"] == 12


def test_a_run_of_which_nothing_is_stored_yet_leaves_the_one_before_it_in_force():
    payload = ask(WARM, running(0, starts=2)).to_json()
    assert payload["provenance"]["forecast"] == "fc-2003-10-01"
    assert "members_incomplete" not in warnings(payload)


def test_a_forecast_whose_successor_is_overdue():
    issued = xr.DataArray(np.array(["2027-05-01", "2027-06-02"], dtype="datetime64[s]"), dims="init_time")
    starts = np.array(["2027-05-01", "2027-06-02"], dtype="datetime64[s]")
    ensemble = xr.Dataset({"issued_at": issued}, coords={"init_time": starts})
    words = "Newest forecast is 41 days old; the next was due 9 days ago."
    assert overdue(ensemble, now=datetime(2027, 7, 13, tzinfo=UTC)) == words
    assert overdue(ensemble, now=datetime(2027, 6, 20, tzinfo=UTC)) is None


def test_an_overdue_forecast_says_so_unless_it_was_asked_for_by_name():
    ensemble = forecast(members=20, starts=2)
    ensemble["issued_at"] = ("init_time", np.array(["2003-10-02", "2004-10-02"], dtype="datetime64[s]"))
    text = "tas.mean(over=west).mean(time=lead 1..3) > p50"
    found = warnings(ask(text, ensemble).to_json())["stale_forecast"]
    assert re.fullmatch(r"Newest forecast is \d+ days old; the next was due \d+ days ago\.", found)
    assert "stale_forecast" not in warnings(ask(f"{text} forecast fc-2004-10-01", ensemble).to_json())


def test_scenarios_are_named_where_there_are_several():
    with pytest.raises(QuestionError) as caught:
        ask(WARM, projection())
    assert caught.value.text == "This store has high, low: say under which."
    with pytest.raises(QuestionError) as caught:
        ask(f"{WARM} scenario hihg", projection())
    assert caught.value.text == "No scenario 'hihg'; this store has high, low. Did you mean high?"


def test_a_name_of_several_variables_is_not_taken_for_one_of_them():
    ensemble, reference = [data.assign(tasmax=data["tas"] + 5) for data in (forecast(), record())]
    with pytest.raises(QuestionError, match="'air_temperature' may mean tas or tasmax here: write which") as refused:
        ask(f"{MARCH} > 280 K".replace("tas", "air_temperature"), ensemble, reference)
    assert (refused.value.code, refused.value.try_) == ("ambiguous_variable", ("tas", "tasmax"))
